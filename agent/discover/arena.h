/* Memory that is given out in pieces and freed as a whole. */
#ifndef DISCOVER_ARENA_H
#define DISCOVER_ARENA_H

#include <stddef.h>
#include "base/view.h"

struct arena;

struct arena *arena_new(void);
struct arena *arena_free(struct arena *a);
/* Zeroed, aligned for anything; NULL when memory is short. */
void *arena_get(struct arena *a, size_t size);
/* A NUL-terminated copy; NULL for an absent view and when memory is short. */
char *arena_dup(struct arena *a, struct view v);

#endif
