/*
 * A worker: one thread, one loop, its SPOP connections. It decides; everything else (finding,
 * scraping, accepting, reporting) happens on the control thread.
 */
#ifndef SERVE_WORKER_H
#define SERVE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "pick/ticket.h"
#include "serve/answer.h"
#include "serve/decide.h"
#include "serve/half.h"
#include "serve/peers.h"
#include "serve/stats.h"

struct event;
struct event_base;
struct conn;

TAILQ_HEAD(conn_list, conn);

/* What of the configuration a worker needs; immutable, replaced whole by RCU. */
struct worker_conf {
	struct decide_conf decide;
	variables_t variables;
	uint32_t max_frame; /* largest FRAME-LENGTH that is taken */
	uint64_t max_output;
	uint64_t max_partial; /* bytes of half-received frames in one worker's memory */
	uint64_t hello_ns, frame_ns;
};

/* What the workers share. The two pointers are read by base/grace.h. */
struct worker_env {
	struct snapshot *const *snapshot;
	struct worker_conf *const *conf;
	struct endpoints *endpoints;
	struct tickets *tickets;
	_Atomic uint32_t *cursors; /* by pool->stat */
	_Atomic uint32_t connections;
	_Atomic uint64_t refused; /* of these, by workers */
	struct peers peers;
	_Atomic bool draining; /* health checks are refused */
};

#define WORKER_IN_SIZE  (256 * 1024)
#define WORKER_OUT_SIZE (64 * 1024)

struct worker {
	unsigned index;
	struct worker_env *env;
	struct stats *stats;
	uint64_t rng[2];

	/* The rest is the worker thread's own. */
	struct event_base *base;
	struct event *inbox_event, *tick;
	int inbox[2]; /* commands from the control thread */
	bool stopping;
	uint64_t next_id;
	uint64_t now_ns; /* when this turn's bytes were here, or its last NOTIFY was decided */
	struct conn_list conns, dying;
	struct conn_list hello_due, frame_due; /* in order of their deadlines */
	uint8_t *in;                           /* what is read, when nothing is half here */
	uint8_t *out;                          /* ACKs of this turn */
	size_t out_len;
	struct halves halves;
	struct decision decision;
	pthread_t thread;
	bool started;
};

/* 0, or -errno; worker_stop() frees in both cases. */
int worker_start(struct worker *w, unsigned index, struct worker_env *env, uint32_t nmodels)
    __attribute__((warn_unused_result));
/* Gives it an accepted connection; takes the descriptor. @crowded: limits.connections is reached.
 * Control thread. */
int worker_give(struct worker *w, int fd, bool crowded) __attribute__((warn_unused_result));
/* Says goodbye to every peer and joins the thread. */
void worker_stop(struct worker *w);

/* Uniform random bits. Worker thread. */
uint64_t worker_chance(struct worker *w);

#endif
