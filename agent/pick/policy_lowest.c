/*
 * The two policies that compare all candidates by one number: least-loaded and shortest-wait.
 *
 * One pass over the pool keeps the three lowest. The low half of each key is a hash of the
 * candidate and this decision's chance, so equal numbers come in random order: with ties broken
 * by position, every burst onto an idle pool would land on the first server.
 */
#include "pick/policy.h"

#define PLACES (PICK_MAX + 1)

struct lowest {
	uint32_t n;
	uint64_t key[PLACES]; /* sorted; one place more than is kept, so insertion needs no test */
	uint32_t index[PLACES];
};

static uint32_t tie(uint64_t chance, uint32_t i)
{
	uint64_t x = (chance ^ i) * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 29;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(x >> 32);
}

static void keep(struct lowest *l, uint32_t number, uint32_t i, uint64_t chance)
{
	uint64_t key;
	uint32_t at;

	if (l->n == PICK_MAX && number > l->key[PICK_MAX - 1] >> 32)
		return;
	key = (uint64_t)number << 32 | tie(chance, i);
	for (at = l->n; at > 0 && l->key[at - 1] > key; at--) {
		l->key[at] = l->key[at - 1];
		l->index[at] = l->index[at - 1];
	}
	l->key[at] = key;
	l->index[at] = i;
	if (l->n < PICK_MAX)
		l->n++;
}

static uint32_t result(const struct lowest *l, uint32_t index[PICK_MAX])
{
	for (uint32_t i = 0; i < l->n; i++)
		index[i] = l->index[i];
	return l->n;
}

uint32_t policy_least_loaded(const struct pool *pool, const struct endpoints *e,
			     const struct pick_env *env, uint32_t index[PICK_MAX])
{
	struct lowest l = {0};

	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t slot = pool->slots[i];

		if (live_candidate(e, slot))
			keep(&l, live_load(e, slot), i, env->chance);
	}
	return result(&l, index);
}

static uint32_t rate_of(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->rate[slot], memory_order_relaxed);
}

/* An endpoint whose rate nobody knows yet is taken for an average one, so that it gets asked. */
static uint32_t usual_rate(const struct pool *pool, const struct endpoints *e)
{
	uint64_t sum = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t rate = rate_of(e, pool->slots[i]);

		if (rate) {
			sum += rate;
			n++;
		}
	}
	return n ? (uint32_t)(sum / n) : 1;
}

uint32_t policy_shortest_wait(const struct pool *pool, const struct endpoints *e,
			      const struct pick_env *env, uint32_t index[PICK_MAX])
{
	uint32_t usual = usual_rate(pool, e);
	struct lowest l = {0};

	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t slot = pool->slots[i], rate;
		uint64_t wait;

		if (!live_candidate(e, slot))
			continue;
		rate = rate_of(e, slot);
		/* (load + this request) / rate, in 1/4096 s: 256ths over 1024ths times 2^14. */
		wait = (((uint64_t)live_load(e, slot) + LIVE_ONE) << 14) / (rate ? rate : usual);
		keep(&l, wait > UINT32_MAX ? UINT32_MAX : (uint32_t)wait, i, env->chance);
	}
	return result(&l, index);
}
