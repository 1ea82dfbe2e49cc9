/*
 * The difference.
 *
 * A server that is wanted and draining gets state drain; one that is not wanted any more gets
 * maintenance, so that requests that were decided for it a moment ago go to their second choice,
 * and is then deleted as often as it takes: HAProxy refuses while a stream is on it. (3.0 and later
 * could wait by themselves, `wait srv-removable`, but on a connection each.) One that comes back
 * under its name meanwhile, as a StatefulSet's pods do, is moved by `set server addr`, which keeps
 * the streams it has and closes idle connections.
 *
 * Up to 3.1 an idle connection keeps a server from being deleted too, and one stays where a stream
 * has ended during maintenance, or where the server was down before it. A change of its address
 * closes them.
 *
 * Order: what serves requests comes first, deletions last; a batch that is cut anywhere leaves a
 * state that the next round goes on from.
 *
 * Backends of the user's own configuration are never touched: only those that were wanted once are
 * ours.
 */
#include "discover/follow/diff.h"

#include <errno.h>
#include <stdlib.h>

#include "discover/follow/generate.h"
#include "discover/follow/text.h"

enum phase { PHASE_KEEP, PHASE_REMOVE };

#define POOL_THERE     1
#define POOL_PUBLISHED 2

struct work {
	const struct want *want;
	const struct diff_how *how;
	struct runtime_answer parts;
	bool grows; /* backends can be added and deleted at run time, and the defaults are loaded */
	bool checked;
	bool nudge;
	unsigned char *pools;   /* POOL_… by index in want */
	unsigned char *servers; /* 1: there; by first[pool] + index */
	size_t *first;
	struct text out;
	struct diff *diff;
	bool short_of_memory;
};

static struct view line_of(struct view *text)
{
	const char *end = text->len ? memchr(text->ptr, '\n', text->len) : NULL;
	size_t len = end ? (size_t)(end - text->ptr) : text->len;
	struct view line = {text->ptr, len};

	text->ptr += end ? len + 1 : len;
	text->len -= end ? len + 1 : len;
	return line;
}

static bool begins(struct view v, const char *with)
{
	size_t len = strlen(with);

	return v.len >= len && memcmp(v.ptr, with, len) == 0;
}

static bool has_word(struct view text, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= text.len; i++)
		if (memcmp(text.ptr + i, word, len) == 0 && (i == 0 || text.ptr[i - 1] == ' ') &&
		    (i + len == text.len || text.ptr[i + len] == ' '))
			return true;
	return false;
}

/* Commands are written one behind the other, each ended by a NUL. */
static void command(struct work *k, enum diff_kind kind)
{
	struct diff *d = k->diff;
	struct diff_command *more;

	text_char(&k->out, '\0');
	if (d->ncommands % 64 == 0) {
		more = realloc(d->commands, (d->ncommands + 64) * sizeof(*more));
		if (!more) {
			k->short_of_memory = true;
			return;
		}
		d->commands = more;
	}
	d->commands[d->ncommands++] = (struct diff_command){.kind = kind};
}

#define V(v) (int)(v).len, (v).ptr

static void to_server(struct work *k, enum diff_kind kind, const char *verb, struct view backend,
		      struct view server, const char *what)
{
	text_format(&k->out, "%s %.*s/%.*s%s", verb, V(backend), V(server), what);
	command(k, kind);
}

static void to_backend(struct work *k, enum diff_kind kind, const char *verb, struct view backend,
		       const char *what)
{
	text_format(&k->out, "%s %.*s%s", verb, V(backend), what);
	command(k, kind);
}

/* --- a server that is wanted and there ---------------------------------------------------------
 */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port &&
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

static void keep(struct work *k, const struct want_server *s, const struct runtime_server *have)
{
	struct view b = have->backend, n = have->server;

	if (s->draining) {
		/* In maintenance it takes as little, and keeps its streams as well. */
		if (!(have->admin & (RUNTIME_FDRAIN | RUNTIME_FMAINT)))
			to_server(k, DIFF_DRAIN, "set server", b, n, " state drain");
		return;
	}
	if (!same_address(&s->addr, &have->addr)) {
		struct view host = s->where;
		size_t port = host.len;

		while (port && host.ptr[port - 1] != ':')
			port--;
		host.len = port - 1;
		if (host.ptr[0] == '[')
			host = (struct view){host.ptr + 1, host.len - 2};
		text_format(&k->out, "set server %.*s/%.*s addr %.*s port %.*s", V(b), V(n),
			    V(host), (int)(s->where.len - port), s->where.ptr + port);
		command(k, DIFF_MOVE);
	}
	if (k->checked && !have->checking)
		to_server(k, DIFF_CHECK, "enable health", b, n, "");
	if (have->weight == 0)
		to_server(k, DIFF_WEIGHT, "set weight", b, n, " 100%");
	if (have->admin & (RUNTIME_FDRAIN | RUNTIME_FMAINT))
		to_server(k, DIFF_READY, "set server", b, n, " state ready");
}

/* --- one that is not there, and one that is not wanted -----------------------------------------
 */

static void add(struct work *k, const struct want_pool *p, const struct want_server *s)
{
	text_format(&k->out, "add server %.*s/%.*s %.*s %.*s", V(p->backend), V(s->name),
		    V(s->where), V(k->want->keywords));
	if (p->h2c)
		text_str(&k->out, " proto h2");
	/* Without effect where the backend has use-server rules. */
	if (k->grows)
		text_format(&k->out, " cookie %.*s", V(s->name));
	command(k, DIFF_ADD);
	if (k->checked)
		to_server(k, DIFF_CHECK, "enable health", p->backend, s->name, "");
	to_server(k, DIFF_READY, "set server", p->backend, s->name, " state ready");
}

static void drop(struct work *k, const struct runtime_server *have)
{
	k->diff->leaving++;
	if (!(have->admin & RUNTIME_FMAINT)) {
		to_server(k, DIFF_MAINT, "set server", have->backend, have->server, " state maint");
	} else if (k->nudge) {
		/* Whatever the port was, the other one of these is another. */
		to_server(k, DIFF_NUDGE, "set server", have->backend, have->server,
			  " addr 127.0.0.1 port 1");
		to_server(k, DIFF_NUDGE, "set server", have->backend, have->server,
			  " addr 127.0.0.1 port 2");
	}
	to_server(k, DIFF_DELETE, "del server", have->backend, have->server, "");
}

static int walk_servers(struct work *k, enum phase phase)
{
	struct runtime_table t;
	struct runtime_server have;
	int r = runtime_servers(k->parts.servers, &t);

	if (r < 0)
		return r;
	while ((r = runtime_servers_next(&t, &have)) > 0) {
		const struct want_pool *p = want_pool(k->want, have.backend);
		const struct want_server *s = p ? want_server(p, have.server) : NULL;

		if (s && phase == PHASE_KEEP) {
			k->servers[k->first[p - k->want->pools] + (size_t)(s - p->servers)] = 1;
			keep(k, s, &have);
		} else if (!s && phase == PHASE_REMOVE && want_is_name(have.server) &&
			   want_is_name(have.backend) &&
			   (p || k->how->owns(have.backend, k->how->arg))) {
			drop(k, &have);
		}
	}
	return r;
}

/* --- backends ----------------------------------------------------------------------------------
 */

static bool published(const struct runtime_stat *stat)
{
	return !memmem(stat->status.ptr, stat->status.len, "(UNPUB)", 7);
}

static bool has_servers(const struct work *k, struct view backend)
{
	struct runtime_table t;
	struct runtime_server have;

	if (runtime_servers(k->parts.servers, &t) < 0)
		return true;
	while (runtime_servers_next(&t, &have) > 0)
		if (view_eq(have.backend, backend))
			return true;
	return false;
}

static int by_name(const void *a, const void *b)
{
	const struct view *x = a, *y = b;
	int r = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);

	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static int walk_backends(struct work *k, enum phase phase)
{
	struct diff *d = k->diff;
	struct runtime_table t;
	struct runtime_stat stat;
	int r = runtime_stats(k->parts.stat, &t);

	if (r < 0)
		return r;
	while ((r = runtime_stats_next(&t, &stat)) > 0) {
		const struct want_pool *p = want_pool(k->want, stat.backend);
		struct view *more;

		if (!stat.is_backend)
			continue;
		if (phase == PHASE_KEEP) {
			if (p)
				k->pools[p - k->want->pools] |=
				    published(&stat) ? POOL_THERE | POOL_PUBLISHED : POOL_THERE;
			if (!published(&stat))
				continue;
			if (d->nbackends % 64 == 0) {
				more = realloc(d->backends, (d->nbackends + 64) * sizeof(*more));
				if (!more)
					return -ENOMEM;
				d->backends = more;
			}
			d->backends[d->nbackends++] = stat.backend;
		} else if (!p && k->grows && want_is_name(stat.backend) &&
			   k->how->owns(stat.backend, k->how->arg)) {
			if (published(&stat))
				to_backend(k, DIFF_UNPUBLISH, "unpublish backend", stat.backend,
					   "");
			if (!has_servers(k, stat.backend))
				to_backend(k, DIFF_DELETE_BACKEND, "del backend", stat.backend, "");
		}
	}
	return r;
}

static void add_missing(struct work *k)
{
	const struct want *w = k->want;

	for (size_t i = 0; i < w->npools; i++) {
		const struct want_pool *p = &w->pools[i];

		if (!(k->pools[i] & POOL_PUBLISHED))
			k->diff->missing++;
		if (!(k->pools[i] & POOL_THERE)) {
			if (!k->grows) {
				k->diff->reload = "a new pool";
				continue;
			}
			to_backend(k, DIFF_ADD_BACKEND, "add backend", p->backend,
				   " from " GENERATE_ADDED " mode http");
		}
		for (size_t n = 0; n < p->nservers; n++)
			if (!k->servers[k->first[i] + n] && !p->servers[n].draining)
				add(k, p, &p->servers[n]);
		/* Last, so that the first request finds servers. */
		if (!(k->pools[i] & POOL_PUBLISHED))
			to_backend(k, DIFF_PUBLISH, "publish backend", p->backend, "");
	}
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static bool at_least(struct view version, unsigned major, unsigned minor)
{
	unsigned have[2] = {0, 0}, at = 0;

	for (size_t i = 0; i < version.len && at < 2; i++) {
		if (version.ptr[i] >= '0' && version.ptr[i] <= '9' && have[at] < 1000)
			have[at] = have[at] * 10 + (unsigned)(version.ptr[i] - '0');
		else if (version.ptr[i] == '.')
			at++;
		else
			break;
	}
	return have[0] > major || (have[0] == major && have[1] >= minor);
}

static int read_answer(struct work *k, struct view text, struct view *ret_error)
{
	struct view stamp = line_of(&text);
	struct diff *d = k->diff;
	int r;

	(void)line_of(&text);
	if (begins(stamp, "Permission denied")) {
		*ret_error = stamp;
		return -EACCES;
	}
	r = runtime_split(text, &k->parts);
	if (r < 0) {
		*ret_error = k->parts.error;
		return r;
	}
	if (runtime_info(k->parts.info, &d->info) < 0)
		return -EPROTO;
	if (d->info.stopping)
		return -ESTALE;
	k->grows = at_least(d->info.version, 3, 4);
	k->nudge = k->how->nudge && !at_least(d->info.version, 3, 2);
	if (!begins(stamp, GENERATE_STAMP "=")) {
		/* Its files were empty, or it was started without them. */
		d->reload = "the generated files are not loaded";
		k->grows = false;
	} else if (!view_eq((struct view){stamp.ptr + sizeof(GENERATE_STAMP),
					  stamp.len - sizeof(GENERATE_STAMP)},
			    view_str(k->want->stamp))) {
		d->reload = "rules or settings of servers have changed";
	}
	return 0;
}

static int compare(struct work *k)
{
	int r = walk_backends(k, PHASE_KEEP);

	if (r == 0)
		r = walk_servers(k, PHASE_KEEP);
	if (r < 0)
		return r;
	add_missing(k);
	r = walk_servers(k, PHASE_REMOVE);
	if (r == 0)
		r = walk_backends(k, PHASE_REMOVE);
	if (k->diff->nbackends)
		qsort(k->diff->backends, k->diff->nbackends, sizeof(*k->diff->backends), by_name);
	return r;
}

static void find_texts(struct diff *d)
{
	const char *at = d->text;

	for (size_t i = 0; i < d->ncommands; i++) {
		d->commands[i].text = view_str(at);
		at += d->commands[i].text.len + 1;
	}
}

int diff_new(const struct want *w, struct view answer, const struct diff_how *how,
	     struct diff **ret, struct view *ret_error)
{
	struct work k = {.want = w, .how = how, .diff = calloc(1, sizeof(*k.diff))};
	size_t len = 0, servers = 0;
	char *text;
	int r = -ENOMEM;

	*ret_error = VIEW_NULL;
	k.checked = has_word(w->keywords, "check");
	k.pools = calloc(w->npools + 1, 1);
	k.servers = calloc(w->nservers + 1, 1);
	k.first = calloc(w->npools + 1, sizeof(*k.first));
	if (k.diff && k.pools && k.servers && k.first) {
		for (size_t i = 0; i < w->npools; i++) {
			k.first[i] = servers;
			servers += w->pools[i].nservers;
		}
		r = read_answer(&k, answer, ret_error);
		if (r == 0)
			r = compare(&k);
	}
	text = text_take(&k.out, &len);
	if (k.diff)
		k.diff->text = text;
	else
		free(text);
	if (r == 0 && (!text || k.short_of_memory))
		r = -ENOMEM;
	free(k.pools);
	free(k.servers);
	free(k.first);
	if (r < 0) {
		diff_free(k.diff);
		return r;
	}
	find_texts(k.diff);
	*ret = k.diff;
	return 0;
}

struct diff *diff_free(struct diff *d)
{
	if (d) {
		free(d->commands);
		free(d->backends);
		free(d->text);
		free(d);
	}
	return NULL;
}

/* --- answers -----------------------------------------------------------------------------------
 */

bool diff_answer_next(struct view *answers, struct view *ret)
{
	struct view from = *answers;

	while (answers->len) {
		struct view line = line_of(answers);
		const char *end = line.ptr + line.len;

		/* A line without its end is not whole. */
		if (end == answers->ptr)
			break;
		if (line.len == 0) {
			ret->ptr = from.ptr;
			ret->len = (size_t)(line.ptr - from.ptr);
			if (ret->len)
				ret->len--;
			return true;
		}
	}
	return false;
}

static bool has(struct view v, const char *words)
{
	return v.len && memmem(v.ptr, v.len, words, strlen(words));
}

/* Anywhere in it: 3.4.7 may put the words for earlier commands in front. */
bool diff_accepted(enum diff_kind kind, struct view answer)
{
	static const char *const words[] = {
	    [DIFF_ADD_BACKEND] = "New backend registered",
	    [DIFF_PUBLISH] = "Backend published",
	    [DIFF_ADD] = "New server registered",
	    [DIFF_UNPUBLISH] = "Backend unpublished",
	    [DIFF_DELETE] = "Server deleted",
	    [DIFF_DELETE_BACKEND] = "Backend deleted",
	};

	switch (kind) {
	case DIFF_ADD_BACKEND:
	case DIFF_PUBLISH:
	case DIFF_ADD:
	case DIFF_UNPUBLISH:
	case DIFF_DELETE_BACKEND:
		return has(answer, words[kind]);
	case DIFF_DELETE:
		return has(answer, words[kind]) || has(answer, "Server still has ");
	case DIFF_MOVE:
	case DIFF_NUDGE:
		/* "IP changed from …", "no need to change …", "nothing changed" */
		return has(answer, "chang");
	case DIFF_CHECK:
	case DIFF_READY:
	case DIFF_WEIGHT:
	case DIFF_DRAIN:
	case DIFF_MAINT:
		break;
	}
	return answer.len == 0;
}
