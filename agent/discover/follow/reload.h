/*
 * A reload of HAProxy through its master socket, and what came of it.
 */
#ifndef DISCOVER_FOLLOW_RELOAD_H
#define DISCOVER_FOLLOW_RELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

struct event_base;
struct reload;

/* HAProxy reads its configuration and answers when the new worker runs; large ones take seconds. */
#define RELOAD_TIMEOUT_MS 60000

enum reload_result {
	RELOAD_DONE,
	RELOAD_REFUSED, /* the configuration cannot be loaded: the old one goes on */
	RELOAD_FAILED,  /* no answer, or none that can be understood */
};

/* @message: why not, one line; "" when it is done. Valid during the call. */
typedef void (*reload_done)(enum reload_result result, const char *message, void *arg);

/* @done exactly once, from the loop. 0, -EINVAL (address), -ENOMEM. */
int reload_start(struct event_base *base, const char *master, reload_done done, void *arg,
		 struct reload **ret) __attribute__((warn_unused_result));
/* After this @done is not called any more. No effect inside @done. */
void reload_cancel(struct reload *r);

/* The answer to "reload": 0 and *ret_result, or -EAGAIN: none was given, as 2.6 does. @message gets
 * the first [ALERT] line, or the first line. */
int reload_read(struct view answer, enum reload_result *ret_result, char *message, size_t size)
    __attribute__((warn_unused_result));
/* "show proc": reloads that failed since the last good one, or -EPROTO. */
int64_t reload_failures(struct view answer);

#endif
