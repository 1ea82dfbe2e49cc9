/*
 * SplitMix64's finisher as a hash, and lengths of answers from it. Conversation traces have about
 * this shape: a log-normal with sigma 0.7 has a median of 0.78 and a p99 of 4 times its mean.
 */
#include "draw.h"

#include <math.h>

uint64_t draw_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * 0x9e3779b97f4a7c15 + b + 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

uint32_t draw_output(uint64_t key, double mean, uint32_t max)
{
	const double sigma = 0.7;
	double u = (double)((draw_mix(key, 1) >> 11) + 1) / 9007199254740993.0;
	double v = (double)(draw_mix(key, 2) >> 11) / 9007199254740992.0;
	double normal = sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
	double n = mean * exp(sigma * normal - sigma * sigma / 2);

	if (!(n >= 1))
		return 1;
	return n < max ? (uint32_t)n : max;
}
