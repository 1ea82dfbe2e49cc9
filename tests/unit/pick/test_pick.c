/* The decision: who is named, in which order, and what is said when nobody can be. */
#include "pick/pick.h"

#include "unit/pick/house.h"

static void least_loaded_counts_tickets_and_reports(void **state)
{
	struct house h = house_build("least-loaded");
	struct pick_result r;

	(void)state;
	house_settle(&h);
	for (uint32_t i = 0; i < HOUSE_N; i++)
		for (uint32_t k = 0; k < HOUSE_N - i; k++)
			(void)house_open(&h, i);
	/* 6 5 4 3 2 1 */
	r = house_ask(&h);
	assert_int_equal(r.verdict, PICK_OK);
	assert_int_equal(r.n, 3);
	assert_int_equal(r.index[0], 5);
	assert_int_equal(r.index[1], 4);
	assert_int_equal(r.index[2], 3);
	/* The last one has 4 of others' as well: 6 5 4 3 2 5 */
	endpoint_observe(h.e, h.slots[5], 2, 3, 0.5, 1, 10 * S);
	assert_true(endpoint_load(h.e, h.slots[5]) == 5);
	r = house_ask(&h);
	assert_int_equal(r.index[0], 4);
	assert_int_equal(r.index[1], 3);
	assert_int_equal(r.index[2], 2);
	/* A report of fewer than ours is not a negative load. */
	endpoint_observe(h.e, h.slots[0], 0, 1, -1, 6, 10 * S);
	assert_true(endpoint_load(h.e, h.slots[0]) == 6);
	/* Too old: our own count alone. */
	endpoint_forget(h.e, h.slots[5]);
	assert_true(endpoint_load(h.e, h.slots[5]) == 1);
	house_demolish(&h);
}

static void ties_fall_evenly(void **state)
{
	struct house h = house_build("least-loaded");
	unsigned first[HOUSE_N] = {0}, second[HOUSE_N] = {0};

	(void)state;
	house_settle(&h);
	(void)house_open(&h, 2);
	for (unsigned i = 0; i < 50000; i++) {
		struct pick_result r = house_ask(&h);

		first[r.index[0]]++;
		second[r.index[1]]++;
	}
	assert_int_equal(first[2], 0);
	assert_int_equal(second[2], 0);
	for (uint32_t i = 0; i < HOUSE_N; i++) {
		if (i == 2)
			continue;
		assert_in_range(first[i], 9500, 10500);
		assert_in_range(second[i], 9500, 10500);
	}
	house_demolish(&h);
}

static void never_names_what_cannot_serve(void **state)
{
	static const char *const policies[] = {"least-loaded", "round-robin", "random-of-two",
					       "shortest-wait"};
	static const unsigned flags[] = {ENDPOINT_MAINT,       ENDPOINT_DRAIN, ENDPOINT_DOWN,
					 ENDPOINT_SCRAPE_DEAD, ENDPOINT_GONE,  ENDPOINT_NOT_READY,
					 ENDPOINT_BACKUP};

	(void)state;
	for (size_t p = 0; p < 4; p++) {
		struct house h = house_build(policies[p]);

		house_settle(&h);
		for (uint32_t i = 0; i < HOUSE_N; i++) {
			unsigned hits = 0;

			/* All but one are out, each for a reason of its own. */
			for (uint32_t k = 0; k < HOUSE_N; k++)
				endpoint_set_flags(h.e, h.slots[k], ~0U, k == i ? 0 : flags[k]);
			for (unsigned n = 0; n < 200; n++) {
				struct pick_result r = house_ask(&h);

				assert_int_equal(r.verdict, PICK_OK);
				assert_int_equal(r.n, 1);
				hits += r.index[0] == i;
			}
			assert_int_equal(hits, 200);
		}
		for (uint32_t k = 0; k < HOUSE_N; k++)
			endpoint_set_flags(h.e, h.slots[k], 0, flags[k]);
		assert_int_equal(house_ask(&h).verdict, PICK_NO_ENDPOINT);
		house_demolish(&h);
	}
}

static void full_is_not_down(void **state)
{
	struct house h = house_build("least-loaded");
	struct pick_result r;
	int64_t names[2];
	struct ticket_info info;

	(void)state;
	house_settle(&h);
	for (uint32_t i = 1; i < HOUSE_N; i++)
		endpoint_set_flags(h.e, h.slots[i], 0, ENDPOINT_DOWN);
	/* maxconn 4, two of them taken by others: two are left. */
	endpoint_set_room(h.e, h.slots[0], 4, 2);
	names[0] = house_open(&h, 0);
	assert_int_equal(house_ask(&h).verdict, PICK_OK);
	names[1] = house_open(&h, 0);
	assert_int_equal(endpoint_flags(h.e, h.slots[0]), ENDPOINT_FULL);
	r = house_ask(&h);
	assert_int_equal(r.verdict, PICK_ANY);
	assert_int_equal(r.n, 0);
	h.pool.when_full = POOL_FULL_REJECT;
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	assert_int_equal(ticket_close(h.t, names[1], &info), 0);
	assert_int_equal(house_ask(&h).verdict, PICK_OK);
	/* Full and draining: waiting does not help. */
	(void)house_open(&h, 0);
	endpoint_set_flags(h.e, h.slots[0], 0, ENDPOINT_DRAIN);
	assert_int_equal(house_ask(&h).verdict, PICK_NO_ENDPOINT);
	(void)names[0];
	house_demolish(&h);
}

static struct house *racing;

/* While the policy looked all were full; before the verdict a line closed a ticket. */
static uint32_t somebody_finishes(const struct pool *pool, const struct endpoints *e,
				  const struct pick_env *env, uint32_t index[PICK_MAX])
{
	(void)pool;
	(void)e;
	(void)env;
	(void)index;
	endpoint_set_room(racing->e, racing->slots[0], 4, 0);
	return 0;
}

static void room_that_comes_late_is_no_outage(void **state)
{
	const struct policy policy = {"racing", somebody_finishes};
	struct house h = house_build("least-loaded");

	(void)state;
	house_settle(&h);
	racing = &h;
	h.pool.policy = &policy;
	for (uint32_t i = 1; i < HOUSE_N; i++)
		endpoint_set_flags(h.e, h.slots[i], 0, ENDPOINT_DOWN);
	endpoint_set_room(h.e, h.slots[0], 4, 4);
	assert_int_equal(house_ask(&h).verdict, PICK_ANY);
	h.pool.when_full = POOL_FULL_REJECT;
	endpoint_set_room(h.e, h.slots[0], 4, 4);
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	house_demolish(&h);
}

/* Four requests whose end was never told fill a server of maxconn 4 for as long as their tickets
 * last; once HAProxy and the server both know nothing of them, they fill nothing any more. */
static void what_was_lost_fills_nothing(void **state)
{
	struct house h = house_build("least-loaded");
	uint32_t slot = h.slots[0];

	(void)state;
	house_settle(&h);
	h.pool.when_full = POOL_FULL_REJECT;
	h.pool.max_inflight = 5;
	for (uint32_t i = 1; i < HOUSE_N; i++)
		endpoint_set_flags(h.e, h.slots[i], 0, ENDPOINT_DOWN);
	for (unsigned i = 0; i < 4; i++)
		(void)house_open(&h, 0);
	for (uint64_t t = 1; t <= 80; t++) {
		endpoint_set_held(h.e, slot, 0);
		endpoint_set_room(h.e, slot, 4, 0);
		if (t < 60)
			assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
		endpoint_observe(h.e, slot, 0, 0, -1, endpoint_open(h.e, slot), t * S);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(house_ask(&h).verdict, PICK_OK);
		(void)house_open(&h, 0);
	}
	assert_int_equal(endpoint_flags(h.e, slot), ENDPOINT_FULL);
	/* HAProxy has what is new, and two of others': room for these is there no more. Which of
	 * the six are ours it does not say: two of ours are lost for certain, six are in flight. */
	h.pool.max_inflight = 7;
	endpoint_set_held(h.e, slot, 6);
	endpoint_set_room(h.e, slot, 8, 0);
	assert_int_equal(house_ask(&h).verdict, PICK_OK);
	(void)house_open(&h, 0);
	(void)house_open(&h, 0);
	assert_int_equal(endpoint_flags(h.e, slot), ENDPOINT_FULL);
	house_demolish(&h);
}

static void lost_tickets_are_not_in_flight(void **state)
{
	struct house h = house_build("least-loaded");

	(void)state;
	house_settle(&h);
	h.pool.max_inflight = 4;
	for (unsigned i = 0; i < 4; i++)
		(void)house_open(&h, i & 1);
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	for (uint64_t t = 1; t <= 80; t++) {
		endpoint_observe(h.e, h.slots[0], 0, 0, -1, 2, t * S);
		endpoint_observe(h.e, h.slots[1], 0, 3, -1, 2, t * S); /* others' are not ours */
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(house_ask(&h).verdict, PICK_OK);
		(void)house_open(&h, 2);
	}
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	/* The server knows of them after all. */
	endpoint_observe(h.e, h.slots[0], 0, 2, -1, 2, 81 * S);
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	house_demolish(&h);
}

static void a_pool_has_a_limit(void **state)
{
	struct house h = house_build("round-robin");

	(void)state;
	house_settle(&h);
	h.pool.max_inflight = 3;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(house_ask(&h).verdict, PICK_OK);
		(void)house_open(&h, i);
	}
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	/* A part of the pool counts what the whole has. */
	h.pool.n = 1;
	assert_int_equal(house_ask(&h).verdict, PICK_SATURATED);
	h.pool.max_inflight = 4;
	assert_int_equal(house_ask(&h).verdict, PICK_OK);
	house_demolish(&h);
}

static void an_empty_pool(void **state)
{
	struct house h = house_build("least-loaded");

	(void)state;
	house_settle(&h);
	h.pool.n = 0;
	assert_int_equal(house_ask(&h).verdict, PICK_NO_ENDPOINT);
	h.pool.known = false;
	assert_int_equal(house_ask(&h).verdict, PICK_ANY);
	house_demolish(&h);
}

static void round_robin_takes_turns(void **state)
{
	struct house h = house_build("round-robin");
	unsigned hits[HOUSE_N] = {0};

	(void)state;
	house_settle(&h);
	for (uint32_t i = 0; i < 2 * HOUSE_N; i++)
		assert_int_equal(house_ask(&h).index[0], i % HOUSE_N);
	/* With two out, the others share alike. */
	endpoint_set_flags(h.e, h.slots[1], 0, ENDPOINT_DOWN);
	endpoint_set_flags(h.e, h.slots[2], 0, ENDPOINT_MAINT);
	for (unsigned i = 0; i < 4000; i++)
		hits[house_ask(&h).index[0]]++;
	for (uint32_t i = 0; i < HOUSE_N; i++)
		assert_in_range(hits[i], i == 1 || i == 2 ? 0 : 999, i == 1 || i == 2 ? 0 : 1001);
	house_demolish(&h);
}

static void two_at_random(void **state)
{
	struct house h = house_build("random-of-two");
	unsigned hits[HOUSE_N] = {0};

	(void)state;
	house_settle(&h);
	/* Loads 0 1 2 3 4 5: of two at random the lower wins, so shares fall as 5 4 3 2 1 0. */
	for (uint32_t i = 0; i < HOUSE_N; i++)
		for (uint32_t k = 0; k < i; k++)
			(void)house_open(&h, i);
	for (unsigned i = 0; i < 15000; i++)
		hits[house_ask(&h).index[0]]++;
	for (uint32_t i = 0; i < HOUSE_N; i++)
		assert_in_range(hits[i], (HOUSE_N - 1 - i) * 1000 - (i < HOUSE_N - 1 ? 200 : 0),
				(HOUSE_N - 1 - i) * 1000 + 200);
	house_demolish(&h);
}

static void shortest_wait_knows_who_is_slow(void **state)
{
	struct house h = house_build("shortest-wait");
	uint64_t now = 100 * S;

	(void)state;
	house_settle(&h);
	h.pool.n = 2;
	/* Slot 0 finishes one a second, slot 1 four. */
	for (unsigned i = 0; i < 40; i++) {
		endpoint_finished(h.e, h.slots[0], endpoint_generation(h.e, h.slots[0]), now,
				  now + S, ENDPOINT_ANSWERED);
		endpoint_finished(h.e, h.slots[1], endpoint_generation(h.e, h.slots[1]), now,
				  now + S / 4, ENDPOINT_ANSWERED);
		/* Failures are quick and prove nothing. */
		endpoint_finished(h.e, h.slots[0], endpoint_generation(h.e, h.slots[0]), now,
				  now + 1, ENDPOINT_FAILED);
		now += S;
	}
	/* 1/1 against (n+1)/4: the fast one takes three before the slow one gets any. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(house_ask(&h).index[0], 1);
		(void)house_open(&h, 1);
	}
	(void)house_open(&h, 1);
	assert_int_equal(house_ask(&h).index[0], 0);
	house_demolish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(least_loaded_counts_tickets_and_reports),
	    cmocka_unit_test(ties_fall_evenly),
	    cmocka_unit_test(never_names_what_cannot_serve),
	    cmocka_unit_test(full_is_not_down),
	    cmocka_unit_test(room_that_comes_late_is_no_outage),
	    cmocka_unit_test(what_was_lost_fills_nothing),
	    cmocka_unit_test(lost_tickets_are_not_in_flight),
	    cmocka_unit_test(a_pool_has_a_limit),
	    cmocka_unit_test(an_empty_pool),
	    cmocka_unit_test(round_robin_takes_turns),
	    cmocka_unit_test(two_at_random),
	    cmocka_unit_test(shortest_wait_knows_who_is_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
