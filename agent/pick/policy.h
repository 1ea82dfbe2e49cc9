/*
 * A policy puts up to PICK_MAX candidates of a pool in order, best first. It names candidates
 * only (live_candidate()), none twice, and returns how many.
 */
#ifndef PICK_POLICY_H
#define PICK_POLICY_H

#include "pick/live.h"
#include "pick/pick.h"

struct policy {
	const char *name;
	uint32_t (*order)(const struct pool *pool, const struct endpoints *e,
			  const struct pick_env *env, uint32_t index[PICK_MAX]);
};

uint32_t policy_least_loaded(const struct pool *pool, const struct endpoints *e,
			     const struct pick_env *env, uint32_t index[PICK_MAX]);
uint32_t policy_round_robin(const struct pool *pool, const struct endpoints *e,
			    const struct pick_env *env, uint32_t index[PICK_MAX]);
uint32_t policy_random_of_two(const struct pool *pool, const struct endpoints *e,
			      const struct pick_env *env, uint32_t index[PICK_MAX]);
uint32_t policy_shortest_wait(const struct pool *pool, const struct endpoints *e,
			      const struct pick_env *env, uint32_t index[PICK_MAX]);

#endif
