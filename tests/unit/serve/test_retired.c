/*
 * Workers of HAProxy that a reload has replaced: what they asked for is given up, and nobody
 * else's.
 */
#include "serve/retired.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "house.h"

#define S CLOCK_NS_PER_S

struct scene {
	struct endpoints *e;
	struct tickets *t;
	uint32_t slot;
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

/* A process that is there until it is killed. */
static pid_t process(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
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
	retired_tick(&s.r, s.t, (uint32_t)first, 0, 10 * S);
	ask_for(&s, first, 10 * S);
	retired_tick(&s.r, s.t, (uint32_t)first, 0, 11 * S);
	retired_tick(&s.r, s.t, 0, 0, 12 * S); /* it does not answer: nothing is known */
	assert_int_equal(tickets_open(s.t), 1);

	/* The second answers: the first's are given up but for those just asked for. */
	ask_for(&s, second, 20 * S);
	ask_for(&s, first, 20 * S);
	ask_for(&s, 0, 10 * S);
	retired_tick(&s.r, s.t, (uint32_t)second, (uint32_t)first, 21 * S);
	assert_int_equal(s.r.given_up, 1);
	assert_int_equal(tickets_open(s.t), 3);
	retired_tick(&s.r, s.t, (uint32_t)second, (uint32_t)first, 23 * S);
	assert_int_equal(s.r.given_up, 2);

	/* It goes on serving on the connections it has. */
	ask_for(&s, first, 30 * S);
	retired_tick(&s.r, s.t, (uint32_t)second, (uint32_t)first, 33 * S);
	assert_int_equal(s.r.given_up, 3);

	/* It ends: what is left of it goes at once, and its number is forgotten. */
	ask_for(&s, first, 40 * S);
	finish(first);
	retired_tick(&s.r, s.t, (uint32_t)second, (uint32_t)first, 40 * S + 1);
	assert_int_equal(s.r.given_up, 4);
	assert_int_equal(s.r.n, 0);
	assert_int_equal(tickets_open(s.t), 2); /* the second's, and the unknown's */
	finish(second);
	end(&s);
}

static void test_number_given_out_again(void **state)
{
	struct scene s = begin();
	pid_t a = process(), b = process();

	(void)state;
	retired_tick(&s.r, s.t, (uint32_t)a, 0, 10 * S);
	retired_tick(&s.r, s.t, (uint32_t)b, (uint32_t)a, 11 * S);
	assert_int_equal(s.r.n, 1);
	retired_tick(&s.r, s.t, (uint32_t)a, (uint32_t)b, 12 * S);
	assert_int_equal(s.r.n, 1);
	ask_for(&s, a, 12 * S);
	retired_tick(&s.r, s.t, (uint32_t)a, (uint32_t)b, 60 * S);
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
	retired_tick(&s.r, s.t, (uint32_t)b, (uint32_t)a, 10 * S);
	ask_for(&s, a, 10 * S);
	retired_tick(&s.r, s.t, (uint32_t)b, (uint32_t)a, 13 * S);
	assert_int_equal(s.r.given_up, 1);
	ask_for(&s, b, 13 * S);
	retired_tick(&s.r, s.t, (uint32_t)c, (uint32_t)a, 16 * S); /* a's number, given out again */
	assert_int_equal(s.r.given_up, 2);
	assert_int_equal(s.r.n, 2);
	finish(a);
	finish(b);
	finish(c);
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
		retired_tick(&s.r, s.t, (uint32_t)pids[i], i ? (uint32_t)pids[i - 1] : 0,
			     (10 + i) * S);
	}
	assert_int_equal(s.r.n, RETIRED_MAX);
	assert_int_equal(s.r.pids[RETIRED_MAX - 1], pids[n - 2]);
	for (size_t i = 0; i < n; i++)
		finish(pids[i]);
	retired_tick(&s.r, s.t, 0, 0, 100 * S);
	assert_int_equal(s.r.n, 0);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replaced),
	    cmocka_unit_test(test_number_given_out_again),
	    cmocka_unit_test(test_quick),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
