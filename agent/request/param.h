/* Parameters of a header value: `; name=value; name="quoted \" value"` (RFC 9110 §5.6.6). */
#ifndef REQUEST_PARAM_H
#define REQUEST_PARAM_H

#include <stdbool.h>
#include "base/view.h"

struct param {
	struct view name;
	struct view raw; /* between the quotes, where there were any */
	bool quoted;     /* raw may hold \x pairs */
	bool followed;   /* something stands between the value and the next semicolon */
};

enum param_result { PARAM_READ, PARAM_END, PARAM_BAD };

/*
 * Reads the next parameter of *rest, which begins behind the value itself, and moves *rest on.
 * PARAM_BAD: a quote that does not end, or a name that is not one token.
 */
enum param_result param_next(struct view *rest, struct param *ret);

/* Whether the value is what the grammar allows, quoted, a token or nothing, stands alone, and is
 * split and unquoted alike by all readers, also those that know nothing of quotes or escapes. */
bool param_is_plain(const struct param *p);

/* The value as it is meant; PARAM_BAD when it is longer than @size. */
enum param_result param_value(const struct param *p, char *buf, size_t size, struct view *ret);

#endif
