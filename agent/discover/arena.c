/* Chunks in a chain; a piece larger than a chunk gets one of its own. */
#include "discover/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#define CHUNK 65536

struct chunk {
	struct chunk *next;
	size_t used, size;
	alignas(max_align_t) char bytes[];
};

struct arena {
	struct chunk *chunks;
};

struct arena *arena_new(void)
{
	return calloc(1, sizeof(struct arena));
}

struct arena *arena_free(struct arena *a)
{
	if (!a)
		return NULL;
	while (a->chunks) {
		struct chunk *c = a->chunks;

		a->chunks = c->next;
		free(c);
	}
	free(a);
	return NULL;
}

void *arena_get(struct arena *a, size_t size)
{
	struct chunk *c = a->chunks;
	size_t room;
	void *piece;

	size = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
	if (!c || size > c->size - c->used) {
		room = size > CHUNK ? size : CHUNK;
		c = malloc(sizeof(*c) + room);
		if (!c)
			return NULL;
		c->size = room;
		c->used = 0;
		c->next = a->chunks;
		a->chunks = c;
	}
	piece = c->bytes + c->used;
	c->used += size;
	memset(piece, 0, size);
	return piece;
}

char *arena_dup(struct arena *a, struct view v)
{
	char *copy = v.ptr ? arena_get(a, v.len + 1) : NULL;

	if (copy && v.len)
		memcpy(copy, v.ptr, v.len);
	return copy;
}
