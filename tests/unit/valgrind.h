/* Whether this runs under valgrind, which is slow and keeps descriptors and limits of its own. */
#ifndef UNIT_VALGRIND_H
#define UNIT_VALGRIND_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool under_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "/vgpreload");
}

#endif
