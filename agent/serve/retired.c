/*
 * A worker is known to be replaced when another one answers the runtime socket. What it asked for
 * within the last GRACE_NS may still be told of (its ring ends a little after the new process
 * begins), so that much is left for the next tick. Its number is kept until no such process is
 * there: a number that is given out again to the worker in charge is no longer retired.
 *
 * Numbers are compared that come from two places: the kernel's, of a unix socket's other end, and
 * HAProxy's own word. In different PID namespaces the first is 0 or means another process, and then
 * nothing is given up here; serve/feedback.c and the scrape's correction of a drift remain.
 */
#include "serve/retired.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/log.h"

#define GRACE_NS (2 * CLOCK_NS_PER_S)

static void drop(struct retired *r, uint32_t i)
{
	r->n--;
	memmove(&r->pids[i], &r->pids[i + 1], (r->n - i) * sizeof(r->pids[0]));
}

static void retire(struct retired *r, uint32_t pid)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->pids[i] == pid)
			return;
	if (r->n == RETIRED_MAX)
		drop(r, 0);
	r->pids[r->n++] = pid;
}

/* Between two ticks several may have come and gone; the last two are told. */
static void learn(struct retired *r, uint32_t pid, uint32_t former)
{
	if (!pid || (pid == r->current && former == r->former))
		return;
	if (r->current && r->current != former)
		retire(r, r->current);
	if (former)
		retire(r, former);
	for (uint32_t i = 0; i < r->n; i++)
		if (r->pids[i] == pid)
			drop(r, i--);
	r->current = pid;
	r->former = former;
}

void retired_tick(struct retired *r, struct tickets *t, uint32_t pid, uint32_t former,
		  uint64_t now_ns)
{
	unsigned given_up = 0;
	struct log_line l;

	learn(r, pid, former);
	for (uint32_t i = 0; i < r->n; i++) {
		bool gone = kill((pid_t)r->pids[i], 0) < 0 && errno == ESRCH;

		if (tickets_open(t))
			given_up +=
			    tickets_abandon(t, r->pids[i], gone ? now_ns : now_ns - GRACE_NS);
		if (gone)
			drop(r, i--);
	}
	if (!given_up)
		return;
	r->given_up += given_up;
	log_begin(&l, LOG_LEVEL_INFO, "tickets_given_up");
	log_int(&l, "tickets", given_up);
	log_str(&l, "why", "asked for by a HAProxy worker that a reload has replaced");
	log_end(&l);
}
