/* Frames: 4 bytes of length, a type, flags, stream-id, frame-id, and the payload. SPOE.txt §3.2. */
#ifndef SPOP_FRAME_H
#define SPOP_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "spop/error.h"
#include "spop/view.h"

enum spop_frame_type {
#define SPOP_FRM_T(symbol, code, name) SPOP_FRM_T_##symbol = (code),
#include "spop/frames.def"
#undef SPOP_FRM_T
};

#define SPOP_FRM_FL_FIN  0x00000001u /* the whole payload, or its last fragment */
#define SPOP_FRM_FL_ABRT 0x00000002u /* with FIN: processing of this frame is given up */

#define SPOP_FRAME_PREFIX   4          /* bytes of FRAME-LENGTH, which does not count itself */
#define SPOP_FRAME_MIN      7          /* least FRAME-LENGTH: type, flags, two 1-byte varints */
#define SPOP_FRAME_HEAD_MAX 29         /* most bytes before a payload, prefix included */
#define SPOP_MAX_FRAME_MIN  256        /* least max-frame-size a peer may announce (§3.2) */
#define SPOP_MAX_FRAME_MAX  0x7ffffffb /* most this library takes; with prefix 2^31 - 1 */

struct spop_frame {
	uint8_t type;   /* enum spop_frame_type, or any other byte: unknown types are decoded too */
	uint32_t flags; /* as received; reserved bits are kept */
	uint64_t stream_id;
	uint64_t frame_id;
	struct spop_view payload; /* into the caller's buffer; may be empty */
	size_t total;             /* bytes on the wire, prefix included; see spop_frame_decode() */
};

/* Decodes the frame at the front of buf[0..len).
 *
 * > 0  bytes consumed, prefix included; *ret_frame is whole.
 * 0    need more. ret_frame->total is then how many bytes the frame takes from buf[0] on, or 0
 *      while the prefix itself is not whole; nothing else of it is set.
 * < 0  -SPOP_ERR_TOO_BIG   FRAME-LENGTH > max_frame; said as soon as 4 bytes are here
 *      -SPOP_ERR_INVALID   FRAME-LENGTH < 7 (also as soon as 4 bytes are here), or an identifier
 *                          that is no varint of 64 bits or runs out of the frame
 *
 * max_frame bounds FRAME-LENGTH, as both peers understand max-frame-size: without the prefix.
 * len may exceed the frame: frames follow one another. Type and flags are not judged here.
 */
ssize_t spop_frame_decode(const void *buf, size_t len, uint32_t max_frame,
			  struct spop_frame *ret_frame, struct spop_fault *ret_fault)
    __attribute__((warn_unused_result));

/* "NOTIFY", or "?" for an unknown type. Never NULL. */
const char *spop_frame_type_name(uint8_t type);

#endif
