/*
 * HAProxy's end-of-request lines: RFC 5424 with structured data (log-format-sd), one a request.
 *
 * Pure: bytes in, values out. The parameters that are read, from whichever element has a `ticket`:
 *
 *   ticket   %[var(txn.inference.ticket)]; absent, empty or "-": a request the agent did not place
 *   backend  %b        server  %s, "<NOSRV>" for none
 *   status   %ST       ts      %ts, the termination state
 *   tr       %Tr, ms to the response's headers, -1 none        ta  %Ta, ms in all
 *   bytes    %B, bytes sent to the client
 */
#ifndef OBSERVE_LOGLINE_H
#define OBSERVE_LOGLINE_H

#include <stdint.h>
#include <sys/types.h>
#include "base/view.h"

struct logline {
	int64_t ticket; /* 0: none */
	struct view backend, server, state;
	int status; /* -1: none was sent */
	int64_t tr_ms, ta_ms, bytes;
};

/* 0, or -EINVAL: no RFC 5424 line with structured data. Absent parameters are empty, 0 or -1. */
int logline_parse(struct view line, struct logline *ret) __attribute__((warn_unused_result));

/*
 * One message off a TCP stream, framed by octet count ("123 <134>1 …", HAProxy's log-proto
 * octet-count) or by line feeds. > 0: bytes consumed, *ret is the message (empty lines are
 * possible); 0: need more; -EINVAL: neither framing; -EMSGSIZE: longer than @max.
 */
ssize_t logline_next(struct view stream, size_t max, struct view *ret)
    __attribute__((warn_unused_result));

#endif
