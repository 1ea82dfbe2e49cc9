/*
 * Workers of HAProxy that a reload has replaced: what they asked for is given up, and nobody
 * else's.
 */
#include "serve/retired.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "house.h"

#define S CLOCK_NS_PER_S

struct scene {
	struct endpoints *e;
	struct tickets *t;
	uint32_t slot;
	bool by_datagrams;
	struct retired r;
};

static struct scene begin(void)
{
	struct scene s = {.e = endpoints_new(4)};

	s.slot = (uint32_t)endpoint_alloc(s.e);
	s.t = tickets_new(s.e, 1, 64, 1);
	assert_non_null(s.t);
	return s;
}

static void end(struct scene *s)
{
	tickets_free(s->t);
	endpoints_free(s->e);
}

static void ask_for(struct scene *s, pid_t peer, uint64_t now_ns)
{
	assert_true(ticket_open(s->t, 0, s->slot, 0, 0, (uint32_t)peer, now_ns) > 0);
}

static void tick(struct scene *s, pid_t pid, pid_t former, uint64_t now_ns)
{
	const struct retired_haproxy h = {(uint32_t)pid, (uint32_t)former, pid ? now_ns : 0,
					  s->by_datagrams};

	retired_tick(&s->r, s->t, &h, now_ns);
}

/* A process that is there until it is killed. */
static pid_t process(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* where a case fails before it ends them */
		pause();
		_exit(0);
	}
	return pid;
}

static void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_replaced(void **state)
{
	struct scene s = begin();
	pid_t first = process(), second = process();

	(void)state;
	tick(&s, first, 0, 10 * S);
	ask_for(&s, first, 10 * S);
	tick(&s, first, 0, 11 * S);
	tick(&s, 0, 0, 12 * S); /* it does not answer: nothing is known */
	assert_int_equal(tickets_open(s.t), 1);

	/* The second answers: the first's are given up but for those just asked for. */
	ask_for(&s, second, 20 * S);
	ask_for(&s, first, 20 * S);
	ask_for(&s, 0, 10 * S);
	tick(&s, second, first, 21 * S);
	assert_int_equal(s.r.given_up, 1);
	assert_int_equal(tickets_open(s.t), 3);
	tick(&s, second, first, 23 * S);
	assert_int_equal(s.r.given_up, 2);

	/* It goes on serving on the connections it has. */
	ask_for(&s, first, 30 * S);
	tick(&s, second, first, 33 * S);
	assert_int_equal(s.r.given_up, 3);

	/* It ends: what is left of it goes, and its number is forgotten. */
	ask_for(&s, first, 40 * S);
	finish(first);
	tick(&s, second, first, 40 * S + 1);
	assert_int_equal(s.r.given_up, 3);
	tick(&s, second, first, 42 * S + 1);
	assert_int_equal(s.r.given_up, 4);
	assert_int_equal(s.r.n, 0);
	assert_int_equal(tickets_open(s.t), 2); /* the second's, and the unknown's */
	finish(second);
	end(&s);
}

/* Datagrams come from a replaced worker as from any; from a dead one they do not. */
static void test_replaced_and_heard(void **state)
{
	struct scene s = begin();
	pid_t first = process(), second = process();

	(void)state;
	s.by_datagrams = true;
	tick(&s, first, 0, 10 * S);
	ask_for(&s, first, 10 * S);
	tick(&s, second, first, 40 * S);
	assert_int_equal(tickets_open(s.t), 1);
	finish(first);
	tick(&s, second, first, 41 * S);
	assert_int_equal(tickets_open(s.t), 0);
	assert_int_equal(s.r.given_up, 1);
	finish(second);
	end(&s);
}

static void test_number_given_out_again(void **state)
{
	struct scene s = begin();
	pid_t a = process(), b = process();

	(void)state;
	tick(&s, a, 0, 10 * S);
	tick(&s, b, a, 11 * S);
	assert_int_equal(s.r.n, 1);
	tick(&s, a, b, 12 * S);
	assert_int_equal(s.r.n, 1);
	ask_for(&s, a, 12 * S);
	tick(&s, a, b, 60 * S);
	assert_int_equal(tickets_open(s.t), 1);
	finish(a);
	finish(b);
	end(&s);
}

/* A reload, and another, within one tick. */
static void test_quick(void **state)
{
	struct scene s = begin();
	pid_t a = process(), b = process(), c = process();

	(void)state;
	tick(&s, b, a, 10 * S);
	ask_for(&s, a, 10 * S);
	tick(&s, b, a, 13 * S);
	assert_int_equal(s.r.given_up, 1);
	ask_for(&s, b, 13 * S);
	tick(&s, c, a, 16 * S); /* a's number, given out again */
	assert_int_equal(s.r.given_up, 2);
	assert_int_equal(s.r.n, 2);
	finish(a);
	finish(b);
	finish(c);
	end(&s);
}

/* The reload was before our time: the old worker is known by its parent. */
static void test_before_our_time(void **state)
{
	struct scene s = begin();
	pid_t old = process(), current = process();

	(void)state;
	tick(&s, current, 0, 10 * S);
	ask_for(&s, old, 10 * S);
	ask_for(&s, getpid(), 10 * S); /* of another HAProxy: it tells for itself */
	ask_for(&s, current, 10 * S);
	tick(&s, current, 0, 12 * S);
	assert_int_equal(s.r.given_up, 0);
	tick(&s, current, 0, 13 * S);
	assert_int_equal(s.r.given_up, 1);
	tick(&s, current, 0, 60 * S);
	assert_int_equal(s.r.given_up, 1);
	finish(old);
	finish(current);
	end(&s);
}

/* The worker that was known does not answer any more: its sibling is more likely its successor. */
static void test_successor(void **state)
{
	struct scene s = begin();
	struct retired_haproxy h;
	pid_t current = process(), next = process();

	(void)state;
	h = (struct retired_haproxy){(uint32_t)current, 0, 10 * S, false};
	retired_tick(&s.r, s.t, &h, 10 * S);
	ask_for(&s, next, 9 * S);
	retired_tick(&s.r, s.t, &h, 60 * S);
	assert_int_equal(s.r.given_up, 0);
	h.answered_ns = 61 * S;
	h.pid = (uint32_t)next;
	h.former_pid = (uint32_t)current;
	retired_tick(&s.r, s.t, &h, 61 * S);
	assert_int_equal(tickets_open(s.t), 1);
	finish(current);
	finish(next);
	end(&s);
}

/* Its request lay in the socket still when it ended: no list has it. */
static void test_gone_before_it_was_heard(void **state)
{
	struct scene s = begin();
	pid_t gone = process(), killed = process();

	(void)state;
	finish(gone);
	tick(&s, 0, 0, 10 * S);
	ask_for(&s, gone, 10 * S);
	tick(&s, 0, 0, 11 * S);
	assert_int_equal(tickets_open(s.t), 1);
	tick(&s, 0, 0, 13 * S);
	assert_int_equal(tickets_open(s.t), 0);

	/* The one in charge, killed, and nobody after it. */
	tick(&s, killed, 0, 20 * S);
	ask_for(&s, killed, 20 * S);
	finish(killed);
	tick(&s, 0, 0, 23 * S);
	assert_int_equal(tickets_open(s.t), 0);
	end(&s);
}

/* The agent was told of another socket: who answered the former one is not replaced. */
static void test_another_socket(void **state)
{
	struct scene s = begin();
	pid_t first = process(), other = process();

	(void)state;
	tick(&s, first, 0, 10 * S);
	ask_for(&s, first, 10 * S);
	tick(&s, 0, 0, 11 * S); /* the new one has not answered yet */
	tick(&s, other, 0, 12 * S);
	assert_int_equal(s.r.current, other);
	assert_int_equal(s.r.n, 0);
	assert_int_equal(s.r.given_up, 0);
	finish(first);
	finish(other);
	end(&s);
}

static void test_many(void **state)
{
	struct scene s = begin();
	pid_t pids[RETIRED_MAX + 3];
	const size_t n = sizeof(pids) / sizeof(pids[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		pids[i] = process();
		tick(&s, pids[i], i ? pids[i - 1] : 0, (10 + i) * S);
	}
	assert_int_equal(s.r.n, RETIRED_MAX);
	assert_int_equal(s.r.pids[RETIRED_MAX - 1], pids[n - 2]);
	for (size_t i = 0; i < n; i++)
		finish(pids[i]);
	tick(&s, 0, 0, 100 * S);
	assert_int_equal(s.r.n, 0);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replaced),
	    cmocka_unit_test(test_replaced_and_heard),
	    cmocka_unit_test(test_number_given_out_again),
	    cmocka_unit_test(test_quick),
	    cmocka_unit_test(test_before_our_time),
	    cmocka_unit_test(test_successor),
	    cmocka_unit_test(test_gone_before_it_was_heard),
	    cmocka_unit_test(test_another_socket),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
