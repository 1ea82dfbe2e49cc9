/*
 * A decision as an ACK frame: which variables are set, and to what.
 */
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include <stddef.h>
#include <stdint.h>
#include "serve/decide.h"

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

/*
 * The size that no ACK of this decision exceeds, so that a ticket is opened only for an answer
 * that can be sent.
 */
size_t answer_bound(const struct decision *d);

/*
 * Writes the frame into buf[0..cap). @ticket 0: none. Returns its length; when cap is less than
 * answer_bound(), what fits of: everything; verdict, status, model and backend; verdict alone. 0
 * when not even that fits.
 */
size_t answer_write(const struct decision *d, variables_t set, int64_t ticket, uint64_t stream_id,
		    uint64_t frame_id, void *buf, size_t cap);

#endif
