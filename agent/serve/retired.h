/*
 * HAProxy workers that cannot tell any more how a request ended: those that are gone, and those
 * that a reload has replaced. From the reload on their ring is silent (all versions: haproxy issue
 * 3436; datagrams are not), though they still serve what they have and what comes on kept
 * connections. Their tickets can be closed by no line: they are given up, and the scrape counts
 * their requests as another's. Control thread.
 */
#ifndef SERVE_RETIRED_H
#define SERVE_RETIRED_H

#include <stdbool.h>
#include <stdint.h>
#include "pick/ticket.h"

#define RETIRED_MAX 16

struct retired {
	uint32_t current, former; /* as last told */
	uint32_t n;
	uint32_t pids[RETIRED_MAX]; /* oldest first */
	uint64_t given_up;          /* tickets */
};

/* What the runtime socket tells of its HAProxy. */
struct retired_haproxy {
	uint32_t pid, former_pid; /* the worker that answers, the one that did before it; 0: none */
	uint64_t answered_ns;     /* when it did last, clock_mono_ns(); 0: never */
	bool by_datagrams; /* ends are told so, and by replaced workers too while they live */
};
/* To be called every second or so. */
void retired_tick(struct retired *r, struct tickets *t, const struct retired_haproxy *h,
		  uint64_t now_ns);

#endif
