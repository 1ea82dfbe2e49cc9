/*
 * HAProxy's end-of-request lines: RFC 5424 with structured data (log-format-sd), one a request.
 *
 * Pure: bytes in, values out. The parameters that are read, from whichever element has a `ticket`:
 *
 *   ticket   %[var(txn.inference.ticket)]; absent, empty or "-": a request the agent did not place
 *   backend  %b        server  %s, "<NOSRV>" for none
 *   status   %ST       ts      %ts, the termination state
 *
 * and of a line without a ticket what else finds it:
 *
 *   rt       %rt, HAProxy's own number of the request, which its NOTIFY also had
 *   ta       %Ta, ms in all
 */
#ifndef OBSERVE_LOGLINE_H
#define OBSERVE_LOGLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/view.h"

struct logline {
	int64_t ticket; /* 0: none */
	struct view backend, server, state;
	int status;    /* -1: none was sent */
	uint64_t key;  /* of rt; 0: none, or there is a ticket */
	int64_t ta_ms; /* -1: none, or there is a ticket */
};

/*
 * The key of a request from what identifies it: digits (%rt, txn.id32: the lower 32 bits count) or
 * any other text (unique-id). 0 for an empty one.
 */
uint64_t logline_key(struct view id);
uint64_t logline_key_of_number(uint64_t number);

/* Not of a request: HAProxy's own word on proxies and servers ("Proxy inference stopped …") goes to
 * the same target, without structured data and at a level that requests do not have by themselves.
 */
bool logline_is_notice(struct view line);

/* The process that wrote the line, by its own number (PROCID); 0: it does not say. */
uint32_t logline_pid(struct view line);

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
