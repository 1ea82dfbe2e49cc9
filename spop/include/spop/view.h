/* Borrowed bytes: a pointer and a length, passed by value.
 *
 * A view never owns. What a decoder hands out points into the buffer it was given and dies when
 * that buffer is read into, moved or freed; what must live longer is copied by its user.
 */
#ifndef SPOP_VIEW_H
#define SPOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct spop_view {
	const uint8_t *ptr; /* not terminated; NULL means absent, where absent differs from empty */
	size_t len;
};

#define SPOP_VIEW_NULL   ((struct spop_view){NULL, 0})
#define SPOP_VIEW_LIT(s) ((struct spop_view){(const uint8_t *)("" s), sizeof(s) - 1})

static inline struct spop_view spop_view_of(const void *ptr, size_t len)
{
	return (struct spop_view){(const uint8_t *)ptr, len};
}

static inline struct spop_view spop_view_str(const char *s)
{
	return (struct spop_view){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool spop_view_eq(struct spop_view a, struct spop_view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
