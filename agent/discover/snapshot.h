/*
 * What exists, at one moment: pools, their endpoints, the models. Immutable and whole; discover/
 * builds and publishes it, everybody else only reads. Readers on worker threads hold an RCU read
 * lock around their use.
 */
#ifndef DISCOVER_SNAPSHOT_H
#define DISCOVER_SNAPSHOT_H

#include <stdint.h>
#include "pick/pool.h"
#include "route/table.h"

enum snapshot_no_model { SNAPSHOT_NO_MODEL_PASS, SNAPSHOT_NO_MODEL_DEFAULT, SNAPSHOT_NO_MODEL_REJECT };

struct snapshot {
	uint64_t version; /* grows by one with each publication */
	uint32_t npools;
	struct pool *pools;
	struct route_table *routes;
	int32_t default_pool; /* for requests without a model; -1: none */
	bool ready;           /* each pool's source has answered once (or has no source to ask) */
};

#endif
