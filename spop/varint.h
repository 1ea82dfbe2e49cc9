/* Variable-length integers. SPOE.txt §3.1. See varint.c. */
#ifndef SPOP_VARINT_PRIVATE_H
#define SPOP_VARINT_PRIVATE_H

#include <stdint.h>

#include "cursor.h"
#include "writer.h"

#define SPOP_VARINT_MAX  10  /* bytes of UINT64_MAX */
#define SPOP_VARINT_BYTE 240 /* what is below is one byte, itself */

uint64_t spop_varint_read_long(struct spop_cursor *c);
void spop_varint_write_long(struct spop_writer *w, uint64_t v);

/* Where there is room for SPOP_VARINT_MAX; returns the place behind. */
static inline uint8_t *spop_varint_put(uint8_t *p, uint64_t v)
{
	if (v < SPOP_VARINT_BYTE) {
		*p++ = (uint8_t)v;
		return p;
	}
	*p++ = (uint8_t)(v | 240);
	for (v = (v - 240) >> 4; v >= 128; v = (v - 128) >> 7)
		*p++ = (uint8_t)(v | 128);
	*p++ = (uint8_t)v;
	return p;
}

/* 0 once the cursor failed: bytes missing, or a value past 64 bits. */
static inline uint64_t spop_varint_read(struct spop_cursor *c)
{
	if (spop_cursor_left(c) > 0 && *c->pos < SPOP_VARINT_BYTE)
		return *c->pos++;
	return spop_varint_read_long(c);
}

static inline void spop_varint_write(struct spop_writer *w, uint64_t v)
{
	if (v < SPOP_VARINT_BYTE)
		spop_writer_u8(w, (uint8_t)v);
	else
		spop_varint_write_long(w, v);
}

#endif
