#include "serve/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int backlog_add(struct backlog *b, const uint8_t *bytes, size_t n)
{
	size_t waiting = backlog_waiting(b);

	if (b->pos > 0) {
		memmove(b->bytes, b->bytes + b->pos, waiting);
		b->pos = 0;
		b->len = waiting;
	}
	if (n > b->cap - waiting) {
		size_t cap = waiting + n + 4096;
		uint8_t *more = realloc(b->bytes, cap);

		if (!more)
			return -ENOMEM;
		b->bytes = more;
		b->cap = cap;
	}
	memcpy(b->bytes + waiting, bytes, n);
	b->len = waiting + n;
	return 0;
}

void backlog_clear(struct backlog *b)
{
	free(b->bytes);
	*b = (struct backlog){.bytes = NULL};
}
