/*
 * The policies that do not compare all candidates: round-robin and random-of-two.
 */
#include "pick/policy.h"

#define BLIND_TRIES 8

/* Fills @index with candidates from position @start on, in order. */
static uint32_t from(const struct pool *pool, const struct endpoints *e, uint32_t start,
		     uint32_t index[PICK_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < pool->n && n < PICK_MAX; i++) {
		uint32_t at = (uint32_t)(((uint64_t)start + i) % pool->n);

		if (live_candidate(e, pool->slots[at]))
			index[n++] = at;
	}
	return n;
}

uint32_t policy_round_robin(const struct pool *pool, const struct endpoints *e,
			    const struct pick_env *env, uint32_t index[PICK_MAX])
{
	uint32_t turn = atomic_fetch_add_explicit(env->cursor, 1, memory_order_relaxed);
	uint32_t n = from(pool, e, turn % pool->n, index);

	/* Whoever stands in for a missing one moves the turn along, or its successor would get
	 * two requests each round. */
	if (n > 0 && index[0] != turn % pool->n) {
		uint32_t next = turn + 1;

		atomic_compare_exchange_strong_explicit(
		    env->cursor, &next, turn + 1 + (index[0] + pool->n - turn % pool->n) % pool->n,
		    memory_order_relaxed, memory_order_relaxed);
	}
	return n;
}

/* A position below @n from 32 random bits. */
static uint32_t below(uint32_t bits, uint32_t n)
{
	return (uint32_t)(((uint64_t)bits * n) >> 32);
}

/*
 * A random candidate other than @except (pool->n: any), or pool->n when there is none. A few blind
 * tries, which are uniform and nearly always enough; then the next one from a random place.
 */
static uint32_t somebody(const struct pool *pool, const struct endpoints *e, uint64_t chance,
			 uint32_t except)
{
	uint32_t at = pool->n;

	for (unsigned i = 0; i < BLIND_TRIES; i++) {
		chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		at = below((uint32_t)(chance >> 32), pool->n);
		if (at != except && live_candidate(e, pool->slots[at]))
			return at;
	}
	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t next = (uint32_t)(((uint64_t)at + i) % pool->n);

		if (next != except && live_candidate(e, pool->slots[next]))
			return next;
	}
	return pool->n;
}

uint32_t policy_random_of_two(const struct pool *pool, const struct endpoints *e,
			      const struct pick_env *env, uint32_t index[PICK_MAX])
{
	uint32_t a = somebody(pool, e, env->chance, pool->n), b, third[PICK_MAX], n;

	if (a == pool->n)
		return 0;
	index[0] = a;
	b = somebody(pool, e, env->chance ^ UINT64_C(0x9e3779b97f4a7c15), a);
	if (b == pool->n)
		return 1;
	if (live_load(e, pool->slots[b]) < live_load(e, pool->slots[a])) {
		index[0] = b;
		b = a;
	}
	index[1] = b;
	n = from(pool, e, (b + 1) % pool->n, third);
	for (uint32_t i = 0; i < n; i++) {
		if (third[i] != index[0] && third[i] != index[1]) {
			index[2] = third[i];
			return 3;
		}
	}
	return 2;
}
