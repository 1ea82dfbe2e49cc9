/* Endpoints, tickets and the decision. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdatomic.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "pick/pick.h"
#include "pick/policy.h"
#include "pick/ticket.h"

#define S CLOCK_NS_PER_S
#define N 6

struct house {
	struct endpoints *e;
	struct tickets *t;
	struct pool pool;
	struct pool_endpoint endpoints[N];
	uint32_t slots[N];
	_Atomic uint32_t cursor;
	uint64_t seed;
};

static struct house build(const char *policy)
{
	struct house h = {.e = endpoints_new(N), .seed = 1};

	assert_non_null(h.e);
	h.t = tickets_new(h.e, 2, 64, 0x1234);
	assert_non_null(h.t);
	for (uint32_t i = 0; i < N; i++) {
		int slot = endpoint_alloc(h.e);

		assert_true(slot >= 0);
		h.slots[i] = h.endpoints[i].slot = (uint32_t)slot;
	}
	h.pool = (struct pool){.policy = policy_find(view_str(policy)), .n = N, .known = true};
	assert_non_null(h.pool.policy);
	return h;
}

static void settle(struct house *h)
{
	h->pool.endpoints = h->endpoints;
	h->pool.slots = h->slots;
	h->pool.all = h->slots;
	h->pool.nall = N;
}

static void demolish(struct house *h)
{
	tickets_free(h->t);
	endpoints_free(h->e);
}

static struct pick_result ask(struct house *h)
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

static int64_t open_on(struct house *h, uint32_t i)
{
	int64_t name = ticket_open(h->t, 0, h->slots[i], 0, 0, 0, 5 * S);

	assert_true(name > 0);
	return name;
}

static void least_loaded_counts_tickets_and_reports(void **state)
{
	struct house h = build("least-loaded");
	struct pick_result r;

	(void)state;
	settle(&h);
	for (uint32_t i = 0; i < N; i++)
		for (uint32_t k = 0; k < N - i; k++)
			(void)open_on(&h, i);
	/* 6 5 4 3 2 1 */
	r = ask(&h);
	assert_int_equal(r.verdict, PICK_OK);
	assert_int_equal(r.n, 3);
	assert_int_equal(r.index[0], 5);
	assert_int_equal(r.index[1], 4);
	assert_int_equal(r.index[2], 3);
	/* The last one has 4 of others' as well: 6 5 4 3 2 5 */
	endpoint_observe(h.e, h.slots[5], 2, 3, 0.5, 1, 10 * S);
	assert_true(endpoint_load(h.e, h.slots[5]) == 5);
	r = ask(&h);
	assert_int_equal(r.index[0], 4);
	assert_int_equal(r.index[1], 3);
	assert_int_equal(r.index[2], 2);
	/* A report of fewer than ours is not a negative load. */
	endpoint_observe(h.e, h.slots[0], 0, 1, -1, 6, 10 * S);
	assert_true(endpoint_load(h.e, h.slots[0]) == 6);
	/* Too old: our own count alone. */
	endpoint_forget(h.e, h.slots[5]);
	assert_true(endpoint_load(h.e, h.slots[5]) == 1);
	demolish(&h);
}

static void ties_fall_evenly(void **state)
{
	struct house h = build("least-loaded");
	unsigned first[N] = {0}, second[N] = {0};

	(void)state;
	settle(&h);
	(void)open_on(&h, 2);
	for (unsigned i = 0; i < 50000; i++) {
		struct pick_result r = ask(&h);

		first[r.index[0]]++;
		second[r.index[1]]++;
	}
	assert_int_equal(first[2], 0);
	assert_int_equal(second[2], 0);
	for (uint32_t i = 0; i < N; i++) {
		if (i == 2)
			continue;
		assert_in_range(first[i], 9500, 10500);
		assert_in_range(second[i], 9500, 10500);
	}
	demolish(&h);
}

static void never_names_what_cannot_serve(void **state)
{
	static const char *const policies[] = {"least-loaded", "round-robin", "random-of-two",
					       "shortest-wait"};
	static const unsigned flags[] = {ENDPOINT_MAINT,       ENDPOINT_DRAIN, ENDPOINT_DOWN,
					 ENDPOINT_SCRAPE_DEAD, ENDPOINT_GONE,  ENDPOINT_NOT_READY};

	(void)state;
	for (size_t p = 0; p < 4; p++) {
		struct house h = build(policies[p]);

		settle(&h);
		for (uint32_t i = 0; i < N; i++) {
			unsigned hits = 0;

			/* All but one are out, each for a reason of its own. */
			for (uint32_t k = 0; k < N; k++)
				endpoint_set_flags(h.e, h.slots[k], ~0U, k == i ? 0 : flags[k]);
			for (unsigned n = 0; n < 200; n++) {
				struct pick_result r = ask(&h);

				assert_int_equal(r.verdict, PICK_OK);
				assert_int_equal(r.n, 1);
				hits += r.index[0] == i;
			}
			assert_int_equal(hits, 200);
		}
		for (uint32_t k = 0; k < N; k++)
			endpoint_set_flags(h.e, h.slots[k], 0, flags[k]);
		assert_int_equal(ask(&h).verdict, PICK_NO_ENDPOINT);
		demolish(&h);
	}
}

static void full_is_not_down(void **state)
{
	struct house h = build("least-loaded");
	struct pick_result r;
	int64_t names[2];
	struct ticket_info info;

	(void)state;
	settle(&h);
	for (uint32_t i = 1; i < N; i++)
		endpoint_set_flags(h.e, h.slots[i], 0, ENDPOINT_DOWN);
	/* maxconn 4, two of them taken by others: two are left. */
	endpoint_set_room(h.e, h.slots[0], 4, 2);
	names[0] = open_on(&h, 0);
	assert_int_equal(ask(&h).verdict, PICK_OK);
	names[1] = open_on(&h, 0);
	assert_int_equal(endpoint_flags(h.e, h.slots[0]), ENDPOINT_FULL);
	r = ask(&h);
	assert_int_equal(r.verdict, PICK_ANY);
	assert_int_equal(r.n, 0);
	h.pool.when_full = POOL_FULL_REJECT;
	assert_int_equal(ask(&h).verdict, PICK_SATURATED);
	assert_int_equal(ticket_close(h.t, names[1], &info), 0);
	assert_int_equal(ask(&h).verdict, PICK_OK);
	/* Full and draining: waiting does not help. */
	(void)open_on(&h, 0);
	endpoint_set_flags(h.e, h.slots[0], 0, ENDPOINT_DRAIN);
	assert_int_equal(ask(&h).verdict, PICK_NO_ENDPOINT);
	(void)names[0];
	demolish(&h);
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
	struct house h = build("least-loaded");

	(void)state;
	settle(&h);
	racing = &h;
	h.pool.policy = &policy;
	for (uint32_t i = 1; i < N; i++)
		endpoint_set_flags(h.e, h.slots[i], 0, ENDPOINT_DOWN);
	endpoint_set_room(h.e, h.slots[0], 4, 4);
	assert_int_equal(ask(&h).verdict, PICK_ANY);
	h.pool.when_full = POOL_FULL_REJECT;
	endpoint_set_room(h.e, h.slots[0], 4, 4);
	assert_int_equal(ask(&h).verdict, PICK_SATURATED);
	demolish(&h);
}

static void a_pool_has_a_limit(void **state)
{
	struct house h = build("round-robin");

	(void)state;
	settle(&h);
	h.pool.max_inflight = 3;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(ask(&h).verdict, PICK_OK);
		(void)open_on(&h, i);
	}
	assert_int_equal(ask(&h).verdict, PICK_SATURATED);
	/* A part of the pool counts what the whole has. */
	h.pool.n = 1;
	assert_int_equal(ask(&h).verdict, PICK_SATURATED);
	h.pool.max_inflight = 4;
	assert_int_equal(ask(&h).verdict, PICK_OK);
	demolish(&h);
}

static void an_empty_pool(void **state)
{
	struct house h = build("least-loaded");

	(void)state;
	settle(&h);
	h.pool.n = 0;
	assert_int_equal(ask(&h).verdict, PICK_NO_ENDPOINT);
	h.pool.known = false;
	assert_int_equal(ask(&h).verdict, PICK_ANY);
	demolish(&h);
}

static void round_robin_takes_turns(void **state)
{
	struct house h = build("round-robin");
	unsigned hits[N] = {0};

	(void)state;
	settle(&h);
	for (uint32_t i = 0; i < 2 * N; i++)
		assert_int_equal(ask(&h).index[0], i % N);
	/* With two out, the others share alike. */
	endpoint_set_flags(h.e, h.slots[1], 0, ENDPOINT_DOWN);
	endpoint_set_flags(h.e, h.slots[2], 0, ENDPOINT_MAINT);
	for (unsigned i = 0; i < 4000; i++)
		hits[ask(&h).index[0]]++;
	for (uint32_t i = 0; i < N; i++)
		assert_in_range(hits[i], i == 1 || i == 2 ? 0 : 999, i == 1 || i == 2 ? 0 : 1001);
	demolish(&h);
}

static void two_at_random(void **state)
{
	struct house h = build("random-of-two");
	unsigned hits[N] = {0};

	(void)state;
	settle(&h);
	/* Loads 0 1 2 3 4 5: of two at random the lower wins, so shares fall as 5 4 3 2 1 0. */
	for (uint32_t i = 0; i < N; i++)
		for (uint32_t k = 0; k < i; k++)
			(void)open_on(&h, i);
	for (unsigned i = 0; i < 15000; i++)
		hits[ask(&h).index[0]]++;
	for (uint32_t i = 0; i < N; i++)
		assert_in_range(hits[i], (N - 1 - i) * 1000 - (i < N - 1 ? 200 : 0),
				(N - 1 - i) * 1000 + 200);
	demolish(&h);
}

static void shortest_wait_knows_who_is_slow(void **state)
{
	struct house h = build("shortest-wait");
	uint64_t now = 100 * S;

	(void)state;
	settle(&h);
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
		assert_int_equal(ask(&h).index[0], 1);
		(void)open_on(&h, 1);
	}
	(void)open_on(&h, 1);
	assert_int_equal(ask(&h).index[0], 0);
	demolish(&h);
}

static void aborted_requests_do_not_stop_the_clock(void **state)
{
	struct house h = build("shortest-wait");
	struct endpoint_view v;
	struct ticket_info info;
	uint32_t generation = endpoint_generation(h.e, h.slots[0]);
	uint64_t now = 100 * S;

	(void)state;
	settle(&h);
	/* It answers one in ten seconds; nine clients go away meanwhile, one each second. */
	for (unsigned i = 0; i < 20; i++) {
		int64_t name = open_on(&h, 0), last = open_on(&h, 0);

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
	demolish(&h);
}

static void drift_is_taken_off_after_a_minute(void **state)
{
	struct house h = build("least-loaded");
	uint32_t slot = h.slots[0];

	(void)state;
	settle(&h);
	for (unsigned i = 0; i < 5; i++)
		(void)open_on(&h, 0);
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
	demolish(&h);
}

static void tickets_close_once(void **state)
{
	struct house h = build("least-loaded");
	struct ticket_info info;
	int64_t name;

	(void)state;
	settle(&h);
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
	demolish(&h);
}

static void strange_names_close_nothing(void **state)
{
	struct house h = build("least-loaded");
	struct tickets *before = tickets_new(h.e, 2, 64, 0x4321);
	struct ticket_info info;
	int64_t name, old;

	(void)state;
	settle(&h);
	old = ticket_open(before, 0, h.slots[0], 0, 0, 0, 1);
	name = open_on(&h, 0);
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
	demolish(&h);
}

static void tickets_run_out_and_come_back(void **state)
{
	struct house h = build("least-loaded");
	struct ticket_info info;
	int64_t names[64];

	(void)state;
	settle(&h);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 64; i++)
			names[i] = open_on(&h, i % N);
		assert_int_equal(ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1), 0);
		assert_int_equal(tickets_exhausted(h.t), round + 1);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(ticket_close(h.t, names[i], &info), 0);
	}
	assert_int_equal(tickets_open(h.t), 0);
	demolish(&h);
}

static void lost_tickets_are_found_by_key(void **state)
{
	struct house h = build("least-loaded");
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
	settle(&h);
	assert_int_equal(tickets_reclaim(h.t, lost, 4), 1);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 0);
	assert_int_equal(ticket_close(h.t, late, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, twin, &info), 0);
	assert_int_equal(ticket_close(h.t, other, &info), 0);
	assert_int_equal(ticket_close(h.t, old, &info), 0);
	assert_int_equal(tickets_open(h.t), 0);
	demolish(&h);
}

static void old_tickets_expire(void **state)
{
	struct house h = build("least-loaded");
	struct ticket_info info;
	int64_t old, young;

	(void)state;
	settle(&h);
	old = ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1 * S);
	young = ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 90 * S);
	assert_int_equal(tickets_expire(h.t, 100 * S, 60 * S, 1000), 1);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 1);
	assert_int_equal(ticket_close(h.t, old, &info), -ENOENT);
	assert_int_equal(ticket_close(h.t, young, &info), 0);
	demolish(&h);
}

static void a_process_that_cannot_tell_any_more(void **state)
{
	struct house h = build("least-loaded");
	struct ticket_info info;
	int64_t mine, other, young, nobody;

	(void)state;
	settle(&h);
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
	demolish(&h);
}

static void a_slot_that_changed_hands(void **state)
{
	struct house h = build("least-loaded");
	struct ticket_info info;
	int64_t name = open_on(&h, 0);
	int again;

	(void)state;
	settle(&h);
	endpoint_release(h.e, h.slots[0]);
	again = endpoint_alloc(h.e);
	assert_int_equal(again, h.slots[0]);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 0);
	(void)!ticket_open(h.t, 0, h.slots[0], 0, 0, 0, 1);
	/* The old owner's request ends: the new one's count stays. */
	assert_int_equal(ticket_close(h.t, name, &info), 0);
	assert_int_equal(endpoint_open(h.e, h.slots[0]), 1);
	demolish(&h);
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
		int64_t name = ticket_open(r->h->t, 0, r->h->slots[i % N], i, 0, 0, 1);

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
	struct house h = build("least-loaded");
	struct race r = {.h = &h, .rounds = 200000};
	struct ticket_info info;
	pthread_t thread;

	(void)state;
	settle(&h);
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
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(endpoint_open(h.e, h.slots[i]), 0);
	demolish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(least_loaded_counts_tickets_and_reports),
	    cmocka_unit_test(ties_fall_evenly),
	    cmocka_unit_test(never_names_what_cannot_serve),
	    cmocka_unit_test(full_is_not_down),
	    cmocka_unit_test(room_that_comes_late_is_no_outage),
	    cmocka_unit_test(a_pool_has_a_limit),
	    cmocka_unit_test(an_empty_pool),
	    cmocka_unit_test(round_robin_takes_turns),
	    cmocka_unit_test(two_at_random),
	    cmocka_unit_test(shortest_wait_knows_who_is_slow),
	    cmocka_unit_test(aborted_requests_do_not_stop_the_clock),
	    cmocka_unit_test(drift_is_taken_off_after_a_minute),
	    cmocka_unit_test(tickets_close_once),
	    cmocka_unit_test(strange_names_close_nothing),
	    cmocka_unit_test(tickets_run_out_and_come_back),
	    cmocka_unit_test(lost_tickets_are_found_by_key),
	    cmocka_unit_test(old_tickets_expire),
	    cmocka_unit_test(a_process_that_cannot_tell_any_more),
	    cmocka_unit_test(a_slot_that_changed_hands),
	    cmocka_unit_test(the_table_of_endpoints_has_an_end),
	    cmocka_unit_test(opening_and_closing_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
