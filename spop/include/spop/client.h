/* HAProxy's side of one connection, without the connection: for load generators, tests and hostile
 * peers. It judges an agent as HAProxy >= 3.1 does, or more strictly where SPOE.txt is.
 *
 * write HAPROXY-HELLO, receive SPOP_CLIENT_EV_HELLO; then write NOTIFYs (spop/notify.h), receive
 * SPOP_CLIENT_EV_ACK for each, in any order if spop_client_pipelining().
 */
#ifndef SPOP_CLIENT_H
#define SPOP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "spop/ack.h"
#include "spop/disconnect.h"
#include "spop/error.h"
#include "spop/frame.h"
#include "spop/hello.h"
#include "spop/notify.h"
#include "spop/view.h"

enum spop_client_state {
	SPOP_CLIENT_ST_START,      /* HAPROXY-HELLO is due */
	SPOP_CLIENT_ST_WAIT_HELLO, /* it was written */
	SPOP_CLIENT_ST_RUNNING,
	SPOP_CLIENT_ST_CLOSING,
};

enum spop_client_event {
	SPOP_CLIENT_EV_HELLO,      /* in.hello: accepted */
	SPOP_CLIENT_EV_ACK,        /* in.actions, to the NOTIFY of in.frame's identifiers */
	SPOP_CLIENT_EV_DISCONNECT, /* in.disconnect: the agent's reason; also instead of AGENT-HELLO
				    */
	SPOP_CLIENT_EV_IGNORED,    /* a frame of unknown type; any frame in CLOSING */
};

struct spop_client {
	uint32_t max_frame; /* announced until AGENT-HELLO, negotiated from then on */
	uint32_t capabilities;
	uint8_t state; /* enum spop_client_state */
	bool healthcheck;
};

struct spop_client_input {
	enum spop_client_event event;
	struct spop_frame frame;
	union {
		struct spop_agent_hello hello;
		struct spop_actions actions;
		struct spop_disconnect disconnect;
	};
};

/* max_frame: to announce, moved into 256 .. SPOP_MAX_FRAME_MAX (HAProxy: tune.bufsize - 4);
 * capabilities: SPOP_CAP_* to announce.
 */
void spop_client_init(struct spop_client *c, uint32_t max_frame, uint32_t capabilities,
		      bool healthcheck);

static inline bool spop_client_pipelining(const struct spop_client *c)
{
	return c->capabilities & SPOP_CAP_PIPELINING;
}

/* HAPROXY-HELLO for version "2.0"; engine_id NULL leaves it out. Bytes, 0 if it does not fit. */
size_t spop_client_write_hello(struct spop_client *c, void *buf, size_t cap, const char *engine_id)
    __attribute__((warn_unused_result));
size_t spop_client_write_disconnect(struct spop_client *c, void *buf, size_t cap, uint32_t status,
				    const char *message) __attribute__((warn_unused_result));

/* As spop_session_receive(). Errors are the status HAProxy would disconnect with:
 * -SPOP_ERR_INVALID  any frame but AGENT-HELLO or AGENT-DISCONNECT first; HELLO twice; HELLO or
 *                    DISCONNECT with identifiers other than 0; an ACK whose stream-id or frame-id
 *                    is 0; frames of HAProxy's own; an unknown type on stream 0
 * -SPOP_ERR_FRAG_NOT_SUPPORTED  without FIN, or an UNSET frame
 * -SPOP_ERR_TOO_BIG             FRAME-LENGTH above max_frame (HAProxy >= 3.1 says 9 instead)
 * -SPOP_ERR_BAD_FRAME_SIZE      max-frame-size below 256 or more than announced
 * -SPOP_ERR_BAD_VSN             version is not 2.0
 * and the missing keys of spop/hello.h (HAProxy's spop-check wants all three, its mux only the
 * version). An unknown type on another stream is IGNORED.
 * Which NOTIFYs are open is the caller's to know: an ACK to none is -SPOP_ERR_FRAMEID_NOTFOUND in
 * HAProxy when its stream-id was never used, and silence when it was (a late ACK).
 */
ssize_t spop_client_receive(struct spop_client *c, const void *buf, size_t len,
			    struct spop_client_input *in, struct spop_fault *ret_fault)
    __attribute__((warn_unused_result));

#endif
