/* Borrowed bytes: somebody else's memory, by value. Dies when its owner reads on. */
#ifndef BASE_VIEW_H
#define BASE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct view {
	const char *ptr; /* not terminated; NULL means absent, where absent differs from empty */
	size_t len;
};

#define VIEW_NULL   ((struct view){NULL, 0})
#define VIEW_LIT(s) ((struct view){"" s, sizeof(s) - 1})

static inline struct view view_str(const char *s)
{
	return (struct view){s, s ? strlen(s) : 0};
}

static inline bool view_eq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case-insensitive, for header values. */
bool view_caseeq(struct view a, struct view b);

/* A copy at *@at, which moves behind it: for many in one block whose size was summed up before. An
 * absent one stays absent. */
struct view view_pack(char **at, struct view v);

/* A NUL-terminated copy; NULL when memory is short. The caller frees. */
char *view_dup(struct view v) __attribute__((warn_unused_result));

#endif
