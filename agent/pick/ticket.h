/*
 * Tickets: one per dispatch, from its ACK to its log line.
 *
 * Opening is wait-free for a worker: each worker has slots of its own. Closing comes from the
 * thread that reads the log lines. A ticket's name is one 63-bit integer: instance, worker, slot
 * and generation, so a line of an earlier life of the agent, a repeated one or a forged one is
 * recognised and counted, never applied.
 */
#ifndef PICK_TICKET_H
#define PICK_TICKET_H

#include <stddef.h>
#include <stdint.h>
#include "pick/endpoint.h"

struct tickets;

/* @max tickets per worker (option limits.tickets), @workers ≥ 1, @instance: random, tells this
 * process from its predecessor. Borrows @e. */
struct tickets *tickets_new(struct endpoints *e, unsigned workers, uint32_t max, uint32_t instance);
struct tickets *tickets_free(struct tickets *t);

/* Counts a request on @slot. @key: HAProxy's own number of the request, 0: not known. @peer: the
 * process that asked, 0: not known. Returns the ticket's name > 0, or 0 when all are out (counted;
 * the request goes on uncounted). Only from worker @worker. */
int64_t ticket_open(struct tickets *t, unsigned worker, uint32_t slot, uint32_t model, uint64_t key,
		    uint32_t peer, uint64_t now_ns) __attribute__((warn_unused_result));

struct ticket_info {
	uint32_t slot, generation; /* the endpoint it was opened on */
	uint32_t model;            /* as given to ticket_open() */
	uint64_t opened_ns;
};
/* 0 and *ret, or -ENOENT: not one of ours, or closed already, or expired. Control thread. */
int ticket_close(struct tickets *t, int64_t name, struct ticket_info *ret)
    __attribute__((warn_unused_result));

/* Closes what is older than @max_age_ns; returns how many. Looks at most at @budget slots a call
 * and goes on where it stopped. Control thread. */
unsigned tickets_expire(struct tickets *t, uint64_t now_ns, uint64_t max_age_ns, unsigned budget);

/* The processes, each once and without 0, that asked before @before_ns for what is still open: at
 * most @max of them into @ret; how many. Looks at every slot. Control thread. */
size_t tickets_peers(const struct tickets *t, uint64_t before_ns, uint32_t *ret, size_t max);

/* Adds to @ret, by slot, how much is open that process @peer asked for before @before_ns. Looks at
 * every slot. Control thread. */
void tickets_count(const struct tickets *t, uint32_t peer, uint64_t before_ns, uint32_t *ret);

/* Closes what process @peer (0: nobody known) asked for before @before_ns, since it cannot tell the
 * end; how many. The requests may go on: see endpoint_carry(). Looks at every slot. Control
 * thread. */
unsigned tickets_abandon(struct tickets *t, uint32_t peer, uint64_t before_ns);

/* The same of anybody but process @peer (0: of anybody). */
unsigned tickets_abandon_others(struct tickets *t, uint32_t peer, uint64_t before_ns);

/* Closes that of process @peer on endpoint @slot alone, and at most @max of them; these are known
 * to be over. */
unsigned tickets_abandon_at(struct tickets *t, uint32_t peer, uint32_t slot, uint64_t before_ns,
			    uint32_t max);

/*
 * Requests that ended without HAProxy knowing their ticket: the ACK came too late, or the client
 * went away before it came. Each closes the one open ticket of that key that was opened at
 * @since_ns or later; where there are several, none. Sorts @lost. Returns how many were closed.
 * Looks at every slot: for some thousands at a time, not for each. Control thread.
 *
 * Two HAProxys count their requests alike: of a @peer (0: not known) only what it asked for itself,
 * or what nobody is known to have asked for, is closed.
 */
struct ticket_lost {
	uint64_t key, since_ns;
	uint32_t peer;
	uint64_t found; /* used inside */
};
unsigned tickets_reclaim(struct tickets *t, struct ticket_lost *lost, size_t n);

uint32_t tickets_open(const struct tickets *t);
uint64_t tickets_exhausted(const struct tickets *t);

#endif
