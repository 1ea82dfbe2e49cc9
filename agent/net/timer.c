/*
 * Timers on the libevent loop.
 *
 * One event each. libevent allows an event to be deleted and freed inside its own callback, and
 * nothing here touches the timer after @fn was called, so a timer may free itself.
 */
#include "net/timer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <event2/event.h>

#include "base/clock.h"

struct timer {
	struct event *event;
	timer_fn fn;
	void *arg;
	uint64_t interval_ns; /* 0: once */
};

static struct timeval to_timeval(uint64_t ns)
{
	uint64_t us = ns / 1000 + (ns % 1000 != 0);

	return (struct timeval){.tv_sec = (time_t)(us / 1000000),
				.tv_usec = (suseconds_t)(us % 1000000)};
}

static int arm(struct timer *t, uint64_t delay_ns)
{
	struct timeval tv = to_timeval(delay_ns);

	return event_add(t->event, &tv) == 0 ? 0 : -ENOMEM;
}

static void fired(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	(void)fd;
	(void)what;
	if (t->interval_ns)
		(void)arm(t, t->interval_ns); /* its place in libevent's heap was just given back */
	t->fn(t->arg);
}

struct timer *timer_new(struct event_base *base, timer_fn fn, void *arg)
{
	struct timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->fn = fn;
	t->arg = arg;
	t->event = event_new(base, -1, 0, fired, t);
	if (!t->event) {
		free(t);
		return NULL;
	}
	return t;
}

struct timer *timer_free(struct timer *t)
{
	if (t) {
		event_free(t->event);
		free(t);
	}
	return NULL;
}

int timer_start(struct timer *t, uint64_t delay_ns)
{
	t->interval_ns = 0;
	return arm(t, delay_ns);
}

int timer_every(struct timer *t, uint64_t interval_ns)
{
	assert(interval_ns > 0);
	t->interval_ns = interval_ns;
	return arm(t, interval_ns);
}

void timer_stop(struct timer *t)
{
	t->interval_ns = 0;
	event_del(t->event);
}

bool timer_running(const struct timer *t)
{
	return event_pending(t->event, EV_TIMEOUT, NULL);
}
