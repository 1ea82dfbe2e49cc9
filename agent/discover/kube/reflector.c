/*
 * Keeps one kind of objects in step.
 *
 * Three questions are asked of the server, one at a time: the list, page by page; the watch; and
 * between two watches the clock, a list of one object for the sake of its resource version. The
 * last is for a server that comes back with an older state of the world (etcd restored from a
 * backup): it accepts a watch from a version of its future, and says nothing until it gets there.
 * One kind cannot tell when the server has got there before it asks. All kinds share the server's
 * versions, so who finds that out tells the others: kube_reflector_distrust().
 *
 * Which list is asked for, by resource version:
 * - ANY: "0", what the server has at hand. The first one: it may be a little old, the watch catches
 *   up. The server may ignore the page size then.
 * - NOT_OLDER: the last version seen, after the watch could not go on from there. Without a page
 *   size, or the server would have to read it from etcd.
 * - LATEST: none, in pages, when the server does not know our version (too old or from the future)
 *   or its time went backwards; WHOLE: the same without pages, when pages expired while we read.
 *
 * Names that are held bear the number of the list they came up in last. A list that breaks off in
 * its first page begins anew under another number; in a later page it goes on at that page, since
 * all pages show one moment. So what bears an older number at the end is gone for certain; unless
 * something in the list could not be read, then nothing is taken away.
 *
 * Every failure is followed by a pause that grows, but the first one after a time of good watching
 * (or with new credentials): so the usual end of a watch costs nothing, and no answer of a server
 * makes a hot loop.
 */
#include "discover/kube/reflector.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/kube/answer.h"
#include "discover/kube/backoff.h"
#include "discover/kube/keyset.h"
#include "discover/kube/query.h"
#include "net/timer.h"

#define GOOD_WATCH   2  /* times retry_ms: a watch that stood so long was a good one */
#define ABSENT_FOR_S 60 /* the kind is unknown for so long: its objects are gone too */
#define HEART_S      5  /* a pause that could not be timed for want of memory ends */

enum question { ASK_NOTHING, ASK_LIST, ASK_CLOCK, ASK_WATCH };

struct kube_reflector {
	struct kube_client *client;
	struct kube_reflector_conf conf; /* with every default in place; strings are not used */
	struct kube_reflector_hooks hooks;
	void *arg;
	char *label;                    /* "pods", "inferencepools.inference…": for logs */
	char *path, *selectors, *field; /* of the URL; "&labelSelector=…", escaped */
	struct timer *timer, *heart;
	struct kube_backoff backoff;
	struct kube_keyset *keys;

	enum question asking, next; /* what is under way; what follows the pause */
	struct kube_pending *call;
	struct kube_answer answer;
	uint64_t standing_ns; /* when this watch was accepted; 0: not yet */
	uint64_t absent_ns;   /* since when the kind is unknown; 0: it is known */
	bool first_free;      /* the next failure may be followed up at once */
	bool late;            /* the pause could not be timed */

	enum kube_query_origin origin;
	uint64_t epoch;                   /* of the list */
	bool holes;                       /* something in this list could not be read */
	char *go_on;                      /* mark of the next page; NULL: the first */
	char list_from[KUBE_VERSION_MAX]; /* resource version of the first page */

	struct kube_reflector_status status;
};

const char *kube_reflector_state_name(enum kube_reflector_state s)
{
	static const char *const names[] = {"listing", "watching", "resuming",
					    "failing", "absent",   "forbidden"};

	return names[s];
}

static void set_state(struct kube_reflector *r, enum kube_reflector_state state)
{
	if (r->status.state == KUBE_REFLECTOR_WATCHING && state != KUBE_REFLECTOR_WATCHING)
		r->status.in_step_ns = clock_mono_ns();
	r->status.state = state;
	if (r->hooks.state)
		r->hooks.state(kube_reflector_status(r), r->arg);
}

/* What an answer holds */

static int on_upsert(const struct cJSON *object, const char *namespace, const char *name, void *arg)
{
	struct kube_reflector *r = arg;
	int e = kube_keyset_put(r->keys, namespace, name, r->epoch);

	if (e < 0)
		return e;
	r->status.events++;
	r->hooks.upsert(object, r->arg);
	return 0;
}

static void on_gone(const char *namespace, const char *name, void *arg)
{
	struct kube_reflector *r = arg;

	r->status.events++;
	r->hooks.remove(namespace, name, r->arg);
}

static void on_remove(const char *namespace, const char *name, void *arg)
{
	struct kube_reflector *r = arg;

	if (kube_keyset_remove(r->keys, namespace, name))
		on_gone(namespace, name, r);
}

static void on_version(const char *version, void *arg)
{
	struct kube_reflector *r = arg;

	memcpy(r->status.version, version, strlen(version) + 1);
}

static void on_unreadable(const char *why, void *arg)
{
	struct kube_reflector *r = arg;

	r->holes = true;
	r->status.refused++;
	log_event(LOG_LEVEL_WARNING, "kube_object_unreadable", "resource", r->label, "reason", why,
		  NULL);
}

/* Questions */

static void failed(struct kube_reflector *r, const struct kube_result *result);
static void answered(struct kube_reflector *r);

static void on_head(int status, void *arg)
{
	struct kube_reflector *r = arg;

	(void)status;
	if (r->asking == ASK_WATCH) {
		r->standing_ns = clock_mono_ns();
		set_state(r, KUBE_REFLECTOR_WATCHING);
	}
}

static void on_chunk(struct view bytes, void *arg)
{
	struct kube_reflector *r = arg;

	if (kube_answer_feed(&r->answer, bytes))
		return;
	kube_call_cancel(r->call);
	r->call = NULL;
	failed(r, &r->answer.result);
}

static void on_done(const struct kube_result *result, void *arg)
{
	struct kube_reflector *r = arg;

	r->call = NULL;
	if (result->failure != KUBE_OK)
		failed(r, result);
	else if (!kube_answer_end(&r->answer))
		failed(r, &r->answer.result);
	else
		answered(r);
}

/* Asks @path, which it frees. What cannot even be asked has failed. */
static void ask_consume(struct kube_reflector *r, enum question what, char *path, uint32_t idle_ms)
{
	static const struct kube_answer_hooks reads = {on_upsert, on_remove, on_version,
						       on_unreadable};
	static const struct kube_call_hooks hooks = {on_head, on_chunk, on_done};
	const struct kube_call call = {.path = path, .idle_ms = idle_ms};
	struct kube_result result = {.failure = KUBE_UNHEALTHY, .retry_after = -1};
	int e = path ? 0 : -ENOMEM;

	r->asking = what;
	r->standing_ns = 0;
	kube_answer_deinit(&r->answer);
	if (e == 0)
		e = kube_answer_init(&r->answer,
				     what == ASK_WATCH   ? KUBE_ANSWER_WATCH
				     : what == ASK_CLOCK ? KUBE_ANSWER_CLOCK
							 : KUBE_ANSWER_LIST,
				     r->conf.max_object, &reads, r);
	if (e == 0)
		e = kube_client_call(r->client, &call, &hooks, r, &r->call);
	free(path);
	if (e < 0) {
		snprintf(result.message, sizeof(result.message), "%s",
			 e == -EINVAL ? "no request can be made of it" : "out of memory");
		failed(r, &result);
	}
}

static void ask_page(struct kube_reflector *r)
{
	ask_consume(r, ASK_LIST,
		    kube_query_list(r->path, r->origin, r->status.version, r->go_on, r->conf.page,
				    r->selectors),
		    r->conf.idle_ms);
}

static void begin_list(struct kube_reflector *r)
{
	r->epoch++;
	r->holes = false;
	r->list_from[0] = '\0';
	free(r->go_on);
	r->go_on = NULL;
	r->status.lists++;
	if (r->hooks.begin)
		r->hooks.begin(r->arg);
	ask_page(r);
}

static void ask_watch(struct kube_reflector *r)
{
	uint32_t s = (uint32_t)kube_backoff_spread(&r->backoff, r->conf.watch_s);

	r->status.watches++;
	ask_consume(r, ASK_WATCH, kube_query_watch(r->path, r->status.version, s, r->selectors),
		    s * 1000 + r->conf.idle_ms);
}

static void on_timer(void *arg)
{
	struct kube_reflector *r = arg;

	r->late = false;
	switch (r->next) {
	case ASK_LIST:
		if (r->go_on)
			ask_page(r);
		else
			begin_list(r);
		break;
	case ASK_CLOCK:
		/* One that may see a single object by its name may ask for that alone. */
		ask_consume(r, ASK_CLOCK, kube_query_clock(r->path, r->field), r->conf.idle_ms);
		break;
	case ASK_WATCH:
		ask_watch(r);
		break;
	case ASK_NOTHING:
		break;
	}
}

/* Has the watch stood for long enough to be called good? Then all is forgiven. */
static bool was_good(struct kube_reflector *r)
{
	uint64_t least = (uint64_t)r->conf.retry_ms * GOOD_WATCH * CLOCK_NS_PER_MS;

	if (!r->standing_ns || clock_mono_ns() - r->standing_ns < least)
		return false;
	r->backoff.failures = 0;
	r->first_free = true;
	r->status.failures = 0;
	return true;
}

static void on_heart(void *arg)
{
	struct kube_reflector *r = arg;

	if (r->late)
		on_timer(r);
	else if (r->asking == ASK_WATCH)
		was_good(r);
}

/* Asks @what after a pause. */
static void pause_then(struct kube_reflector *r, enum question what, uint64_t ns)
{
	r->asking = ASK_NOTHING;
	r->next = what;
	r->late = timer_start(r->timer, ns) < 0;
}

/* Answers */

/* Is @a an earlier version than @b? Unknown (no number): no. */
static bool is_older(const char *a, const char *b)
{
	size_t la, lb;

	a += strspn(a, "0");
	b += strspn(b, "0");
	la = strspn(a, "0123456789");
	lb = strspn(b, "0123456789");
	if (a[la] || b[lb])
		return false;
	return la != lb ? la < lb : strcmp(a, b) < 0;
}

static void list_again(struct kube_reflector *r, enum kube_query_origin origin)
{
	r->origin = origin;
	free(r->go_on);
	r->go_on = NULL;
}

static void went_back(struct kube_reflector *r, const char *has)
{
	log_event(LOG_LEVEL_WARNING, "kube_version_went_back", "resource", r->label, "had",
		  r->status.version, "has", has, NULL);
	if (r->hooks.went_back)
		r->hooks.went_back(r->arg);
}

static void page_done(struct kube_reflector *r)
{
	if (!r->list_from[0])
		memcpy(r->list_from, r->answer.version, sizeof(r->list_from));
	free(r->go_on);
	r->go_on = r->answer.go_on;
	r->answer.go_on = NULL;
	if (r->go_on) {
		pause_then(r, ASK_LIST, 0);
		return;
	}
	if (r->origin >= KUBE_QUERY_LATEST && is_older(r->list_from, r->status.version))
		went_back(r, r->list_from);
	if (!r->holes)
		kube_keyset_sweep(r->keys, r->epoch, on_gone, r);
	memcpy(r->status.version, r->list_from, sizeof(r->status.version));
	r->status.synced = true;
	r->absent_ns = 0;
	if (r->hooks.synced)
		r->hooks.synced(r->arg);
	pause_then(r, ASK_WATCH, 0);
}

static void clock_read(struct kube_reflector *r)
{
	if (is_older(r->answer.version, r->status.version)) {
		went_back(r, r->answer.version);
		on_version(r->answer.version, r);
		list_again(r, KUBE_QUERY_LATEST);
		set_state(r, KUBE_REFLECTOR_LISTING);
		pause_then(r, ASK_LIST, 0);
	} else {
		pause_then(r, ASK_WATCH, 0);
	}
}

static void answered(struct kube_reflector *r)
{
	if (r->asking == ASK_LIST) {
		page_done(r);
	} else if (r->asking == ASK_CLOCK) {
		clock_read(r);
	} else {
		/* The server ended the watch, as it does every few minutes. */
		bool good = was_good(r);

		set_state(r, KUBE_REFLECTOR_RESUMING);
		pause_then(r, ASK_CLOCK, good ? 0 : kube_backoff_failed(&r->backoff, -1));
	}
}

/* The objects of a kind that is gone are gone with it; but a server that has just started may not
 * know its kinds yet. */
static void absent(struct kube_reflector *r)
{
	uint64_t now = clock_mono_ns();

	if (!r->absent_ns)
		r->absent_ns = now;
	if (now - r->absent_ns >= ABSENT_FOR_S * CLOCK_NS_PER_S) {
		r->epoch++;
		kube_keyset_sweep(r->keys, r->epoch, on_gone, r);
	}
}

/* What is asked after the failure: where does it leave us? */
static enum question follow_up(struct kube_reflector *r, enum kube_failure f)
{
	bool listing = r->asking == ASK_LIST;

	switch (f) {
	case KUBE_EXPIRED:
	case KUBE_TOO_NEW:
	case KUBE_INVALID:
		if (!listing)
			list_again(r, f == KUBE_EXPIRED ? KUBE_QUERY_NOT_OLDER : KUBE_QUERY_LATEST);
		else if (r->go_on && f != KUBE_TOO_NEW)
			list_again(r, r->origin == KUBE_QUERY_LATEST ? KUBE_QUERY_WHOLE
								     : KUBE_QUERY_LATEST);
		else
			list_again(r, KUBE_QUERY_LATEST);
		return ASK_LIST;
	case KUBE_NOT_FOUND:
		absent(r);
		list_again(r, KUBE_QUERY_ANY);
		return ASK_LIST;
	default:
		if (listing)
			return ASK_LIST;
		/* An ERROR event that is none of the above: its watch cannot be trusted. */
		if (r->answer.event && f != KUBE_BUSY) {
			list_again(r, KUBE_QUERY_NOT_OLDER);
			return ASK_LIST;
		}
		return ASK_CLOCK;
	}
}

static uint64_t pause_after(struct kube_reflector *r, const struct kube_result *result)
{
	uint64_t most = r->conf.retry_max_ms * CLOCK_NS_PER_MS;
	uint64_t ns = kube_backoff_failed(&r->backoff, result->retry_after);
	bool free_of_charge = r->first_free && result->retry_after <= 0;

	switch (result->failure) {
	case KUBE_FORBIDDEN:
		return kube_backoff_spread(&r->backoff, most / 2);
	case KUBE_NOT_FOUND:
		return kube_backoff_spread(&r->backoff, r->conf.absent_ms * CLOCK_NS_PER_MS);
	case KUBE_UNAUTHORIZED:
		return result->renewed && r->status.failures <= 1 ? 0 : ns;
	case KUBE_BUSY:
		return ns;
	default:
		return free_of_charge ? 0 : ns;
	}
}

static void failed(struct kube_reflector *r, const struct kube_result *result)
{
	enum question next;
	uint64_t ns;

	if (r->asking == ASK_WATCH)
		was_good(r);
	r->status.failures++;
	r->status.last = *result;
	r->status.verb = r->asking == ASK_WATCH ? "watch" : "list";
	next = follow_up(r, result->failure);
	ns = pause_after(r, result);
	r->first_free = false;
	pause_then(r, next, ns);
	switch (result->failure) {
	case KUBE_UNAUTHORIZED:
	case KUBE_FORBIDDEN:
		set_state(r, KUBE_REFLECTOR_FORBIDDEN);
		break;
	case KUBE_NOT_FOUND:
		set_state(r, KUBE_REFLECTOR_ABSENT);
		break;
	default:
		set_state(r, ns                 ? KUBE_REFLECTOR_FAILING
			     : next == ASK_LIST ? KUBE_REFLECTOR_LISTING
						: KUBE_REFLECTOR_RESUMING);
	}
}

/* Life */

const struct kube_reflector_status *kube_reflector_status(const struct kube_reflector *r)
{
	/* What is counted elsewhere; it was never told otherwise. */
	struct kube_reflector_status *s = &((struct kube_reflector *)(uintptr_t)r)->status;

	s->objects = kube_keyset_count(r->keys);
	if (s->state == KUBE_REFLECTOR_WATCHING)
		s->in_step_ns = clock_mono_ns();
	return s;
}

void kube_reflector_hurry(struct kube_reflector *r)
{
	if (timer_running(r->timer))
		r->late = timer_start(r->timer, 0) < 0;
}

void kube_reflector_distrust(struct kube_reflector *r)
{
	bool waits = r->asking == ASK_NOTHING;

	/* A list that is under way is what we want, and no page of another time goes on with it. */
	if (r->asking == ASK_LIST || (waits && r->go_on))
		return;
	kube_call_cancel(r->call);
	r->call = NULL;
	list_again(r, KUBE_QUERY_LATEST);
	if (waits) {
		r->next = ASK_LIST;
		return;
	}
	set_state(r, KUBE_REFLECTOR_LISTING);
	pause_then(r, ASK_LIST, 0);
}

static bool set_strings(struct kube_reflector *r, const struct kube_reflector_conf *conf)
{
	const struct kube_resource *resource = &conf->resource;
	char path[1024], *label;

	if (!kube_client_path(path, sizeof(path), resource, conf->namespace, NULL, ""))
		return false;
	r->path = strdup(path);
	if (asprintf(&r->label, "%s%s%s", resource->plural, resource->group[0] ? "." : "",
		     resource->group) < 0)
		r->label = NULL;
	r->field = kube_query_selector("fieldSelector", conf->field_selector);
	label = kube_query_selector("labelSelector", conf->label_selector);
	if (r->field && label && asprintf(&r->selectors, "%s%s", label, r->field) < 0)
		r->selectors = NULL;
	free(label);
	return r->path && r->label && r->field && r->selectors;
}

struct kube_reflector *kube_reflector_new(struct kube_client *client,
					  const struct kube_reflector_conf *conf,
					  const struct kube_reflector_hooks *hooks, void *arg)
{
	struct kube_reflector *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->client = client;
	r->hooks = *hooks;
	r->arg = arg;
	r->conf = (struct kube_reflector_conf){
	    .page = conf->page ? conf->page : 500,
	    .max_object = conf->max_object ? conf->max_object : (size_t)4 << 20,
	    .watch_s = conf->watch_s ? conf->watch_s : 300,
	    .idle_ms = conf->idle_ms ? conf->idle_ms : 60000,
	    .retry_ms = conf->retry_ms ? conf->retry_ms : 800,
	    .retry_max_ms = conf->retry_max_ms ? conf->retry_max_ms : 30000,
	    .absent_ms = conf->absent_ms ? conf->absent_ms : 5000,
	};
	r->status.verb = "list";
	r->status.last.retry_after = -1;
	kube_backoff_init(&r->backoff, r->conf.retry_ms, r->conf.retry_max_ms);
	r->keys = kube_keyset_new();
	r->timer = timer_new(kube_client_base(client), on_timer, r);
	r->next = ASK_LIST;
	r->heart = timer_new(kube_client_base(client), on_heart, r);
	if (!r->keys || !r->timer || !r->heart || !set_strings(r, conf) ||
	    timer_start(r->timer, 0) < 0 || timer_every(r->heart, HEART_S * CLOCK_NS_PER_S) < 0)
		return kube_reflector_free(r);
	return r;
}

struct kube_reflector *kube_reflector_free(struct kube_reflector *r)
{
	if (!r)
		return NULL;
	kube_call_cancel(r->call);
	kube_answer_deinit(&r->answer);
	if (r->timer)
		timer_free(r->timer);
	if (r->heart)
		timer_free(r->heart);
	kube_keyset_free(r->keys);
	free(r->label);
	free(r->path);
	free(r->selectors);
	free(r->field);
	free(r->go_on);
	free(r);
	return NULL;
}
