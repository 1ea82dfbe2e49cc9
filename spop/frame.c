/* Frames.
 *
 * The length is judged as soon as its four bytes are here: what a peer announces is refused before
 * anybody makes room for it. Nothing else is looked at until the frame is whole, so a frame is
 * decoded once, however many pieces it comes in; the price of a call that says "need more" is four
 * bytes read.
 */
#include "spop/frame.h"

#include "cursor.h"
#include "frame.h"
#include "varint.h"
#include "writer.h"

static ssize_t fault_at(struct spop_fault *ret, enum spop_error code, size_t at, const char *msg)
{
	*ret = (struct spop_fault){.code = code, .msg = msg, .at = at};
	return -(ssize_t)code;
}

ssize_t spop_frame_decode(const void *buf, size_t len, uint32_t max_frame,
			  struct spop_frame *ret_frame, struct spop_fault *ret_fault)
{
	struct spop_cursor c;
	uint32_t length;

	ret_frame->total = 0;
	if (len < SPOP_FRAME_PREFIX)
		return 0;
	spop_cursor_init(&c, spop_view_of(buf, len));
	length = spop_cursor_be32(&c);
	if (length > max_frame || length > SPOP_MAX_FRAME_MAX)
		return fault_at(ret_fault, SPOP_ERR_TOO_BIG, 0, spop_error_text(SPOP_ERR_TOO_BIG));
	if (length < SPOP_FRAME_MIN)
		return fault_at(ret_fault, SPOP_ERR_INVALID, 0, "a frame shorter than its head");
	ret_frame->total = (size_t)length + SPOP_FRAME_PREFIX;
	if (length > spop_cursor_left(&c))
		return 0;
	spop_cursor_init(&c, spop_cursor_bytes(&c, length));
	ret_frame->type = spop_cursor_u8(&c);
	ret_frame->flags = spop_cursor_be32(&c);
	ret_frame->stream_id = spop_varint_read(&c);
	ret_frame->frame_id = spop_varint_read(&c);
	if (spop_cursor_failed(&c))
		return spop_cursor_fault(&c, SPOP_ERR_INVALID, SPOP_FRAME_PREFIX, ret_fault);
	ret_frame->payload = spop_cursor_bytes(&c, spop_cursor_left(&c));
	return (ssize_t)ret_frame->total;
}

void spop_frame_begin(struct spop_writer *w, void *buf, size_t cap, enum spop_frame_type type,
		      uint64_t stream_id, uint64_t frame_id)
{
	const uint8_t head[] = {0, 0, 0, 0, (uint8_t)type, 0, 0, 0, SPOP_FRM_FL_FIN};

	_Static_assert(SPOP_FRM_FL_FIN < 256, "the flags' lowest byte");
	spop_writer_init(w, buf, cap);
	if (cap >= sizeof(head) + 2 * SPOP_VARINT_MAX && buf) {
		memcpy(w->pos, head, sizeof(head));
		w->pos = spop_varint_put(w->pos + sizeof(head), stream_id);
		w->pos = spop_varint_put(w->pos, frame_id);
		return;
	}
	spop_writer_be32(w, 0);
	spop_writer_u8(w, (uint8_t)type);
	spop_writer_be32(w, SPOP_FRM_FL_FIN);
	spop_varint_write(w, stream_id);
	spop_varint_write(w, frame_id);
}

size_t spop_frame_end(struct spop_writer *w)
{
	size_t len = spop_writer_len(w);

	if (w->failed || len < SPOP_FRAME_PREFIX + SPOP_FRAME_MIN)
		return 0;
	if (len - SPOP_FRAME_PREFIX > SPOP_MAX_FRAME_MAX)
		return 0;
	spop_writer_patch_be32(w, (uint32_t)(len - SPOP_FRAME_PREFIX));
	return len;
}
