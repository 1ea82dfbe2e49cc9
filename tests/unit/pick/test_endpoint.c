/* What is known of an endpoint: its load, its rate, its slot. */
#include "pick/endpoint.h"

#include <errno.h>

#include "unit/pick/house.h"

static void aborted_requests_do_not_stop_the_clock(void **state)
{
	struct house h = house_build("shortest-wait");
	struct endpoint_view v;
	struct ticket_info info;
	uint32_t generation = endpoint_generation(h.e, h.slots[0]);
	uint64_t now = 100 * S;

	(void)state;
	house_settle(&h);
	/* It answers one in ten seconds; nine clients go away meanwhile, one each second. */
	for (unsigned i = 0; i < 20; i++) {
		int64_t name = house_open(&h, 0), last = house_open(&h, 0);

		for (unsigned k = 1; k < 10; k++)
			endpoint_finished(h.e, h.slots[0], generation, now, now + k * S,
					  ENDPOINT_ABORTED);
		assert_int_equal(ticket_close(h.t, name, &info), 0);
		endpoint_finished(h.e, h.slots[0], generation, now, now + 10 * S,
				  ENDPOINT_ANSWERED);
		assert_int_equal(ticket_close(h.t, last, &info), 0);
		now += 10 * S;
	}
	endpoint_view(h.e, h.slots[0], &v);
	assert_true(v.rate > 0.08 && v.rate < 0.12);
	house_demolish(&h);
}

static void drift_is_taken_off_after_a_minute(void **state)
{
	struct house h = house_build("least-loaded");
	uint32_t slot = h.slots[0];

	(void)state;
	house_settle(&h);
	for (unsigned i = 0; i < 5; i++)
		(void)house_open(&h, 0);
	/* The server knows of two all the while: three were lost, but who can tell at once? */
	for (uint64_t t = 1; t <= 59; t++) {
		endpoint_observe(h.e, slot, 0, 2, 0, 5, t * S);
		assert_true(endpoint_load(h.e, slot) == 5);
	}
	for (uint64_t t = 60; t <= 80; t++)
		endpoint_observe(h.e, slot, 0, 2, 0, 5, t * S);
	assert_true(endpoint_load(h.e, slot) == 2);
	/* One report that knows them all, and nothing is taken off. */
	endpoint_observe(h.e, slot, 1, 4, 0, 5, 81 * S);
	assert_true(endpoint_load(h.e, slot) == 5);
	house_demolish(&h);
}

/* A server whose figures stand still: what HAProxy has there is there, and counts. */
static void what_haproxy_holds_is_no_drift(void **state)
{
	struct house h = house_build("least-loaded");
	uint32_t slot = h.slots[0];
	struct endpoint_view v;

	(void)state;
	house_settle(&h);
	for (unsigned i = 0; i < 5; i++)
		(void)house_open(&h, 0);
	for (uint64_t t = 1; t <= 80; t++) {
		endpoint_set_held(h.e, slot, 5);
		endpoint_set_room(h.e, slot, 0, 0);
		endpoint_observe(h.e, slot, 0, 2, 0, 5, t * S);
		assert_true(endpoint_load(h.e, slot) == 5);
	}
	/* One of the five is not there: that one was lost, though the server lacks three. */
	endpoint_set_held(h.e, slot, 4);
	endpoint_set_room(h.e, slot, 0, 0);
	assert_true(endpoint_load(h.e, slot) == 4);
	endpoint_view(h.e, slot, &v);
	assert_true(v.drift == 1);
	/* HAProxy has none of them, or does not say any more. */
	endpoint_set_held(h.e, slot, 0);
	endpoint_set_room(h.e, slot, 0, 0);
	assert_true(endpoint_load(h.e, slot) == 2);
	endpoint_set_held(h.e, slot, 5);
	endpoint_set_room(h.e, slot, 0, 0);
	assert_true(endpoint_load(h.e, slot) == 5);
	endpoint_set_held(h.e, slot, ENDPOINT_HELD_UNKNOWN);
	endpoint_observe(h.e, slot, 0, 2, 0, 5, 81 * S);
	assert_true(endpoint_load(h.e, slot) == 2);
	house_demolish(&h);
}

static void a_slot_that_changed_hands(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t name = house_open(&h, 0);
	int again;

	(void)state;
	house_settle(&h);
	endpoint_release(h.e, h.slots[0]);
	again = endpoint_alloc(h.e);
	assert_int_equal(again, h.slots[0]);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 0);
	(void)!ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1);
	/* The old owner's request ends: the new one's count stays. */
	assert_int_equal(ticket_close(h.t, name, &info), 0);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 1);
	house_demolish(&h);
}

static void the_table_of_endpoints_has_an_end(void **state)
{
	struct endpoints *e = endpoints_new(2);

	(void)state;
	assert_int_equal(endpoint_alloc(e), 0);
	assert_int_equal(endpoint_alloc(e), 1);
	assert_int_equal(endpoint_alloc(e), -ENOSPC);
	endpoint_release(e, 0);
	assert_int_equal(endpoint_alloc(e), 0);
	endpoints_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(aborted_requests_do_not_stop_the_clock),
	    cmocka_unit_test(drift_is_taken_off_after_a_minute),
	    cmocka_unit_test(what_haproxy_holds_is_no_drift),
	    cmocka_unit_test(a_slot_that_changed_hands),
	    cmocka_unit_test(the_table_of_endpoints_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
