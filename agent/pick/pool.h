/*
 * A pool as a snapshot holds it, immutable: its endpoints' slots and how to choose among them.
 */
#ifndef PICK_POOL_H
#define PICK_POOL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

enum pool_when_full { POOL_FULL_QUEUE, POOL_FULL_REJECT };

struct pool_endpoint {
	uint32_t slot;
	char *server; /* HAProxy's name of it, or NULL: it is reached by dst */
	char *name;   /* what logs and labels call it: server, or host:port; never NULL */
	struct sockaddr_storage addr; /* family 0: not known (a unix socket) */
};

struct pool {
	char *name;
	char *backend; /* HAProxy's backend */
	uint32_t stat; /* index of its counters and its round-robin cursor */
	const struct policy *policy;
	enum pool_when_full when_full;
	uint32_t max_inflight; /* most tickets in flight in the whole pool; 0: no limit */
	uint32_t retry_after;  /* seconds, with 429 and 503 */
	bool agent_only;       /* without the agent HAProxy shall not use it: not in its map */
	bool known;            /* the pool's source has answered: no endpoint means there is none */
	bool untold;           /* nothing says which models it has: its servers do not answer yet */
	uint32_t n;
	struct pool_endpoint *endpoints;
	uint32_t *slots; /* endpoints[i].slot, dense for the scan */
	/* The slots that max_inflight counts: those of the whole pool, also where this one holds
	 * only the endpoints that serve some model. */
	uint32_t nall;
	const uint32_t *all;
};

#endif
