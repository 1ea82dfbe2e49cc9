/*
 * The table of models.
 *
 * All definitions lie in one array in the order they were given; definitions of one name form a
 * chain, so the common case, one definition, is one hash, one probe or two, one compare. The
 * index is open addressing over 32-bit positions at a load of at most one half, with the upper
 * hash bits beside each position so that a miss rarely touches a string. Strings lie in one
 * block. Nothing changes after route_table_new(), so any number of threads may look things up.
 *
 * Invariants: bucket.def < n or BUCKET_EMPTY; at least one bucket is empty, so a probe ends;
 * names[] holds the first definition of each name, in order.
 */
#include "route/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BUCKET_EMPTY UINT32_MAX
#define NO_NEXT      UINT32_MAX

struct bucket {
	uint32_t def;
	uint32_t tag;
};

struct entry {
	struct route_def def;
	uint32_t next;  /* the next definition of the same name */
	uint32_t total; /* of the first: the sum of the chain's weights */
};

struct route_table {
	size_t n, nnames;
	struct entry *entries;
	uint32_t *names;
	uint32_t mask;
	struct bucket *buckets;
	char *strings;
};

static uint64_t hash_name(struct view name)
{
	return XXH3_64bits(name.ptr, name.len);
}

/* The bucket that holds @name, or the empty one where it would go. */
static struct bucket *probe(const struct route_table *t, struct view name, uint64_t hash)
{
	uint32_t tag = (uint32_t)(hash >> 32);

	for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
		struct bucket *b = &t->buckets[i];

		if (b->def == BUCKET_EMPTY ||
		    (b->tag == tag && view_eq(t->entries[b->def].def.model, name)))
			return b;
	}
}

static bool same(const struct route_def *a, const struct route_def *b)
{
	return a->pool == b->pool && view_eq(a->target, b->target) && view_eq(a->base, b->base);
}

/* Puts entry @i into the index; false when it repeats an earlier one exactly. */
static bool link_entry(struct route_table *t, uint32_t i)
{
	struct entry *e = &t->entries[i];
	uint64_t hash = hash_name(e->def.model);
	struct bucket *b = probe(t, e->def.model, hash);
	uint32_t last;

	e->next = NO_NEXT;
	if (b->def == BUCKET_EMPTY) {
		*b = (struct bucket){i, (uint32_t)(hash >> 32)};
		e->total = e->def.weight;
		t->names[t->nnames++] = i;
		return true;
	}
	for (last = b->def;; last = t->entries[last].next) {
		if (same(&t->entries[last].def, &e->def))
			return false;
		if (t->entries[last].next == NO_NEXT)
			break;
	}
	t->entries[last].next = i;
	t->entries[b->def].total += e->def.weight;
	return true;
}

static struct route_table *table_alloc(const struct route_def *defs, size_t n)
{
	struct route_table *t = calloc(1, sizeof(*t));
	size_t bytes = 1, size = 4;

	if (!t)
		return NULL;
	for (size_t i = 0; i < n; i++)
		bytes +=
		    defs[i].model.len + defs[i].base.len + defs[i].parent.len + defs[i].target.len;
	while (size < 2 * n)
		size *= 2;
	t->mask = (uint32_t)(size - 1);
	t->entries = calloc(n + 1, sizeof(*t->entries));
	t->names = calloc(n + 1, sizeof(*t->names));
	t->buckets = malloc(size * sizeof(*t->buckets));
	t->strings = malloc(bytes);
	if (!t->entries || !t->names || !t->buckets || !t->strings)
		return route_table_free(t);
	memset(t->buckets, 0xff, size * sizeof(*t->buckets));
	return t;
}

struct route_table *route_table_new(const struct route_def *defs, size_t n)
{
	struct route_table *t;
	char *at;

	if (n > UINT32_MAX / 4) {
		errno = ENOMEM;
		return NULL;
	}
	t = table_alloc(defs, n);
	if (!t) {
		errno = ENOMEM;
		return NULL;
	}
	at = t->strings;
	for (size_t i = 0; i < n; i++) {
		struct entry *e = &t->entries[t->n];

		e->def = defs[i];
		e->def.model = view_pack(&at, defs[i].model);
		e->def.base = view_pack(&at, defs[i].base);
		e->def.parent = view_pack(&at, defs[i].parent);
		e->def.target = view_pack(&at, defs[i].target);
		if (link_entry(t, (uint32_t)t->n))
			t->n++;
	}
	return t;
}

struct route_table *route_table_free(struct route_table *t)
{
	if (t) {
		free(t->entries);
		free(t->names);
		free(t->buckets);
		free(t->strings);
		free(t);
	}
	return NULL;
}

bool route_find(const struct route_table *t, struct view model, uint32_t chance,
		struct route_target *ret)
{
	const struct bucket *b = probe(t, model, hash_name(model));
	const struct entry *e;

	if (b->def == BUCKET_EMPTY)
		return false;
	e = &t->entries[b->def];
	if (e->next != NO_NEXT && e->total > 0) {
		/* A multiply instead of a remainder: no share is favoured by more than 2^-32. */
		uint32_t at = (uint32_t)(((uint64_t)chance * e->total) >> 32);

		while (at >= e->def.weight && e->next != NO_NEXT) {
			at -= e->def.weight;
			e = &t->entries[e->next];
		}
	}
	*ret = (struct route_target){
	    .pool = e->def.pool,
	    .stat = e->def.stat,
	    .model = e->def.model,
	    .target = e->def.target,
	    .base = e->def.base,
	};
	return true;
}

const struct route_def *route_table_get(const struct route_table *t, struct view model)
{
	const struct bucket *b = probe(t, model, hash_name(model));

	return b->def == BUCKET_EMPTY ? NULL : &t->entries[b->def].def;
}

const struct route_def *route_table_next(const struct route_table *t, const struct route_def *def)
{
	/* The definition is the entry's first member. */
	uint32_t next = ((const struct entry *)def)->next;

	return next == NO_NEXT ? NULL : &t->entries[next].def;
}

size_t route_table_count(const struct route_table *t)
{
	return t->nnames;
}

const struct route_def *route_table_at(const struct route_table *t, size_t i)
{
	return &t->entries[t->names[i]].def;
}
