/* An array that doubles. */
#include "discover/deflist.h"

#include <errno.h>
#include <stdlib.h>

int deflist_add(struct deflist *l, const struct route_def *def)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct route_def *items = realloc(l->items, room * sizeof(*items));

		if (!items)
			return -ENOMEM;
		l->items = items;
		l->room = room;
	}
	l->items[l->n++] = *def;
	return 0;
}

void deflist_deinit(struct deflist *l)
{
	free(l->items);
	*l = (struct deflist){0};
}
