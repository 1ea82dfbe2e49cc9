/*
 * multipart/form-data (RFC 2046, RFC 7578): the field "model", before or after the file. Reads
 * forwards; delimiters are certain wherever they stand, so the end of a body whose middle was not
 * seen is read from its first delimiter on.
 */
#ifndef REQUEST_MULTIPART_H
#define REQUEST_MULTIPART_H

#include <stdbool.h>
#include <stdint.h>
#include "request/span.h"

/* RFC 2046 allows 70; some clients take more. */
#define MULTIPART_BOUNDARY_MAX 200
/* Longest header of a part that is looked at. */
#define MULTIPART_HEADER_MAX 4096

enum multipart_result {
	MULTIPART_CLOSED, /* the closing delimiter was met */
	MULTIPART_OPEN,   /* right so far; it was not */
	MULTIPART_BAD,    /* why, at */
};

struct multipart {
	bool model;      /* a field "model", whole, with its delimiter */
	bool delimiters; /* there was one */
	int64_t model_at, model_len;
	int64_t at;
	const char *why;
};

/* multipart_read()'s reason for what stands behind the closing delimiter. */
#define MULTIPART_BEHIND "a multipart delimiter behind the closing one"

/*
 * Takes @content_type apart: its boundary, unquoted into @buf, and whether its charset is one in
 * which ASCII alone means the same as in UTF-8. NULL, or what is wrong with it.
 */
const char *multipart_type(struct view content_type, char buf[MULTIPART_BOUNDARY_MAX],
			   struct view *ret, bool *ret_ascii);

/*
 * Reads all of @text, which begins at the body's first byte (text->at == 0) or anywhere later.
 * @ends: the body ends where @text does, so a closing delimiter there needs no CRLF.
 */
enum multipart_result multipart_read(struct multipart *m, const struct span *text,
				     struct view boundary, bool ends);

#endif
