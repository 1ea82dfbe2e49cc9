/*
 * least-loaded passes over blocks of endpoints at a time; here it is held against a plain sort, in
 * pools of every size around the blocks', with slots in and out of order, flags, full servers, and
 * loads from zero to more than a block can hold.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "pick/live.h"
#include "pick/pick.h"

#define MAX 1100

static uint64_t state;

static uint32_t draw(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % n;
}

struct yard {
	struct endpoints *e;
	struct pool pool;
};

static void build(struct yard *y, uint32_t n, uint32_t max)
{
	*y = (struct yard){.e = endpoints_new(max)};
	y->pool =
	    (struct pool){.policy = policy_find(VIEW_LIT("least-loaded")), .known = true, .n = n};
	y->pool.slots = calloc(n, sizeof(uint32_t));
	y->pool.endpoints = calloc(n, sizeof(struct pool_endpoint));
	for (uint32_t i = 0; i < n; i++) {
		int slot = endpoint_alloc(y->e);

		assert_true(slot >= 0);
		y->pool.slots[i] = (uint32_t)slot;
	}
}

static void demolish(struct yard *y)
{
	free(y->pool.slots);
	free(y->pool.endpoints);
	endpoints_free(y->e);
}

static struct pick_result ask(struct yard *y)
{
	struct pick_env env = {.chance = (uint64_t)draw(UINT32_MAX) << 32 | draw(UINT32_MAX)};
	struct pick_result r;

	pick(&y->pool, y->e, &env, &r);
	return r;
}

/* What stands at @place among the candidates' loads in order; UINT32_MAX: nothing. */
static uint32_t load_at(const struct yard *y, uint32_t place)
{
	uint32_t sorted[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};

	for (uint32_t i = 0; i < y->pool.n; i++) {
		uint32_t load = live_load(y->e, y->pool.slots[i]);

		if (!live_candidate(y->e, y->pool.slots[i]))
			continue;
		for (unsigned k = 0; k < 3; k++) {
			if (load < sorted[k]) {
				uint32_t other = sorted[k];

				sorted[k] = load;
				load = other;
			}
		}
	}
	return sorted[place];
}

static uint32_t candidates(const struct yard *y)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < y->pool.n; i++)
		n += live_candidate(y->e, y->pool.slots[i]);
	return n;
}

static void check(struct yard *y)
{
	struct pick_result r = ask(y);
	uint32_t n = candidates(y);

	assert_int_equal(r.n, n < 3 ? n : 3);
	for (uint32_t k = 0; k < r.n; k++) {
		uint32_t slot = y->pool.slots[r.index[k]];

		assert_true(live_candidate(y->e, slot));
		assert_int_equal(live_load(y->e, slot), load_at(y, k));
		for (uint32_t j = 0; j < k; j++)
			assert_int_not_equal(r.index[j], r.index[k]);
	}
}

/* Loads among @levels values; the odd ones are beyond what a block can hold. */
static void settle(struct yard *y, uint32_t levels, uint32_t out, uint32_t odd)
{
	for (uint32_t i = 0; i < y->pool.n; i++) {
		uint32_t slot = y->pool.slots[i];
		uint32_t open = draw(levels);

		atomic_store(&y->e->open[slot], draw(100) < odd ? UINT32_MAX / 2 : open);
		endpoint_observe(y->e, slot, draw(levels), draw(levels), 0, draw(levels), 1);
		endpoint_set_flags(y->e, slot, UINT32_MAX, draw(100) < out ? 1U << draw(4) : 0);
		endpoint_set_room(y->e, slot, draw(100) < out ? draw(levels) + 1 : 0, 0);
	}
}

static void shuffle(struct yard *y)
{
	for (uint32_t i = y->pool.n; i > 1; i--) {
		uint32_t j = draw(i), slot = y->pool.slots[i - 1];

		y->pool.slots[i - 1] = y->pool.slots[j];
		y->pool.slots[j] = slot;
	}
}

static void against_a_sort(void **unused)
{
	static const uint32_t levels[] = {1, 2, 5, 1000, 500000};

	(void)unused;
	state = 4711;
	for (uint32_t n = 1; n < MAX; n += n < 70 ? 1 : 97) {
		struct yard y;

		/* The last block ends where the arrays do. */
		build(&y, n, n);
		for (unsigned round = 0; round < 12; round++) {
			settle(&y, levels[round % 5], round % 3 * 45, round % 2 * 20);
			if (round == 8)
				shuffle(&y);
			for (unsigned k = 0; k < 4; k++)
				check(&y);
		}
		demolish(&y);
	}
}

static void one_low_one_at_every_place(void **unused)
{
	struct yard y;

	(void)unused;
	state = 17;
	build(&y, 300, 4096);
	for (uint32_t i = 0; i < 300; i++)
		atomic_store(&y.e->open[y.pool.slots[i]], 7);
	for (uint32_t i = 0; i < 300; i++) {
		atomic_store(&y.e->open[y.pool.slots[i]], 6);
		assert_int_equal(ask(&y).index[0], i);
		endpoint_set_flags(y.e, y.pool.slots[i], 0, ENDPOINT_DOWN);
		assert_int_not_equal(ask(&y).index[0], i);
		endpoint_set_flags(y.e, y.pool.slots[i], ENDPOINT_DOWN, 0);
		atomic_store(&y.e->open[y.pool.slots[i]], 7);
	}
	demolish(&y);
}

/* Of 200 equal ones each is as likely, at each place; and neighbours are not named together. */
static void ties_of_a_large_pool(void **unused)
{
	enum { N = 200, TIMES = 200000 };
	static unsigned hits[3][N], pairs;
	struct yard y;

	(void)unused;
	state = 23;
	build(&y, N, N);
	for (unsigned i = 0; i < TIMES; i++) {
		struct pick_result r = ask(&y);

		for (unsigned k = 0; k < 3; k++)
			hits[k][r.index[k]]++;
		pairs += r.index[0] / 2 == r.index[1] / 2;
	}
	/* 1,000 expected, a standard deviation of 32: six of them. */
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < N; i++)
			assert_in_range(hits[k][i], 800, 1200);
	/* One in 199. */
	assert_in_range(pairs, 800, 1210);
	demolish(&y);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(against_a_sort),
	    cmocka_unit_test(one_low_one_at_every_place),
	    cmocka_unit_test(ties_of_a_large_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
