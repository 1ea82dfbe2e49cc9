/* The bounded reader and writer that iterators and builders carry inside.
 *
 * Public only so that those structs can stand on a caller's stack: the functions over them are
 * private to spop/, and so are the fields. Both fail stickily: after the first byte too many
 * nothing more is read or written, so a codec runs straight and asks once, at its end.
 */
#ifndef SPOP_BYTES_H
#define SPOP_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spop_cursor {
	const uint8_t *pos; /* begin <= pos <= end */
	const uint8_t *end;
	const uint8_t *begin; /* offsets in a struct spop_fault count from here */
	const char *msg;      /* why it failed; NULL while it has not */
};

struct spop_writer {
	uint8_t *pos; /* begin <= pos <= end */
	uint8_t *end;
	uint8_t *begin;
	bool failed; /* something did not fit, or could not be said in SPOP */
};

#endif
