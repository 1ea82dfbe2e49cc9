/*
 * A decision as an ACK frame: which variables are set, and to what.
 */
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "serve/decide.h"
#include "spop/ack.h"

/* Rows of variable.def. */
enum variable {
#define VARIABLE(symbol, name, type, when) VARIABLE_##symbol,
#include "serve/variable.def"
#undef VARIABLE
	VARIABLE_COUNT
};

/* A set of variables, by bit; verdict is always in it. */
typedef uint32_t variables_t;

/* The bit of a name, 0 when there is no such variable. */
variables_t variable_bit(const char *name);

/* An ACK that is being written. */
struct reply {
	struct spop_ack ack;
	variables_t set;
};

/*
 * Writes the frame into buf[0..cap), all but the ticket, which comes last so that one is opened
 * only for an answer that can be sent. False: there is no room for a ticket, and perhaps not for
 * more than verdict, status, model and backend; or for verdict alone.
 */
bool answer_begin(struct reply *ret, const struct decision *d, variables_t set, uint64_t stream_id,
		  uint64_t frame_id, void *buf, size_t cap);
/* @ticket 0: none. Returns the frame's length; 0 when not even the verdict fits. */
size_t answer_end(struct reply *a, int64_t ticket) __attribute__((warn_unused_result));

#endif
