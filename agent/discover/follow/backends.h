/* The backends that HAProxy sends requests to, as it last said. */
#ifndef DISCOVER_FOLLOW_BACKENDS_H
#define DISCOVER_FOLLOW_BACKENDS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"

/* Zeroed: none. */
struct backends {
	char **names; /* sorted */
	size_t n;
};

void backends_deinit(struct backends *b);
/* @names sorted. True: they were others before. Short of memory some are not kept. */
bool backends_set(struct backends *b, const struct view *names, size_t n);
bool backends_have(const struct backends *b, struct view name);

#endif
