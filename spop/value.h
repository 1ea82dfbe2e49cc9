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
void spop_value_read(struct spop_cursor *c, struct spop_value *ret);
/* Fails the writer also for a value that has no encoding: a type out of the table, an integer out
 * of its type's range, an address of the wrong length.
 */
void spop_value_write(struct spop_writer *w, const struct spop_value *v);

#endif
