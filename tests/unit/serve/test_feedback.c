/* HAProxy's end-of-request lines over real sockets, and what is made of those that never come. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "base/clock.h"
#include "observe/logline.h"
#include "serve/feedback.h"
#include "unit/serve/loop.h"
#include "unit/valgrind.h"

#define S CLOCK_NS_PER_S
enum { SERVERS = 3 };

struct ear {
	struct event_base *base;
	struct endpoints *endpoints;
	struct tickets *tickets;
	struct place places[SERVERS];
	uint32_t slots[SERVERS];
	struct config conf;
	char text[128], *items[1];
	unsigned port;
	uint64_t now;
	struct feedback *feedback;
	struct peers peers;
};

static const struct place *place_at(void *arg, uint32_t slot)
{
	struct ear *e = arg;

	for (unsigned i = 0; i < SERVERS; i++)
		if (e->slots[i] == slot)
			return &e->places[i];
	return NULL;
}

static int64_t place_find(void *arg, struct view backend, struct view server)
{
	struct ear *e = arg;

	for (unsigned i = 0; i < SERVERS; i++)
		if (view_eq(view_str(e->places[i].backend), backend) &&
		    view_eq(view_str(e->places[i].server), server))
			return e->slots[i];
	return -1;
}

static struct ear *build(void)
{
	static char *const names[SERVERS] = {"a1", "a2", "a3"};
	struct ear *e = calloc(1, sizeof(*e));
	struct feedback_env env = {
	    .place = place_at, .find = place_find, .arg = e, .peers = &e->peers};

	env.base = e->base = event_base_new();
	env.endpoints = e->endpoints = endpoints_new(8);
	env.tickets = e->tickets = tickets_new(e->endpoints, 1, 1024, 5);
	for (unsigned i = 0; i < SERVERS; i++) {
		e->slots[i] = (uint32_t)endpoint_alloc(e->endpoints);
		e->places[i] =
		    (struct place){.slot = e->slots[i], .backend = "llama", .server = names[i]};
	}
	e->port = free_port();
	snprintf(e->text, sizeof(e->text), "127.0.0.1:%u", e->port);
	e->items[0] = e->text;
	e->conf.listen.feedback = (struct config_list){1, e->items};
	e->now = 1000 * S;
	clock_set_fake(&e->now);
	e->feedback = feedback_new(&env, &e->conf);
	assert_non_null(e->feedback);
	return e;
}

static void demolish(struct ear *e)
{
	feedback_free(e->feedback);
	event_base_free(e->base);
	tickets_free(e->tickets);
	endpoints_free(e->endpoints);
	clock_set_fake(NULL);
	free(e);
}

static struct feedback_counts counts(struct ear *e)
{
	struct feedback_counts c;

	feedback_counts(e->feedback, &c);
	return c;
}

/* Lets it hear until @n lines were looked at, good or bad. */
static void pump(struct ear *e, uint64_t n)
{
	for (unsigned i = 0; i < LOOP_PATIENCE_MS; i++) {
		event_base_loop(e->base, EVLOOP_NONBLOCK);
		if (counts(e).lines + counts(e).broken >= n)
			break;
		usleep(1000);
	}
	assert_int_equal(counts(e).lines + counts(e).broken, n);
}

/* Whatever there is. */
static void settle(struct ear *e)
{
	for (unsigned i = 0; i < 50; i++) {
		event_base_loop(e->base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
}

static int64_t open_on(struct ear *e, unsigned i, uint64_t key)
{
	int64_t name = ticket_open(e->tickets, 0, e->slots[i], 0, key, 0, e->now);

	assert_true(name > 0);
	return name;
}

static const char *line_from(unsigned pid, int64_t ticket, const char *server, int status,
			     const char *ts, unsigned rt)
{
	static char line[512];
	char name[32] = "-";

	if (ticket)
		snprintf(name, sizeof(name), "%lld", (long long)ticket);
	snprintf(line, sizeof(line),
		 "<134>1 2026-01-01T00:00:00.000000+00:00 host haproxy %u - [inference@32473 "
		 "ticket=\"%s\" rt=\"%u\" backend=\"llama\" server=\"%s\" status=\"%d\" "
		 "ts=\"%s\" tr=\"1\" ta=\"20\" bytes=\"9\"] what the user's log-format says",
		 pid, name, rt, server, status, ts);
	return line;
}

static const char *line_of(int64_t ticket, const char *server, int status, const char *ts,
			   unsigned rt)
{
	return line_from(1, ticket, server, status, ts, rt);
}

static size_t frame(char *buf, size_t cap, bool counted, const char *line)
{
	int n = counted ? snprintf(buf, cap, "%zu %s", strlen(line), line)
			: snprintf(buf, cap, "%s\n", line);

	assert_true(n > 0 && (size_t)n < cap);
	return (size_t)n;
}

static void push(int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static struct endpoint_view view_of(struct ear *e, unsigned i)
{
	struct endpoint_view v;

	endpoint_view(e->endpoints, e->slots[i], &v);
	return v;
}

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
	settle(e);
	e->now += S / 2;
	close(ring);
	settle(e);
	e->now += S * 3 / 2;
	h.seen_ns = e->now;
	feedback_tick(e->feedback, e->now, 3600 * S, &h);
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
	settle(e);
	e->now += S / 2;
	close(ring);
	settle(e);
	e->now += S * 3 / 2;
	h.seen_ns = e->now;
	feedback_tick(e->feedback, e->now, 3600 * S, &h);
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
	    cmocka_unit_test(tickets_that_haproxy_never_learned),
	    cmocka_unit_test(a_number_that_two_haproxys_have),
	    cmocka_unit_test(nobody_tells),
	    cmocka_unit_test(nobody_tells_but_the_counts),
	    cmocka_unit_test(tickets_grow_old),
	    cmocka_unit_test(a_haproxy_that_died),
	    cmocka_unit_test(a_haproxy_that_was_reloaded),
	    cmocka_unit_test(one_of_two_haproxys_was_reloaded),
	    cmocka_unit_test(a_ring_that_reconnects),
	    cmocka_unit_test(out_of_descriptors),
	    cmocka_unit_test(a_unix_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
