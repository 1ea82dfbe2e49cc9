/* Randomness that depends on its arguments only: no state, the same on every machine. */
#ifndef SIM_DRAW_H
#define SIM_DRAW_H

#include <stdint.h>

uint64_t draw_mix(uint64_t a, uint64_t b);
/* An output length for this key: log-normal with that mean and sigma 0.7, in [1, max]. */
uint32_t draw_output(uint64_t key, double mean, uint32_t max);

#endif
