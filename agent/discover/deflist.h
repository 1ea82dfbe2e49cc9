/* Definitions of routes while a table of them is being made. */
#ifndef DISCOVER_DEFLIST_H
#define DISCOVER_DEFLIST_H

#include <stddef.h>
#include "route/table.h"

/* Zeroed to begin with. Views are borrowed. */
struct deflist {
	size_t n, room;
	struct route_def *items;
};

/* 0 or -ENOMEM. */
int deflist_add(struct deflist *l, const struct route_def *def) __attribute__((warn_unused_result));
void deflist_deinit(struct deflist *l);

#endif
