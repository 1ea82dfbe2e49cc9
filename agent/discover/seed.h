/*
 * What HAProxy's fall-back map said when it was first read: model → backend, written by an earlier
 * life of the agent. Until a pool's own servers have told their models, these stand in, so that an
 * agent that restarts beside model servers that are restarting knows what it knew.
 */
#ifndef DISCOVER_SEED_H
#define DISCOVER_SEED_H

#include <stddef.h>
#include "base/view.h"

struct seed_pair {
	struct view model, backend;
};

struct seed {
	size_t n;
	const struct seed_pair *pairs;
};

struct arena;

/* A copy in @memory, which may be NULL; short of memory it ends early. */
struct seed seed_dup(struct arena *memory, const struct seed *seed);

#endif
