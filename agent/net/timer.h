/*
 * Timers on the libevent loop for the rooms that may not see libevent: one call after a while,
 * or one every so often. Control thread only.
 */
#ifndef NET_TIMER_H
#define NET_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct timer;

typedef void (*timer_fn)(void *arg);

/* Stopped. NULL when memory is short. @fn is called from the loop only; it may start, stop and
 * free any timer, its own included. */
struct timer *timer_new(struct event_base *base, timer_fn fn, void *arg);
struct timer *timer_free(struct timer *t); /* free(NULL) is fine; @fn is not called any more */

/* Once, after @delay_ns (0: the next turn of the loop). A running timer is set anew. The time to
 * wait is the real one, also where base/clock.h was given a fake clock. 0 or -ENOMEM. */
int timer_start(struct timer *t, uint64_t delay_ns) __attribute__((warn_unused_result));
/* Every @interval_ns (> 0), first after one interval; turns that were missed are skipped. */
int timer_every(struct timer *t, uint64_t interval_ns) __attribute__((warn_unused_result));
void timer_stop(struct timer *t);
bool timer_running(const struct timer *t);

#endif
