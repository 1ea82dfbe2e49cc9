/* One buffer that doubles. (open_memstream() does the same, but does not tell when it could not.)
 */
#include "discover/follow/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST 1024

static bool make_room(struct text *t, size_t more)
{
	size_t size = t->size ? t->size : FIRST;
	char *bytes;

	if (t->failed)
		return false;
	if (more < t->size - t->len)
		return true;
	while (size - t->len <= more && size <= SIZE_MAX / 2)
		size *= 2;
	bytes = realloc(t->bytes, size);
	if (!bytes) {
		t->failed = true;
		return false;
	}
	t->bytes = bytes;
	t->size = size;
	return true;
}

void text_view(struct text *t, struct view v)
{
	if (v.len && make_room(t, v.len)) {
		memcpy(t->bytes + t->len, v.ptr, v.len);
		t->len += v.len;
	}
}

void text_str(struct text *t, const char *s)
{
	text_view(t, view_str(s));
}

void text_char(struct text *t, char c)
{
	text_view(t, (struct view){&c, 1});
}

void text_format(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 || !make_room(t, (size_t)n)) {
		t->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf(t->bytes + t->len, (size_t)n + 1, format, args);
	va_end(args);
	t->len += (size_t)n;
}

char *text_take(struct text *t, size_t *ret_len)
{
	char *bytes = make_room(t, 0) ? t->bytes : NULL;

	if (bytes) {
		bytes[t->len] = '\0';
		*ret_len = t->len;
	} else {
		free(t->bytes);
	}
	*t = (struct text){0};
	return bytes;
}
