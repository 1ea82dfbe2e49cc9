/*
 * The live table of endpoints.
 *
 * Workers only ever touch the arrays of atomics: they read all of them and add to `open` and
 * `picks`. Everything in struct cold, and every other write, is the control thread's. There is no
 * lock: a decision may see an open count of this instant beside a foreign load of a moment ago,
 * which is as much as a decision made at a distance can ever know.
 *
 * The rate is what the endpoint finishes per second while it has something of ours to do, both
 * fading with RATE_FADE_S, so an idle hour does not make a fast server look slow. Requests that
 * failed do not count: a server that refuses quickly is not a fast one.
 */
#include "pick/endpoint.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "pick/live.h"

#define RATE_FADE_S 30.0
#define RATE_ONE    1024.0
/* A server that claims more than this has told a wrong number; what counts is "very many". */
#define LOAD_MAX  1000000.0
#define ROOM_FREE UINT32_MAX

const char *endpoint_flag_name(unsigned flag)
{
	switch (flag) {
	case ENDPOINT_MAINT:
		return "maint";
	case ENDPOINT_DRAIN:
		return "drain";
	case ENDPOINT_DOWN:
		return "down";
	case ENDPOINT_SCRAPE_DEAD:
		return "scrape_dead";
	case ENDPOINT_FULL:
		return "full";
	case ENDPOINT_GONE:
		return "gone";
	case ENDPOINT_NOT_READY:
		return "not_ready";
	case ENDPOINT_BACKUP:
		return "backup";
	default:
		return "unknown";
	}
}

struct endpoints *endpoints_new(uint32_t max)
{
	struct endpoints *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->max = max;
	e->open = calloc(max, sizeof(*e->open));
	e->base = calloc(max, sizeof(*e->base));
	e->room = calloc(max, sizeof(*e->room));
	e->flags = calloc(max, sizeof(*e->flags));
	e->rate = calloc(max, sizeof(*e->rate));
	e->generation = calloc(max, sizeof(*e->generation));
	e->picks = calloc(max, sizeof(*e->picks));
	e->cold = calloc(max, sizeof(*e->cold));
	if (!e->open || !e->base || !e->room || !e->flags || !e->rate || !e->generation ||
	    !e->picks || !e->cold)
		return endpoints_free(e);
	return e;
}

struct endpoints *endpoints_free(struct endpoints *e)
{
	if (e) {
		free(e->open);
		free(e->base);
		free(e->room);
		free(e->flags);
		free(e->rate);
		free(e->generation);
		free(e->picks);
		free(e->cold);
		free(e);
	}
	return NULL;
}

uint32_t endpoints_max(const struct endpoints *e)
{
	return e->max;
}

static void forget_reports(struct cold *c)
{
	c->waiting = c->running = 0;
	c->kv_usage = -1;
	c->foreign_q8 = c->drift_q8 = 0;
	c->quarter_ns = 0;
}

int endpoint_alloc(struct endpoints *e)
{
	for (uint32_t i = 0; i < e->max; i++) {
		uint32_t slot = (e->next + i) % e->max;
		struct cold *c = &e->cold[slot];

		if (c->used)
			continue;
		*c = (struct cold){.used = true, .held = ENDPOINT_HELD_UNKNOWN};
		forget_reports(c);
		atomic_store(&e->open[slot], 0);
		atomic_store(&e->base[slot], 0);
		atomic_store(&e->room[slot], ROOM_FREE);
		atomic_store(&e->rate[slot], 0);
		atomic_store(&e->picks[slot], 0);
		atomic_store(&e->flags[slot], 0);
		e->next = (slot + 1) % e->max;
		return (int)slot;
	}
	return -ENOSPC;
}

void endpoint_release(struct endpoints *e, uint32_t slot)
{
	atomic_fetch_add(&e->generation[slot], 1);
	atomic_store(&e->flags[slot], ENDPOINT_GONE);
	atomic_store(&e->open[slot], 0);
	e->cold[slot].used = false;
}

uint32_t endpoint_generation(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->generation[slot], memory_order_relaxed);
}

unsigned endpoint_set_flags(struct endpoints *e, uint32_t slot, unsigned clear, unsigned set)
{
	uint32_t before = atomic_load(&e->flags[slot]);

	atomic_store(&e->flags[slot], (before & ~clear) | (set & ~(unsigned)ENDPOINT_FULL));
	return before;
}

unsigned endpoint_flags(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->flags[slot], memory_order_relaxed) |
	       (live_full(e, slot) ? ENDPOINT_FULL : 0);
}

static uint32_t to_q8(double requests)
{
	if (!(requests > 0))
		return 0;
	return (uint32_t)lrint(fmin(requests, LOAD_MAX) * LIVE_ONE);
}

/* What the server does not know of, and HAProxy neither where it says what it has. */
static uint32_t lost_q8(const struct cold *c)
{
	uint64_t unheld_q8 = (uint64_t)c->unheld * LIVE_ONE;

	if (c->held == ENDPOINT_HELD_UNKNOWN || unheld_q8 > c->drift_q8)
		return c->drift_q8;
	return (uint32_t)unheld_q8;
}

/* As lost_q8(), but nothing where HAProxy does not say. */
static void publish_room(struct endpoints *e, uint32_t slot)
{
	const struct cold *c = &e->cold[slot];
	uint32_t drift = c->drift_q8 / LIVE_ONE, lost = drift < c->unheld ? drift : c->unheld;
	uint32_t room = c->others < c->maxconn ? c->maxconn - c->others : 0;

	if (c->maxconn == 0 || room > ROOM_FREE - lost)
		room = ROOM_FREE;
	else
		room += lost;
	atomic_store_explicit(&e->room[slot], room, memory_order_relaxed);
}

static void publish_reports(struct endpoints *e, uint32_t slot)
{
	const struct cold *c = &e->cold[slot];

	atomic_store_explicit(&e->base[slot], (int32_t)c->foreign_q8 - (int32_t)lost_q8(c),
			      memory_order_relaxed);
	publish_room(e, slot);
}

/* Notes how many of our tickets the server did not know of, and what held for the whole window. */
static void note_deficit(struct cold *c, uint32_t deficit_q8, uint64_t now_ns)
{
	uint64_t length = ENDPOINT_DRIFT_NS / (LIVE_QUARTERS - 1);
	uint32_t least = UINT32_MAX;

	if (c->quarter_ns == 0 || now_ns - c->quarter_ns > ENDPOINT_DRIFT_NS) {
		/* A window begins: its first quarters are known to hold no drift. */
		for (unsigned i = 0; i < LIVE_QUARTERS; i++)
			c->lacking[i] = 0;
		c->quarter = 0;
		c->quarter_ns = now_ns;
		c->lacking[0] = deficit_q8;
	}
	while (now_ns - c->quarter_ns >= length) {
		c->quarter = (c->quarter + 1) % LIVE_QUARTERS;
		c->quarter_ns += length;
		c->lacking[c->quarter] = UINT32_MAX;
	}
	if (deficit_q8 < c->lacking[c->quarter])
		c->lacking[c->quarter] = deficit_q8;
	for (unsigned i = 0; i < LIVE_QUARTERS; i++)
		if (c->lacking[i] < least)
			least = c->lacking[i];
	c->drift_q8 = least == UINT32_MAX ? 0 : least;
}

void endpoint_observe(struct endpoints *e, uint32_t slot, double waiting, double running,
		      double kv_usage, uint32_t open_then, uint64_t now_ns)
{
	struct cold *c = &e->cold[slot];
	double difference = waiting + running - (double)open_then;

	c->waiting = waiting;
	c->running = running;
	c->kv_usage = kv_usage;
	c->observed_ns = now_ns;
	c->foreign_q8 = to_q8(difference);
	note_deficit(c, to_q8(-difference), now_ns);
	publish_reports(e, slot);
}

void endpoint_forget(struct endpoints *e, uint32_t slot)
{
	forget_reports(&e->cold[slot]);
	publish_reports(e, slot);
}

void endpoint_carry(struct endpoints *e, uint32_t slot, uint32_t generation)
{
	struct cold *c = &e->cold[slot];

	/* quarter_ns: there is a report that counts */
	if (!c->used || endpoint_generation(e, slot) != generation || !c->quarter_ns)
		return;
	if (c->foreign_q8 < LOAD_MAX * LIVE_ONE)
		c->foreign_q8 += LIVE_ONE;
	publish_reports(e, slot);
}

void endpoint_set_room(struct endpoints *e, uint32_t slot, uint32_t maxconn, uint32_t others)
{
	e->cold[slot].maxconn = maxconn;
	e->cold[slot].others = others;
	publish_reports(e, slot);
}

void endpoint_set_held(struct endpoints *e, uint32_t slot, uint32_t held)
{
	uint32_t ours = endpoint_open(e, slot);

	/* Not known is more than we can have open. */
	e->cold[slot].held = held;
	e->cold[slot].unheld = ours > held ? ours - held : 0;
}

bool endpoint_held(const struct endpoints *e, uint32_t slot, uint32_t *ret)
{
	const struct cold *c = &e->cold[slot];

	*ret = c->held;
	return c->used && c->held != ENDPOINT_HELD_UNKNOWN;
}

void endpoint_picked(struct endpoints *e, uint32_t slot)
{
	atomic_fetch_add_explicit(&e->picks[slot], 1, memory_order_relaxed);
}

/* exp(-x); for the short times of a busy server without the call, to 2 parts in 10^10. */
static double fading(double x)
{
	return x < 0.001 ? 1 - x + x * x / 2 : exp(-x);
}

void endpoint_finished(struct endpoints *e, uint32_t slot, uint32_t generation, uint64_t opened_ns,
		       uint64_t now_ns, enum endpoint_end how)
{
	struct cold *c = &e->cold[slot];
	uint64_t since = c->busy_since_ns ? c->busy_since_ns : opened_ns;
	double busy, fade;

	if (!c->used || endpoint_generation(e, slot) != generation)
		return;
	/* What nobody answered took its time all the same: the next answer accounts for it. */
	c->busy_since_ns = endpoint_open(e, slot) == 0 ? 0
			   : how == ENDPOINT_ANSWERED  ? now_ns
						       : since;
	c->ended[how]++;
	if (how != ENDPOINT_ANSWERED)
		return;
	busy = now_ns > since ? (double)(now_ns - since) / (double)CLOCK_NS_PER_S : 0;
	fade = fading(busy / RATE_FADE_S);
	c->rate_n = c->rate_n * fade + 1;
	c->rate_s = c->rate_s * fade + busy;
	if (c->rate_s > 0) {
		double rate = fmin(fmax(c->rate_n / c->rate_s * RATE_ONE, 1), UINT32_MAX / 2);

		atomic_store_explicit(&e->rate[slot], (uint32_t)rate, memory_order_relaxed);
	}
}

uint32_t endpoint_open(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->open[slot], memory_order_relaxed);
}

double endpoint_load(const struct endpoints *e, uint32_t slot)
{
	return (double)live_load(e, slot) / LIVE_ONE;
}

void endpoint_view(const struct endpoints *e, uint32_t slot, struct endpoint_view *ret)
{
	const struct cold *c = &e->cold[slot];

	*ret = (struct endpoint_view){
	    .flags = endpoint_flags(e, slot),
	    .open = endpoint_open(e, slot),
	    .maxconn = c->maxconn,
	    .others = c->others,
	    .load = endpoint_load(e, slot),
	    .drift = (double)lost_q8(c) / LIVE_ONE,
	    .foreign = (double)c->foreign_q8 / LIVE_ONE,
	    .waiting = c->waiting,
	    .running = c->running,
	    .kv_usage = c->kv_usage,
	    .rate = (double)atomic_load_explicit(&e->rate[slot], memory_order_relaxed) / RATE_ONE,
	    .observed_ns = c->observed_ns,
	    .picks = atomic_load_explicit(&e->picks[slot], memory_order_relaxed),
	    .answered = c->ended[ENDPOINT_ANSWERED],
	    .failed = c->ended[ENDPOINT_FAILED],
	    .aborted = c->ended[ENDPOINT_ABORTED],
	};
}
