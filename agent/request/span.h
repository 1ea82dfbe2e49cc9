/*
 * A stretch of the body in one or two pieces: HAProxy sends a large body as a head and a tail,
 * and where both touch they are read as one text without being copied together.
 */
#ifndef REQUEST_SPAN_H
#define REQUEST_SPAN_H

#include <stdint.h>
#include <string.h>
#include "base/view.h"

struct span {
	struct view a, b; /* b follows a; empty when there is one piece */
	int64_t at;       /* offset of a's first byte in the body */
};

static inline int64_t span_end(const struct span *s)
{
	return s->at + (int64_t)s->a.len + (int64_t)s->b.len;
}

/* The byte at body offset @at, which must lie inside. */
static inline unsigned char span_byte(const struct span *s, int64_t at)
{
	size_t i = (size_t)(at - s->at);

	return (unsigned char)(i < s->a.len ? s->a.ptr[i] : s->b.ptr[i - s->a.len]);
}

/*
 * The @len bytes at body offset @at, which must lie inside. They are copied into @scratch (at
 * least @len bytes) only where the seam runs through them.
 */
static inline struct view span_view(const struct span *s, int64_t at, size_t len, char *scratch)
{
	size_t i = (size_t)(at - s->at);
	size_t first;

	if (len == 0)
		return (struct view){scratch, 0};
	if (i >= s->a.len)
		return (struct view){s->b.ptr + (i - s->a.len), len};
	first = s->a.len - i;
	if (len <= first)
		return (struct view){s->a.ptr + i, len};
	memcpy(scratch, s->a.ptr + i, first);
	memcpy(scratch + first, s->b.ptr, len - first);
	return (struct view){scratch, len};
}

#endif
