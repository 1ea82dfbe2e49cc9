/* Parameters of a header value: `; name=value; name="quoted \" value"` (RFC 9110 §5.6.6). */
#ifndef REQUEST_PARAM_H
#define REQUEST_PARAM_H

#include "base/view.h"

struct param {
	struct view name;
	struct view raw; /* between the quotes, where there were any */
	bool quoted;     /* raw may hold \x pairs */
};

enum param_result { PARAM_READ, PARAM_END, PARAM_BAD };

/* Reads the next parameter of *rest, which begins behind the value itself, and moves *rest on. */
enum param_result param_next(struct view *rest, struct param *ret);

/* The value as it is meant; PARAM_BAD when it is longer than @size. */
enum param_result param_value(const struct param *p, char *buf, size_t size, struct view *ret);

#endif
