/* A pool of six endpoints with their tickets, asked and looked at from outside. */
#ifndef UNIT_PICK_HOUSE_H
#define UNIT_PICK_HOUSE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "pick/pick.h"
#include "pick/policy.h"
#include "pick/ticket.h"

#define S       CLOCK_NS_PER_S
#define HOUSE_N 6

struct house {
	struct endpoints *e;
	struct tickets *t;
	struct pool pool;
	struct pool_endpoint endpoints[HOUSE_N];
	uint32_t slots[HOUSE_N];
	_Atomic uint32_t cursor;
	uint64_t seed;
};

static inline struct house house_build(const char *policy)
{
	struct house h = {.e = endpoints_new(HOUSE_N), .seed = 1};

	assert_non_null(h.e);
	h.t = tickets_new(h.e, 2, 64, 0x1234);
	assert_non_null(h.t);
	for (uint32_t i = 0; i < HOUSE_N; i++) {
		int slot = endpoint_alloc(h.e);

		assert_true(slot >= 0);
		h.slots[i] = h.endpoints[i].slot = (uint32_t)slot;
	}
	h.pool =
	    (struct pool){.policy = policy_find(view_str(policy)), .n = HOUSE_N, .known = true};
	assert_non_null(h.pool.policy);
	return h;
}

static inline void house_settle(struct house *h)
{
	h->pool.endpoints = h->endpoints;
	h->pool.slots = h->slots;
	h->pool.all = h->slots;
	h->pool.nall = HOUSE_N;
}

static inline void house_demolish(struct house *h)
{
	tickets_free(h->t);
	endpoints_free(h->e);
}

static inline struct pick_result house_ask(struct house *h)
{
	struct pick_env env = {.cursor = &h->cursor};
	struct pick_result r;

	h->seed = h->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	env.chance = h->seed ^ h->seed >> 33;
	pick(&h->pool, h->e, &env, &r);
	assert_true(r.n <= PICK_MAX);
	for (uint32_t i = 0; i < r.n; i++) {
		assert_true(r.index[i] < h->pool.n);
		assert_int_equal(endpoint_flags(h->e, h->slots[r.index[i]]), 0);
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(r.index[i], r.index[k]);
	}
	return r;
}

static inline int64_t house_open(struct house *h, uint32_t i)
{
	int64_t name = ticket_open(h->t, 0, h->slots[i], 0, 0, 0, 5 * S);

	assert_true(name > 0);
	return name;
}

#endif
