/* Tickets: opened, closed once, lost, expired; by two threads at a time. */
#include "pick/ticket.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "unit/pick/house.h"

static void tickets_close_once(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t name;

	(void)state;
	house_settle(&h);
	name = ticket_open(h.t, 1, h.slots[3], 42, 0, 0, 7 * S);
	assert_true(name > 0);
	assert_int_equal(endpoint_open(h.e, h.slots[3]), 1);
	assert_int_equal(tickets_open(h.t), 1);
	assert_int_equal(ticket_close(h.t, name, &info), 0);
	assert_int_equal(info.slot, h.slots[3]);
	assert_int_equal(info.model, 42);
	assert_true(info.opened_ns == 7 * S);
	assert_int_equal(endpoint_open(h.e, h.slots[3]), 0);
	assert_int_equal(ticket_close(h.t, name, &info), -ENOENT);
	assert_int_equal(endpoint_open(h.e, h.slots[3]), 0);
	house_demolish(&h);
}

static void strange_names_close_nothing(void **state)
{
	struct house h = house_build("least-loaded");
	struct tickets *before = tickets_new(h.e, 2, 64, 0x4321);
	struct ticket_info info;
	int64_t name, old;

	(void)state;
	house_settle(&h);
	old = ticket_open(before, 0, h.slots[0], 0, 0, 0, 1);
	name = house_open(&h, 0);
	assert_int_not_equal(old, name);
	assert_int_equal(ticket_close(h.t, old, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, 0, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, -name, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, INT64_MAX, &info), -ENOENT);
	for (unsigned bit = 0; bit < 63; bit++)
		assert_int_equal(ticket_close(h.t, name ^ (INT64_C(1) << bit), &info), -ENOENT);
	assert_int_equal(tickets_open(h.t), 1);
	assert_int_equal(ticket_close(h.t, name, &info), 0);
	tickets_free(before);
	house_demolish(&h);
}

static void tickets_run_out_and_come_back(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t names[64];

	(void)state;
	house_settle(&h);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 64; i++)
			names[i] = house_open(&h, i % HOUSE_N);
		assert_int_equal(ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1), 0);
		assert_int_equal(tickets_exhausted(h.t), round + 1);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(ticket_close(h.t, names[i], &info), 0);
	}
	assert_int_equal(tickets_open(h.t), 0);
	house_demolish(&h);
}

static void lost_tickets_are_found_by_key(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t late = ticket_open(h.t, 0, h.slots[0], 0, 7, 0, 50 * S);
	int64_t twin = ticket_open(h.t, 1, h.slots[1], 0, 8, 0, 50 * S);
	int64_t other = ticket_open(h.t, 0, h.slots[1], 0, 8, 0, 51 * S);
	int64_t old = ticket_open(h.t, 0, h.slots[2], 0, 9, 0, 10 * S);
	struct ticket_lost lost[] = {
	    {.key = 9, .since_ns = 40 * S}, /* that one is another request's */
	    {.key = 8, .since_ns = 40 * S}, /* which of the two? */
	    {.key = 7, .since_ns = 40 * S},
	    {.key = 6, .since_ns = 40 * S},
	};

	(void)state;
	house_settle(&h);
	assert_int_equal(tickets_reclaim(h.t, lost, 4), 1);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 0);
	assert_int_equal(ticket_close(h.t, late, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, twin, &info), 0);
	assert_int_equal(ticket_close(h.t, other, &info), 0);
	assert_int_equal(ticket_close(h.t, old, &info), 0);
	assert_int_equal(tickets_open(h.t), 0);
	house_demolish(&h);
}

/* Two HAProxys that ask one agent number their requests alike. */
static void lost_tickets_are_those_of_the_process_that_told(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t of_a = ticket_open(h.t, 0, h.slots[0], 0, 7, 21, 50 * S);
	int64_t of_b = ticket_open(h.t, 0, h.slots[1], 0, 7, 22, 50 * S);
	int64_t of_b_only = ticket_open(h.t, 0, h.slots[1], 0, 8, 22, 50 * S);
	int64_t nobodys = ticket_open(h.t, 0, h.slots[2], 0, 9, 0, 50 * S);
	struct ticket_lost lost[] = {
	    {.key = 7, .since_ns = 40 * S, .peer = 23}, /* asked for nothing that is open */
	    {.key = 9, .since_ns = 40 * S, .peer = 21}, /* may be its own */
	    {.key = 8, .since_ns = 40 * S, .peer = 21},
	    {.key = 7, .since_ns = 40 * S, .peer = 22},
	};
	struct ticket_lost unknown = {.key = 8, .since_ns = 40 * S};

	(void)state;
	house_settle(&h);
	assert_int_equal(tickets_reclaim(h.t, lost, 4), 2);
	assert_int_equal(ticket_close(h.t, of_b, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, nobodys, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, of_a, &info), 0);
	assert_int_equal(tickets_reclaim(h.t, &unknown, 1), 1);
	assert_int_equal(ticket_close(h.t, of_b_only, &info), -ENOENT);
	assert_int_equal(tickets_open(h.t), 0);
	house_demolish(&h);
}

static void old_tickets_expire(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t old, young;

	(void)state;
	house_settle(&h);
	old = ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1 * S);
	young = ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 90 * S);
	assert_int_equal(tickets_expire(h.t, 100 * S, 60 * S, 1000), 1);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 1);
	assert_int_equal(ticket_close(h.t, old, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, young, &info), 0);
	house_demolish(&h);
}

static void a_process_that_cannot_tell_any_more(void **state)
{
	struct house h = house_build("least-loaded");
	struct ticket_info info;
	int64_t mine, other, young, nobody;

	(void)state;
	house_settle(&h);
	mine = ticket_open(h.t, 0, h.slots[0], 0, 0, 77, 1 * S);
	other = ticket_open(h.t, 0, h.slots[0], 0, 0, 78, 1 * S);
	young = ticket_open(h.t, 1, h.slots[1], 0, 0, 77, 9 * S);
	nobody = ticket_open(h.t, 1, h.slots[1], 0, 0, 0, 1 * S);
	assert_int_equal(tickets_abandon(h.t, 77, 5 * S), 1);
	assert_int_equal(tickets_open(h.t), 3);
	assert_int_equal(ticket_close(h.t, mine, &info), -ENOENT);
	assert_int_equal(tickets_abandon(h.t, 77, 10 * S), 1);
	assert_int_equal(ticket_close(h.t, young, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, other, &info), 0);
	assert_int_equal(ticket_close(h.t, nobody, &info), 0);
	house_demolish(&h);
}

static double load(const struct house *h, unsigned i)
{
	return endpoint_load(h->e, h->slots[i]);
}

/* Their requests may go on, and the server will say so, but only at its next report. */
static void what_is_given_up_counts_until_the_next_report(void **state)
{
	struct house h = house_build("least-loaded");
	const uint32_t slot[] = {h.slots[0], h.slots[1]}; /* the first one reports */

	(void)state;
	endpoint_observe(h.e, slot[0], 0, 5, 0, 0, 1 * S);
	for (int i = 0; i < 2; i++) {
		assert_true(ticket_open(h.t, 0, slot[i], 0, 0, 77, 2 * S) > 0);
		assert_true(ticket_open(h.t, 0, slot[i], 0, 0, 78, 2 * S) > 0);
	}
	assert_true(load(&h, 0) == 7 && load(&h, 1) == 2);
	assert_int_equal(tickets_abandon(h.t, 77, 5 * S), 2);
	assert_true(load(&h, 0) == 7 && load(&h, 1) == 1);
	assert_int_equal(tickets_abandon_others(h.t, 1, 5 * S), 2);
	assert_true(load(&h, 0) == 7 && load(&h, 1) == 0);
	endpoint_observe(h.e, slot[0], 0, 6, 0, 0, 6 * S);
	assert_true(load(&h, 0) == 6);
	/* these are over: HAProxy has them no more */
	assert_true(ticket_open(h.t, 0, slot[0], 0, 0, 77, 7 * S) > 0);
	assert_int_equal(tickets_abandon_at(h.t, 77, slot[0], 8 * S, 1), 1);
	assert_true(load(&h, 0) == 6);
	/* a report that is too old to count is no report; nor is that of the slot's owner before */
	assert_true(ticket_open(h.t, 0, slot[0], 0, 0, 77, 9 * S) > 0);
	endpoint_forget(h.e, slot[0]);
	assert_int_equal(tickets_abandon(h.t, 77, 10 * S), 1);
	assert_true(load(&h, 0) == 0);
	endpoint_observe(h.e, slot[0], 0, 1, 0, 0, 11 * S);
	endpoint_carry(h.e, slot[0], endpoint_generation(h.e, slot[0]) + 1);
	assert_true(load(&h, 0) == 1);
	house_demolish(&h);
}

/* One worker opens, the control thread closes, as fast as they can: nothing is lost. */
struct race {
	struct house *h;
	int64_t ring[1024];
	_Atomic uint32_t head, tail;
	unsigned rounds;
};

static void *opener(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < r->rounds;) {
		int64_t name = ticket_open(r->h->t, 0, r->h->slots[i % HOUSE_N], i, 0, 0, 1);

		if (name == 0)
			continue;
		r->ring[r->head % 1024] = name;
		atomic_fetch_add(&r->head, 1);
		i++;
	}
	return NULL;
}

static void opening_and_closing_at_once(void **state)
{
	struct house h = house_build("least-loaded");
	struct race r = {.h = &h, .rounds = 200000};
	struct ticket_info info;
	pthread_t thread;

	(void)state;
	house_settle(&h);
	assert_int_equal(pthread_create(&thread, NULL, opener, &r), 0);
	for (unsigned i = 0; i < r.rounds; i++) {
		while (atomic_load(&r.tail) == atomic_load(&r.head))
			;
		assert_int_equal(ticket_close(h.t, r.ring[r.tail % 1024], &info), 0);
		assert_int_equal(info.model, i);
		atomic_fetch_add(&r.tail, 1);
	}
	pthread_join(thread, NULL);
	assert_int_equal(tickets_open(h.t), 0);
	for (uint32_t i = 0; i < HOUSE_N; i++)
		assert_int_equal(endpoint_open(h.e, h.slots[i]), 0);
	house_demolish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tickets_close_once),
	    cmocka_unit_test(strange_names_close_nothing),
	    cmocka_unit_test(tickets_run_out_and_come_back),
	    cmocka_unit_test(lost_tickets_are_found_by_key),
	    cmocka_unit_test(lost_tickets_are_those_of_the_process_that_told),
	    cmocka_unit_test(old_tickets_expire),
	    cmocka_unit_test(a_process_that_cannot_tell_any_more),
	    cmocka_unit_test(what_is_given_up_counts_until_the_next_report),
	    cmocka_unit_test(opening_and_closing_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
