/* Variable-length integers, the encoding of HAProxy's peers protocol.
 *
 * The first byte carries itself; from 240 on a second is added at bit 4, and each byte from 128 on
 * is followed by another 7 bits higher. Bytes are added, not or-ed, so the ranges of the lengths do
 * not overlap and each value has exactly one encoding: 240 is f0 00, 2287 is ff 7f, 2288 is
 * f0 80 00, and UINT64_MAX is the ten bytes ff f0 fe fe fe fe fe fe fe 0e.
 *
 * Ten bytes could say more than 64 bits hold. HAProxy's decoder bounds the bytes and neither the
 * shift nor the sum; here both end the decoding: a shift past 60 cannot be reached, since any byte
 * at shift 60 that asks for a successor is out of range already.
 */
#include "varint.h"

uint64_t spop_varint_read_long(struct spop_cursor *c)
{
	const uint8_t *start = c->pos;
	uint64_t value;

	/* Two bytes, up to 2287, and three, up to 264431: what bodies are long. */
	if (spop_cursor_left(c) > 2 && start[0] >= SPOP_VARINT_BYTE) {
		value = start[0] + ((uint64_t)start[1] << 4);
		c->pos = start + 2;
		if (start[1] < 128)
			return value;
		c->pos = start + 3;
		if (start[2] < 128)
			return value + ((uint64_t)start[2] << 11);
		c->pos = start;
	}
	value = spop_cursor_u8(c);
	if (value < SPOP_VARINT_BYTE)
		return value;
	for (unsigned int shift = 4;; shift += 7) {
		uint8_t byte = spop_cursor_u8(c);
		uint64_t part = (uint64_t)byte << shift;

		if (spop_cursor_failed(c))
			return 0;
		if (part >> shift != byte || __builtin_add_overflow(value, part, &value)) {
			spop_cursor_fail(c, start, "an integer exceeds 64 bits");
			return 0;
		}
		if (byte < 128)
			return value;
	}
}

void spop_varint_write_long(struct spop_writer *w, uint64_t v)
{
	uint8_t out[SPOP_VARINT_MAX];

	spop_writer_bytes(w, spop_view_of(out, (size_t)(spop_varint_put(out, v) - out)));
}
