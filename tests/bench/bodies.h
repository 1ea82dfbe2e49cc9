/*
 * Bodies as clients send them, made to a size: the same bytes on every machine.
 */
#ifndef BENCH_BODIES_H
#define BENCH_BODIES_H

#include <stdbool.h>
#include <stddef.h>

enum body_shape {
	BODY_LONG,      /* one long prompt of prose, a line break every few hundred bytes */
	BODY_PLAIN,     /* the same on one line */
	BODY_TURNS,     /* many short turns of a conversation, non-ASCII here and there */
	BODY_MEDIA,     /* tools, and images in base64 */
	BODY_ESCAPES,   /* source code in a prompt: \n, \", \\ and \u everywhere */
	BODY_UTF8,      /* prose in a script of three bytes a character */
	BODY_MULTIPART, /* a file, then the field model */
	BODY_SHAPES
};

const char *body_shape_name(enum body_shape shape);
/* BODY_SHAPES when there is none of that name. */
enum body_shape body_shape_find(const char *name);

/*
 * A body of @size bytes or a few more or less, malloc'd and not terminated; the model stands
 * behind the messages, where clients put it, unless @model_first. Exits when memory is short.
 */
char *body_make(enum body_shape shape, size_t size, const char *model, bool model_first,
		size_t *ret_len);

/* Of BODY_MULTIPART; JSON for the others. */
const char *body_content_type(enum body_shape shape);

#endif
