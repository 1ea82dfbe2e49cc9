/* The bounded writer.
 *
 *	begin ............ pos ............ end
 *	      written          room
 *
 * begin <= pos <= end always. What does not fit is not written in part: the writer fails instead,
 * and failing takes the rest of the room away (end = pos), so nothing later can slip in behind
 * the gap. Encoders write straight on and ask `failed` once at their end.
 */
#include "writer.h"

#include <string.h>

void spop_writer_init(struct spop_writer *w, void *buf, size_t cap)
{
	w->begin = buf;
	w->pos = buf;
	w->end = buf && cap ? (uint8_t *)buf + cap : buf;
	w->failed = false;
}

void spop_writer_bytes(struct spop_writer *w, struct spop_view bytes)
{
	if (bytes.len > (size_t)(w->end - w->pos)) {
		spop_writer_fail(w);
		return;
	}
	if (bytes.len == 0)
		return;
	memcpy(w->pos, bytes.ptr, bytes.len);
	w->pos += bytes.len;
}

static void be32(uint8_t out[4], uint32_t v)
{
	out[0] = (uint8_t)(v >> 24);
	out[1] = (uint8_t)(v >> 16);
	out[2] = (uint8_t)(v >> 8);
	out[3] = (uint8_t)v;
}

void spop_writer_be32(struct spop_writer *w, uint32_t v)
{
	uint8_t out[4];

	be32(out, v);
	spop_writer_bytes(w, spop_view_of(out, sizeof(out)));
}

void spop_writer_patch_be32(struct spop_writer *w, uint32_t v)
{
	if (spop_writer_len(w) < 4) {
		spop_writer_fail(w);
		return;
	}
	be32(w->begin, v);
}
