/*
 * The inquiries.
 *
 * One struct per server, with one timer and at most one transfer. The pauses carry a jitter of a
 * quarter either way, so that a thousand servers that appeared together are not asked together for
 * ever. Lists of the same content are one list: the table of shared lists is what keeps a thousand
 * replicas from being a thousand copies.
 *
 * What is no list of models but a definite answer (404 and its like) makes the server "listless":
 * it is then taken to serve whatever its pool serves. Anything else that fails keeps what was known
 * and is asked again after 1 s, 2 s, 4 s … up to the interval.
 */
#include "discover/asker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/token.h"
#include "net/http.h"
#include "net/timer.h"

#define FIRST_PAUSE_MS 1000

struct shared {
	uint64_t hash[2];
	struct models *models; /* with a reference of its own */
	UT_hash_handle hh;
};

struct inquiry {
	struct asker *asker;
	const struct place *place;
	struct timer *timer;
	struct http_transfer *transfer;
	struct models *models;
	uint64_t answered_ns;
	uint32_t failures;
	bool listless, ended, again; /* again: asked for while a transfer was under way */
	bool absent;                 /* the last failure, see asker.h */
	char error[160];
};

struct asker {
	struct event_base *base;
	struct http_client *http;
	struct asker_hooks hooks;
	struct tokens *tokens;
	uint32_t slots;
	struct inquiry **by_slot;
	struct shared *lists;
	size_t entries; /* in all shared lists */
	size_t max_models, pending;
	uint64_t max_page, chance;
};

struct asker *asker_new(struct event_base *base, struct http_client *http, uint32_t slots,
			const struct asker_hooks *hooks)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->base = base;
	a->http = http;
	a->hooks = *hooks;
	a->slots = slots;
	a->chance = clock_wall_ns() | 1;
	a->tokens = tokens_new();
	a->by_slot = calloc(slots, sizeof(struct inquiry *));
	if (!a->tokens || !a->by_slot)
		return asker_free(a);
	return a;
}

struct asker *asker_free(struct asker *a)
{
	if (!a)
		return NULL;
	for (uint32_t i = 0; i < a->slots && a->by_slot; i++)
		asker_forget(a, i);
	assert(!a->lists);
	tokens_free(a->tokens);
	free(a->by_slot);
	free(a);
	return NULL;
}

void asker_limits(struct asker *a, size_t max_models, uint64_t max_page)
{
	a->max_models = max_models;
	a->max_page = max_page;
}

static void list_drop(struct asker *a, struct models *m)
{
	struct shared *s;

	if (!m)
		return;
	HASH_FIND(hh, a->lists, m->hash, sizeof(m->hash), s);
	models_unref(m);
	if (s && s->models->refs == 1) {
		a->entries -= s->models->n;
		HASH_DEL(a->lists, s);
		models_unref(s->models);
		free(s);
	}
}

/* The shared list of the same content; takes @m. NULL: all lists together would be too long, or
 * memory is short. */
static struct models *list_share(struct asker *a, struct models *m)
{
	struct shared *s;

	HASH_FIND(hh, a->lists, m->hash, sizeof(m->hash), s);
	if (!s && a->entries + m->n <= 4 * a->max_models && (s = calloc(1, sizeof(*s)))) {
		memcpy(s->hash, m->hash, sizeof(s->hash));
		s->models = models_ref(m);
		HASH_ADD(hh, a->lists, hash, sizeof(s->hash), s);
		if (s->hh.tbl) {
			a->entries += m->n;
		} else {
			models_unref(m);
			free(s);
			s = NULL;
		}
	}
	models_unref(m);
	return s ? models_ref(s->models) : NULL;
}

/* A quarter more or less. */
static uint64_t jitter(struct asker *a, uint64_t ms)
{
	a->chance ^= a->chance << 13;
	a->chance ^= a->chance >> 7;
	a->chance ^= a->chance << 17;
	return ms - ms / 4 + a->chance % (ms / 2 + 1);
}

static void ask_in(struct inquiry *q, uint64_t ms)
{
	if (timer_start(q->timer, ms * CLOCK_NS_PER_MS) < 0)
		log_event(LOG_LEVEL_ERROR, "models_timer", "endpoint", q->place->name, "error",
			  "out of memory", NULL);
}

static void ended(struct inquiry *q)
{
	struct asker *a = q->asker;

	if (!q->ended) {
		q->ended = true;
		a->pending--;
	}
	if (a->hooks.settled)
		a->hooks.settled(a->hooks.arg);
}

static void log_models(const struct inquiry *q, enum log_level level, const char *event,
		       const char *error)
{
	struct log_line l;

	log_begin(&l, level, event);
	log_str(&l, "pool", q->place->pool);
	log_str(&l, "endpoint", q->place->name);
	log_str(&l, "url", q->place->url);
	if (q->models) {
		log_int(&l, "models", (int64_t)q->models->n);
		if (q->models->skipped)
			log_int(&l, "skipped", (int64_t)q->models->skipped);
	}
	if (error)
		log_str(&l, "error", error);
	log_end(&l);
}

static void fail(struct inquiry *q, const char *error, bool absent)
{
	uint64_t limit = q->place->scrape->models_interval_ms, pause = FIRST_PAUSE_MS;
	/* Who has not answered and who is not there are the same to whoever looks. */
	bool news = !q->models && absent != (q->failures == 0 || q->absent);

	for (uint32_t i = 0; i < q->failures && pause < limit; i++)
		pause *= 2;
	q->failures++;
	q->absent = absent;
	if (strcmp(q->error, error) != 0) {
		snprintf(q->error, sizeof(q->error), "%s", error);
		log_models(q, LOG_LEVEL_WARNING, "models_failed", q->error);
	}
	ask_in(q, jitter(q->asker, pause < limit ? pause : limit));
	if (news && q->asker->hooks.changed)
		q->asker->hooks.changed(q->place->slot, q->asker->hooks.arg);
	ended(q);
}

static void accept_list(struct inquiry *q, struct models *m)
{
	struct asker *a = q->asker;
	bool same = q->models && models_equal(q->models, m);
	size_t skipped = m->skipped;

	if (same) {
		q->models->skipped = skipped;
		models_unref(m);
	} else {
		m = list_share(a, m);
		if (!m) {
			fail(q, "all lists of models together are too long (limits.models)", false);
			return;
		}
		list_drop(a, q->models);
		q->models = m;
		log_models(q, LOG_LEVEL_INFO, "models_found", NULL);
	}
	same &= !q->listless;
	q->listless = false;
	q->answered_ns = clock_mono_ns();
	if (q->failures && same)
		log_models(q, LOG_LEVEL_INFO, "models_again", NULL);
	q->failures = 0;
	q->error[0] = '\0';
	ask_in(q, jitter(a, q->place->scrape->models_interval_ms));
	if (!same && a->hooks.changed)
		a->hooks.changed(q->place->slot, a->hooks.arg);
	ended(q);
}

static void set_listless(struct inquiry *q)
{
	bool news = !q->listless;

	q->listless = true;
	q->failures = 0;
	q->error[0] = '\0';
	if (news)
		log_models(q, LOG_LEVEL_INFO, "models_none", "the server has no such page");
	ask_in(q, jitter(q->asker, q->place->scrape->models_interval_ms));
	if (news && q->asker->hooks.changed)
		q->asker->hooks.changed(q->place->slot, q->asker->hooks.arg);
	ended(q);
}

static const char *status_remedy(int status)
{
	if (status == 401 || status == 403)
		return ": it wants another token (scrape.api_key_file)";
	if (status >= 300 && status < 400)
		return ": it leads elsewhere, which is not followed (scrape.scheme, models_path)";
	return "";
}

static void answered(const struct http_answer *answer, void *arg)
{
	struct inquiry *q = arg;
	const char *error = NULL;
	struct models *m = NULL;
	char text[160];
	int r;

	q->transfer = NULL;
	if (q->again) {
		q->again = false;
		ask_in(q, 0);
		return;
	}
	if (answer->error != HTTP_OK) {
		snprintf(text, sizeof(text), "%s: %s", http_error_name(answer->error),
			 answer->detail);
		fail(q, text, answer->error == HTTP_CONNECT || answer->error == HTTP_TIMEOUT);
	} else if (!q->models &&
		   (answer->status == 404 || answer->status == 405 || answer->status == 501)) {
		set_listless(q);
	} else if (answer->status != 200) {
		snprintf(text, sizeof(text), "status %d%s", answer->status,
			 status_remedy(answer->status));
		fail(q, text, answer->status >= 500);
	} else {
		r = models_parse(answer->body, q->asker->max_models, &m, &error);
		if (r == 0)
			accept_list(q, m);
		else
			fail(q, r == -ENOMEM ? "out of memory" : error, false);
	}
}

static void due(void *arg)
{
	struct inquiry *q = arg;
	const struct config_scrape *s = q->place->scrape;
	struct http_request req = {
	    .ca_file = s->tls_ca_file,
	    .tls_verify = s->tls_verify,
	    .timeout_ms = s->timeout_ms,
	    .max_body = q->asker->max_page,
	    .connect_to = q->place->connect_to,
	};
	const char *error = NULL;
	char *url;
	int r;

	if (q->transfer || !q->place->url)
		return;
	if (s->api_key_file) {
		req.bearer = token_get(q->asker->tokens, s->api_key_file, &error);
		if (!req.bearer) {
			fail(q, error, false);
			return;
		}
	}
	if (asprintf(&url, "%s%s%s", q->place->url, s->models_path[0] == '/' ? "" : "/",
		     s->models_path) < 0) {
		fail(q, "out of memory", false);
		return;
	}
	req.url = url;
	r = http_get(q->asker->http, &req, answered, q, &q->transfer);
	free(url);
	if (r < 0) {
		q->transfer = NULL;
		fail(q, r == -ENOMEM ? "out of memory" : "not a URL that can be asked", false);
	}
}

void asker_watch(struct asker *a, const struct place *p)
{
	struct inquiry *q = a->by_slot[p->slot];

	if (!q) {
		q = calloc(1, sizeof(*q));
		if (q)
			q->timer = timer_new(a->base, due, q);
		if (!q || !q->timer) {
			free(q);
			log_event(LOG_LEVEL_ERROR, "models_unasked", "endpoint", p->name, "error",
				  "out of memory", NULL);
			return;
		}
		q->asker = a;
		a->by_slot[p->slot] = q;
		q->ended = true;
	}
	q->place = p;
	if (!p->url) {
		timer_stop(q->timer);
		if (!q->ended && !q->transfer) {
			q->ended = true;
			a->pending--;
		}
		return;
	}
	if (q->ended && !q->models && !q->listless) {
		q->ended = false;
		a->pending++;
	}
	asker_again(a, p->slot);
}

void asker_forget(struct asker *a, uint32_t slot)
{
	struct inquiry *q = a->by_slot[slot];

	if (!q)
		return;
	a->by_slot[slot] = NULL;
	if (q->transfer)
		http_cancel(q->transfer);
	timer_free(q->timer);
	if (!q->ended)
		a->pending--;
	list_drop(a, q->models);
	free(q);
}

void asker_again(struct asker *a, uint32_t slot)
{
	struct inquiry *q = slot < a->slots ? a->by_slot[slot] : NULL;

	if (!q || !q->place->url)
		return;
	if (q->transfer)
		q->again = true;
	else
		ask_in(q, 0);
}

void asker_view(const struct asker *a, uint32_t slot, struct asker_view *ret)
{
	const struct inquiry *q = slot < a->slots ? a->by_slot[slot] : NULL;

	*ret = (struct asker_view){0};
	if (!q)
		return;
	ret->models = q->models;
	ret->answered_ns = q->answered_ns;
	ret->failures = q->failures;
	ret->error = q->error[0] ? q->error : NULL;
	ret->absent = q->failures && q->absent;
	ret->skipped = q->models ? q->models->skipped : 0;
	ret->state = q->models        ? ASKER_ANSWERED
		     : q->listless    ? ASKER_LISTLESS
		     : !q->place->url ? ASKER_MUTE
		     : q->ended       ? ASKER_FAILED
				      : ASKER_WAITING;
}

size_t asker_pending(const struct asker *a)
{
	return a->pending;
}
