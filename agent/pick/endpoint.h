/*
 * The live table of endpoints: one slot per model server, kept from snapshot to snapshot.
 *
 * What workers read and write at each decision (open tickets, foreign load, state) lies in dense
 * arrays of atomics, indexed by a slot number, so that a scan over a pool of 1,000 touches some
 * kilobytes and takes no lock. Everything else about an endpoint belongs to the control thread.
 *
 * Load = open tickets + foreign load. Open tickets are exact at every moment. Foreign load is
 * what the server itself reported (waiting + running) less our tickets that were open there when
 * it answered, never below zero; it is 0 until the first good scrape. Where the server has
 * reported fewer requests than we have tickets open at each scrape of a whole minute
 * (ENDPOINT_DRIFT_NS), the smallest of these differences is what was lost on the way (log lines
 * that never came); it is taken off the load until a scrape says otherwise, off what counts
 * against max_inflight, and takes no room. What HAProxy has there was not lost, whatever the server
 * says: figures that stand still would make the slowest server the least loaded one.
 */
#ifndef PICK_ENDPOINT_H
#define PICK_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

/* Why an endpoint is not picked; none set: it is a candidate. */
enum endpoint_flag {
	ENDPOINT_MAINT = 1 << 0,       /* HAProxy: in maintenance */
	ENDPOINT_DRAIN = 1 << 1,       /* HAProxy: draining, or weight 0 */
	ENDPOINT_DOWN = 1 << 2,        /* HAProxy: its health check failed */
	ENDPOINT_SCRAPE_DEAD = 1 << 3, /* N scrapes in a row failed; one good one clears it */
	ENDPOINT_FULL = 1 << 4,        /* HAProxy: at its maxconn, with what others sent there */
	ENDPOINT_GONE = 1 << 5,        /* left the configuration; only its tickets are left */
	ENDPOINT_NOT_READY = 1 << 6,   /* Kubernetes: not ready or being deleted */
	ENDPOINT_BACKUP = 1 << 7,      /* HAProxy: a backup, while another server can serve */
};
#define ENDPOINT_FLAG_LAST ENDPOINT_BACKUP

/* "maint", "drain", "down", "scrape_dead", "full", "gone", "not_ready", "backup". */
const char *endpoint_flag_name(unsigned flag);

/* A report that stays below our count for this long is a drift, not requests under way. */
#define ENDPOINT_DRIFT_NS (UINT64_C(60) * 1000000000)

/* The table; opaque. One per process. */
struct endpoints;

/* @max slots (option limits.endpoints). NULL when memory is short. */
struct endpoints *endpoints_new(uint32_t max);
struct endpoints *endpoints_free(struct endpoints *e);
uint32_t endpoints_max(const struct endpoints *e);

/* A free slot, zeroed, or -ENOSPC. Control thread only. */
int endpoint_alloc(struct endpoints *e) __attribute__((warn_unused_result));
/* Gives the slot back once no snapshot names it; its generation moves on, so that late tickets
 * and log lines for the old owner are recognised. Control thread only. */
void endpoint_release(struct endpoints *e, uint32_t slot);
uint32_t endpoint_generation(const struct endpoints *e, uint32_t slot);

/* The one mover of state: clears @clear, sets @set, returns the flags before. Control thread. */
unsigned endpoint_set_flags(struct endpoints *e, uint32_t slot, unsigned clear, unsigned set);
unsigned endpoint_flags(const struct endpoints *e, uint32_t slot);

/* A scrape answered: @waiting + @running requests there, @open_then = endpoint_open() as read
 * when the answer came. Control thread. */
void endpoint_observe(struct endpoints *e, uint32_t slot, double waiting, double running,
		      double kv_usage, uint32_t open_then, uint64_t now_ns);
/* What was scraped is too old to count: load is tickets alone until the next good scrape. */
void endpoint_forget(struct endpoints *e, uint32_t slot);
/* The most requests HAProxy may have there (maxconn; 0: no limit) and how many of others' it
 * holds now. */
void endpoint_set_room(struct endpoints *e, uint32_t slot, uint32_t maxconn, uint32_t others);
/* What HAProxy has there or queued for it, by its last word; ENDPOINT_HELD_UNKNOWN: it has not
 * said. Before endpoint_set_room() of the same word. Control thread. */
#define ENDPOINT_HELD_UNKNOWN UINT32_MAX
void endpoint_set_held(struct endpoints *e, uint32_t slot, uint32_t held);
/* False: not known. */
bool endpoint_held(const struct endpoints *e, uint32_t slot, uint32_t *ret);

/* A worker chose it. */
void endpoint_picked(struct endpoints *e, uint32_t slot);
enum endpoint_end {
	ENDPOINT_ANSWERED, /* feeds the rate */
	ENDPOINT_FAILED,   /* the server refused, broke off or answered 5xx */
	ENDPOINT_ABORTED,  /* the client went away */
};
/* A request that was opened at @opened_ns ended there. Late ends of an earlier owner of the slot
 * (@generation) are ignored. Control thread. */
void endpoint_finished(struct endpoints *e, uint32_t slot, uint32_t generation, uint64_t opened_ns,
		       uint64_t now_ns, enum endpoint_end how);

/* A ticket there was given up though its request may go on: it counts as another's until the next
 * report, or the load would be too low until then. Nothing where the server does not report.
 * Control thread. */
void endpoint_carry(struct endpoints *e, uint32_t slot, uint32_t generation);

uint32_t endpoint_open(const struct endpoints *e, uint32_t slot);
/* open + foreign: the number least-loaded compares, in requests. */
double endpoint_load(const struct endpoints *e, uint32_t slot);

/* What can be said about one endpoint, for /state, /metrics and explain. */
struct endpoint_view {
	unsigned flags;
	uint32_t open, maxconn, others;
	double load;                                /* what least-loaded compares */
	double drift;                               /* taken off open, see above */
	double foreign, waiting, running, kv_usage; /* kv_usage 0..1, -1: not told */
	double rate;          /* requests finished per busy second; 0: not known */
	uint64_t observed_ns; /* 0: never scraped */
	uint64_t picks, answered, failed, aborted;
};
void endpoint_view(const struct endpoints *e, uint32_t slot, struct endpoint_view *ret);

#endif
