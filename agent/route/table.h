/*
 * Model name → (rewrite) → pool. One immutable table per snapshot, built whole; a look-up costs
 * the same with 2 models and with 10,000.
 */
#ifndef ROUTE_TABLE_H
#define ROUTE_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

struct route_table;

/* One name that clients may ask for. All views are copied. */
struct route_def {
	struct view model;
	uint32_t pool;      /* index into the snapshot's pools */
	struct view base;   /* base model: of an adapter; of a base model, itself */
	struct view parent; /* as /v1/models says; may be absent */
	struct view target; /* rewrite the body's model to this; absent: leave it */
	uint32_t weight;    /* several defs of one name share its requests by weight */
	uint32_t stat;      /* index of the model's counters */
	bool hidden;        /* not in /v1/models */
};

/* What a look-up finds; views live as long as the table. */
struct route_target {
	uint32_t pool;
	uint32_t stat;
	struct view model, target, base;
};

/*
 * Builds the table from @n definitions. Several definitions of one name and different targets or
 * pools are a weighted split; an exact repetition is one definition. NULL with errno ENOMEM.
 */
struct route_table *route_table_new(const struct route_def *defs, size_t n);
struct route_table *route_table_free(struct route_table *t);

/* Exact, case-sensitive. @chance: uniform random bits, for the split. False: no such model. */
bool route_find(const struct route_table *t, struct view model, uint32_t chance,
		struct route_target *ret);

/* The first definition of @model, NULL: none; and the one after @def of the same name. */
const struct route_def *route_table_get(const struct route_table *t, struct view model);
const struct route_def *route_table_next(const struct route_table *t, const struct route_def *def);

size_t route_table_count(const struct route_table *t);
/* The i-th name, in the order first given; for /v1/models, /state and the map. */
const struct route_def *route_table_at(const struct route_table *t, size_t i);

#endif
