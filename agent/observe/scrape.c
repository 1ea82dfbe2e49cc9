/*
 * The scraper: the table of targets by slot, the two HTTP clients they share, and what concerns all
 * of them. What happens to one is target.c.
 *
 * Life: user callbacks run last, under `busy`; a scraper that is freed inside one goes when the
 * outermost has returned.
 */
#include "observe/scrape.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/http.h"
#include "net/timer.h"
#include "observe/scrape_conf.h"
#include "observe/target.h"
#include "pick/endpoint.h"

#define PLACES         256 /* transfers at a time to servers that answer */
#define PLACES_FAILING 64  /* to servers that did not, last time */
#define KEPT_FAILING   4   /* idle connections to those */

struct place {
	struct target *target; /* NULL: none */
	bool once;             /* scraper_once() waits for it */
};

struct scraper {
	struct target_env env;
	scrape_changed changed;
	void *changed_arg;
	struct place *places; /* by slot */
	uint32_t nplaces, ntargets;
	unsigned busy;
	bool dying;
	struct timer *once_timer;
	uint32_t once_left;
	bool once_under_way;
	scrape_done once_done;
	void *once_arg;
};

const char *scrape_outcome_name(enum scrape_outcome o)
{
	static const char *const names[SCRAPE_OUTCOMES] = {
	    [SCRAPE_TOLD] = "told",         [SCRAPE_SILENT] = "silent",
	    [SCRAPE_NONE] = "none",         [SCRAPE_CONNECT] = "connect",
	    [SCRAPE_TIMEOUT] = "timeout",   [SCRAPE_TLS] = "tls",
	    [SCRAPE_STATUS] = "status",     [SCRAPE_TOO_LARGE] = "too_large",
	    [SCRAPE_PROTOCOL] = "protocol", [SCRAPE_BAD_VALUE] = "bad_value",
	    [SCRAPE_MEMORY] = "memory",
	};

	return o < SCRAPE_OUTCOMES ? names[o] : "unknown";
}

/* User callbacks */

static void scraper_destroy(struct scraper *s);

static void enter(struct scraper *s)
{
	s->busy++;
}

static void leave(struct scraper *s)
{
	if (--s->busy == 0 && s->dying)
		scraper_destroy(s);
}

static void end_once(struct scraper *s)
{
	scrape_done done = s->once_done;
	uint32_t missing = s->once_left;

	s->once_under_way = false;
	timer_stop(s->once_timer);
	for (uint32_t slot = 0; slot < s->nplaces; slot++)
		s->places[slot].once = false;
	done(missing, s->once_arg);
}

/* Nothing is left to wait for. Where there is no memory for it, the deadline is waited for. */
static void hurry_once(struct scraper *s)
{
	int r = timer_start(s->once_timer, 0);

	(void)r;
}

static void concluded(void *arg, uint32_t slot, bool news, bool alive)
{
	struct scraper *s = arg;
	bool all_done = false;

	if (s->places[slot].once) {
		s->places[slot].once = false;
		all_done = --s->once_left == 0;
	}
	enter(s);
	if (news && s->changed)
		s->changed(slot, alive, s->changed_arg);
	else if (news && !alive)
		endpoint_set_flags(s->env.endpoints, slot, 0, ENDPOINT_SCRAPE_DEAD);
	if (all_done && s->once_under_way && !s->dying)
		end_once(s);
	leave(s);
}

/* Targets */

int scraper_set(struct scraper *s, uint32_t slot, const struct scrape_target *target)
{
	struct scrape_conf conf;
	struct target *t;

	if (slot >= s->nplaces)
		return -EINVAL;
	if (scrape_conf_init(&conf, target) < 0) {
		scrape_conf_deinit(&conf);
		return -ENOMEM;
	}
	t = s->places[slot].target;
	if (t && scrape_conf_same_server(target_conf(t), &conf)) {
		target_reconfigure(t, &conf);
		return 0;
	}
	t = target_new(&s->env, slot, &conf);
	if (!t) {
		scrape_conf_deinit(&conf);
		return -ENOMEM;
	}
	/* Another server behind the slot: what was known is not about it. */
	scraper_remove(s, slot);
	s->places[slot].target = t;
	s->ntargets++;
	http_client_keep(s->env.good, s->ntargets);
	return 0;
}

void scraper_remove(struct scraper *s, uint32_t slot)
{
	struct place *p = slot < s->nplaces ? &s->places[slot] : NULL;

	if (!p || !p->target)
		return;
	p->target = target_free(p->target);
	s->ntargets--;
	http_client_keep(s->env.good, s->ntargets);
	if (p->once) {
		p->once = false;
		if (--s->once_left == 0)
			hurry_once(s);
	}
}

const struct scrape_status *scraper_status(const struct scraper *s, uint32_t slot)
{
	const struct target *t = slot < s->nplaces ? s->places[slot].target : NULL;

	return t ? target_status(t) : NULL;
}

/* The scraper */

static void once_ended(void *arg)
{
	struct scraper *s = arg;

	enter(s);
	end_once(s);
	leave(s);
}

struct scraper *scraper_new(struct event_base *base, struct endpoints *endpoints,
			    scrape_changed changed, void *arg)
{
	struct scraper *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->env = (struct target_env){
	    .base = base,
	    .endpoints = endpoints,
	    .good = http_client_new(base, PLACES),
	    .failing = http_client_new(base, PLACES_FAILING),
	    .concluded = concluded,
	    .arg = s,
	};
	s->changed = changed;
	s->changed_arg = arg;
	s->nplaces = endpoints_max(endpoints);
	s->places = calloc(s->nplaces ? s->nplaces : 1, sizeof(*s->places));
	s->once_timer = timer_new(base, once_ended, s);
	if (!s->places || !s->env.good || !s->env.failing || !s->once_timer) {
		scraper_destroy(s);
		return NULL;
	}
	http_client_keep(s->env.failing, KEPT_FAILING);
	return s;
}

void scraper_share(struct scraper *s, struct http_room *room)
{
	http_client_share(s->env.good, room);
	http_client_share(s->env.failing, room);
}

static void scraper_destroy(struct scraper *s)
{
	for (uint32_t slot = 0; s->places && slot < s->nplaces; slot++)
		target_free(s->places[slot].target);
	free(s->places);
	http_client_free(s->env.good);
	http_client_free(s->env.failing);
	timer_free(s->once_timer);
	free(s);
}

struct scraper *scraper_free(struct scraper *s)
{
	if (s) {
		s->dying = true;
		if (s->busy == 0)
			scraper_destroy(s);
	}
	return NULL;
}

int scraper_once(struct scraper *s, uint32_t deadline_ms, scrape_done done, void *arg)
{
	if (s->once_under_way)
		return -EBUSY;
	if (timer_start(s->once_timer, deadline_ms * CLOCK_NS_PER_MS) < 0)
		return -ENOMEM;
	s->once_under_way = true;
	s->once_done = done;
	s->once_arg = arg;
	s->once_left = 0;
	for (uint32_t slot = 0; slot < s->nplaces; slot++) {
		struct place *p = &s->places[slot];

		p->once = p->target && target_ask_now(p->target);
		s->once_left += p->once;
	}
	if (s->once_left == 0)
		hurry_once(s);
	return 0;
}
