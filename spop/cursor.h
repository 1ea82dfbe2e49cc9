/* Bounded reading. See cursor.c for the rules that callers lean on. */
#ifndef SPOP_CURSOR_PRIVATE_H
#define SPOP_CURSOR_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spop/bytes.h"
#include "spop/error.h"
#include "spop/view.h"

void spop_cursor_init(struct spop_cursor *c, struct spop_view bytes);

/* Fails the cursor at `at`, which lies in begin..pos. The first failure stays. */
void spop_cursor_fail(struct spop_cursor *c, const uint8_t *at, const char *msg)
    __attribute__((cold));

/* Writes the fault of a failed cursor; base is added to its offset. Returns -code. */
int spop_cursor_fault(const struct spop_cursor *c, enum spop_error code, size_t base,
		      struct spop_fault *ret) __attribute__((cold));

static inline size_t spop_cursor_left(const struct spop_cursor *c)
{
	return (size_t)(c->end - c->pos);
}

static inline bool spop_cursor_failed(const struct spop_cursor *c)
{
	return c->msg != NULL;
}

/* 0 once failed. */
static inline uint8_t spop_cursor_u8(struct spop_cursor *c)
{
	if (spop_cursor_left(c) == 0) {
		spop_cursor_fail(c, c->pos, "a byte is missing");
		return 0;
	}
	return *c->pos++;
}

/* An empty view once failed. */
static inline struct spop_view spop_cursor_bytes(struct spop_cursor *c, uint64_t len)
{
	struct spop_view v;

	if (len > spop_cursor_left(c)) {
		spop_cursor_fail(c, c->pos, "a length runs past the end");
		return SPOP_VIEW_NULL;
	}
	v = (struct spop_view){c->pos, (size_t)len};
	if (len)
		c->pos += (size_t)len;
	return v;
}

static inline uint32_t spop_cursor_be32(struct spop_cursor *c)
{
	struct spop_view v = spop_cursor_bytes(c, 4);

	if (v.len != 4)
		return 0;
	return (uint32_t)v.ptr[0] << 24 | (uint32_t)v.ptr[1] << 16 | (uint32_t)v.ptr[2] << 8 |
	       v.ptr[3];
}

#endif
