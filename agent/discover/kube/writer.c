/*
 * Writes of status.
 *
 * A wish is in one of three lists: waiting for its turn, under way, or resting after a failure. A
 * table finds it by its URL, so that an object has one, and at most one write under way: two could
 * overtake each other. What is wished while a write is under way waits in the wish and is sent
 * after it, unless it fails for good as well.
 *
 * A failure of the server as a whole (not reached, too busy, does not know us) makes all wait; one
 * of this object's write (a 5xx of some webhook, a right that is missing) makes this wish rest and
 * lets the others go on.
 */
#include "discover/kube/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <uthash.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/kube/backoff.h"
#include "net/timer.h"

#define PATH_SIZE 1024
#define HEART_S   5
#define MANAGER   "?fieldManager=spoa-inference"

struct wish {
	UT_hash_handle hh;
	TAILQ_ENTRY(wish) link;
	struct kube_writer *writer;
	enum { WISH_WAITING, WISH_UNDER_WAY, WISH_RESTING } state;
	char *path;    /* the key */
	char *strings; /* group, version, plural, namespace, name */
	struct kube_resource resource;
	const char *namespace, *name;
	enum kube_patch patch;
	char *body, *newer; /* newer: what was wished while this is under way, or NULL */
	size_t len, newer_len;
	enum kube_patch newer_patch;
	struct kube_backoff backoff;
	uint64_t due_ns; /* of one that rests */
	struct kube_pending *call;
};

TAILQ_HEAD(wish_list, wish);

/* What was told of a kind, so that it is told once. */
struct complaint {
	struct complaint *next;
	enum kube_failure failure;
	char text[];
};

struct kube_writer {
	struct kube_client *client;
	struct kube_writer_conf conf;
	struct kube_writer_hooks hooks;
	void *arg;
	struct timer *timer, *heart;
	struct wish *table;
	struct wish_list waiting, under_way, resting;
	struct kube_backoff backoff; /* of the server */
	uint64_t paused_until;       /* 0: it is not */
	struct complaint *complaints;
	struct kube_writer_stats stats;
};

/* Complaints */

static void complain(struct kube_writer *w, const struct wish *wish, const struct kube_result *r)
{
	const char *kind = wish->resource.plural;
	struct complaint *c;
	struct log_line l;
	char gone[300];

	/* That an object went away before its status was written is nobody's fault. */
	snprintf(gone, sizeof(gone), "\"%s\" not found", wish->name);
	if (r->failure == KUBE_NOT_FOUND && strstr(r->message, gone))
		return;
	for (c = w->complaints; c; c = c->next)
		if (c->failure == r->failure && strcmp(c->text, kind) == 0)
			return;
	c = malloc(sizeof(*c) + strlen(kind) + 1);
	if (c) {
		c->failure = r->failure;
		memcpy(c->text, kind, strlen(kind) + 1);
		c->next = w->complaints;
		w->complaints = c;
	}
	log_begin(&l, LOG_LEVEL_WARNING, "kube_status_not_written");
	log_str(&l, "verb", "patch");
	log_str(&l, "group", wish->resource.group);
	log_str(&l, "resource", kind);
	log_str(&l, "subresource", "status");
	log_str(&l, "namespace", wish->namespace[0] ? wish->namespace : NULL);
	log_str(&l, "name", wish->name);
	log_str(&l, "why", kube_failure_name(r->failure));
	log_str(&l, "error", r->message);
	log_end(&l);
}

/* It works now: what comes up again is news. */
static void content(struct kube_writer *w, const struct wish *wish)
{
	struct complaint **at = &w->complaints, *c;

	while ((c = *at)) {
		if (strcmp(c->text, wish->resource.plural) == 0) {
			*at = c->next;
			free(c);
		} else {
			at = &c->next;
		}
	}
}

/* Wishes */

static struct wish_list *list_of(struct kube_writer *w, const struct wish *wish)
{
	return wish->state == WISH_WAITING     ? &w->waiting
	       : wish->state == WISH_UNDER_WAY ? &w->under_way
					       : &w->resting;
}

static void move(struct wish *wish, int state)
{
	struct kube_writer *w = wish->writer;

	TAILQ_REMOVE(list_of(w, wish), wish, link);
	wish->state = state;
	TAILQ_INSERT_TAIL(list_of(w, wish), wish, link);
}

/* Out of every list; the strings live on until wish_free(). */
static void wish_remove(struct wish *wish)
{
	TAILQ_REMOVE(list_of(wish->writer, wish), wish, link);
	HASH_DEL(wish->writer->table, wish);
}

static void wish_free(struct wish *wish)
{
	free(wish->path);
	free(wish->strings);
	free(wish->body);
	free(wish->newer);
	free(wish);
}

static const char *keep(char **at, const char *text)
{
	char *begin = *at;
	size_t size = strlen(text) + 1;

	memcpy(begin, text, size);
	*at += size;
	return begin;
}

static char *copy_body(struct view body)
{
	char *copy = malloc(body.len + 1);

	if (copy) {
		if (body.len)
			memcpy(copy, body.ptr, body.len);
		copy[body.len] = '\0';
	}
	return copy;
}

static struct wish *wish_new(struct kube_writer *w, const struct kube_wish *from, const char *path)
{
	const struct kube_resource *r = &from->resource;
	const char *namespace = from->namespace ? from->namespace : "";
	struct wish *wish = calloc(1, sizeof(*wish));
	char *at;

	if (!wish)
		return NULL;
	wish->writer = w;
	wish->path = strdup(path);
	wish->body = copy_body(from->body);
	wish->strings = at = malloc(strlen(r->group) + strlen(r->version) + strlen(r->plural) +
				    strlen(namespace) + strlen(from->name) + 5);
	if (!wish->path || !wish->body || !wish->strings) {
		wish_free(wish);
		return NULL;
	}
	wish->resource.group = keep(&at, r->group);
	wish->resource.version = keep(&at, r->version);
	wish->resource.plural = keep(&at, r->plural);
	wish->namespace = keep(&at, namespace);
	wish->name = keep(&at, from->name);
	wish->len = from->body.len;
	wish->patch = from->patch;
	kube_backoff_init(&wish->backoff, w->conf.retry_ms, w->conf.retry_max_ms);
	HASH_ADD_KEYPTR(hh, w->table, wish->path, strlen(wish->path), wish);
	if (!wish->hh.tbl) {
		wish_free(wish);
		return NULL;
	}
	wish->state = WISH_WAITING;
	TAILQ_INSERT_TAIL(&w->waiting, wish, link);
	return wish;
}

/* Sending */

static unsigned count(const struct wish_list *list)
{
	const struct wish *wish;
	unsigned n = 0;

	TAILQ_FOREACH(wish, list, link)
	n++;
	return n;
}

/* May one more be sent? After a failure of the server one tries for all. */
static bool has_room(const struct kube_writer *w)
{
	return count(&w->under_way) < (w->backoff.failures ? 1 : w->conf.at_a_time);
}

/* Has go_on() called when there is something to do; without memory for that the heart does. */
static void schedule(struct kube_writer *w)
{
	uint64_t now = clock_mono_ns(), due = UINT64_MAX;
	const struct wish *wish;

	TAILQ_FOREACH(wish, &w->resting, link)
	if (wish->due_ns < due)
		due = wish->due_ns;
	if (!TAILQ_EMPTY(&w->waiting) && has_room(w))
		due = now;
	if (due == UINT64_MAX) {
		timer_stop(w->timer);
		return;
	}
	if (due < w->paused_until)
		due = w->paused_until;
	if (timer_start(w->timer, due > now ? due - now : 0) < 0)
		timer_stop(w->timer);
}

static void rest(struct wish *wish, uint64_t ns)
{
	wish->due_ns = clock_mono_ns() + ns;
	wish->writer->stats.retries++;
	move(wish, WISH_RESTING);
}

/* All wait; this one is the first afterwards. */
static void pause_all(struct wish *wish, const struct kube_result *r)
{
	struct kube_writer *w = wish->writer;
	uint64_t now = clock_mono_ns(), ns = 0;

	w->stats.retries++;
	/* Those that were under way beside the first to fail say nothing new. */
	if (w->paused_until <= now) {
		if (!r->renewed || w->backoff.failures)
			ns = kube_backoff_failed(&w->backoff, r->retry_after);
		w->paused_until = now + ns;
	}
	TAILQ_REMOVE(&w->under_way, wish, link);
	wish->state = WISH_WAITING;
	TAILQ_INSERT_HEAD(&w->waiting, wish, link);
}

/* What was wished meanwhile takes the place. */
static bool take_newer(struct wish *wish)
{
	if (!wish->newer)
		return false;
	free(wish->body);
	wish->body = wish->newer;
	wish->len = wish->newer_len;
	wish->patch = wish->newer_patch;
	wish->newer = NULL;
	wish->backoff.failures = 0;
	return true;
}

static void end(struct wish *wish, const struct kube_result *r)
{
	struct kube_writer *w = wish->writer;

	if (take_newer(wish)) {
		move(wish, WISH_WAITING);
		return;
	}
	wish_remove(wish);
	if (w->hooks.done)
		w->hooks.done(&wish->resource, wish->namespace, wish->name, r, w->arg);
	wish_free(wish);
	if (!w->table && w->hooks.idle)
		w->hooks.idle(w->arg);
}

static void on_done(const struct kube_result *r, void *arg)
{
	struct wish *wish = arg;
	struct kube_writer *w = wish->writer;

	wish->call = NULL;
	switch (r->failure) {
	case KUBE_UNREACHABLE:
	case KUBE_UNAUTHORIZED:
	case KUBE_BUSY:
		complain(w, wish, r);
		(void)take_newer(wish);
		pause_all(wish, r);
		break;
	case KUBE_FORBIDDEN:
		complain(w, wish, r);
		(void)take_newer(wish);
		rest(wish,
		     kube_backoff_spread(&w->backoff, w->conf.retry_max_ms * CLOCK_NS_PER_MS / 2));
		break;
	case KUBE_EXPIRED:
	case KUBE_TOO_NEW:
	case KUBE_UNHEALTHY:
		complain(w, wish, r);
		(void)take_newer(wish);
		rest(wish, kube_backoff_failed(&wish->backoff, r->retry_after));
		break;
	case KUBE_NOT_FOUND:
	case KUBE_INVALID:
		w->stats.refused++;
		complain(w, wish, r);
		end(wish, r);
		break;
	case KUBE_CONFLICT:
		w->stats.conflicts++;
		end(wish, r);
		break;
	case KUBE_OK:
		w->stats.written++;
		w->backoff.failures = 0;
		content(w, wish);
		end(wish, r);
		break;
	}
	schedule(w);
}

static void send_wish(struct wish *wish)
{
	static const struct kube_call_hooks hooks = {.done = on_done};
	struct kube_writer *w = wish->writer;
	char path[PATH_SIZE + sizeof(MANAGER)];
	const struct kube_call call = {
	    .method = HTTP_PATCH,
	    .path = path,
	    .content_type = wish->patch == KUBE_PATCH_MERGE ? "application/merge-patch+json"
							    : "application/json-patch+json",
	    .body = {wish->body, wish->len},
	    .idle_ms = w->conf.timeout_ms,
	};

	snprintf(path, sizeof(path), "%s" MANAGER, wish->path);
	move(wish, WISH_UNDER_WAY);
	if (kube_client_call(w->client, &call, &hooks, wish, &wish->call) < 0)
		rest(wish, kube_backoff_failed(&wish->backoff, -1));
}

static void go_on(struct kube_writer *w)
{
	uint64_t now = clock_mono_ns();
	struct wish *wish, *next;

	if (w->paused_until > now) {
		schedule(w);
		return;
	}
	w->paused_until = 0;
	for (wish = TAILQ_FIRST(&w->resting); wish; wish = next) {
		next = TAILQ_NEXT(wish, link);
		if (wish->due_ns <= now)
			move(wish, WISH_WAITING);
	}
	while (has_room(w) && (wish = TAILQ_FIRST(&w->waiting)))
		send_wish(wish);
	schedule(w);
}

static void on_timer(void *arg)
{
	go_on(arg);
}

/* The door */

int kube_writer_put(struct kube_writer *w, const struct kube_wish *from)
{
	char path[PATH_SIZE], *body;
	struct wish *wish;

	if (!kube_client_path(path, sizeof(path), &from->resource,
			      from->namespace && from->namespace[0] ? from->namespace : NULL,
			      from->name, "/status"))
		return -EINVAL;
	HASH_FIND_STR(w->table, path, wish);
	if (!wish) {
		if (HASH_COUNT(w->table) >= w->conf.max_wishes) {
			w->stats.overflows++;
			return -ENOBUFS;
		}
		if (!wish_new(w, from, path))
			return -ENOMEM;
		schedule(w);
		return 0;
	}
	body = copy_body(from->body);
	if (!body)
		return -ENOMEM;
	w->stats.replaced++;
	if (wish->state == WISH_UNDER_WAY) {
		free(wish->newer);
		wish->newer = body;
		wish->newer_len = from->body.len;
		wish->newer_patch = from->patch;
	} else {
		free(wish->body);
		wish->body = body;
		wish->len = from->body.len;
		wish->patch = from->patch;
	}
	return 0;
}

void kube_writer_drop(struct kube_writer *w, const struct kube_resource *resource,
		      const char *namespace, const char *name)
{
	char path[PATH_SIZE];
	struct wish *wish;

	if (!kube_client_path(path, sizeof(path), resource,
			      namespace && namespace[0] ? namespace : NULL, name, "/status"))
		return;
	HASH_FIND_STR(w->table, path, wish);
	if (!wish)
		return;
	if (wish->state == WISH_UNDER_WAY) {
		free(wish->newer);
		wish->newer = NULL;
		return;
	}
	wish_remove(wish);
	wish_free(wish);
}

struct kube_writer_stats kube_writer_stats(const struct kube_writer *w)
{
	struct kube_writer_stats s = w->stats;

	s.under_way = count(&w->under_way);
	s.waiting = HASH_COUNT(w->table) - s.under_way;
	return s;
}

struct kube_writer *kube_writer_new(struct kube_client *client, const struct kube_writer_conf *conf,
				    const struct kube_writer_hooks *hooks, void *arg)
{
	struct kube_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->client = client;
	w->hooks = *hooks;
	w->arg = arg;
	w->conf = (struct kube_writer_conf){
	    .max_wishes = conf->max_wishes ? conf->max_wishes : 4096,
	    .at_a_time = conf->at_a_time ? conf->at_a_time : 4,
	    .timeout_ms = conf->timeout_ms ? conf->timeout_ms : 30000,
	    .retry_ms = conf->retry_ms ? conf->retry_ms : 800,
	    .retry_max_ms = conf->retry_max_ms ? conf->retry_max_ms : 30000,
	};
	TAILQ_INIT(&w->waiting);
	TAILQ_INIT(&w->under_way);
	TAILQ_INIT(&w->resting);
	kube_backoff_init(&w->backoff, w->conf.retry_ms, w->conf.retry_max_ms);
	w->timer = timer_new(kube_client_base(client), on_timer, w);
	w->heart = timer_new(kube_client_base(client), on_timer, w);
	if (!w->timer || !w->heart || timer_every(w->heart, HEART_S * CLOCK_NS_PER_S) < 0)
		return kube_writer_free(w);
	return w;
}

struct kube_writer *kube_writer_free(struct kube_writer *w)
{
	struct complaint *c, *next_complaint;
	struct wish *wish, *next;

	if (!w)
		return NULL;
	HASH_ITER(hh, w->table, wish, next)
	{
		kube_call_cancel(wish->call);
		wish_remove(wish);
		wish_free(wish);
	}
	for (c = w->complaints; c; c = next_complaint) {
		next_complaint = c->next;
		free(c);
	}
	if (w->timer)
		timer_free(w->timer);
	if (w->heart)
		timer_free(w->heart);
	free(w);
	return NULL;
}
