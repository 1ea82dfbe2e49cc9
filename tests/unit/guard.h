/* Bytes whose end is an unreadable page: one byte too far is a crash, with or without ASan. */
#ifndef UNIT_GUARD_H
#define UNIT_GUARD_H

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/view.h"

struct guard {
	char *end; /* the first unreadable byte */
	size_t room;
};

static inline struct guard guard_new(size_t most)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guard g = {.room = (most / page + 1) * page};
	char *p =
	    mmap(NULL, g.room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	g.end = p + g.room;
	assert(mprotect(g.end, page, PROT_NONE) == 0);
	return g;
}

static inline void guard_free(struct guard *g)
{
	munmap(g->end - g->room, g->room + (size_t)sysconf(_SC_PAGESIZE));
}

/* The bytes, until the next call. */
static inline struct view guard_put(const struct guard *g, struct view v)
{
	assert(v.len <= g->room);
	if (v.len)
		memcpy(g->end - v.len, v.ptr, v.len);
	return (struct view){g->end - v.len, v.len};
}

#endif
