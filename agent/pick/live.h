/*
 * The arrays behind pick/endpoint.h, for the files of this room only: what a decision scans.
 */
#ifndef PICK_LIVE_H
#define PICK_LIVE_H

#include <stdatomic.h>
#include <stdint.h>
#include "pick/endpoint.h"

/* Loads are compared in 256ths of a request. */
#define LIVE_ONE 256

/* The smallest difference between our count and the server's, in quarters of a minute: four whole
 * ones and the one that is not over. */
#define LIVE_QUARTERS 5

struct cold {
	double waiting, running, kv_usage;
	uint64_t observed_ns;
	uint32_t maxconn, others, held;
	uint32_t unheld; /* our tickets beyond what HAProxy held when it said so */
	uint32_t foreign_q8, drift_q8;
	uint32_t
	    lacking[LIVE_QUARTERS]; /* smallest deficit of each quarter, UINT32_MAX: no scrape */
	unsigned quarter;
	uint64_t quarter_ns; /* when the current quarter began; 0: never scraped */
	uint64_t busy_since_ns;
	double rate_n, rate_s; /* requests and busy seconds, both fading */
	uint64_t rate_ns;
	uint64_t ended[ENDPOINT_ABORTED + 1];
	bool used;
};

struct endpoints {
	uint32_t max, next; /* next: where endpoint_alloc() looks first */
	_Atomic uint32_t *open;
	_Atomic int32_t *base;   /* foreign − drift, in 256ths */
	_Atomic uint32_t *room;  /* open tickets from which on it is full */
	_Atomic uint32_t *flags; /* enum endpoint_flag but FULL, which follows from room */
	_Atomic uint32_t *rate;  /* requests per busy second, in 1024ths; 0: not known */
	_Atomic uint32_t *generation;
	_Atomic uint64_t *picks;
	struct cold *cold;
};

static inline uint32_t live_load(const struct endpoints *e, uint32_t slot)
{
	int64_t q8 =
	    (int64_t)atomic_load_explicit(&e->open[slot], memory_order_relaxed) * LIVE_ONE +
	    atomic_load_explicit(&e->base[slot], memory_order_relaxed);

	return q8 < 0 ? 0 : q8 > UINT32_MAX ? UINT32_MAX : (uint32_t)q8;
}

/* Our tickets less those that were lost; where any were, no foreign load is in the base. */
static inline uint32_t live_in_flight(const struct endpoints *e, uint32_t slot)
{
	uint32_t open = atomic_load_explicit(&e->open[slot], memory_order_relaxed);
	int32_t base = atomic_load_explicit(&e->base[slot], memory_order_relaxed);
	uint32_t lost = base < 0 ? (uint32_t)-base / LIVE_ONE : 0;

	return open > lost ? open - lost : 0;
}

static inline bool live_full(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->open[slot], memory_order_relaxed) >=
	       atomic_load_explicit(&e->room[slot], memory_order_relaxed);
}

static inline bool live_candidate(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->flags[slot], memory_order_relaxed) == 0 &&
	       !live_full(e, slot);
}

#endif
