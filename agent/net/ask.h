/*
 * Ask a line-wise socket one thing: connect, write, read to the end of file, close. HAProxy's
 * runtime socket is spoken to so, by short connections: one held over a reload would keep the old
 * worker alive.
 */
#ifndef NET_ASK_H
#define NET_ASK_H

#include <stdint.h>
#include "base/view.h"

struct event_base;
struct ask;

enum ask_error { ASK_OK, ASK_CONNECT, ASK_TIMEOUT, ASK_TOO_LARGE, ASK_BROKEN };
const char *ask_error_name(enum ask_error e);

struct ask_answer {
	enum ask_error error;
	int err;          /* errno where there is one */
	struct view text; /* everything that was read, valid during the callback only */
};
typedef void (*ask_done)(const struct ask_answer *answer, void *arg);

/* @where: an absolute path (also unix@PATH) or HOST:PORT with a numeric host (v6 in
 * brackets or not) or localhost.
 * @question is copied and sent as it is (commands joined by ';', ended by '\n').
 * @done exactly once, from the loop. 0, -EINVAL (address), -ENOMEM. */
int ask(struct event_base *base, const char *where, struct view question, uint32_t timeout_ms,
	uint64_t max_answer, ask_done done, void *arg, struct ask **ret)
    __attribute__((warn_unused_result));
/* After this @done is not called any more. No effect inside @done: there it is over already, and
 * after @done returned @a is gone. */
void ask_cancel(struct ask *a);

#endif
