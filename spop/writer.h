/* Bounded writing. See writer.c. */
#ifndef SPOP_WRITER_PRIVATE_H
#define SPOP_WRITER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spop/bytes.h"
#include "spop/view.h"

void spop_writer_init(struct spop_writer *w, void *buf, size_t cap);
void spop_writer_bytes(struct spop_writer *w, struct spop_view bytes);
void spop_writer_be32(struct spop_writer *w, uint32_t v);

/* Puts v over the four bytes at begin, which were written before. */
void spop_writer_patch_be32(struct spop_writer *w, uint32_t v);

static inline void spop_writer_fail(struct spop_writer *w)
{
	w->failed = true;
	w->end = w->pos;
}

static inline size_t spop_writer_len(const struct spop_writer *w)
{
	return (size_t)(w->pos - w->begin);
}

static inline void spop_writer_u8(struct spop_writer *w, uint8_t v)
{
	if (w->pos == w->end) {
		spop_writer_fail(w);
		return;
	}
	*w->pos++ = v;
}

#endif
