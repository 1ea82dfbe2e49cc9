/* A folder of the test's own, from the group's setup to its teardown, and files in it. */
#ifndef UNIT_FOLDER_H
#define UNIT_FOLDER_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/spoa-inference-test.XXXXXX";

static inline int folder_make(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_drop(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Good until the eighth next call. */
static inline const char *folder_path(const char *name)
{
	static char paths[8][256];
	static unsigned turn;
	char *p = paths[turn++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
	return p;
}

static inline const char *folder_put(const char *name, const char *text)
{
	const char *path = folder_path(name);
	FILE *f = fopen(path, "w");

	assert(f);
	fputs(text, f);
	assert(fclose(f) == 0);
	return path;
}

/* The same by rename: as mounted secrets change. */
static inline const char *folder_swap(const char *name, const char *text)
{
	const char *path = folder_path(name), *other = folder_put(".new", text);

	assert(rename(other, path) == 0);
	return path;
}

#endif
