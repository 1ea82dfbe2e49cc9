/*
 * One NOTIFY: its arguments read, the decision taken and counted, its ticket. Worker thread.
 */
#ifndef SERVE_NOTIFY_H
#define SERVE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include "serve/worker.h"
#include "spop/session.h"

struct notify {
	/* Of the connection, set by the caller. */
	uint64_t conn;        /* its number, for logs */
	uint32_t buffer_size; /* HAProxy's tune.bufsize, as announced */
	uint32_t peer;        /* the process at the other end; 0: not known */
	bool global_ids;      /* stream-ids number requests (HAProxy up to 3.0) */
	/* Of this request. */
	uint64_t key; /* HAProxy's own number of it, as observe/logline.h makes it; 0: none */
	uint64_t decided_ns;
};

/* The decision is w->decision; its views point into the frame. Under the RCU read lock. */
void notify_decide(struct notify *n, struct worker *w, struct spop_input *in,
		   const struct worker_conf *conf);

/* Counts the dispatch on the endpoint that was picked. 0: there is none, or no ticket is wanted. */
int64_t notify_ticket(const struct notify *n, struct worker *w, const struct worker_conf *conf)
    __attribute__((warn_unused_result));

#endif
