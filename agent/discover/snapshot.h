/*
 * What exists, at one moment: pools, their endpoints, the models. Immutable and whole; discover/
 * builds and publishes it, everybody else only reads. Readers on worker threads hold an RCU read
 * lock around their use.
 *
 * pools[0 … nwhole-1] are the configured pools in their order. Behind them stand variants: the same
 * pool (name, backend, counters) with fewer endpoints, for models that only some of its servers
 * have. routes point to either.
 *
 * Where a controller wrote routes, rules come first: they lead to whole pools, and models tells
 * what is known of the models there: their base models, and which variant serves them. A request
 * that no rule matches goes by routes.
 */
#ifndef DISCOVER_SNAPSHOT_H
#define DISCOVER_SNAPSHOT_H

#include <stdint.h>
#include "pick/pool.h"
#include "route/rule.h"
#include "route/table.h"

enum snapshot_no_model {
	SNAPSHOT_NO_MODEL_PASS,
	SNAPSHOT_NO_MODEL_DEFAULT,
	SNAPSHOT_NO_MODEL_REJECT
};

struct arena;

#define SNAPSHOT_NO_POOL UINT32_MAX

struct snapshot {
	uint64_t version; /* grows by one with each publication */
	uint32_t npools, nwhole;
	struct pool *pools;
	struct route_table *routes;
	struct rules *rules; /* NULL: none */
	/* With rules: definitions by model, one for each pool that has it, and first one with pool
	 * SNAPSHOT_NO_POOL where its base model was written down. */
	struct route_table *models;
	int32_t default_pool; /* for requests without a model; -1: none */
	bool awaited;         /* rules are to come: until then nothing can be said of any request */
	bool ready;           /* each pool's source has answered once (or has no source to ask) */
	uint64_t hash[2];     /* of everything above but the version: equal means nothing changed */
	struct arena *arena;  /* holds pools and their strings */
};

struct snapshot *snapshot_free(struct snapshot *s);

#endif
