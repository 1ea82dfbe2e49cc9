/*
 * What a worker counts. Each worker writes its own and nobody else's, so counting costs a plain
 * store; whoever reports sums them up and may read a count of a moment ago.
 */
#ifndef SERVE_STATS_H
#define SERVE_STATS_H

#include <stdatomic.h>
#include <stdint.h>
#include "serve/decide.h"

typedef _Atomic uint64_t stat_t;

static inline void stat_add(stat_t *s, uint64_t n)
{
	atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t stat_get(const stat_t *s)
{
	return atomic_load_explicit(s, memory_order_relaxed);
}

/* Upper bounds of the decision time's histogram, in nanoseconds; the last bucket is +Inf. */
#define STATS_BOUNDS                                                                               \
	{                                                                                          \
		1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000,   \
		    5000000, 10000000                                                              \
	}
#define STATS_BUCKETS 14

struct model_stats {
	stat_t verdicts[VERDICT_COUNT]; /* only those that come after a model was found */
};

struct stats {
	stat_t verdicts[VERDICT_COUNT];
	stat_t truncated; /* bodies that HAProxy did not hold whole */
	stat_t any;       /* routed, the server left to HAProxy */
	stat_t bytes;     /* of bodies and slices read */
	stat_t buckets[STATS_BUCKETS];
	stat_t sum_ns;
	stat_t frames, accepted, closed_by[64]; /* by close reason */
	stat_t health_checks;
	stat_t beats; /* the worker's own tick: it is alive */
	uint32_t nmodels;
	struct model_stats *models; /* by route_target.stat; 0 is "other" */
};

struct stats *stats_new(uint32_t nmodels);
struct stats *stats_free(struct stats *s);
void stats_time(struct stats *s, uint64_t ns);
/* Adds @from to @sum, which must have as many models. */
void stats_sum(struct stats *sum, const struct stats *from);

#endif
