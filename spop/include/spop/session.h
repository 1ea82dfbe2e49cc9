/* The agent's side of one connection, without the connection: bytes in, events out.
 *
 * The caller owns socket, buffers and clock. It reads into a buffer, feeds the front of it to
 * spop_session_receive() until that needs more, and writes what the events ask for:
 *
 *	while ((n = spop_session_receive(&s, buf, len, &in, &fault)) > 0) {
 *		switch (in.event) {
 *		case SPOP_EV_HELLO:       write spop_session_write_hello();
 *		                          in.hello.healthcheck: then close (§3.2.5)
 *		case SPOP_EV_NOTIFY:      walk in.notify, write an ACK to in.frame's identifiers
 *		case SPOP_EV_DISCONNECT:  write spop_session_write_disconnect(NONE), close
 *		case SPOP_EV_IGNORED:     nothing
 *		}
 *		drop n bytes from the front of buf
 *	}
 *	n < 0: write spop_session_write_disconnect(-n, fault.msg), close
 *
 * AGENT-HELLO must leave in one write() and so one segment: HAProxy 3.1 to 3.4 reset a connection
 * whose AGENT-HELLO comes in pieces. Do not close right after an ACK while HAProxy may wait for
 * more: up to 3.2-dev15 it then loses the ACK.
 */
#ifndef SPOP_SESSION_H
#define SPOP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "spop/disconnect.h"
#include "spop/error.h"
#include "spop/frame.h"
#include "spop/hello.h"
#include "spop/notify.h"
#include "spop/view.h"

enum spop_session_state {
	SPOP_ST_WAIT_HELLO, /* nothing but HAPROXY-HELLO may come */
	SPOP_ST_HELLO_IN,   /* it came and was good; spop_session_write_hello() is due */
	SPOP_ST_RUNNING,    /* NOTIFYs come */
	SPOP_ST_CLOSING,    /* an AGENT-DISCONNECT was written, or the peer's DISCONNECT or an error
			     * came: nothing that comes now is looked at */
};

enum spop_event {
	SPOP_EV_HELLO,      /* in.hello */
	SPOP_EV_NOTIFY,     /* in.notify */
	SPOP_EV_DISCONNECT, /* in.disconnect: the peer's reason */
	SPOP_EV_IGNORED, /* a frame of unknown type, skipped (§3.2.2); or any frame in CLOSING */
};

/* A dozen bytes, embedded in the caller's connection; no buffers, nothing to free. */
struct spop_session {
	uint32_t max_frame;    /* ours until HELLO, negotiated from then on */
	uint32_t capabilities; /* SPOP_CAP_* that both sides have */
	uint8_t state;         /* enum spop_session_state; written in session.c alone */
	bool healthcheck;
};

struct spop_input {
	enum spop_event event;
	struct spop_frame frame;
	union {
		struct spop_hello hello; /* engine_id points into the fed buffer: _dup to keep */
		struct spop_notify notify;
		struct spop_disconnect disconnect;
	};
};

/* max_frame: the largest FRAME-LENGTH the caller has room for, 256 .. SPOP_MAX_FRAME_MAX; values
 * outside are moved to the nearer end.
 */
void spop_session_init(struct spop_session *s, uint32_t max_frame);

#define SPOP_HELLO_FRAME_MAX 4096 /* no HAPROXY-HELLO longer than this is waited for */

/* What FRAME-LENGTH may be at most now: the smaller of SPOP_HELLO_FRAME_MAX and ours before HELLO,
 * the negotiated value after. A caller that grows its input buffer needs this + SPOP_FRAME_PREFIX.
 */
uint32_t spop_session_max_frame(const struct spop_session *s);

static inline bool spop_session_pipelining(const struct spop_session *s)
{
	return s->capabilities & SPOP_CAP_PIPELINING;
}

/* Decodes one frame off buf[0..len) and judges it. > 0 bytes consumed, in->event says what it was;
 * 0 need more (in->frame.total as of spop_frame_decode()); < 0 a protocol error: the status to
 * disconnect with, negated, and the session is CLOSING. fault.at counts from buf[0].
 *
 * -SPOP_ERR_TOO_BIG             FRAME-LENGTH above spop_session_max_frame()
 * -SPOP_ERR_INVALID             malformed; any frame but HAPROXY-HELLO first; HELLO twice, or
 *                               NOTIFY before AGENT-HELLO was written; a frame of the agent's own
 *                               (AGENT-*, ACK); HELLO or DISCONNECT with identifiers other than 0
 * -SPOP_ERR_FRAG_NOT_SUPPORTED  FIN missing, or an UNSET frame: fragmentation is never announced
 * -SPOP_ERR_NO_VSN, _NO_FRAME_SIZE, _NO_CAP, _BAD_VSN, _BAD_FRAME_SIZE   see spop/hello.h
 */
ssize_t spop_session_receive(struct spop_session *s, const void *buf, size_t len,
			     struct spop_input *in, struct spop_fault *ret_fault)
    __attribute__((warn_unused_result));

/* The same for a frame that is decoded already: in->frame is read, in->event and its part of the
 * union are written. 0, or < 0 as above; fault.at counts from the payload.
 */
int spop_session_judge(struct spop_session *s, struct spop_input *in, struct spop_fault *ret_fault)
    __attribute__((warn_unused_result));

/* AGENT-HELLO: version 2.0, min(announced, ours), and "pipelining" if the peer has it. To be called
 * once, after SPOP_EV_HELLO; the session is RUNNING then. Bytes written, 0 if cap is too small
 * (SPOP_AGENT_HELLO_MAX always does) or no HELLO is due.
 */
size_t spop_session_write_hello(struct spop_session *s, void *buf, size_t cap)
    __attribute__((warn_unused_result));

/* AGENT-DISCONNECT; the session is CLOSING then. In any state: in place of AGENT-HELLO it refuses a
 * health check and takes a draining agent out. message NULL: the status' own text; cut at
 * SPOP_DISCONNECT_TEXT bytes. Bytes written, 0 if cap is too small (SPOP_DISCONNECT_MAX does).
 */
size_t spop_session_write_disconnect(struct spop_session *s, void *buf, size_t cap, uint32_t status,
				     const char *message) __attribute__((warn_unused_result));

#endif
