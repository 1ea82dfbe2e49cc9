/*
 * The follower.
 *
 * A loop of one round: ask what HAProxy has, compare, give the commands, ask again. It comes to
 * rest when there is nothing to command, and starts anew when something else is wanted, after
 * poll_ms, and while HAProxy is on its way in or out. Nothing is kept about what was commanded: a
 * command that came to nothing is in the next difference again, at most once per poll_ms.
 *
 * A reload comes after the commands of the round, so that what can be had at once is. The new
 * worker reads the files, which are always ahead of HAProxy; what was wanted while it was reading
 * is found missing by the round after. reload_ms is counted from the end of the last reload, and
 * doubles with each one that fails, until something else is wanted.
 *
 * No stream is cut: servers are deleted when they are empty, a reload leaves the old worker to its
 * streams, and nothing here ever shuts a session down.
 *
 * Errors are logged when they come and when they change. That the runtime socket cannot be reached
 * is discover/haproxy's to tell, which polls the same one.
 */
#include "discover/follow/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/follow/backends.h"
#include "discover/follow/certificates.h"
#include "discover/follow/diff.h"
#include "discover/follow/files.h"
#include "discover/follow/reload.h"
#include "discover/follow/text.h"
#include "discover/follow/want.h"
#include "net/ask.h"
#include "net/timer.h"

#define SOON_MS        50   /* an old worker answered; a new one comes */
#define HANDOVER_MS    5000 /* from a good reload to the first answer of its worker */
#define NUDGE_MS       3000
#define MISSING_MS     250   /* nobody answers */
#define RELOAD_LAST_MS 60000 /* between reloads that fail */
#define BATCH_MAX      8192  /* of commands in one line: half of HAProxy's default buffer */

enum step { STEP_REST, STEP_POLL, STEP_COMMAND, STEP_RELOAD };

struct follow {
	struct event_base *base;
	struct follow_hooks hooks;
	struct follow_conf conf;
	struct want *want;
	struct files *files;
	struct timer *timer;
	enum step step;
	bool again; /* something else is wanted, or was commanded: poll as soon as this is over */
	struct ask *ask;
	struct reload *reload;
	char *answer; /* what diff points into */
	struct diff *diff;
	size_t at, next; /* commands: answered, sent */
	bool wanting;    /* the last round had commands that must come to something */
	uint64_t reload_ns, reload_ms;
	uint64_t generation, reload_generation; /* of what is wanted; of what was reloaded for */
	uint64_t nudged_ns;
	uint64_t certificates; /* as they were seen last */
	uint32_t reload_pid;   /* the worker that the last good reload replaces */
	struct backends backends;
	size_t told_pools;
	enum follow_state state;
	char error[320], told[320], refusal[300];
	struct follow_status status;
};

static void due(void *arg);
static void poll_now(struct follow *f);

/* --- telling -----------------------------------------------------------------------------------
 */

const char *follow_state_name(enum follow_state s)
{
	static const char *const names[] = {[FOLLOW_WAITING] = "waiting",
					    [FOLLOW_BUSY] = "busy",
					    [FOLLOW_CURRENT] = "current",
					    [FOLLOW_FAILED] = "failed"};

	return names[s];
}

static void failed(struct follow *f, const char *event, const char *error, const char *remedy)
{
	f->state = FOLLOW_FAILED;
	snprintf(f->error, sizeof(f->error), "%s", error);
	if (strcmp(f->told, f->error) == 0)
		return;
	snprintf(f->told, sizeof(f->told), "%s", f->error);
	if (event)
		log_event(LOG_LEVEL_WARNING, event, "error", error, "remedy", remedy, NULL);
}

static void current(struct follow *f)
{
	struct log_line l;
	bool news = f->state != FOLLOW_CURRENT;
	/* Pods come and go all day. */
	bool great = f->state != FOLLOW_BUSY || f->told_pools != f->want->npools;

	f->state = FOLLOW_CURRENT;
	f->told_pools = f->want->npools;
	f->error[0] = f->told[0] = f->refusal[0] = '\0';
	f->reload_ms = f->conf.reload_ms;
	f->reload_generation = 0;
	f->status.current_ns = clock_mono_ns();
	if (!news)
		return;
	log_begin(&l, great ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "haproxy_follows");
	log_int(&l, "pid", f->status.pid);
	log_int(&l, "pools", (int64_t)f->want->npools);
	log_int(&l, "servers", (int64_t)f->want->nservers);
	log_int(&l, "leaving", (int64_t)f->status.leaving);
	log_end(&l);
}

static void again_in(struct follow *f, uint64_t ms)
{
	if (timer_start(f->timer, ms * CLOCK_NS_PER_MS) < 0)
		log_event(LOG_LEVEL_ERROR, "follow_timer", "error", "out of memory", NULL);
}

static bool owns(struct view backend, void *arg)
{
	return files_owns(((struct follow *)arg)->files, backend);
}

/* --- commands ----------------------------------------------------------------------------------
 */

/* Commands that may have to be given again and again. */
static bool is_patient(enum diff_kind kind)
{
	return kind == DIFF_DELETE || kind == DIFF_DELETE_BACKEND || kind == DIFF_NUDGE;
}

static void drop_diff(struct follow *f)
{
	f->diff = diff_free(f->diff);
	free(f->answer);
	f->answer = NULL;
}

static void round_over(struct follow *f);
static void send_batch(struct follow *f);

static void refused(struct follow *f, const struct diff_command *c, struct view answer)
{
	const char *end = answer.len ? memchr(answer.ptr, '\n', answer.len) : NULL;
	int len = (int)(end ? end - answer.ptr : (long)(answer.len < 200 ? answer.len : 200));

	f->status.refusals++;
	if (!f->refusal[0])
		snprintf(f->refusal, sizeof(f->refusal), "HAProxy says to \"%.*s\": %.*s",
			 (int)(c->text.len < 80 ? c->text.len : 80), c->text.ptr,
			 len < 200 ? len : 200, answer.ptr ? answer.ptr : "");
}

static void commanded(const struct ask_answer *answer, void *arg)
{
	struct follow *f = arg;
	struct view text = answer->text, one;

	f->ask = NULL;
	while (f->at < f->next && diff_answer_next(&text, &one)) {
		const struct diff_command *c = &f->diff->commands[f->at++];

		f->status.commands++;
		if (!diff_accepted(c->kind, one))
			refused(f, c, one);
	}
	/* What was not answered is in the next difference. */
	if (f->at < f->next || answer->error != ASK_OK || f->again)
		round_over(f);
	else
		send_batch(f);
}

static void send_batch(struct follow *f)
{
	struct text out = {0};
	struct log_line l;
	char *text;
	size_t len = 0;
	int r = -ENOMEM;

	if (f->at == f->diff->ncommands) {
		round_over(f);
		return;
	}
	for (f->next = f->at; f->next < f->diff->ncommands; f->next++) {
		struct view c = f->diff->commands[f->next].text;

		if (f->next > f->at && out.len + c.len + 2 > BATCH_MAX)
			break;
		if (f->next > f->at)
			text_char(&out, ';');
		text_view(&out, c);
		log_begin(&l, LOG_LEVEL_DEBUG, "haproxy_command");
		log_view(&l, "command", c);
		log_end(&l);
	}
	text_char(&out, '\n');
	text = text_take(&out, &len);
	if (text)
		r = ask(f->base, f->conf.socket, (struct view){text, len}, f->conf.timeout_ms,
			f->conf.max_answer, commanded, f, &f->ask);
	free(text);
	if (r < 0) {
		f->ask = NULL;
		failed(f, NULL, strerror(-r), "");
		round_over(f);
	}
}

/* --- reload ------------------------------------------------------------------------------------
 */

static void reload_later(struct follow *f)
{
	f->reload_ms = f->reload_ms * 2 < RELOAD_LAST_MS ? f->reload_ms * 2 : RELOAD_LAST_MS;
}

static void reloaded(enum reload_result result, const char *message, void *arg)
{
	struct follow *f = arg;
	char error[320];

	f->reload = NULL;
	f->step = STEP_REST;
	f->reload_ns = clock_mono_ns();
	if (result == RELOAD_DONE) {
		f->status.reloads++;
		f->reload_pid = f->status.pid;
		log_event(LOG_LEVEL_INFO, "haproxy_reloaded", NULL);
		poll_now(f);
		return;
	}
	f->status.reload_failures++;
	f->reload_generation = 0;
	reload_later(f);
	snprintf(error, sizeof(error), "reload: %s", message);
	failed(f, "haproxy_reload_failed", error,
	       result == RELOAD_REFUSED
		   ? "the old configuration stays in use; try haproxy -c with the same files"
		   : "the master socket (haproxy -S) must be there and open to the agent");
	again_in(f, f->again ? 0 : f->conf.poll_ms);
}

/* Starts one, or says when it will be time. */
static void reload_when_due(struct follow *f)
{
	uint64_t now = clock_mono_ns(), at;

	if (!f->conf.master || !f->conf.master[0]) {
		failed(f, "haproxy_reload_needed", f->diff->reload,
		       "reload HAProxy, or give the agent its master socket (haproxy -S)");
		again_in(f, f->conf.poll_ms);
		return;
	}
	if (files_error(f->files)) {
		failed(f, NULL, files_error(f->files), "");
		again_in(f, f->conf.poll_ms);
		return;
	}
	if (f->reload_generation == f->generation) {
		f->reload_generation = 0;
		reload_later(f);
		failed(f, "haproxy_reload_vain", f->diff->reload,
		       "HAProxy must be started with -f " FOLLOW_ENV_FILE
		       " before haproxy.cfg and -f " FOLLOW_POOLS_FILE " behind it");
	}
	if (f->state != FOLLOW_FAILED)
		f->state = FOLLOW_BUSY;
	at = f->reload_ns + f->reload_ms * CLOCK_NS_PER_MS;
	if (f->reload_ns && now < at) {
		uint64_t ms = (at - now) / CLOCK_NS_PER_MS + 1;

		again_in(f, ms < f->conf.poll_ms ? ms : f->conf.poll_ms);
		return;
	}
	log_event(LOG_LEVEL_INFO, "haproxy_reload", "why", f->diff->reload, NULL);
	f->reload_generation = f->generation;
	if (reload_start(f->base, f->conf.master, reloaded, f, &f->reload) == 0) {
		f->step = STEP_RELOAD;
		return;
	}
	f->reload = NULL;
	f->reload_ns = now;
	reload_later(f);
	failed(f, "haproxy_reload_failed", "no socket's address, or no memory",
	       "check the address of the master socket");
	again_in(f, f->conf.poll_ms);
}

/* --- rounds ------------------------------------------------------------------------------------
 */

static bool is_wanting(const struct diff *d)
{
	for (size_t i = 0; i < d->ncommands; i++)
		if (!is_patient(d->commands[i].kind))
			return true;
	return false;
}

/* Commands were given, or there were none. */
static void round_over(struct follow *f)
{
	bool had = f->diff->ncommands > 0, wanting = is_wanting(f->diff);

	f->step = STEP_REST;
	if (f->again) {
		f->wanting = false;
		poll_now(f);
	} else if (wanting && !f->wanting) {
		/* See whether they came to something. */
		f->wanting = true;
		poll_now(f);
	} else if (wanting) {
		failed(f, "haproxy_command_refused",
		       f->refusal[0] ? f->refusal : "HAProxy took commands without effect",
		       "the runtime socket needs level admin; HAProxy's log may say more");
		f->wanting = false;
		again_in(f, f->conf.poll_ms);
	} else if (f->diff->reload) {
		f->wanting = false;
		reload_when_due(f);
	} else {
		f->wanting = false;
		if (had && f->refusal[0])
			failed(f, "haproxy_command_refused", f->refusal,
			       "the server or backend stays in HAProxy until its next reload");
		else
			current(f);
		f->refusal[0] = '\0';
		again_in(f, f->conf.poll_ms);
	}
	drop_diff(f);
}

static void answered_well(struct follow *f)
{
	struct diff *d = f->diff;
	struct log_line l;
	bool another = d->info.pid != f->status.pid;
	bool changed = backends_set(&f->backends, d->backends, d->nbackends) || another;

	if (another) {
		log_begin(&l, LOG_LEVEL_INFO, "haproxy_to_follow");
		log_int(&l, "pid", d->info.pid);
		log_view(&l, "version", d->info.version);
		log_end(&l);
	}
	f->status.pid = d->info.pid;
	snprintf(f->status.version, sizeof(f->status.version), "%.*s", (int)d->info.version.len,
		 d->info.version.ptr ? d->info.version.ptr : "");
	f->status.missing = d->missing;
	f->status.leaving = d->leaving;
	f->at = 0;
	f->step = STEP_COMMAND;
	if (f->state == FOLLOW_CURRENT && is_wanting(d))
		f->state = FOLLOW_BUSY;
	if (changed && f->hooks.backends)
		f->hooks.backends(f->hooks.arg);
	send_batch(f);
}

static void answered_badly(struct follow *f, int r, struct view error)
{
	char text[300];

	f->step = STEP_REST;
	switch (r) {
	case -ESTALE:
		again_in(f, SOON_MS);
		return;
	case -EACCES:
	case -EPROTO:
		snprintf(text, sizeof(text), "HAProxy says: %.*s",
			 (int)(error.len < 200 ? error.len : 200), error.ptr ? error.ptr : "");
		failed(f, "haproxy_unreadable", text,
		       "the runtime socket must be HAProxy's, with level admin");
		break;
	case -EAGAIN:
		failed(f, NULL, "the answer was cut off", "");
		again_in(f, SOON_MS);
		return;
	default:
		failed(f, NULL, strerror(-r), "");
		break;
	}
	again_in(f, f->conf.poll_ms);
}

static void polled(const struct ask_answer *answer, void *arg)
{
	struct follow *f = arg;
	uint64_t now = clock_mono_ns();
	struct diff_how how = {owns, f, now - f->nudged_ns >= NUDGE_MS * CLOCK_NS_PER_MS};
	struct view error = VIEW_NULL;
	char text[200];
	int r;

	f->ask = NULL;
	if (answer->error != ASK_OK) {
		f->step = STEP_REST;
		snprintf(text, sizeof(text), "%s: %s%s%s", f->conf.socket,
			 ask_error_name(answer->error), answer->err ? ": " : "",
			 answer->err ? strerror(answer->err) : "");
		/* Before HAProxy was there once this is no failure. */
		if (f->status.pid || answer->error == ASK_TOO_LARGE)
			failed(f, answer->error == ASK_TOO_LARGE ? "haproxy_unreadable" : NULL,
			       text, "raise haproxy.max_answer");
		else
			snprintf(f->error, sizeof(f->error), "%s", text);
		again_in(f, f->conf.poll_ms < MISSING_MS ? f->conf.poll_ms : MISSING_MS);
		return;
	}
	f->answer = view_dup(answer->text);
	r = f->answer ? diff_new(f->want, (struct view){f->answer, answer->text.len}, &how,
				 &f->diff, &error)
		      : -ENOMEM;
	if (r < 0) {
		answered_badly(f, r, error);
		drop_diff(f);
		return;
	}
	if (how.nudge)
		f->nudged_ns = now;
	/* The old worker may answer a little longer. */
	if (f->diff->info.pid == f->reload_pid &&
	    now - f->reload_ns < HANDOVER_MS * CLOCK_NS_PER_MS) {
		f->step = STEP_REST;
		again_in(f, SOON_MS);
		drop_diff(f);
		return;
	}
	f->reload_pid = 0;
	f->again = false;
	answered_well(f);
}

/* Something else is wanted: what failed before may work now, and the files say so first. */
static void wish(struct follow *f)
{
	f->reload_ms = f->conf.reload_ms;
	f->generation++;
	(void)files_write(f->files, f->want);
}

static void poll_now(struct follow *f)
{
	int r;

	if (!f->want || f->step != STEP_REST)
		return;
	timer_stop(f->timer);
	if (certificates_look(f->conf.certificates, &f->certificates)) {
		log_event(LOG_LEVEL_INFO, "haproxy_certificates", "path", f->conf.certificates,
			  NULL);
		want_certificates(f->want, f->certificates);
		wish(f);
	}
	r = ask(f->base, f->conf.socket, VIEW_LIT(DIFF_QUESTION), f->conf.timeout_ms,
		f->conf.max_answer, polled, f, &f->ask);
	if (r == 0) {
		f->step = STEP_POLL;
		return;
	}
	f->ask = NULL;
	failed(f, r == -EINVAL ? "haproxy_unreadable" : NULL,
	       r == -EINVAL ? "not the address of a runtime socket" : strerror(-r),
	       "check haproxy.socket");
	again_in(f, f->conf.poll_ms);
}

static void due(void *arg)
{
	poll_now(arg);
}

/* --- the door ----------------------------------------------------------------------------------
 */

struct follow *follow_new(struct event_base *base, const struct follow_hooks *hooks,
			  const struct follow_conf *conf)
{
	struct follow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->base = base;
	f->conf = *conf;
	if (hooks)
		f->hooks = *hooks;
	f->reload_ms = conf->reload_ms;
	f->timer = timer_new(base, due, f);
	f->files = files_new(conf->dir);
	return f->timer && f->files ? f : follow_free(f);
}

static void stop(struct follow *f)
{
	if (f->ask)
		ask_cancel(f->ask);
	f->ask = NULL;
	if (f->reload)
		reload_cancel(f->reload);
	f->reload = NULL;
	if (f->timer)
		timer_stop(f->timer);
	f->step = STEP_REST;
	drop_diff(f);
}

struct follow *follow_free(struct follow *f)
{
	if (!f)
		return NULL;
	stop(f);
	timer_free(f->timer);
	files_free(f->files);
	backends_deinit(&f->backends);
	want_free(f->want);
	free(f);
	return NULL;
}

static void start(struct follow *f)
{
	f->again = true;
	/* Inside a hook of ours the round is still under way, and looks at @again itself. */
	if (f->step == STEP_REST)
		again_in(f, 0);
}

int follow_want(struct follow *f, const struct plan *p)
{
	struct want *w =
	    want_new(p, view_str(f->conf.keywords ? f->conf.keywords : FOLLOW_KEYWORDS));
	struct log_line l;

	if (!w)
		return -ENOMEM;
	if (w->left_out && (!f->want || strcmp(w->left_out_why, f->want->left_out_why) != 0)) {
		log_begin(&l, LOG_LEVEL_WARNING, "haproxy_left_out");
		log_int(&l, "n", (int64_t)w->left_out);
		log_str(&l, "first", w->left_out_why);
		log_end(&l);
	}
	(void)certificates_look(f->conf.certificates, &f->certificates);
	want_certificates(w, f->certificates);
	/* A difference under way points into the answer, not into what was wanted. */
	want_free(f->want);
	f->want = w;
	f->wanting = false;
	f->refusal[0] = '\0';
	if (f->state == FOLLOW_CURRENT)
		f->state = FOLLOW_BUSY;
	wish(f);
	start(f);
	return 0;
}

void follow_reload(struct follow *f, const struct follow_conf *conf)
{
	stop(f);
	f->conf = *conf;
	f->reload_ms = conf->reload_ms;
	f->error[0] = f->told[0] = '\0';
	files_move(f->files, conf->dir);
	if (f->want) {
		wish(f);
		start(f);
	}
}

bool follow_has(const struct follow *f, struct view backend)
{
	return backends_have(&f->backends, backend);
}

void follow_status(const struct follow *f, struct follow_status *ret)
{
	*ret = f->status;
	ret->state = f->state;
	ret->pools = f->want ? f->want->npools : 0;
	ret->servers = f->want ? f->want->nservers : 0;
	ret->error = f->error[0] ? f->error : NULL;
	ret->file_error = files_error(f->files);
	ret->writes = files_writes(f->files);
}
