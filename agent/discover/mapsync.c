/*
 * The state machine of the map.
 *
 *   LIST ("show map": which one is it) → READ ("show map NAME") → the same? → rest
 *                                                               → no: PREPARE → ADD … → COMMIT →
 * READ
 *
 * Each step is a connection of its own, and HAProxy may be reloaded between two of them; so the map
 * is named by its path, never by its number, and a version that the new process does not know fails
 * the step and starts all over. What a command may hold is HAProxy's tune.bufsize: entries go in
 * batches, and a refused batch halves the next ones. 2.6 closes without a word where later versions
 * say "too big", so success is the one empty line of an empty answer and nothing less. What was
 * prepared and not committed is cleared, lest it stay in HAProxy's memory.
 */
#include "discover/mapsync.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/textfile.h"
#include "discover/runtime.h"
#include "net/ask.h"
#include "net/timer.h"

#define BATCH_FIRST    8192
#define BATCH_LEAST    1024
#define PAUSE_FIRST_MS 1000
#define PAUSE_LAST_MS  30000

enum step { STEP_REST, STEP_LIST, STEP_READ, STEP_PREPARE, STEP_ADD, STEP_COMMIT, STEP_CLEAR };

struct mapsync {
	struct event_base *base;
	struct mapsync_hooks hooks;
	const struct config *conf;
	bool read_only, told; /* told: the hook was called */
	bool found;           /* HAProxy was seen */
	struct timer *timer;
	struct ask *ask;
	enum step step;
	bool again;  /* something new is wanted, or HAProxy is another one, since the step began */
	bool pushed; /* this READ is there to see what the push has done */
	struct map *map;
	size_t at, next, batch;
	int64_t version;
	uint64_t pause_ms;
	char *path;
	char *file;
	enum mapsync_state state;
	char error[200], file_error[200];
	uint64_t pushes, failures, writes;
};

static void step(struct mapsync *s, enum step to);
static void due(void *arg);

static bool is_on(const struct mapsync *s)
{
	return s->conf->haproxy.socket && s->conf->haproxy.map && s->conf->haproxy.map[0];
}

struct mapsync *mapsync_new(struct event_base *base, const struct mapsync_hooks *hooks,
			    const struct config *conf, bool read_only)
{
	struct mapsync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = base;
	s->hooks = *hooks;
	s->conf = conf;
	s->read_only = read_only;
	s->batch = BATCH_FIRST;
	s->pause_ms = PAUSE_FIRST_MS;
	s->state = is_on(s) ? MAPSYNC_WAITING : MAPSYNC_OFF;
	s->timer = timer_new(base, due, s);
	return s->timer ? s : mapsync_free(s);
}

struct mapsync *mapsync_free(struct mapsync *s)
{
	if (s) {
		if (s->ask)
			ask_cancel(s->ask);
		timer_free(s->timer);
		map_free(s->map);
		free(s->path);
		free(s->file);
		free(s);
	}
	return NULL;
}

static void tell(struct mapsync *s, struct view shown)
{
	struct runtime_pair pair;
	struct seed_pair *pairs = NULL;
	struct view rest = shown;
	struct seed seed = {0};
	size_t n = 0;

	if (s->told)
		return;
	s->told = true;
	while (runtime_pairs_next(&rest, &pair))
		n++;
	if (n)
		pairs = calloc(n, sizeof(*pairs));
	for (n = 0; pairs && runtime_pairs_next(&shown, &pair); n++)
		pairs[n] = (struct seed_pair){pair.key, pair.value};
	seed = (struct seed){pairs ? n : 0, pairs};
	if (s->hooks.read)
		s->hooks.read(&seed, s->hooks.arg);
	free(pairs);
}

static void rest(struct mapsync *s, enum mapsync_state state)
{
	s->step = STEP_REST;
	s->state = state;
	if (!s->again)
		return;
	s->again = false;
	step(s, s->path ? STEP_READ : STEP_LIST);
}

static void failed(struct mapsync *s, const char *error)
{
	enum step at = s->step;
	struct log_line l;

	s->failures++;
	if (strcmp(s->error, error) != 0) {
		snprintf(s->error, sizeof(s->error), "%s", error);
		log_begin(&l, LOG_LEVEL_WARNING, "map_failed");
		log_str(&l, "map", s->path ? s->path : s->conf->haproxy.map);
		log_str(&l, "error", error);
		if (strstr(error, "ermission denied"))
			log_str(&l, "remedy",
				"the `stats socket` of haproxy.cfg needs `level admin`");
		log_end(&l);
	}
	tell(s, VIEW_NULL);
	s->state = MAPSYNC_FAILED;
	s->pushed = false;
	if (at == STEP_ADD || at == STEP_COMMIT) {
		step(s, STEP_CLEAR);
		return;
	}
	s->step = STEP_REST;
	s->again = true;
	if (timer_start(s->timer, s->pause_ms * CLOCK_NS_PER_MS) == 0)
		s->pause_ms = s->pause_ms * 2 < PAUSE_LAST_MS ? s->pause_ms * 2 : PAUSE_LAST_MS;
}

/* --- the file -------------------------------------------------------------------------------- */

/* Where the file is, as far as that can be told. */
static const char *file_of(const struct mapsync *s)
{
	const char *path = s->path;

	if (s->conf->haproxy.map_file)
		return s->conf->haproxy.map_file;
	if (!path)
		return NULL;
	if (strncmp(path, "opt@", 4) == 0)
		path += 4;
	else if (strncmp(path, "file@", 5) == 0)
		path += 5;
	return path[0] == '/' ? path : NULL;
}

static void file_failed(struct mapsync *s, const char *file, int err, const char *what)
{
	char text[200];
	struct log_line l;

	snprintf(text, sizeof(text), "cannot %s: %s", what, strerror(err));
	if (strcmp(s->file_error, text) == 0)
		return;
	snprintf(s->file_error, sizeof(s->file_error), "%s", text);
	log_begin(&l, LOG_LEVEL_WARNING, "map_file_failed");
	log_str(&l, "file", file);
	log_str(&l, "error", text);
	log_str(&l, "remedy",
		"let the agent's user write the directory, or set haproxy.map_file to a place "
		"where it can and load the map from there");
	log_end(&l);
}

static void write_file(struct mapsync *s)
{
	const char *file = file_of(s), *what = "";
	char *copy;
	int r;

	if (s->read_only || !s->map)
		return;
	if (!file) {
		if (s->path && !s->file_error[0]) {
			snprintf(s->file_error, sizeof(s->file_error), "%s names no absolute path",
				 s->path);
			log_event(LOG_LEVEL_INFO, "map_file_unknown", "map", s->path, "remedy",
				  "set haproxy.map_file to keep the map for HAProxy's next start",
				  NULL);
		}
		return;
	}
	copy = strdup(file);
	if (copy) {
		free(s->file);
		s->file = copy;
	}
	r = map_write(s->map, file, &what);
	if (r < 0) {
		file_failed(s, file, -r, what);
		return;
	}
	s->file_error[0] = '\0';
	if (r > 0) {
		s->writes++;
		log_event(LOG_LEVEL_INFO, "map_written", "file", file, NULL);
	}
}

/* --- questions ------------------------------------------------------------------------------- */

static int put_path(FILE *out, const char *path)
{
	for (; *path; path++) {
		if (*path == ' ' || *path == '\\' || *path == ';' || *path == '<')
			fputc('\\', out);
		fputc(*path, out);
	}
	return 0;
}

static void put_question(struct mapsync *s, FILE *out)
{
	struct view lines;

	switch (s->step) {
	case STEP_REST:
	case STEP_LIST:
		fputs("show map", out);
		break;
	case STEP_READ:
		fputs("show map ", out);
		put_path(out, s->path);
		break;
	case STEP_PREPARE:
		fputs("prepare map ", out);
		put_path(out, s->path);
		break;
	case STEP_ADD:
		lines = map_batch(s->map, s->at, s->batch, &s->next);
		fprintf(out, "add map @%lld ", (long long)s->version);
		put_path(out, s->path);
		fputs(" <<\n", out);
		fwrite(lines.ptr, 1, lines.len, out);
		break;
	case STEP_COMMIT:
		fprintf(out, "commit map @%lld ", (long long)s->version);
		put_path(out, s->path);
		break;
	case STEP_CLEAR:
		fprintf(out, "clear map @%lld ", (long long)s->version);
		put_path(out, s->path);
		break;
	}
	fputc('\n', out);
}

static void answered(const struct ask_answer *answer, void *arg);

static void step(struct mapsync *s, enum step to)
{
	struct textfile file;
	char *text = NULL;
	size_t len;
	int r = -ENOMEM;

	s->step = to;
	if (textfile_open(&file)) {
		put_question(s, file.out);
		text = textfile_close(&file, &len);
		if (text)
			r = ask(s->base, s->conf->haproxy.socket, (struct view){text, len},
				s->conf->haproxy.timeout_ms, s->conf->haproxy.max_answer, answered,
				s, &s->ask);
	}
	free(text);
	if (r == 0)
		return;
	s->ask = NULL;
	/* Not failed() itself, which may come back here. */
	s->step = STEP_REST;
	s->state = MAPSYNC_FAILED;
	s->again = true;
	if (timer_start(s->timer, PAUSE_LAST_MS * CLOCK_NS_PER_MS) < 0)
		log_event(LOG_LEVEL_ERROR, "map_timer", "error", "out of memory", NULL);
}

/* The name itself, or the last part of a path. */
static bool is_map(struct view path, const char *name)
{
	size_t len = strlen(name);

	if (path.len < len || memcmp(path.ptr + path.len - len, name, len) != 0)
		return false;
	return path.len == len || name[0] == '/' || path.ptr[path.len - len - 1] == '/' ||
	       path.ptr[path.len - len - 1] == '@';
}

static void listed(struct mapsync *s, struct view text)
{
	const char *name = s->conf->haproxy.map;
	struct view best = VIEW_NULL;
	struct runtime_map map;

	while (runtime_maps_next(&text, &map))
		if (view_eq(map.path, view_str(name)) || (!best.ptr && is_map(map.path, name)))
			best = map.path;
	free(s->path);
	s->path = best.ptr ? view_dup(best) : NULL;
	if (s->path) {
		step(s, STEP_READ);
		return;
	}
	tell(s, VIEW_NULL);
	if (s->state != MAPSYNC_MISSING)
		log_event(LOG_LEVEL_WARNING, "map_missing", "map", name, "effect",
			  "HAProxy has loaded no such map and cannot route without the agent",
			  "remedy",
			  "copy the lines of fail-open from the shipped haproxy.cfg, or set "
			  "haproxy.map to \"\" where none is wanted",
			  NULL);
	write_file(s);
	rest(s, MAPSYNC_MISSING);
}

static void was_read(struct mapsync *s, struct view text)
{
	struct log_line l;
	bool pushed = s->pushed;

	tell(s, text);
	s->pushed = false;
	if (!s->map || s->read_only) {
		rest(s, MAPSYNC_WAITING);
		return;
	}
	if (s->again) { /* something else is wanted by now */
		rest(s, MAPSYNC_BUSY);
		return;
	}
	if (!map_equals(s->map, text)) {
		if (pushed)
			failed(s, "HAProxy does not hold what was pushed");
		else
			step(s, STEP_PREPARE);
		return;
	}
	if (pushed) {
		s->pushes++;
		log_begin(&l, LOG_LEVEL_INFO, "map_pushed");
		log_str(&l, "map", s->path);
		log_int(&l, "entries", (int64_t)s->map->n);
		log_int(&l, "left_out", (int64_t)s->map->left_out);
		log_end(&l);
	}
	s->error[0] = '\0';
	s->pause_ms = PAUSE_FIRST_MS;
	write_file(s);
	rest(s, MAPSYNC_CURRENT);
}

static void refused(struct mapsync *s, struct view text)
{
	char error[200];

	if (s->step == STEP_ADD && s->batch > BATCH_LEAST) {
		s->batch /= 2;
		s->pause_ms = PAUSE_FIRST_MS / 10;
	}
	while (text.len && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
		text.len--;
	if (text.len == 0) {
		failed(s, s->step == STEP_ADD ? "a batch of entries was not taken"
					      : "closed without an answer");
		return;
	}
	snprintf(error, sizeof(error), "HAProxy says: %.*s", (int)(text.len < 160 ? text.len : 160),
		 text.ptr);
	for (char *p = error; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	failed(s, error);
}

/* Tables begin with "# " or a pointer; everything else that has a first line is a refusal. */
static bool is_table(struct view text)
{
	return text.len == 0 || text.ptr[0] == '\n' || text.ptr[0] == '#' ||
	       (text.len > 1 && text.ptr[0] == '0' && text.ptr[1] == 'x');
}

static void take(struct mapsync *s, struct view text)
{
	struct view body = text;
	bool whole = runtime_whole(&body);

	switch (s->step) {
	case STEP_LIST:
	case STEP_READ:
		if (!whole || !is_table(body)) {
			if (s->step == STEP_READ && whole) {
				/* No longer under this name: look for it anew. */
				free(s->path);
				s->path = NULL;
			}
			refused(s, text);
		} else if (s->step == STEP_LIST) {
			listed(s, body);
		} else {
			was_read(s, body);
		}
		break;
	case STEP_PREPARE:
		s->version = whole ? runtime_prepared(body) : -EPROTO;
		s->at = 0;
		s->again = false; /* from here on it is about the map that is wanted now */
		if (s->version < 0)
			refused(s, text);
		else
			step(s, s->map->n ? STEP_ADD : STEP_COMMIT);
		break;
	case STEP_ADD:
		if (!whole || body.len) {
			refused(s, text);
			break;
		}
		s->at = s->next;
		/* What is wanted may be something else by now: then this one is thrown away. */
		step(s, s->again ? STEP_CLEAR : s->at < s->map->n ? STEP_ADD : STEP_COMMIT);
		break;
	case STEP_COMMIT:
		if (!whole || body.len) {
			refused(s, text);
			break;
		}
		s->pushed = true;
		step(s, STEP_READ);
		break;
	case STEP_CLEAR:
		s->step = STEP_REST;
		if (s->state == MAPSYNC_FAILED) {
			s->again = true;
			if (timer_start(s->timer, s->pause_ms * CLOCK_NS_PER_MS) == 0)
				s->pause_ms = s->pause_ms * 2 < PAUSE_LAST_MS ? s->pause_ms * 2
									      : PAUSE_LAST_MS;
		} else {
			rest(s, MAPSYNC_BUSY);
		}
		break;
	case STEP_REST:
		break;
	}
}

static void answered(const struct ask_answer *answer, void *arg)
{
	struct mapsync *s = arg;
	char error[160];

	s->ask = NULL;
	if (answer->error == ASK_OK || (s->step == STEP_CLEAR)) {
		take(s, answer->text);
		return;
	}
	if (answer->err)
		snprintf(error, sizeof(error), "%s: %s", ask_error_name(answer->error),
			 strerror(answer->err));
	else
		snprintf(error, sizeof(error), "%s", ask_error_name(answer->error));
	if (s->step == STEP_ADD && answer->error == ASK_BROKEN && s->batch > BATCH_LEAST)
		s->batch /= 2;
	failed(s, error);
}

static void due(void *arg)
{
	struct mapsync *s = arg;

	if (s->step != STEP_REST || !is_on(s) || !s->found)
		return;
	s->again = false;
	if (s->state != MAPSYNC_FAILED)
		s->state = MAPSYNC_BUSY;
	step(s, s->path ? STEP_READ : STEP_LIST);
}

static void start(struct mapsync *s)
{
	if (s->step != STEP_REST) {
		s->again = true;
		return;
	}
	if (timer_start(s->timer, 0) < 0)
		log_event(LOG_LEVEL_ERROR, "map_timer", "error", "out of memory", NULL);
}

void mapsync_found(struct mapsync *s)
{
	s->found = true;
	/* Another process may have loaded it under another name, or have a larger buffer. */
	if (s->step == STEP_REST) {
		free(s->path);
		s->path = NULL;
	}
	s->batch = BATCH_FIRST;
	if (is_on(s))
		start(s);
}

void mapsync_want_consume(struct mapsync *s, struct map *map)
{
	bool same = s->map && map_same(s->map, map);

	if (same) {
		s->map->left_out = map->left_out;
		map_free(map);
		return;
	}
	/* A batch under way points into the old one only until it was sent, which it was. */
	map_free(s->map);
	s->map = map;
	if (is_on(s) && s->found)
		start(s);
	else
		write_file(s);
}

void mapsync_reload(struct mapsync *s, const struct config *conf)
{
	s->conf = conf;
	if (s->ask)
		ask_cancel(s->ask);
	s->ask = NULL;
	timer_stop(s->timer);
	s->step = STEP_REST;
	s->again = s->pushed = false;
	s->error[0] = s->file_error[0] = '\0';
	free(s->path);
	s->path = NULL;
	s->state = is_on(s) ? MAPSYNC_WAITING : MAPSYNC_OFF;
	if (is_on(s) && s->found)
		start(s);
	else
		write_file(s);
}

void mapsync_status(const struct mapsync *s, struct mapsync_status *ret)
{
	*ret = (struct mapsync_status){
	    .state = s->state,
	    .path = s->path,
	    .file = s->file,
	    .error = s->error[0] ? s->error : NULL,
	    .file_error = s->file_error[0] ? s->file_error : NULL,
	    .entries = s->map ? s->map->n : 0,
	    .left_out = s->map ? s->map->left_out : 0,
	    .pushes = s->pushes,
	    .failures = s->failures,
	    .writes = s->writes,
	};
}
