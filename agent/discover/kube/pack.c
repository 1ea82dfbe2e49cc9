/*
 * A store holds tens of thousands of objects, so a block is as large as its object needs: the
 * first has the size that the decoder guessed, and what does not fit there gets small ones. Strings
 * stand unaligned behind each other at a block's end, everything else aligned at its beginning.
 */
#include "discover/kube/pack.h"

#include <stdalign.h>
#include <stdlib.h>

#define MORE 512 /* bytes of a further block */

struct block {
	struct block *next;
	alignas(max_align_t) char bytes[];
};

struct kube_pack {
	struct block *blocks;
	char *low, *high; /* what is free in the newest block */
	size_t bytes;
	bool failed;
};

static bool grow(struct kube_pack *p, size_t size)
{
	struct block *b = malloc(sizeof(*b) + size);

	if (!b) {
		p->failed = true;
		return false;
	}
	b->next = p->blocks;
	p->blocks = b;
	p->low = b->bytes;
	p->high = b->bytes + size;
	p->bytes += sizeof(*b) + size;
	return true;
}

struct kube_pack *kube_pack_new(size_t hint)
{
	struct kube_pack *p = calloc(1, sizeof(*p));

	if (p) {
		p->bytes = sizeof(*p);
		if (hint && !grow(p, (hint + 15) / 16 * 16))
			return kube_pack_free(p);
	}
	return p;
}

struct kube_pack *kube_pack_free(struct kube_pack *p)
{
	while (p && p->blocks) {
		struct block *b = p->blocks;

		p->blocks = b->next;
		free(b);
	}
	free(p);
	return NULL;
}

static bool room(struct kube_pack *p, size_t size)
{
	return (size_t)(p->high - p->low) >= size || grow(p, size > MORE ? size : MORE);
}

void *kube_pack_get(struct kube_pack *p, size_t size)
{
	void *piece;

	size = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
	if (!room(p, size))
		return NULL;
	piece = p->low;
	p->low += size;
	memset(piece, 0, size);
	return piece;
}

struct view kube_pack_dup(struct kube_pack *p, struct view v)
{
	if (!v.ptr || !room(p, v.len + 1))
		return VIEW_NULL;
	p->high -= v.len + 1;
	if (v.len)
		memcpy(p->high, v.ptr, v.len);
	p->high[v.len] = '\0';
	return (struct view){p->high, v.len};
}

bool kube_pack_failed(const struct kube_pack *p)
{
	return p->failed;
}

size_t kube_pack_bytes(const struct kube_pack *p)
{
	return p->bytes;
}
