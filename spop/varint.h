/* Variable-length integers. SPOE.txt §3.1. See varint.c. */
#ifndef SPOP_VARINT_PRIVATE_H
#define SPOP_VARINT_PRIVATE_H

#include <stdint.h>

#include "cursor.h"
#include "writer.h"

#define SPOP_VARINT_MAX 10 /* bytes of UINT64_MAX */

uint64_t spop_varint_read_long(struct spop_cursor *c);
void spop_varint_write_long(struct spop_writer *w, uint64_t v);

/* 0 once the cursor failed: bytes missing, or a value past 64 bits. */
static inline uint64_t spop_varint_read(struct spop_cursor *c)
{
	if (spop_cursor_left(c) > 0 && *c->pos < 240)
		return *c->pos++;
	return spop_varint_read_long(c);
}

static inline void spop_varint_write(struct spop_writer *w, uint64_t v)
{
	if (v < 240)
		spop_writer_u8(w, (uint8_t)v);
	else
		spop_varint_write_long(w, v);
}

#endif
