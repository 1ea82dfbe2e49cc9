/*
 * Requests that HAProxy ended without a word: given up when it has fewer than were asked for, and
 * never while it may have them.
 */
#include "serve/silent.h"

#include "base/clock.h"
#include "house.h"

#define S CLOCK_NS_PER_S

enum { HAPROXY = 77, OTHER = 78 };

struct scene {
	struct endpoints *e;
	struct tickets *t;
	struct silent *s;
	uint32_t slots[2];
};

static struct scene begin(void)
{
	struct scene s = {.e = endpoints_new(4)};

	for (size_t i = 0; i < 2; i++)
		s.slots[i] = (uint32_t)endpoint_alloc(s.e);
	s.t = tickets_new(s.e, 2, 64, 1);
	assert_non_null(s.t);
	s.s = silent_new(s.e, s.t);
	assert_non_null(s.s);
	return s;
}

static void end(struct scene *s)
{
	s->s = silent_free(s->s);
	tickets_free(s->t);
	endpoints_free(s->e);
}

static int64_t ask_for(struct scene *s, size_t slot, uint32_t peer, uint64_t now_ns)
{
	int64_t name = ticket_open(s->t, slot & 1, s->slots[slot], 0, 0, peer, now_ns);

	assert_true(name > 0);
	return name;
}

/* HAProxy says that it has @first and @second at the two servers. */
static void polled(struct scene *s, uint32_t first, uint32_t second, uint64_t now_ns)
{
	endpoint_set_held(s->e, s->slots[0], first);
	endpoint_set_held(s->e, s->slots[1], second);
	silent_tick(s->s, HAPROXY, now_ns);
	silent_tick(s->s, HAPROXY, now_ns); /* one word counts once */
}

static void test_given_up(void **state)
{
	struct scene s = begin();

	(void)state;
	for (int i = 0; i < 5; i++)
		ask_for(&s, 0, HAPROXY, 10 * S);
	ask_for(&s, 1, HAPROXY, 10 * S);
	for (uint64_t t = 11; t < 13; t++) /* as young as this they may be on their way */
		polled(&s, 0, 0, t * S);
	polled(&s, 3, 1, 13 * S);
	polled(&s, 2, 1, 14 * S); /* of the surpluses the smallest counts */
	assert_int_equal(silent_given_up(s.s), 0);
	polled(&s, 3, 1, 15 * S);
	assert_int_equal(silent_given_up(s.s), 2);
	assert_int_equal(endpoint_open(s.e, s.slots[0]), 3);
	assert_int_equal(endpoint_open(s.e, s.slots[1]), 1);
	for (uint64_t t = 16; t < 30; t++)
		polled(&s, 3, 1, t * S);
	assert_int_equal(silent_given_up(s.s), 2);
	for (uint64_t t = 30; t < 33; t++)
		polled(&s, 0, 0, t * S);
	assert_int_equal(tickets_open(s.t), 0);
	end(&s);
}

/* What is asked for meanwhile hides nothing, and is not taken for what is over. */
static void test_busy(void **state)
{
	struct scene s = begin();
	int64_t young = 0;

	(void)state;
	ask_for(&s, 0, HAPROXY, 10 * S); /* without a word */
	ask_for(&s, 0, HAPROXY, 10 * S); /* a long stream */
	for (uint64_t t = 13; t < 16; t++) {
		struct ticket_info info;

		if (young)
			assert_int_equal(ticket_close(s.t, young, &info), 0);
		young = ask_for(&s, 0, HAPROXY, t * S - S / 2);
		polled(&s, 1, 0, t * S); /* it has not got the young one yet */
	}
	assert_int_equal(silent_given_up(s.s), 1);
	assert_int_equal(endpoint_open(s.e, s.slots[0]), 2);
	end(&s);
}

static void test_between_two_tries(void **state)
{
	struct scene s = begin();

	(void)state;
	ask_for(&s, 0, HAPROXY, 10 * S);
	for (uint64_t t = 13; t < 60; t++)
		polled(&s, t % 3 == 0, 0, t * S);
	assert_int_equal(silent_given_up(s.s), 0);
	end(&s);
}

static void test_not_known(void **state)
{
	struct scene s = begin();

	(void)state;
	ask_for(&s, 0, OTHER, 10 * S); /* another HAProxy's, and one by TCP */
	ask_for(&s, 0, 0, 10 * S);
	for (uint64_t t = 13; t < 30; t++)
		polled(&s, 0, 0, t * S);
	assert_int_equal(tickets_open(s.t), 2);
	ask_for(&s, 1, HAPROXY, 30 * S);
	for (uint64_t t = 33; t < 50; t++)
		polled(&s, 0, ENDPOINT_HELD_UNKNOWN, t * S);
	assert_int_equal(tickets_open(s.t), 3);
	for (uint64_t t = 50; t < 52; t++)
		polled(&s, 0, 0, t * S);
	/* Another worker's word has its own beginning. */
	silent_tick(s.s, OTHER, 52 * S);
	assert_int_equal(tickets_open(s.t), 3);
	silent_tick(s.s, 0, 53 * S);
	assert_int_equal(tickets_open(s.t), 3);
	for (uint64_t t = 54; t < 56; t++)
		polled(&s, 0, 0, t * S);
	assert_int_equal(tickets_open(s.t), 3);
	polled(&s, 0, 0, 56 * S);
	assert_int_equal(tickets_open(s.t), 2);
	end(&s);
}

/* The slot has become another server's: what the one before it had is in nobody's count. */
static void test_another_owner(void **state)
{
	struct scene s = begin();

	(void)state;
	ask_for(&s, 0, HAPROXY, 10 * S);
	endpoint_release(s.e, s.slots[0]);
	for (int i = 0; i < 4 && (uint32_t)endpoint_alloc(s.e) != s.slots[0]; i++)
		;
	ask_for(&s, 0, HAPROXY, 10 * S);
	for (uint64_t t = 13; t < 30; t++)
		polled(&s, 1, 0, t * S);
	assert_int_equal(silent_given_up(s.s), 0);
	assert_int_equal(endpoint_open(s.e, s.slots[0]), 1);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_given_up),          cmocka_unit_test(test_busy),
	    cmocka_unit_test(test_between_two_tries), cmocka_unit_test(test_not_known),
	    cmocka_unit_test(test_another_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
