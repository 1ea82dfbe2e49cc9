/* The two HELLO payloads. SPOE.txt §3.2.4, §3.2.5. Sessions call these; a dumper may too. */
#ifndef SPOP_HELLO_H
#define SPOP_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spop/error.h"
#include "spop/frame.h"
#include "spop/view.h"

#define SPOP_CAP_FRAGMENTATION                                                                     \
	0x1u                     /* accepts fragmented payloads: never ours, HAProxy <= 3.0 asks */
#define SPOP_CAP_PIPELINING 0x2u /* ACKs in any order, on the NOTIFY's connection */
#define SPOP_CAP_ASYNC      0x4u /* ACKs on another connection: gone in HAProxy 3.1 */

/* HAPROXY-HELLO. */
struct spop_hello {
	struct spop_view versions;  /* "supported-versions" as sent */
	uint32_t max_frame_size;    /* 256 .. SPOP_MAX_FRAME_MAX */
	uint32_t capabilities;      /* SPOP_CAP_*; unknown names are ignored */
	struct spop_view engine_id; /* ptr NULL when absent, as in health checks */
	bool healthcheck;
};

/* AGENT-HELLO. */
struct spop_agent_hello {
	struct spop_view version; /* "2.0" */
	uint32_t max_frame_size;
	uint32_t capabilities;
};

/* Reads a payload whole. 0, or < 0:
 * -SPOP_ERR_INVALID         not a list of keys and typed values, an empty key, a known key of
 *                           the wrong type
 * -SPOP_ERR_NO_VSN, -SPOP_ERR_NO_FRAME_SIZE, -SPOP_ERR_NO_CAP   a mandatory key is missing
 * -SPOP_ERR_BAD_FRAME_SIZE  max-frame-size < 256, or past 32 bits
 * -SPOP_ERR_BAD_VSN         no version of major 2 is announced (a peer of 2.N speaks 2.0 too);
 *                           AGENT-HELLO: the version is not 2.0
 * Keys are matched whole, in any order; unknown keys are skipped; of a key sent twice the last
 * counts, as with HAProxy. A max-frame-size above SPOP_MAX_FRAME_MAX is read as that.
 */
int spop_hello_parse(struct spop_view payload, struct spop_hello *ret, struct spop_fault *ret_fault)
    __attribute__((warn_unused_result));
int spop_agent_hello_parse(struct spop_view payload, struct spop_agent_hello *ret,
			   struct spop_fault *ret_fault) __attribute__((warn_unused_result));

/* Writes a whole frame into buf[0..cap). Bytes written, or 0 when it does not fit.
 * versions and version are sent as given; engine_id is left out when its ptr is NULL, healthcheck
 * when false. "capabilities" is always there, empty or not.
 */
size_t spop_hello_write(void *buf, size_t cap, const struct spop_hello *h)
    __attribute__((warn_unused_result));
size_t spop_agent_hello_write(void *buf, size_t cap, const struct spop_agent_hello *h)
    __attribute__((warn_unused_result));

#define SPOP_AGENT_HELLO_MAX 128 /* an AGENT-HELLO of version "2.0" with any capabilities fits */

#endif
