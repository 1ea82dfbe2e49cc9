/*
 * Values below HIST_STEPS have a bucket each; above, the bits behind the leading one choose among
 * HIST_STEPS buckets of that power of two.
 */
#include "hist.h"

#define STEP_BITS 7

static unsigned bucket_of(uint64_t v)
{
	unsigned shift, i;

	if (v < HIST_STEPS)
		return (unsigned)v;
	shift = 63 - (unsigned)__builtin_clzll(v) - STEP_BITS;
	i = (shift + 1) * HIST_STEPS + (unsigned)(v >> shift) - HIST_STEPS;
	return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t top_of(unsigned i)
{
	unsigned shift;

	if (i < HIST_STEPS)
		return i;
	shift = i / HIST_STEPS - 1;
	return ((uint64_t)(i % HIST_STEPS + HIST_STEPS + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
	h->bucket[bucket_of(value)]++;
	h->n++;
	if (value > h->max)
		h->max = value;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;

	if (h->n == 0)
		return 0;
	if (want >= h->n)
		return h->max;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return top_of(i) < h->max ? top_of(i) : h->max;
	}
	return h->max;
}
