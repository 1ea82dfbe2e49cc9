/* Ends of requests that no line tells: what is made of tickets that HAProxy never learned, of
 * silence, of processes that died or were replaced. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "unit/serve/ear.h"

static void tickets_that_haproxy_never_learned(void **state)
{
	struct ear *e = build();
	uint64_t key = logline_key_of_number(77);

	(void)state;
	(void)open_on(e, 0, key);
	(void)open_on(e, 1, logline_key_of_number(78));
	e->now += S / 100;
	feedback_line(e->feedback, view_str(line_of(0, "<NOSRV>", 503, "CD", 77)));
	assert_int_equal(tickets_open(e->tickets), 2);
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(tickets_open(e->tickets), 1);
	assert_int_equal(counts(e).reclaimed, 1);
	assert_int_equal(view_of(e, 0).open, 0);
	/* An old ticket of the same number, of another life of HAProxy, is not meant. */
	e->now += 60 * S;
	feedback_line(e->feedback, view_str(line_of(0, "<NOSRV>", 503, "CD", 78)));
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(tickets_open(e->tickets), 1);
	demolish(e);
}

/* Another HAProxy that asks us has a request of the same number. Where the numbers of processes are
 * not the kernel's (another PID namespace), that of the request decides alone. */
static void a_number_that_two_haproxys_have(void **state)
{
	enum { MINE = 77, OTHER = 78, ELSEWHERE = 8 };
	struct ear *e = build();
	uint64_t key = logline_key_of_number(5);

	(void)state;
	peers_note(&e->peers, MINE);
	peers_note(&e->peers, OTHER);
	assert_true(ticket_open(e->tickets, 0, e->slots[0], 0, key, OTHER, e->now) > 0);
	feedback_line(e->feedback, view_str(line_from(MINE, 0, "<NOSRV>", 404, "LR", 5)));
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).reclaimed, 0);
	feedback_line(e->feedback, view_str(line_from(OTHER, 0, "<NOSRV>", 503, "CD", 5)));
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).reclaimed, 1);
	assert_true(ticket_open(e->tickets, 0, e->slots[0], 0, key, OTHER, e->now) > 0);
	feedback_line(e->feedback, view_str(line_from(ELSEWHERE, 0, "<NOSRV>", 503, "CD", 5)));
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).reclaimed, 2);
	assert_int_equal(tickets_open(e->tickets), 0);
	demolish(e);
}

/* Nor where the runtime socket shows that requests end, and their tickets are given up for it. */
static void nobody_tells_but_the_counts(void **state)
{
	struct feedback_haproxy h = {.given_up = 1000};
	struct ear *e = build();
	int64_t last;

	(void)state;
	feedback_tick(e->feedback, e->now, 3600 * S, &h);
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &h);
	assert_int_equal(counts(e).silences, 0); /* those of before are not of now */
	h.given_up += 49;
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &h);
	assert_int_equal(counts(e).silences, 0);
	last = open_on(e, 0, 0);
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &h);
	assert_int_equal(counts(e).silences, 1);
	/* A line: the others are none of a silence. */
	feedback_line(e->feedback, view_str(line_of(last, "a1", 200, "--", 0)));
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &h);
	assert_int_equal(counts(e).silences, 1);
	demolish(e);
}

/* Nobody tells of ends: said after a minute, once, and again after there was a line. */
static void nobody_tells(void **state)
{
	struct ear *e = build();
	int64_t last;

	(void)state;
	for (int i = 0; i < 49; i++)
		(void)open_on(e, 0, 0);
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).silences, 0); /* so few may be long ones */
	last = open_on(e, 0, 0);
	feedback_tick(e->feedback, e->now - 1, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).silences, 0);
	for (int i = 0; i < 3; i++, e->now += 60 * S)
		feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).silences, 1);
	feedback_line(e->feedback, view_str(line_of(last, "a1", 200, "--", 0)));
	(void)open_on(e, 0, 0);
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).silences, 1);
	e->now += 60 * S;
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).silences, 2);
	demolish(e);
}

static void tickets_grow_old(void **state)
{
	struct ear *e = build();

	(void)state;
	(void)open_on(e, 0, 0);
	e->now += 3600 * S;
	(void)open_on(e, 1, 0);
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).expired, 0);
	e->now += 1;
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	assert_int_equal(counts(e).expired, 1);
	assert_int_equal(view_of(e, 0).open, 0);
	assert_int_equal(view_of(e, 1).open, 1);
	demolish(e);
}

/*
 * HAProxy dies with requests under way. Its successor's ring connects before the runtime socket was
 * asked again: what was heard from the dead one proves nothing.
 */
static void a_haproxy_that_died(void **state)
{
	struct ear *e = build();
	uint64_t born = e->now - 500 * S, seen = e->now;
	int ring = dial(e->port, SOCK_STREAM);

	(void)state;
	(void)open_on(e, 0, 0);
	settle(e);
	e->now += S / 2;
	close(ring);
	settle(e);
	ring = dial(e->port, SOCK_STREAM);
	settle(e);
	e->now += S * 3 / 2;
	feedback_tick(e->feedback, e->now, 3600 * S,
		      &(struct feedback_haproxy){0, 0, born, seen, 0});
	assert_int_equal(counts(e).orphaned, 0);
	(void)open_on(e, 1, 0);
	/* Now it was asked: another process, a second old. */
	born = e->now - S;
	e->now += S / 2;
	feedback_tick(e->feedback, e->now, 3600 * S,
		      &(struct feedback_haproxy){0, 0, born, e->now, 0});
	assert_int_equal(counts(e).orphaned, 1);
	assert_int_equal(view_of(e, 0).open, 0);
	assert_int_equal(view_of(e, 1).open, 1);
	close(ring);
	demolish(e);
}

/* An old worker's @ring ends, and @h answers two seconds later. */
static void falls_silent(struct ear *e, int ring, struct feedback_haproxy *h)
{
	settle(e);
	e->now += S / 2;
	close(ring);
	settle(e);
	e->now += S * 3 / 2;
	h->seen_ns = e->now;
	feedback_tick(e->feedback, e->now, 3600 * S, h);
}

/* The old worker's ring falls silent when the new one has begun to ask: what the new one asked for
 * is its own to tell. */
static void a_haproxy_that_was_reloaded(void **state)
{
	enum { OLD = 77, NEW = 78 };
	struct ear *e = build();
	struct feedback_haproxy h = {.pid = NEW, .start_ns = e->now};
	int ring = dial(e->port, SOCK_STREAM), next = dial(e->port, SOCK_STREAM);

	(void)state;
	assert_true(ticket_open(e->tickets, 0, e->slots[0], 0, 0, OLD, e->now) > 0);
	assert_true(ticket_open(e->tickets, 0, e->slots[1], 0, 0, NEW, e->now) > 0);
	assert_true(ticket_open(e->tickets, 0, e->slots[2], 0, 0, 0, e->now) > 0);
	falls_silent(e, ring, &h);
	assert_int_equal(counts(e).orphaned, 2);
	assert_int_equal(view_of(e, 1).open, 1);
	close(next);
	demolish(e);
}

/* Two HAProxys ask, one of them is reloaded: the requests of the other one are not over. */
static void one_of_two_haproxys_was_reloaded(void **state)
{
	enum { OLD = 77, NEW = 78, OTHER = 79 };
	struct ear *e = build();
	struct feedback_haproxy h = {.pid = NEW, .former_pid = OLD, .start_ns = e->now};
	int ring = dial(e->port, SOCK_STREAM), next = dial(e->port, SOCK_STREAM);

	(void)state;
	peers_note(&e->peers, OLD);
	peers_note(&e->peers, OTHER);
	peers_note(&e->peers, NEW);
	assert_true(ticket_open(e->tickets, 0, e->slots[0], 0, 0, OLD, e->now) > 0);
	assert_true(ticket_open(e->tickets, 0, e->slots[0], 0, 0, 0, e->now) > 0);
	assert_true(ticket_open(e->tickets, 0, e->slots[1], 0, 0, OTHER, e->now) > 0);
	assert_true(ticket_open(e->tickets, 0, e->slots[2], 0, 0, NEW, e->now) > 0);
	falls_silent(e, ring, &h);
	assert_int_equal(counts(e).orphaned, 2);
	assert_int_equal(view_of(e, 0).open, 0);
	assert_int_equal(view_of(e, 1).open, 1);
	assert_int_equal(view_of(e, 2).open, 1);
	close(next);
	demolish(e);
}

static void a_ring_that_reconnects(void **state)
{
	struct ear *e = build();
	uint64_t born = e->now - 500 * S;
	int ring = dial(e->port, SOCK_STREAM);

	(void)state;
	(void)open_on(e, 0, 0);
	settle(e);
	close(ring);
	settle(e);
	ring = dial(e->port, SOCK_STREAM);
	settle(e);
	for (unsigned i = 0; i < 5; i++) {
		e->now += S;
		feedback_tick(e->feedback, e->now, 3600 * S,
			      &(struct feedback_haproxy){0, 0, born, e->now, 0});
	}
	assert_int_equal(counts(e).orphaned, 0);
	assert_int_equal(tickets_open(e->tickets), 1);
	close(ring);
	demolish(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tickets_that_haproxy_never_learned),
	    cmocka_unit_test(a_number_that_two_haproxys_have),
	    cmocka_unit_test(nobody_tells),
	    cmocka_unit_test(nobody_tells_but_the_counts),
	    cmocka_unit_test(tickets_grow_old),
	    cmocka_unit_test(a_haproxy_that_died),
	    cmocka_unit_test(a_haproxy_that_was_reloaded),
	    cmocka_unit_test(one_of_two_haproxys_was_reloaded),
	    cmocka_unit_test(a_ring_that_reconnects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
