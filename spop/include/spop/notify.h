/* NOTIFY: a list of messages, each a name and named arguments. SPOE.txt §3.2.6.
 *
 * Reading copies nothing and allocates nothing:
 *
 *	if (spop_notify_open(&n, frame.payload, &fault) < 0)
 *		…protocol error…
 *	while (spop_notify_message(&n, &message))
 *		while (spop_notify_arg(&n, &arg))
 *			…
 *
 * open has walked the whole list, so what follows cannot fail and has no error to ask for.
 */
#ifndef SPOP_NOTIFY_H
#define SPOP_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spop/bytes.h"
#include "spop/error.h"
#include "spop/value.h"
#include "spop/view.h"

struct spop_message {
	struct spop_view name; /* as in `spoe-message NAME`; 1 byte or more */
	unsigned int nargs;    /* 0..255 */
};

struct spop_arg {
	struct spop_view name; /* may be empty: HAProxy sends "" for an argument without a name */
	struct spop_value value;
};

/* An iterator; copy it to walk twice. What validating had to read of the first message anyway is
 * kept; these are all the arguments there are, nearly always.
 */
#define SPOP_NOTIFY_KEPT 8
struct spop_notify {
	struct spop_cursor in;
	unsigned int args_left; /* of the message last returned */
	unsigned int at, nkept; /* kept[at] is next, and the cursor stands behind them then */
	const uint8_t *behind;
	struct spop_arg kept[SPOP_NOTIFY_KEPT];
};

/* Validates the whole payload (names, counts, types, lengths, nothing behind the last argument)
 * and stands before the first message. An empty payload is a list of no message: HAProxy before
 * 3.3 sends one when no message's conditions hold, and waits for its ACK all the same.
 * Messages in the payload (>= 0), or -SPOP_ERR_INVALID; then *ret is good for nothing.
 */
int spop_notify_open(struct spop_notify *ret, struct spop_view payload,
		     struct spop_fault *ret_fault) __attribute__((warn_unused_result));

/* The next message; false after the last. Arguments not asked for are skipped. */
bool spop_notify_message(struct spop_notify *n, struct spop_message *ret);

/* One that is not kept. */
bool spop_notify_arg_read(struct spop_notify *n, struct spop_arg *ret);

/* The next argument of that message; false after its last. */
static inline bool spop_notify_arg(struct spop_notify *n, struct spop_arg *ret)
{
	if (n->args_left == 0)
		return false;
	n->args_left--;
	if (n->at == n->nkept)
		return spop_notify_arg_read(n, ret);
	*ret = n->kept[n->at++];
	if (n->at == n->nkept)
		n->in.pos = n->behind;
	return true;
}

/* HAProxy's side: one NOTIFY into buf[0..cap), in one pass, by as many calls as it has parts.
 *
 *	spop_notify_begin(&b, buf, cap, stream_id, frame_id);
 *	spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), 2);
 *	spop_notify_add_arg(&b, SPOP_VIEW_LIT("path"), spop_value_str(path));
 *	…
 *	len = spop_notify_end(&b);
 */
struct spop_notify_builder {
	struct spop_writer out;
	unsigned int args_left;
};

void spop_notify_begin(struct spop_notify_builder *b, void *buf, size_t cap, uint64_t stream_id,
		       uint64_t frame_id);
/* nargs (0..255) calls of add_arg must follow; more, or fewer at the next message or the end, is
 * a failure like one byte too many.
 */
void spop_notify_add_message(struct spop_notify_builder *b, struct spop_view name,
			     unsigned int nargs);
void spop_notify_add_arg(struct spop_notify_builder *b, struct spop_view name,
			 struct spop_value value);
/* Bytes of the whole frame, or 0 when anything did not fit or was not well-formed. */
size_t spop_notify_end(struct spop_notify_builder *b) __attribute__((warn_unused_result));

#endif
