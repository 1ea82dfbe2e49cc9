/* Typed data.
 *
 * One byte holds the type in its low half and flags in its high half; only BOOL uses one. SPOE.txt
 * is silent on how a negative integer becomes a varint: HAProxy takes the 64 bits of its two's
 * complement, for INT32 too, so -1 is ten bytes under either type, and 0xffffffff under INT32 is
 * 4294967295 and no INT32 at all. Types 10 to 15 are reserved; their length cannot be known, so
 * they end the decoding (HAProxy takes them for empty and reads on in their middle).
 */
#include "value.h"

#include <limits.h>

static void read_integer(struct spop_cursor *c, struct spop_value *ret)
{
	const uint8_t *start = c->pos;
	uint64_t v = spop_varint_read(c);

	switch (ret->type) {
	case SPOP_DATA_T_INT32:
		ret->sint = (int64_t)v;
		if (ret->sint < INT32_MIN || ret->sint > INT32_MAX)
			spop_cursor_fail(c, start, "an INT32 exceeds 32 bits");
		break;
	case SPOP_DATA_T_UINT32:
		ret->uint = v;
		if (v > UINT32_MAX)
			spop_cursor_fail(c, start, "a UINT32 exceeds 32 bits");
		break;
	case SPOP_DATA_T_INT64:
		ret->sint = (int64_t)v;
		break;
	default:
		ret->uint = v;
		break;
	}
}

void spop_value_read_any(struct spop_cursor *c, struct spop_value *ret)
{
	/* Read for reserved types, which the analyser takes for impossible values of the enum.
	 * NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores) */
	const uint8_t *start = c->pos;
	uint8_t tag = spop_cursor_u8(c);

	ret->type = tag & SPOP_DATA_T_MASK;
	ret->flags = tag & SPOP_DATA_FL_MASK;
	ret->bytes = SPOP_VIEW_NULL;
	switch (ret->type) {
	case SPOP_DATA_T_NULL:
		break;
	case SPOP_DATA_T_BOOL:
		ret->boolean = tag & SPOP_DATA_FL_TRUE;
		break;
	case SPOP_DATA_T_INT32:
	case SPOP_DATA_T_UINT32:
	case SPOP_DATA_T_INT64:
	case SPOP_DATA_T_UINT64:
		read_integer(c, ret);
		break;
	case SPOP_DATA_T_IPV4:
		ret->bytes = spop_cursor_bytes(c, 4);
		break;
	case SPOP_DATA_T_IPV6:
		ret->bytes = spop_cursor_bytes(c, 16);
		break;
	case SPOP_DATA_T_STR:
	case SPOP_DATA_T_BIN:
		ret->bytes = spop_string_read(c);
		break;
	default:
		spop_cursor_fail(c, start, "a reserved data type");
		break;
	}
	if (spop_cursor_failed(c))
		*ret = spop_value_null();
}

void spop_value_write(struct spop_writer *w, const struct spop_value *v)
{
	uint8_t tag = (uint8_t)v->type;

	if (v->type == SPOP_DATA_T_BOOL && v->boolean)
		tag |= SPOP_DATA_FL_TRUE;
	spop_writer_u8(w, tag);
	switch (v->type) {
	case SPOP_DATA_T_NULL:
	case SPOP_DATA_T_BOOL:
		return;
	case SPOP_DATA_T_INT32:
		if (v->sint < INT32_MIN || v->sint > INT32_MAX)
			break;
		spop_varint_write(w, (uint64_t)v->sint);
		return;
	case SPOP_DATA_T_UINT32:
		if (v->uint > UINT32_MAX)
			break;
		spop_varint_write(w, v->uint);
		return;
	case SPOP_DATA_T_INT64:
		spop_varint_write(w, (uint64_t)v->sint);
		return;
	case SPOP_DATA_T_UINT64:
		spop_varint_write(w, v->uint);
		return;
	case SPOP_DATA_T_IPV4:
	case SPOP_DATA_T_IPV6:
		if (v->bytes.len != (v->type == SPOP_DATA_T_IPV4 ? 4 : 16))
			break;
		spop_writer_bytes(w, v->bytes);
		return;
	case SPOP_DATA_T_STR:
	case SPOP_DATA_T_BIN:
		spop_string_write(w, v->bytes);
		return;
	}
	spop_writer_fail(w);
}

bool spop_value_eq(const struct spop_value *a, const struct spop_value *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case SPOP_DATA_T_NULL:
		return true;
	case SPOP_DATA_T_BOOL:
		return a->boolean == b->boolean;
	case SPOP_DATA_T_INT32:
	case SPOP_DATA_T_INT64:
		return a->sint == b->sint;
	case SPOP_DATA_T_UINT32:
	case SPOP_DATA_T_UINT64:
		return a->uint == b->uint;
	case SPOP_DATA_T_IPV4:
	case SPOP_DATA_T_IPV6:
	case SPOP_DATA_T_STR:
	case SPOP_DATA_T_BIN:
		return spop_view_eq(a->bytes, b->bytes);
	}
	return false;
}

int spop_value_integer(const struct spop_value *v, int64_t *ret)
{
	switch (v->type) {
	case SPOP_DATA_T_INT32:
	case SPOP_DATA_T_INT64:
		*ret = v->sint;
		return 0;
	case SPOP_DATA_T_UINT32:
	case SPOP_DATA_T_UINT64:
		if (v->uint > INT64_MAX)
			return 1;
		*ret = (int64_t)v->uint;
		return 0;
	default:
		return 1;
	}
}
