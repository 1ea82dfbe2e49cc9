/*
 * The models of all pools while a snapshot is being made: who serves each name first, which of the
 * pool's lists have it, what its base model is.
 */
#ifndef DISCOVER_CATALOG_H
#define DISCOVER_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

/* One name. Views are borrowed. */
struct catalog_entry {
	struct view name, base, parent;
	uint32_t pool;   /* configured pool that serves it */
	uint32_t target; /* snapshot pool, whole or variant; the builder fills it in */
	size_t bits;     /* first word of its lists in catalog->bits */
	bool hidden;
};

struct catalog {
	size_t n, max, room;
	struct catalog_entry *entries;
	uint32_t *index; /* open addressing; UINT32_MAX is empty */
	size_t mask;
	uint64_t *bits;
	size_t nbits, bits_room;
};

int catalog_init(struct catalog *c, size_t max) __attribute__((warn_unused_result));
void catalog_deinit(struct catalog *c);

struct catalog_entry *catalog_find(const struct catalog *c, struct view name);

/* The entry of @name with *ret_new telling whether it is new (pool and base still to be filled in),
 * with @words zeroed words of bits when new. 0, -ENOSPC past max, -ENOMEM. */
int catalog_add(struct catalog *c, struct view name, size_t words, struct catalog_entry **ret,
		bool *ret_new) __attribute__((warn_unused_result));

#endif
