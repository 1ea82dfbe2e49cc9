/*
 * Clocks. Rooms that decide (request/, route/, pick/) get the time as an argument; rooms that
 * wait ask here. Tests may set a fake monotonic clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_S  UINT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds; never 0. */
uint64_t clock_mono_ns(void);
/* What the calling thread has computed so far, in nanoseconds; for bounding one's own work. */
uint64_t clock_cpu_ns(void);
/* Unix time in nanoseconds, for log lines and documents only. */
uint64_t clock_wall_ns(void);
/* From now on clock_mono_ns() answers *fake; NULL returns to the real clock. Tests only. */
void clock_set_fake(const uint64_t *fake);

#endif
