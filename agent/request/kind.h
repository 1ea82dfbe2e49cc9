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

/* False when @content_encoding names anything but identity. */
bool kind_is_plain(struct view content_encoding);

#endif
