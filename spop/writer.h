/* Bounded writing. See writer.c. */
#ifndef SPOP_WRITER_PRIVATE_H
#define SPOP_WRITER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* memcpy() without the call for the short names and values that most are; returns the place
 * behind. Longer ones than 8 are taken from both ends, which may overlap.
 */
static inline uint8_t *spop_copy(uint8_t *to, const uint8_t *from, size_t n)
{
	if (n >= 16) {
		if (n > 32) {
			memcpy(to, from, n);
		} else {
			memcpy(to, from, 16);
			memcpy(to + n - 16, from + n - 16, 16);
		}
	} else if (n >= 8) {
		memcpy(to, from, 8);
		memcpy(to + n - 8, from + n - 8, 8);
	} else if (n >= 4) {
		memcpy(to, from, 4);
		memcpy(to + n - 4, from + n - 4, 4);
	} else {
		for (size_t i = 0; i < n; i++)
			to[i] = from[i];
	}
	return to + n;
}

#endif
