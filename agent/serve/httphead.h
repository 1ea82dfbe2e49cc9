/*
 * The head of an HTTP/1 request as the administration port takes it. Bytes in, values out.
 */
#ifndef SERVE_HTTPHEAD_H
#define SERVE_HTTPHEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/view.h"

/* Views into the text that was parsed. */
struct httphead {
	struct view method;
	struct view path;  /* begins with '/', as it was sent, without the query */
	struct view token; /* of "Authorization: Bearer TOKEN"; NULL when there is none */
};

/* Bytes of @text up to and including the empty line that ends the head; 0: it is not there yet. */
size_t httphead_end(struct view text);

/*
 * Takes a whole head apart. 0, or the HTTP status that says what is wrong with it: 400, or 505 for
 * another version than 1.0 and 1.1. *ret is written on success alone.
 */
int httphead_parse(struct view text, struct httphead *ret) __attribute__((warn_unused_result));

#endif
