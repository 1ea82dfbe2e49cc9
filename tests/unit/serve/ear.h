/* serve/feedback.h with three servers and a clock of its own, and the lines that HAProxy would send
 * it. */
#ifndef TESTS_EAR_H
#define TESTS_EAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "observe/logline.h"
#include "serve/feedback.h"
#include "unit/serve/loop.h"

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

static inline const struct place *place_at(void *arg, uint32_t slot)
{
	struct ear *e = arg;

	for (unsigned i = 0; i < SERVERS; i++)
		if (e->slots[i] == slot)
			return &e->places[i];
	return NULL;
}

static inline int64_t place_find(void *arg, struct view backend, struct view server)
{
	struct ear *e = arg;

	for (unsigned i = 0; i < SERVERS; i++)
		if (view_eq(view_str(e->places[i].backend), backend) &&
		    view_eq(view_str(e->places[i].server), server))
			return e->slots[i];
	return -1;
}

static inline struct ear *build(void)
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

static inline void demolish(struct ear *e)
{
	feedback_free(e->feedback);
	event_base_free(e->base);
	tickets_free(e->tickets);
	endpoints_free(e->endpoints);
	clock_set_fake(NULL);
	free(e);
}

static inline struct feedback_counts counts(struct ear *e)
{
	struct feedback_counts c;

	feedback_counts(e->feedback, &c);
	return c;
}

/* Lets it hear until @n lines were looked at, good or bad. */
static inline void pump(struct ear *e, uint64_t n)
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
static inline void settle(struct ear *e)
{
	for (unsigned i = 0; i < 50; i++) {
		event_base_loop(e->base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
}

static inline int64_t open_on(struct ear *e, unsigned i, uint64_t key)
{
	int64_t name = ticket_open(e->tickets, 0, e->slots[i], 0, key, 0, e->now);

	assert_true(name > 0);
	return name;
}

static inline const char *line_from(unsigned pid, int64_t ticket, const char *server, int status,
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

static inline const char *line_of(int64_t ticket, const char *server, int status, const char *ts,
				  unsigned rt)
{
	return line_from(1, ticket, server, status, ts, rt);
}

static inline size_t frame(char *buf, size_t cap, bool counted, const char *line)
{
	int n = counted ? snprintf(buf, cap, "%zu %s", strlen(line), line)
			: snprintf(buf, cap, "%s\n", line);

	assert_true(n > 0 && (size_t)n < cap);
	return (size_t)n;
}

static inline void push(int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static inline struct endpoint_view view_of(struct ear *e, unsigned i)
{
	struct endpoint_view v;

	endpoint_view(e->endpoints, e->slots[i], &v);
	return v;
}

#endif
