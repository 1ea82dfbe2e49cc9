/* Answers that a peer does not take at once: they wait here, in order. Zeroed: none. */
#ifndef SERVE_BACKLOG_H
#define SERVE_BACKLOG_H

#include <stddef.h>
#include <stdint.h>

struct backlog {
	uint8_t *bytes;
	size_t pos, len, cap; /* what waits: from pos to len */
};

static inline size_t backlog_waiting(const struct backlog *b)
{
	return b->len - b->pos;
}

/* 0 or -ENOMEM. */
int backlog_add(struct backlog *b, const uint8_t *bytes, size_t n)
    __attribute__((warn_unused_result));
/* Frees what there is. */
void backlog_clear(struct backlog *b);

#endif
