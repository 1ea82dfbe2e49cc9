/*
 * vLLM's block pool in small: every block has a reference count; a block without references is in
 * one doubly linked queue, in the order in which it was freed. Prefix reuse finds a block by name
 * through a chained table and takes it out of the middle of the queue in O(1); eviction takes the
 * head of the queue and forgets its name. All in flat arrays: nothing is allocated after _new.
 *
 * Invariants: refs[i] == 0 exactly when i is in the queue; a name is in the table at most once;
 * name[i] != 0 exactly when i is in the table.
 */
#include "blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct block {
	uint64_t name;
	uint32_t refs;
	uint32_t prev, next; /* in the free queue */
	uint32_t chain;      /* in the table */
};

struct blocks {
	struct block *of;
	uint32_t *table;
	uint32_t mask;
	uint32_t total, n_free;
	uint32_t head, tail;
	uint64_t released;
};

static void queue_append(struct blocks *b, uint32_t id)
{
	b->of[id].prev = b->tail;
	b->of[id].next = BLOCKS_NONE;
	if (b->tail == BLOCKS_NONE)
		b->head = id;
	else
		b->of[b->tail].next = id;
	b->tail = id;
	b->n_free++;
}

static void queue_remove(struct blocks *b, uint32_t id)
{
	struct block *k = &b->of[id];

	if (k->prev == BLOCKS_NONE)
		b->head = k->next;
	else
		b->of[k->prev].next = k->next;
	if (k->next == BLOCKS_NONE)
		b->tail = k->prev;
	else
		b->of[k->next].prev = k->prev;
	b->n_free--;
}

static void forget_name(struct blocks *b, uint32_t id)
{
	uint32_t *at = &b->table[b->of[id].name & b->mask];

	while (*at != id)
		at = &b->of[*at].chain;
	*at = b->of[id].chain;
	b->of[id].name = 0;
}

struct blocks *blocks_new(uint32_t count)
{
	struct blocks *b = calloc(1, sizeof(*b));
	uint32_t size = 16;

	assert(count > 0 && count < UINT32_MAX / 4);
	while (size < count)
		size *= 2;
	if (!b)
		return NULL;
	b->of = calloc(count, sizeof(*b->of));
	b->table = malloc(size * sizeof(*b->table));
	if (!b->of || !b->table)
		return blocks_free(b);
	memset(b->table, 0xff, size * sizeof(*b->table));
	b->mask = size - 1;
	b->total = count;
	b->head = b->tail = BLOCKS_NONE;
	for (uint32_t i = 0; i < count; i++)
		queue_append(b, i);
	return b;
}

struct blocks *blocks_free(struct blocks *b)
{
	if (b) {
		free(b->of);
		free(b->table);
		free(b);
	}
	return NULL;
}

uint32_t blocks_n_free(const struct blocks *b)
{
	return b->n_free;
}

uint32_t blocks_n_total(const struct blocks *b)
{
	return b->total;
}

uint64_t blocks_n_released(const struct blocks *b)
{
	return b->released;
}

uint32_t blocks_find(const struct blocks *b, uint64_t name)
{
	uint32_t id = b->table[name & b->mask];

	while (id != BLOCKS_NONE && b->of[id].name != name)
		id = b->of[id].chain;
	return id;
}

uint32_t blocks_refs(const struct blocks *b, uint32_t id)
{
	return b->of[id].refs;
}

void blocks_hold(struct blocks *b, uint32_t id)
{
	if (b->of[id].refs++ == 0)
		queue_remove(b, id);
}

uint32_t blocks_take(struct blocks *b)
{
	uint32_t id = b->head;

	if (id == BLOCKS_NONE)
		return BLOCKS_NONE;
	queue_remove(b, id);
	if (b->of[id].name)
		forget_name(b, id);
	b->of[id].refs = 1;
	return id;
}

void blocks_drop(struct blocks *b, uint32_t id)
{
	assert(b->of[id].refs > 0);
	if (--b->of[id].refs == 0) {
		queue_append(b, id);
		b->released++;
	}
}

void blocks_name(struct blocks *b, uint32_t id, uint64_t name)
{
	assert(b->of[id].refs > 0 && name != 0);
	if (b->of[id].name || blocks_find(b, name) != BLOCKS_NONE)
		return;
	b->of[id].name = name;
	b->of[id].chain = b->table[name & b->mask];
	b->table[name & b->mask] = id;
}
