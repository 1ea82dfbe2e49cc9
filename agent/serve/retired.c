/*
 * Every tick looks at who asked for the tickets that are open. A process that is no more ends
 * nothing; a worker is known to be replaced when another one answers the runtime socket, be it that
 * we saw the change, or that it is a child of the same master: we may have begun after the reload,
 * and the old worker lasts for as long as its longest stream. What was asked for within the last
 * GRACE_NS may still be told of (a worker's ring ends a little after the new process begins).
 *
 * Numbers are compared that come from two places: the kernel's, of a unix socket's other end, and
 * HAProxy's own word. In different PID namespaces the first is 0 or means another process, and then
 * nothing is given up here; serve/feedback.c and the scrape's correction of a drift remain.
 */
#include "serve/retired.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"

#define GRACE_NS (2 * CLOCK_NS_PER_S)
/* How many processes are looked at in one tick; what they asked for is gone at the next. */
#define PEERS_MAX 8

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
	/* The first answer of a socket, be it another one than before, replaces nobody. */
	if (former && r->current && r->current != former)
		retire(r, r->current);
	if (former)
		retire(r, former);
	for (uint32_t i = 0; i < r->n; i++)
		if (r->pids[i] == pid)
			drop(r, i--);
	r->current = pid;
	r->former = former;
}

/* Before when @peer asked for what it cannot tell the end of; 0: it can. */
static uint64_t retired_before(const struct retired *r, uint32_t peer,
			       const struct retired_haproxy *h, uint64_t now_ns)
{
	const uint64_t known_ns = h->answered_ns;

	if (!process_there(peer))
		return now_ns - GRACE_NS;
	if (peer == r->current || h->by_datagrams)
		return 0;
	for (uint32_t i = 0; i < r->n; i++)
		if (r->pids[i] == peer)
			return now_ns - GRACE_NS;
	/* A sibling that asked only after the worker last answered may be its successor. */
	if (r->current && known_ns > GRACE_NS && process_siblings(peer, r->current))
		return (known_ns < now_ns ? known_ns : now_ns) - GRACE_NS;
	return 0;
}

void retired_tick(struct retired *r, struct tickets *t, const struct retired_haproxy *h,
		  uint64_t now_ns)
{
	uint32_t peers[PEERS_MAX];
	unsigned given_up = 0;
	struct log_line l;

	learn(r, h->pid, h->former_pid);
	for (uint32_t i = 0; i < r->n; i++)
		if (!process_there(r->pids[i]))
			drop(r, i--);
	if (now_ns < GRACE_NS || !tickets_open(t))
		return;
	for (size_t n = tickets_peers(t, now_ns - GRACE_NS, peers, PEERS_MAX); n > 0; n--) {
		uint64_t before = retired_before(r, peers[n - 1], h, now_ns);

		if (before)
			given_up += tickets_abandon(t, peers[n - 1], before);
	}
	if (!given_up)
		return;
	r->given_up += given_up;
	log_begin(&l, LOG_LEVEL_INFO, "tickets_given_up");
	log_int(&l, "tickets", given_up);
	log_str(&l, "why",
		"asked for by a HAProxy worker that has ended, or that a reload has replaced");
	log_end(&l);
}
