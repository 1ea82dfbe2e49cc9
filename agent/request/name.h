/*
 * The rules for a model's name, however it came: 1 to REQUEST_MODEL_MAX bytes of valid UTF-8
 * without control characters (U+0000 to 1F, 7F, 80 to 9F). Blanks stay as they are.
 */
#ifndef REQUEST_NAME_H
#define REQUEST_NAME_H

#include <stddef.h>
#include "base/view.h"

enum name_result {
	NAME_OK,
	NAME_SURROGATE, /* half of a pair: no character */
	NAME_LONG,      /* does not fit */
};

/*
 * Decodes the escapes of a JSON string, @raw: the bytes between its quotes, whose grammar was
 * checked. Writes at most @size bytes to @out.
 */
enum name_result name_unescape(struct view raw, char *out, size_t size, struct view *ret);

/* NULL when @name may be a model's name, else what is wrong with it. */
const char *name_check(struct view name);

/* What is wrong, for a result of name_unescape() that is not NAME_OK. */
const char *name_why(enum name_result result);

#endif
