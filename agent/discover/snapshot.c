/* pools[] and the routes are allocations of their own; everything else lies in the arena. */
#include "discover/snapshot.h"

#include <stdlib.h>

#include "discover/arena.h"

struct snapshot *snapshot_free(struct snapshot *s)
{
	if (s) {
		free(s->pools);
		route_table_free(s->routes);
		rules_free(s->rules);
		route_table_free(s->models);
		arena_free(s->arena);
		free(s);
	}
	return NULL;
}
