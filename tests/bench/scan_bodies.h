/*
 * More bodies for bench-scan: the shapes of JSON on which parsers differ most. Made to a size, the
 * same bytes on every machine.
 */
#ifndef BENCH_SCAN_BODIES_H
#define BENCH_SCAN_BODIES_H

#include <stddef.h>

enum scan_shape {
	SCAN_PROMPT,  /* one long prompt of prose on one line */
	SCAN_TURNS,   /* many turns of a conversation, a few hundred bytes each */
	SCAN_TOOLS,   /* functions with their JSON schemas: small keys and words, many brackets */
	SCAN_IMAGES,  /* base64 */
	SCAN_ESCAPES, /* source code in a prompt */
	SCAN_CJK,     /* three bytes a character */
	SCAN_TOKENS,  /* a prompt of token ids */
	SCAN_PRETTY,  /* the tools again, four blanks a level */
	SCAN_FLOATS,  /* embeddings */
	SCAN_CALLS,   /* tool calls and their answers: JSON in strings, an escape every few bytes */
	SCAN_FLAT,    /* little at the top level, again and again */
	SCAN_SHAPES
};

const char *scan_shape_name(enum scan_shape shape);

/*
 * A body of @size bytes or a few more or less, malloc'd, not terminated, with @model behind the
 * messages. Exits when memory is short.
 */
char *scan_body_make(enum scan_shape shape, size_t size, const char *model, size_t *ret_len);

#endif
