/* HAProxy's end-of-request lines over real sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "unit/serve/ear.h"
#include "unit/valgrind.h"

static void both_framings_at_every_split(void **state)
{
	(void)state;
	for (unsigned counted = 0; counted < 2; counted++) {
		struct ear *e = build();
		int fd = dial(e->port, SOCK_STREAM);
		uint64_t told = 0;
		char buf[2048];
		size_t n = frame(buf, sizeof(buf), counted, line_of(0, "a1", 200, "--", 1));

		for (size_t at = 0; at <= n; at += 7) {
			char both[4096];
			size_t all, first = frame(both, sizeof(both), counted,
						  line_of(open_on(e, 0, 0), "a1", 200, "--", 1));

			all = first + frame(both + first, sizeof(both) - first, counted,
					    line_of(open_on(e, 1, 0), "a2", 200, "--", 2));
			push(fd, both, at < all ? at : all);
			settle(e);
			push(fd, both + at, all - at);
			told += 2;
			pump(e, told);
		}
		assert_int_equal(tickets_open(e->tickets), 0);
		assert_int_equal(counts(e).unknown + counts(e).broken, 0);
		assert_int_equal(view_of(e, 0).answered, told / 2);
		close(fd);
		demolish(e);
	}
}

static void how_requests_end(void **state)
{
	static const struct {
		const char *server, *ts;
		int status;
		uint64_t answered, failed, aborted;
	} table[] = {
	    {"a1", "--", 200, 1, 0, 0},      {"a1", "--", 404, 1, 0, 0}, {"a1", "CD", 200, 0, 0, 1},
	    {"a1", "cD", 200, 0, 0, 1},      {"a1", "SD", 200, 0, 1, 0}, {"a1", "sH", 504, 0, 1, 0},
	    {"a1", "--", 503, 0, 1, 0},      {"a1", "SC", 503, 0, 1, 0}, {"a1", "--", -1, 0, 1, 0},
	    {"<NOSRV>", "CQ", 503, 0, 0, 1}, {"a1", "", 200, 1, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct ear *e = build();

		feedback_line(e->feedback, view_str(line_of(open_on(e, 0, 0), table[i].server,
							    table[i].status, table[i].ts, 1)));
		assert_int_equal(view_of(e, 0).open, 0);
		assert_int_equal(view_of(e, 0).answered, table[i].answered);
		assert_int_equal(view_of(e, 0).failed, table[i].failed);
		assert_int_equal(view_of(e, 0).aborted, table[i].aborted);
		assert_int_equal(counts(e).moved, 0);
		demolish(e);
	}
}

static void a_request_that_moved(void **state)
{
	struct ear *e = build();

	(void)state;
	feedback_line(e->feedback, view_str(line_of(open_on(e, 0, 0), "a2", 200, "--", 1)));
	assert_int_equal(counts(e).moved, 1);
	assert_int_equal(view_of(e, 0).failed, 1);
	assert_int_equal(view_of(e, 1).answered, 1);
	/* To a server that nobody here knows: the count is given back all the same. */
	feedback_line(e->feedback, view_str(line_of(open_on(e, 0, 0), "zz", 200, "--", 1)));
	assert_int_equal(counts(e).moved, 2);
	assert_int_equal(view_of(e, 0).failed, 2);
	assert_int_equal(tickets_open(e->tickets), 0);
	demolish(e);
}

static void lines_that_close_nothing(void **state)
{
	struct ear *e = build();
	int64_t mine = open_on(e, 0, 0), other = open_on(e, 0, 0);

	(void)state;
	feedback_line(e->feedback, view_str(line_of(mine, "a1", 200, "--", 1)));
	/* Again; of another instance; of a slot that was never opened; a number out of nowhere. */
	feedback_line(e->feedback, view_str(line_of(mine, "a1", 200, "--", 1)));
	feedback_line(e->feedback,
		      view_str(line_of(other ^ (INT64_C(1) << 50), "a1", 200, "--", 1)));
	feedback_line(e->feedback,
		      view_str(line_of(other + (INT64_C(9) << 19), "a1", 200, "--", 1)));
	feedback_line(e->feedback, view_str(line_of(1, "a1", 200, "--", 1)));
	feedback_line(e->feedback, view_str(line_of(INT64_MAX, "a1", 200, "--", 1)));
	assert_int_equal(counts(e).unknown, 5);
	feedback_line(e->feedback, view_str(line_of(0, "a1", 200, "--", 1)));
	assert_int_equal(counts(e).no_ticket, 1);
	feedback_line(e->feedback, view_str("<134>Jan  1 00:00:00 host haproxy: GET /"));
	feedback_line(e->feedback, view_str(""));
	assert_int_equal(counts(e).broken, 2);
	assert_int_equal(tickets_open(e->tickets), 1);
	assert_int_equal(view_of(e, 0).answered, 1);
	demolish(e);
}

static void datagrams(void **state)
{
	struct ear *e = build();
	int fd = dial(e->port, SOCK_DGRAM);
	static char big[40000];
	const char *line;

	(void)state;
	line = line_of(open_on(e, 0, 0), "a1", 200, "--", 1);
	push(fd, line, strlen(line));
	pump(e, 1);
	push(fd, "", 0);
	push(fd, "\n\n", 2);
	memset(big, 'x', sizeof(big));
	push(fd, big, sizeof(big));
	pump(e, 4);
	assert_int_equal(counts(e).broken, 3);
	assert_int_equal(tickets_open(e->tickets), 0);
	close(fd);
	demolish(e);
}

static void who_breaks_the_framing_is_cut_off(void **state)
{
	struct ear *e = build();
	int good = dial(e->port, SOCK_STREAM), bad;
	static char endless[40000];
	char buf[1024], byte;
	size_t n;

	(void)state;
	memset(endless, 'x', sizeof(endless));
	endless[0] = '<';
	for (unsigned i = 0; i < 4; i++) {
		static const char *const junk[] = {"GET / HTTP/1.1\r\n\r\n", "0 x", "99999999 x"};

		bad = dial(e->port, SOCK_STREAM);
		if (i < 3)
			push(bad, junk[i], strlen(junk[i]));
		else
			push(bad, endless, sizeof(endless));
		pump(e, i + 1);
		/* Closed; with a reset where something was still unread. */
		assert_true(readable(bad, LOOP_PATIENCE_MS));
		assert_true(recv(bad, &byte, 1, 0) <= 0);
		close(bad);
	}
	n = frame(buf, sizeof(buf), true, line_of(open_on(e, 0, 0), "a1", 200, "--", 1));
	push(good, buf, n);
	pump(e, 5);
	assert_int_equal(counts(e).broken, 4);
	assert_int_equal(tickets_open(e->tickets), 0);
	close(good);
	demolish(e);
}

/* Connections that say nothing, or whose other end died without a word, do not keep HAProxy out. */
static void silent_streams_make_room(void **state)
{
	enum { SILENT = 80 };
	struct ear *e = build();
	int silent[SILENT], ring, late;
	char buf[1024];
	size_t n;

	(void)state;
	ring = dial(e->port, SOCK_STREAM);
	for (unsigned i = 0; i < SILENT; i++) {
		silent[i] = dial(e->port, SOCK_STREAM);
		settle(e);
		e->now += S;
		/* HAProxy's own speaks now and then, and is not the one to go. */
		n = frame(buf, sizeof(buf), true, line_of(open_on(e, 0, 0), "a1", 200, "--", 1));
		push(ring, buf, n);
		pump(e, i + 1);
	}
	late = dial(e->port, SOCK_STREAM);
	n = frame(buf, sizeof(buf), true, line_of(open_on(e, 0, 0), "a1", 200, "--", 1));
	push(late, buf, n);
	pump(e, SILENT + 1);
	assert_int_equal(tickets_open(e->tickets), 0);
	for (unsigned i = 0; i < SILENT; i++)
		close(silent[i]);
	close(ring);
	close(late);
	demolish(e);
}
/* Out of descriptors a connection waits in the kernel; it must not keep the loop awake. */
static void out_of_descriptors(void **state)
{
	struct ear *e;
	struct rlimit old, tight;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int knock, highest;
	char buf[1024];
	size_t n;

	(void)state;
	if (under_valgrind())
		skip(); /* it closes what the kernel has accepted past the limit: the line is gone
			 */
	e = build();
	in.sin_port = htons((uint16_t)e->port);
	knock = socket(AF_INET, SOCK_STREAM, 0);
	highest = dup(0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)highest;
	close(highest);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(connect(knock, (void *)&in, sizeof(in)), 0);
	n = frame(buf, sizeof(buf), true, line_of(open_on(e, 0, 0), "a1", 200, "--", 1));
	push(knock, buf, n);
	usleep(10000);
	for (unsigned i = 0; i < 100; i++)
		event_base_loop(e->base, EVLOOP_NONBLOCK);
	/* The door for streams is shut: one event, that of the datagrams, is left. */
	assert_int_equal(event_base_get_num_events(e->base, EVENT_BASE_COUNT_ADDED), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	feedback_tick(e->feedback, e->now, 3600 * S, &(struct feedback_haproxy){0});
	pump(e, 1);
	assert_int_equal(tickets_open(e->tickets), 0);
	close(knock);
	demolish(e);
}

static void a_unix_socket(void **state)
{
	struct ear *e = build();
	const struct feedback_env env = {.base = e->base,
					 .endpoints = e->endpoints,
					 .tickets = e->tickets,
					 .place = place_at,
					 .find = place_find,
					 .arg = e};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const char *line;
	int fd;

	(void)state;
	feedback_free(e->feedback);
	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/feedback-%d.sock", (int)getpid());
	snprintf(e->text, sizeof(e->text), "unix@%s", un.sun_path);
	e->conf.listen.spop_mode = 0600;
	e->feedback = feedback_new(&env, &e->conf);
	assert_non_null(e->feedback);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(connect(fd, (void *)&un, sizeof(un)), 0);
	line = line_of(open_on(e, 0, 0), "a1", 200, "--", 1);
	push(fd, line, strlen(line));
	pump(e, 1);
	assert_int_equal(tickets_open(e->tickets), 0);
	close(fd);
	demolish(e);
	assert_int_equal(access(un.sun_path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_framings_at_every_split),
	    cmocka_unit_test(how_requests_end),
	    cmocka_unit_test(a_request_that_moved),
	    cmocka_unit_test(lines_that_close_nothing),
	    cmocka_unit_test(datagrams),
	    cmocka_unit_test(who_breaks_the_framing_is_cut_off),
	    cmocka_unit_test(silent_streams_make_room),
	    cmocka_unit_test(out_of_descriptors),
	    cmocka_unit_test(a_unix_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
