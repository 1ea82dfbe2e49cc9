/* A copy of some bytes whose end is the end of readable memory. */
#ifndef UNIT_OBSERVE_GUARD_H
#define UNIT_OBSERVE_GUARD_H

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/view.h"

struct guard {
	char *map, *end; /* end: the first byte that may not be read */
	size_t size;
};

static inline struct guard guard_open(size_t most)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guard g = {.size = (most + page) / page * page + page};

	g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(g.map != MAP_FAILED);
	g.end = g.map + g.size - page;
	assert(mprotect(g.end, page, PROT_NONE) == 0);
	return g;
}

static inline struct view guard_put(const struct guard *g, struct view v)
{
	char *at = g->end - v.len;

	if (v.len)
		memcpy(at, v.ptr, v.len);
	return (struct view){at, v.len};
}

static inline void guard_close(struct guard *g)
{
	munmap(g->map, g->size);
}

#endif
