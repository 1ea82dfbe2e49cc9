/* Frames out: head, then the payload by the same writer, then the length. See frame.c. */
#ifndef SPOP_FRAME_PRIVATE_H
#define SPOP_FRAME_PRIVATE_H

#include "spop/frame.h"
#include "writer.h"

/* The head of one unfragmented frame; its length is not known yet. */
void spop_frame_begin(struct spop_writer *w, void *buf, size_t cap, enum spop_frame_type type,
		      uint64_t stream_id, uint64_t frame_id);

/* Bytes of the whole frame, length in place; 0 when the writer failed. */
size_t spop_frame_end(struct spop_writer *w) __attribute__((warn_unused_result));

#endif
