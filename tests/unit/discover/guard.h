/* Text whose last byte lies against a page that cannot be read. */
#ifndef UNIT_DISCOVER_GUARD_H
#define UNIT_DISCOVER_GUARD_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/view.h"

struct guard {
	char *pages;
	size_t size; /* readable */
};

static inline struct guard guard_new(size_t most)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guard g = {NULL, (most / page + 1) * page};

	g.pages =
	    mmap(NULL, g.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(g.pages != MAP_FAILED);
	assert(mprotect(g.pages + g.size, page, PROT_NONE) == 0);
	return g;
}

static inline struct view guard_put(const struct guard *g, struct view v)
{
	char *at = g->pages + g->size - v.len;

	if (v.len)
		memcpy(at, v.ptr, v.len);
	return (struct view){at, v.len};
}

static inline void guard_free(struct guard *g)
{
	munmap(g->pages, g->size + (size_t)sysconf(_SC_PAGESIZE));
}

/* A file below tests/; the caller frees ptr. */
static inline struct view golden(const char *name)
{
	char path[512];
	struct view v = {NULL, 0};
	char *text;
	FILE *in;
	long len;

	snprintf(path, sizeof(path), "%s/golden/%s", TESTS_DIR, name);
	in = fopen(path, "rb");
	assert(in);
	fseek(in, 0, SEEK_END);
	len = ftell(in);
	rewind(in);
	text = malloc((size_t)len + 1);
	assert(text && fread(text, 1, (size_t)len, in) == (size_t)len);
	text[len] = '\0';
	fclose(in);
	v.ptr = text;
	v.len = (size_t)len;
	return v;
}

#endif
