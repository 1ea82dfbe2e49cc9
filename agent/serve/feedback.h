/*
 * The end of each request, told by HAProxy: takes the lines in, closes the tickets. Control
 * thread.
 */
#ifndef SERVE_FEEDBACK_H
#define SERVE_FEEDBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "config/config.h"
#include "discover/place.h"
#include "pick/ticket.h"
#include "serve/peers.h"

struct event_base;
struct feedback;

struct feedback_env {
	struct event_base *base;
	struct endpoints *endpoints;
	struct tickets *tickets;
	/* Who has this slot now, NULL: nobody; and the slot of a server by HAProxy's names, or -1.
	 */
	const struct place *(*place)(void *arg, uint32_t slot);
	int64_t (*find)(void *arg, struct view backend, struct view server);
	void *arg;
	const struct peers *peers; /* who asks; NULL: not known */
};

struct feedback_counts {
	uint64_t lines;     /* understood */
	uint64_t no_ticket; /* requests that the agent did not place */
	uint64_t unknown;   /* tickets of an earlier life, repeated, expired or forged */
	uint64_t broken;    /* not RFC 5424 with structured data, or a broken framing */
	uint64_t moved;     /* served by another server than the one picked: retries, balance */
	uint64_t reclaimed; /* tickets of requests that ended without knowing them */
	uint64_t orphaned;  /* tickets of a HAProxy process that died */
	uint64_t expired;   /* tickets whose end was never told */
	uint64_t silences;  /* times that no end of many was told for a minute */
};

/* Listens on every address of listen.feedback: IP:PORT takes TCP and UDP, unix@PATH datagrams.
 * NULL: a line was logged that says which and why. */
struct feedback *feedback_new(const struct feedback_env *env, const struct config *conf);
struct feedback *feedback_free(struct feedback *f);
/* One line, as if it had arrived. */
void feedback_line(struct feedback *f, struct view line);
/* What the runtime socket tells of its HAProxy; 0: not known. */
struct feedback_haproxy {
	uint32_t pid, former_pid; /* the worker that answers, the one that did before it; 0: none */
	uint64_t start_ns, seen_ns; /* when it began, and when it answered last; monotonic */
	uint64_t given_up; /* tickets so far whose end its own counts showed, and no line */
};
/* Closes tickets that no line will close; to be called every second or so. */
void feedback_tick(struct feedback *f, uint64_t now_ns, uint64_t ticket_age_ns,
		   const struct feedback_haproxy *h);
void feedback_counts(const struct feedback *f, struct feedback_counts *ret);

/* The last end was told by a datagram. */
bool feedback_by_datagrams(const struct feedback *f);
/* Requests are under way, their ends come by a ring, and no ring is connected. */
bool feedback_missing(const struct feedback *f);
/* The TCP ports listened on; as long as @f lives. */
const uint16_t *feedback_ports(const struct feedback *f, size_t *ret_n);

#endif
