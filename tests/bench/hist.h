/*
 * A histogram of times: log-linear, 128 steps per power of two (0.8 %), from 1 ns to an hour.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_STEPS   128
#define HIST_BUCKETS (42 * HIST_STEPS)

struct hist {
	uint64_t n, max;
	uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);
/* The value that a share @q (0..1) of all does not exceed, to 0.8 %; 0 when it is empty. */
uint64_t hist_quantile(const struct hist *h, double q);

#endif
