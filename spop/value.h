/* Typed data and strings over the cursor and the writer. See value.c. */
#ifndef SPOP_VALUE_PRIVATE_H
#define SPOP_VALUE_PRIVATE_H

#include "cursor.h"
#include "spop/value.h"
#include "varint.h"
#include "writer.h"

/* <LENGTH:varint><BYTES>, as names are; an empty view once failed. */
static inline struct spop_view spop_string_read(struct spop_cursor *c)
{
	return spop_cursor_bytes(c, spop_varint_read(c));
}

static inline void spop_string_write(struct spop_writer *w, struct spop_view s)
{
	spop_varint_write(w, s.len);
	spop_writer_bytes(w, s);
}

/* NULL once the cursor failed. */
void spop_value_read_any(struct spop_cursor *c, struct spop_value *ret);

/* The same, quick for what nearly all arguments are: text that is here, or nothing. */
static inline void spop_value_read(struct spop_cursor *c, struct spop_value *ret)
{
	const size_t left = spop_cursor_left(c);
	const uint8_t tag = left ? *c->pos : SPOP_DATA_T_BOOL;
	const uint8_t type = tag & SPOP_DATA_T_MASK;

	if (type == SPOP_DATA_T_NULL) {
		*ret = (struct spop_value){.type = SPOP_DATA_T_NULL, .flags = tag};
		c->pos++;
		return;
	}
	if ((type == SPOP_DATA_T_STR || type == SPOP_DATA_T_BIN) && left > 3) {
		size_t len = c->pos[1], head = 2;

		/* bodies: a length of two bytes goes up to 2287 */
		if (len >= SPOP_VARINT_BYTE) {
			len += (size_t)c->pos[2] << 4;
			head = 3;
		}
		if ((head == 2 || c->pos[2] < 128) && len <= left - head) {
			ret->type = type;
			ret->flags = tag & SPOP_DATA_FL_MASK;
			ret->bytes = (struct spop_view){c->pos + head, len};
			c->pos += head + len;
			return;
		}
	}
	spop_value_read_any(c, ret);
}
/* Fails the writer also for a value that has no encoding: a type out of the table, an integer out
 * of its type's range, an address of the wrong length.
 */
void spop_value_write(struct spop_writer *w, const struct spop_value *v);

#endif
