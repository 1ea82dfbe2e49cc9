/*
 * Statuses to be written.
 *
 * Between a write and the watch that shows it, the store holds the old status: comparing then would
 * find the same difference and write it again. So what was sent is remembered with the version of
 * the object that it was made from. As long as the store holds that version nothing more is sent
 * for it: the write changes the version, and another one made from the old would be a conflict.
 * The watch brings the new version, and then there is something to compare with. Where it brings
 * none (a write that changed nothing, a conflict with what a watch has missed) nobody would ask
 * again: after silent_ms it is looked at by ourselves, and that is worth a line.
 *
 * What the server refuses as invalid waits for a new version however long; it is logged once.
 *
 * What is wanted follows from the objects and from the configuration. During a rollout two replicas
 * may differ in the latter, and each would put its own words back as fast as the watch brings the
 * other's; so would somebody else who writes the same conditions, or a definition that drops a
 * field. So it is remembered of each object what was said last: the same once more, though it was
 * written, is said at once the first time, and after pauses that double from then on.
 */
#include "discover/kube/scribe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/kube/status.h"
#include "net/timer.h"

struct sent {
	UT_hash_handle hh;
	char *version;     /* of the object, as it was compared; NULL: the watch has shown it */
	uint64_t ended_ns; /* the writer is through with it; 0: not yet */
	bool refused;      /* as invalid */
	bool written;
	uint64_t said;     /* a hash of what was wanted */
	uint64_t begun_ns; /* when it was */
	unsigned undone;   /* how often the same was said in a row, the first time not counted */
	char key[];        /* KIND/NAMESPACE/NAME */
};

struct kube_scribe {
	struct kube_writer *writer;
	struct kube_store *store;
	void (*again)(void *arg);
	void *arg;
	struct sent *sent;
	struct timer *silence, *pause;
	uint64_t silent_ns;
	uint64_t pause_due; /* while its timer runs */
	bool waiting;       /* somebody did not find room in the writer */
};

#define KEY_MAX     400
#define SILENT_MS   10000
#define SILENT_KEYS 3 /* so many are named in the log */

/* Of what was undone, in parts of silent_ms, a tenth of it: the first pause, the longest, and how
 * long it must have stood to begin anew. */
#define PAUSE_LEAST 1
#define PAUSE_MOST  30
#define PAUSE_CALM  60

static size_t make_key(char key[KEY_MAX], const char *plural, struct view namespace,
		       struct view name)
{
	int n = snprintf(key, KEY_MAX, "%s/%.*s/%.*s", plural, (int)namespace.len,
			 namespace.len ? namespace.ptr : "", (int)name.len, name.ptr);

	return n < 0 || n >= KEY_MAX ? 0 : (size_t)n;
}

static void forget(struct kube_scribe *s, struct sent *one)
{
	HASH_DEL(s->sent, one);
	free(one->version);
	free(one);
}

/* The watch has shown it: there is nothing to wait for. */
static void see(struct sent *one)
{
	free(one->version);
	one->version = NULL;
}

static struct sent *remember(struct kube_scribe *s, const char *key, size_t len,
			     struct view version)
{
	struct sent *one;
	char *copy = view_dup(version);

	HASH_FIND(hh, s->sent, key, len, one);
	if (!one && copy) {
		one = calloc(1, sizeof(*one) + len + 1);
		if (one) {
			memcpy(one->key, key, len);
			HASH_ADD_KEYPTR(hh, s->sent, one->key, len, one);
			if (!one->hh.tbl) {
				free(one);
				one = NULL;
			}
		}
	}
	if (!one || !copy) {
		free(copy);
		return NULL;
	}
	free(one->version);
	one->version = copy;
	one->ended_ns = 0;
	one->refused = false;
	one->written = false;
	return one;
}

static void log_refused(const struct kube_resource *resource, const char *namespace,
			const char *name, const struct kube_result *result)
{
	struct log_line l;

	log_begin(&l, LOG_LEVEL_WARNING, "kube_status_refused");
	log_str(&l, "resource", resource->plural);
	log_str(&l, "namespace", namespace);
	log_str(&l, "name", name);
	log_int(&l, "status", result->status);
	log_str(&l, "error", result->message);
	log_end(&l);
}

static bool is_silent(const struct kube_scribe *s, const struct sent *one, uint64_t now)
{
	return one->version && one->ended_ns && !one->refused &&
	       now - one->ended_ns >= s->silent_ns;
}

static void listen_for_silence(struct kube_scribe *s, uint64_t ended_ns)
{
	uint64_t now = clock_mono_ns(), due = ended_ns + s->silent_ns;

	/* Without memory for it the next change of any object does. */
	if (!timer_running(s->silence))
		(void)!timer_start(s->silence, due > now ? due - now : 0);
}

/* Those whose watch has come lost their version when it was compared. */
static void on_silence(void *arg)
{
	struct kube_scribe *s = arg;
	uint64_t now = clock_mono_ns(), next = UINT64_MAX;
	const struct sent *one;
	unsigned n = 0;

	for (one = s->sent; one; one = one->hh.next) {
		if (is_silent(s, one, now)) {
			if (n++ < SILENT_KEYS)
				log_event(LOG_LEVEL_WARNING, "kube_status_unseen", "object",
					  one->key, "version", one->version, NULL);
		} else if (one->version && one->ended_ns && !one->refused && one->ended_ns < next) {
			next = one->ended_ns;
		}
	}
	if (next != UINT64_MAX)
		listen_for_silence(s, next);
	if (n)
		s->again(s->arg);
}

static void on_done(const struct kube_resource *resource, const char *namespace, const char *name,
		    const struct kube_result *result, void *arg)
{
	struct kube_scribe *s = arg;
	char key[KEY_MAX];
	size_t len = make_key(key, resource->plural, view_str(namespace), view_str(name));
	struct sent *one = NULL;

	HASH_FIND(hh, s->sent, key, len, one);
	if (one) {
		one->ended_ns = clock_mono_ns();
		one->refused = result->failure == KUBE_INVALID;
		one->written = result->failure == KUBE_OK;
		listen_for_silence(s, one->ended_ns);
	}
	if (result->failure == KUBE_INVALID)
		log_refused(resource, namespace, name, result);
	/* The newer version may be here already. */
	if (result->failure == KUBE_CONFLICT)
		s->again(s->arg);
}

/* --- the same once more --- */

static uint64_t stir(uint64_t h, struct view v)
{
	return XXH3_64bits_withSeed(v.ptr ? v.ptr : "", v.len, h + (v.ptr != NULL));
}

static uint64_t stir_number(uint64_t h, int64_t n)
{
	return XXH3_64bits_withSeed(&n, sizeof(n), h);
}

static uint64_t stir_conditions(uint64_t h, const struct kube_conditions *c)
{
	h = stir_number(h, (int64_t)c->n);
	for (size_t i = 0; i < c->n; i++) {
		h = stir(h, c->items[i].type);
		h = stir(h, c->items[i].reason);
		h = stir(h, c->items[i].message);
		h = stir_number(h, c->items[i].status);
		h = stir_number(h, c->items[i].generation);
	}
	return h;
}

static uint64_t hash_status(const struct kube_status *s)
{
	uint64_t h = stir_conditions(0, &s->conditions);

	for (size_t i = 0; i < s->naddresses; i++)
		h = stir(stir(h, s->addresses[i].type), s->addresses[i].value);
	for (size_t i = 0; i < s->nlisteners; i++) {
		h = stir(h, s->listeners[i].name);
		h = stir_number(h, (int64_t)s->listeners[i].attached * 2 +
				       s->listeners[i].takes_routes);
		h = stir_conditions(h, &s->listeners[i].conditions);
	}
	for (size_t i = 0; i < s->nparents; i++) {
		const struct kube_status_parent *p = &s->parents[i];

		h = stir(stir(stir(h, p->namespace), p->name), p->section);
		h = stir_number(h, p->port);
		h = stir_conditions(h, &p->conditions);
	}
	return h;
}

static bool is_same_again(const struct kube_scribe *s, const struct sent *one, uint64_t said,
			  uint64_t now)
{
	return one && one->written && one->said == said &&
	       now - one->begun_ns < s->silent_ns / 10 * PAUSE_CALM;
}

/* When @said may be said again. */
static uint64_t pause_ends(const struct kube_scribe *s, const struct sent *one, uint64_t said,
			   uint64_t now)
{
	uint64_t parts = PAUSE_LEAST;

	if (!is_same_again(s, one, said, now) || !one->undone)
		return now;
	for (unsigned i = 1; i < one->undone && parts < PAUSE_MOST; i++)
		parts *= 2;
	return one->begun_ns + s->silent_ns / 10 * (parts < PAUSE_MOST ? parts : PAUSE_MOST);
}

static void on_pause(void *arg)
{
	struct kube_scribe *s = arg;

	s->again(s->arg);
}

static void pause_until(struct kube_scribe *s, uint64_t due, uint64_t now)
{
	if (timer_running(s->pause) && s->pause_due <= due)
		return;
	s->pause_due = due;
	/* Without memory for it the next change of any object does. */
	(void)!timer_start(s->pause, due - now);
}

static void on_idle(void *arg)
{
	struct kube_scribe *s = arg;

	if (s->waiting)
		s->again(s->arg);
}

struct kube_scribe *kube_scribe_new(struct kube_client *client, const struct kube_writer_conf *conf,
				    struct kube_store *store, uint64_t silent_ms,
				    void (*again)(void *arg), void *arg)
{
	static const struct kube_writer_hooks hooks = {on_done, on_idle};
	struct kube_scribe *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->store = store;
	s->again = again;
	s->arg = arg;
	s->silent_ns = (silent_ms ? silent_ms : SILENT_MS) * CLOCK_NS_PER_MS;
	s->silence = timer_new(kube_client_base(client), on_silence, s);
	s->pause = timer_new(kube_client_base(client), on_pause, s);
	s->writer = kube_writer_new(client, conf, &hooks, s);
	return s->silence && s->pause && s->writer ? s : kube_scribe_free(s);
}

struct kube_scribe *kube_scribe_free(struct kube_scribe *s)
{
	struct sent *one, *next;

	if (!s)
		return NULL;
	if (s->writer)
		kube_writer_free(s->writer);
	HASH_ITER(hh, s->sent, one, next)
	{
		forget(s, one);
	}
	if (s->silence)
		timer_free(s->silence);
	if (s->pause)
		timer_free(s->pause);
	free(s);
	return NULL;
}

static void note(struct sent *one, uint64_t said, bool same, uint64_t now)
{
	one->undone = same ? one->undone + 1 : 0;
	one->said = said;
	one->begun_ns = now;
	if (one->undone == 2)
		log_event(LOG_LEVEL_WARNING, "kube_status_undone", "object", one->key, "effect",
			  "it is written again after pauses that grow", "remedy",
			  "see who else writes it: kubectl get -o yaml --show-managed-fields",
			  NULL);
}

static int put(struct kube_scribe *s, const struct kube_entry *e, const char *key, size_t len,
	       const char *patch, uint64_t said)
{
	/* An entry's strings are terminated. */
	const struct kube_wish wish = {
	    .resource = kube_kind_info(e->kind)->resource,
	    .namespace = e->namespace.ptr,
	    .name = e->name.ptr,
	    .patch = KUBE_PATCH_MERGE,
	    .body = view_str(patch),
	};
	uint64_t now = clock_mono_ns();
	struct sent *one = NULL;
	bool same;
	int r;

	HASH_FIND(hh, s->sent, key, len, one);
	same = is_same_again(s, one, said, now);
	one = remember(s, key, len, e->version);
	r = one ? kube_writer_put(s->writer, &wish) : -ENOMEM;
	if (r == 0)
		note(one, said, same, now);
	if (r == -ENOBUFS)
		s->waiting = true;
	if (r < 0 && one)
		forget(s, one);
	return r == -ENOMEM ? r : 0;
}

static int compare(struct kube_scribe *s, const struct kube_wanted *w,
		   const struct kube_settings *set, const char *now)
{
	const struct kube_entry *e = kube_store_find(s->store, w->kind, w->namespace, w->name);
	const struct kube_resource *resource = &kube_kind_info(w->kind)->resource;
	struct sent *one = NULL;
	char key[KEY_MAX], *patch = NULL;
	size_t len = make_key(key, resource->plural, w->namespace, w->name);
	uint64_t mono = clock_mono_ns(), said, due;
	int r;

	if (!e || !len)
		return 0;
	HASH_FIND(hh, s->sent, key, len, one);
	if (one && one->version && view_eq(view_str(one->version), e->version) &&
	    !is_silent(s, one, mono))
		return 0;
	r = kube_status_diff(s->store, set, w, now, &patch);
	if (r == KUBE_DIFF_PATCH) {
		said = hash_status(&w->status);
		due = pause_ends(s, one, said, mono);
		r = 0;
		if (due > mono)
			pause_until(s, due, mono);
		else
			r = put(s, e, key, len, patch, said);
		free(patch);
		return r;
	}
	if (r == KUBE_DIFF_NONE && one && one->version) {
		if (!one->ended_ns)
			kube_writer_drop(s->writer, resource, e->namespace.ptr, e->name.ptr);
		see(one);
	}
	return r < 0 ? r : 0;
}

int kube_scribe_compare(struct kube_scribe *s, const struct kube_resolved *resolved,
			const struct kube_settings *set)
{
	char now[21];
	int r = 0;

	s->waiting = false;
	kube_status_time((int64_t)(clock_wall_ns() / CLOCK_NS_PER_S), now);
	for (size_t i = 0; i < resolved->nwanted && r == 0; i++)
		r = compare(s, &resolved->wanted[i], set, now);
	return r;
}

void kube_scribe_removed(struct kube_scribe *s, enum kube_kind kind, const char *namespace,
			 const char *name)
{
	const struct kube_resource *resource = &kube_kind_info(kind)->resource;
	struct sent *one = NULL;
	char key[KEY_MAX];
	size_t len = make_key(key, resource->plural, view_str(namespace), view_str(name));

	HASH_FIND(hh, s->sent, key, len, one);
	if (!one)
		return;
	kube_writer_drop(s->writer, resource, namespace, name);
	forget(s, one);
}

struct kube_writer_stats kube_scribe_stats(const struct kube_scribe *s)
{
	return kube_writer_stats(s->writer);
}
