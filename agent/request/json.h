/*
 * A JSON scanner that checks RFC 8259 to the letter and remembers one thing: the top-level
 * "model". It builds nothing, allocates nothing and can stop at any byte and go on with the next.
 */
#ifndef REQUEST_JSON_H
#define REQUEST_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "request/span.h"

#define JSON_DEPTH_MAX 65536

enum json_result {
	JSON_CLOSED, /* one whole value, and nothing but blanks after it */
	JSON_OPEN,   /* right so far; more must follow */
	JSON_BAD,    /* why, at */
};

/* Where the scanner stands: what may come next. */
enum json_state {
	JSON_VALUE,         /* a value */
	JSON_FIRST_ELEMENT, /* after [ */
	JSON_FIRST_KEY,     /* after { */
	JSON_KEY,           /* after a comma in an object */
	JSON_COLON,
	JSON_AFTER, /* after a value: comma or closing bracket; at depth 0 blanks only */
	JSON_STRING,
	JSON_ESCAPE, /* after a backslash */
	JSON_HEX,    /* j->need digits of \uXXXX are missing */
	JSON_UTF8,   /* j->need bytes of a sequence are missing */
	JSON_MINUS,
	JSON_ZERO,
	JSON_INT,
	JSON_DOT,
	JSON_FRACTION,
	JSON_E,
	JSON_E_SIGN,
	JSON_E_INT,
	JSON_WORD, /* j->word: rest of true, false or null */
};

struct json {
	/* what was found */
	bool key;                    /* the top-level key "model" */
	bool like;                   /* one that differs from it by case alone */
	bool model;                  /* and its whole value, a string */
	bool model_escaped;          /* with backslashes in it */
	char top;                    /* first byte of the top-level value; 0: not seen */
	int64_t model_at, model_len; /* bytes between the quotes, offset in the body */
	int64_t at;                  /* JSON_BAD: offset of the offending byte */
	const char *why;             /* JSON_BAD */

	/* where it stands */
	enum json_state state;
	bool in_key, in_model, escaped;
	uint8_t need, lo, hi;
	const char *word;
	int64_t string_at; /* first byte of the string it is in; -1: before what was seen */
	unsigned depth, max_depth;
	uint64_t objects[JSON_DEPTH_MAX / 64]; /* bit per open level: object, not array; only the
						  open levels are initialised */
};

/* @max_depth past JSON_DEPTH_MAX is JSON_DEPTH_MAX. */
void json_init(struct json *j, unsigned max_depth);

/* Reads all of @text from where @j stands. Call it once more only after a JSON_OPEN, and with the
 * text that follows. */
enum json_result json_scan(struct json *j, const struct span *text);

/*
 * In blocks (text_blocks->json): reads on from where @j stands, between two tokens inside the
 * top-level value (@j->depth > 0, a state from JSON_VALUE to JSON_AFTER), as far as it is right for
 * certain and no top-level key "model", in any case. There @j then stands: between tokens, or
 * inside a string that is no key of the top level.
 */
static inline bool json_is_object(const struct json *j, unsigned level)
{
	return j->objects[level / 64] >> (level % 64) & 1;
}

static inline void json_mark(struct json *j, unsigned level, bool object)
{
	uint64_t bit = (uint64_t)1 << (level % 64);
	uint64_t *word = &j->objects[level / 64];

	*word = object ? *word | bit : *word & ~bit;
}

#endif
