/* Text that grows. Fails stickily: what could not be kept makes the whole fail, at its end. */
#ifndef DISCOVER_FOLLOW_TEXT_H
#define DISCOVER_FOLLOW_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"

/* Zeroed: empty. */
struct text {
	char *bytes;
	size_t len, size;
	bool failed;
};

void text_view(struct text *t, struct view v);
void text_str(struct text *t, const char *s);
void text_char(struct text *t, char c);
void text_format(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The bytes, terminated, for the caller to free, and *ret_len without the terminator; NULL when
 * memory was short. @t is empty again. */
char *text_take(struct text *t, size_t *ret_len);

#endif
