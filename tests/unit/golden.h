/* A file of tests/golden as it is, NUL-terminated; the caller frees ptr. */
#ifndef UNIT_GOLDEN_H
#define UNIT_GOLDEN_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/view.h"

static inline struct view golden_read(const char *name)
{
	char path[512], *text;
	FILE *in;
	long len;

	snprintf(path, sizeof(path), "%s/golden/%s", TESTS_DIR, name);
	in = fopen(path, "rb");
	if (!in)
		perror(path);
	assert(in);
	fseek(in, 0, SEEK_END);
	len = ftell(in);
	rewind(in);
	text = malloc((size_t)len + 1);
	assert(text && fread(text, 1, (size_t)len, in) == (size_t)len);
	text[len] = '\0';
	fclose(in);
	return (struct view){text, (size_t)len};
}

#endif
