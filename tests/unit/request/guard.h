/* Bytes whose end is an unreadable page: one byte too far is a crash, with or without ASan. */
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/view.h"

struct guard {
	char *end; /* first unreadable byte */
	size_t room;
};

static void guard_init(struct guard *g, size_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p;

	g->room = (room + page) / page * page;
	p = mmap(NULL, g->room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(p != MAP_FAILED);
	assert(mprotect(p + g->room, page, PROT_NONE) == 0);
	g->end = p + g->room;
}

static void guard_deinit(struct guard *g)
{
	munmap(g->end - g->room, g->room + (size_t)sysconf(_SC_PAGESIZE));
}

/* The bytes, until the next call. */
static struct view guard_put(struct guard *g, const char *bytes, size_t len)
{
	assert(len <= g->room);
	if (len)
		memcpy(g->end - len, bytes, len);
	return (struct view){g->end - len, len};
}

#endif
