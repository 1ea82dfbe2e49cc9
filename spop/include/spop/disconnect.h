/* HAPROXY-DISCONNECT and AGENT-DISCONNECT: a status and a sentence. SPOE.txt §3.2.8, §3.2.9. */
#ifndef SPOP_DISCONNECT_H
#define SPOP_DISCONNECT_H

#include <stddef.h>
#include <stdint.h>

#include "spop/error.h"
#include "spop/frame.h"
#include "spop/view.h"

#define SPOP_DISCONNECT_TEXT 128 /* bytes of message sent; a longer one is cut there */
#define SPOP_DISCONNECT_MAX  192 /* any DISCONNECT written here fits into this many bytes */

struct spop_disconnect {
	uint32_t status;          /* enum spop_error, or one of the peer's own */
	struct spop_view message; /* the peer's words: not for a log unquoted; NULL when absent */
};

/* Reads a payload whole. 0, or -SPOP_ERR_INVALID: not a list of keys and typed values, no
 * status-code, or one of the wrong type or past 32 bits. A missing message is let pass.
 */
int spop_disconnect_parse(struct spop_view payload, struct spop_disconnect *ret,
			  struct spop_fault *ret_fault) __attribute__((warn_unused_result));

/* Writes a whole frame into buf[0..cap); type is SPOP_FRM_T_AGENT_DISCON or _HAPROXY_DISCON.
 * A message whose ptr is NULL becomes the status' own text. Bytes written, 0 if it does not fit.
 */
size_t spop_disconnect_write(void *buf, size_t cap, enum spop_frame_type type, uint32_t status,
			     struct spop_view message) __attribute__((warn_unused_result));

#endif
