/* What a content type says about the body. */
#ifndef REQUEST_KIND_H
#define REQUEST_KIND_H

#include "base/view.h"

enum kind {
	KIND_JSON,      /* application/json, text/json, +json, or no content type */
	KIND_MULTIPART, /* multipart/form-data */
	KIND_GUESS, /* text/plain and application/x-www-form-urlencoded: JSON if it begins with { */
	KIND_NONE,  /* everything else carries no model */
};

/* @content_type as the header stands. */
enum kind kind_of(struct view content_type);

/* How a charset bears on names: false, as nothing known; *ret_ascii: as UTF-8 where they are ASCII,
 * else as UTF-8. */
bool kind_charset(struct view charset, bool *ret_ascii);

/* The parameters of a JSON @content_type: NULL, or why it cannot be read as UTF-8. *ret_ascii as
 * above. */
const char *kind_of_json(struct view content_type, bool *ret_ascii);

/* False when @content_encoding names anything but identity. */
bool kind_is_plain(struct view content_encoding);

#endif
