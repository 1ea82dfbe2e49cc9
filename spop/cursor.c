/* The bounded reader.
 *
 *	begin ............ pos ............ end
 *	      read already     still to read
 *
 * begin <= pos <= end always. A test for room is `len > end - pos`, never `pos + len > end`: the
 * sum wraps for a length that a peer chose. Failure is sticky and empties the cursor (end = pos),
 * so loops of the form `while (left)` end by themselves and a codec may run on to its end over
 * zeros before it asks, once, whether it failed. A failure leaves pos where a fault should point:
 * at the place of a missing byte, or at the first byte of an item that cannot be.
 */
#include "cursor.h"

void spop_cursor_init(struct spop_cursor *c, struct spop_view bytes)
{
	static const uint8_t nothing;
	const uint8_t *begin = bytes.ptr && bytes.len ? bytes.ptr : &nothing;

	c->begin = begin;
	c->pos = begin;
	c->end = begin == &nothing ? begin : begin + bytes.len;
	c->msg = NULL;
}

void spop_cursor_fail(struct spop_cursor *c, const uint8_t *at, const char *msg)
{
	if (c->msg)
		return;
	c->msg = msg;
	c->pos = at;
	c->end = at;
}

int spop_cursor_fault(const struct spop_cursor *c, enum spop_error code, size_t base,
		      struct spop_fault *ret)
{
	ret->code = code;
	ret->msg = c->msg ? c->msg : spop_error_text(code);
	ret->at = base + (size_t)(c->pos - c->begin);
	return -(int)code;
}
