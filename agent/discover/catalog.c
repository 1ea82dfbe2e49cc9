/* An index of 32-bit positions at a load of at most one half, over an array in order of arrival. */
#include "discover/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#define EMPTY UINT32_MAX

int catalog_init(struct catalog *c, size_t max)
{
	*c = (struct catalog){.max = max, .mask = 255};
	c->index = malloc((c->mask + 1) * sizeof(*c->index));
	if (!c->index)
		return -ENOMEM;
	memset(c->index, 0xff, (c->mask + 1) * sizeof(*c->index));
	return 0;
}

void catalog_deinit(struct catalog *c)
{
	free(c->entries);
	free(c->index);
	free(c->bits);
}

/* Where @name is in the index, or where it would go. */
static size_t probe(const struct catalog *c, struct view name)
{
	size_t at = XXH3_64bits(name.ptr, name.len) & c->mask;

	while (c->index[at] != EMPTY && !view_eq(c->entries[c->index[at]].name, name))
		at = (at + 1) & c->mask;
	return at;
}

struct catalog_entry *catalog_find(const struct catalog *c, struct view name)
{
	uint32_t at = c->index[probe(c, name)];

	return at == EMPTY ? NULL : &c->entries[at];
}

static int grow_index(struct catalog *c)
{
	size_t mask = c->mask * 2 + 1;
	uint32_t *index = malloc((mask + 1) * sizeof(*index));

	if (!index)
		return -ENOMEM;
	memset(index, 0xff, (mask + 1) * sizeof(*index));
	free(c->index);
	c->index = index;
	c->mask = mask;
	for (size_t i = 0; i < c->n; i++)
		c->index[probe(c, c->entries[i].name)] = (uint32_t)i;
	return 0;
}

static int grow(void **array, size_t *room, size_t need, size_t size)
{
	size_t more = *room ? *room : 64;
	void *p;

	if (need <= *room)
		return 0;
	while (more < need)
		more *= 2;
	p = realloc(*array, more * size);
	if (!p)
		return -ENOMEM;
	*array = p;
	*room = more;
	return 0;
}

int catalog_add(struct catalog *c, struct view name, size_t words, struct catalog_entry **ret,
		bool *ret_new)
{
	size_t at = probe(c, name);

	*ret_new = false;
	if (c->index[at] != EMPTY) {
		*ret = &c->entries[c->index[at]];
		return 0;
	}
	if (c->n == c->max)
		return -ENOSPC;
	if (grow((void **)&c->entries, &c->room, c->n + 1, sizeof(*c->entries)) < 0 ||
	    grow((void **)&c->bits, &c->bits_room, c->nbits + words, sizeof(*c->bits)) < 0)
		return -ENOMEM;
	if (2 * (c->n + 1) > c->mask) {
		if (grow_index(c) < 0)
			return -ENOMEM;
		at = probe(c, name);
	}
	c->entries[c->n] = (struct catalog_entry){.name = name, .bits = c->nbits};
	if (words)
		memset(c->bits + c->nbits, 0, words * sizeof(*c->bits));
	c->nbits += words;
	c->index[at] = (uint32_t)c->n;
	*ret = &c->entries[c->n++];
	*ret_new = true;
	return 0;
}
