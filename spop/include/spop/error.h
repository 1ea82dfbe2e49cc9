/* Status codes by name, and where in the bytes an error was seen. */
#ifndef SPOP_ERROR_H
#define SPOP_ERROR_H

#include <stddef.h>

/* A status of SPOE.txt §3.5, as HAPROXY-DISCONNECT and AGENT-DISCONNECT carry it. Functions of
 * this library return it negated: -SPOP_ERR_INVALID.
 */
enum spop_error {
#define SPOP_ERR(symbol, code, text) SPOP_ERR_##symbol = (code),
#include "spop/errors.def"
#undef SPOP_ERR
};

/* The outcome of one processing as HAProxy logs it (`st=`). */
enum spoe_ctx_error {
#define SPOE_CTX_ERR(symbol, code, text) SPOE_CTX_ERR_##symbol = (code),
#include "spop/processing.def"
#undef SPOE_CTX_ERR
};
#define SPOE_CTX_ERR_SPOP 256 /* 256 + N: the connection ended with SPOP status N */

/* Why and where a decoder stopped. Written only when it returns < 0; `msg` is static text that
 * says more than the code's own and may go into a DISCONNECT frame or a log line.
 */
struct spop_fault {
	enum spop_error code;
	const char *msg;
	size_t at; /* offset of the offending byte; counts from the start of what was decoded */
};

/* "SPOP_ERR_INVALID" and "invalid frame received". A code without a row (an agent may define its
 * own) gives "SPOP_ERR_?" and the text of 99. Never NULL.
 */
const char *spop_error_name(unsigned int code);
const char *spop_error_text(unsigned int code);

/* The text of a `st=` code; of the SPOP status behind it from 256 on. Never NULL. */
const char *spoe_ctx_error_text(unsigned int st);

#endif
