/*
 * HAProxy's runtime socket, read every so often into the roster.
 *
 * One short connection per poll, all questions on it. What goes wrong is logged when it begins,
 * when its kind changes, and when it ends; meanwhile what was known stays in use. After
 * HAPROXY_STALE_MS (or ten polls, where that is longer) without an answer, states and room are
 * unknown again: nothing is held against a server any more but failed scrapes.
 */
#ifndef DISCOVER_HAPROXY_H
#define DISCOVER_HAPROXY_H

#include <stdbool.h>
#include <stdint.h>
#include "config/config.h"
#include "discover/roster.h"

#define HAPROXY_STALE_MS 30000

struct event_base;
struct haproxy;

struct haproxy_hooks {
	/* A good answer was applied. @changed: servers came, went or moved. @restarted: the first
	 * answer of this HAProxy process. */
	void (*polled)(bool changed, bool restarted, void *arg);
	/* A poll failed. */
	void (*failed)(void *arg);
	void *arg;
};

/* Borrows all arguments; @conf until the next haproxy_reload(). The first poll starts at once.
 * Without a socket in @conf it does nothing. NULL when memory is short. */
struct haproxy *haproxy_new(struct event_base *base, struct roster *r, struct endpoints *e,
			    const struct haproxy_hooks *hooks, const struct config *conf);
struct haproxy *haproxy_free(struct haproxy *h);
void haproxy_reload(struct haproxy *h, const struct config *conf);
/* Ask now instead of when it is due. */
void haproxy_poll(struct haproxy *h);

struct haproxy_status {
	bool configured, answered /* ever */, good /* the last time */, stale;
	uint64_t last_good_ns, asked_ns;   /* when it was answered and asked last; 0: never */
	uint64_t polls, failures, ignored; /* ignored: answers of a process that was stopping */
	uint32_t pid, former_pid; /* the worker that answers, and the one before it; 0: none */
	uint64_t uptime_s;
	char version[32];
	char error[160]; /* why the last one failed; "" when it did not */
};
void haproxy_status(const struct haproxy *h, struct haproxy_status *ret);

#endif
