/* A plan lies in its own arena, itself included: whoever makes one puts it there. */
#include "discover/plan.h"

#include "discover/arena.h"

struct plan *plan_free(struct plan *p)
{
	if (p)
		arena_free(p->arena);
	return NULL;
}
