/*
 * Asks every model server for its metrics page, again and again, and tells pick/ what it says.
 *
 * Each target is asked once an interval; the targets are spread evenly over it, and each keeps its
 * connection. A target that has not answered yet is not asked a second time; the turn is skipped
 * and counted. What counts as what:
 *
 * - a page with figures: endpoint_observe(), with our own open tickets as they were when the
 *   answer came;
 * - an answer without any (below 500, or a page of no known engine): the server speaks no metrics.
 *   It is alive and picked by our own tickets; it is asked again less and less often, at least
 *   every SCRAPE_NONE_MAX_NS;
 * - anything else is a failure: not reached, no answer in time, TLS, 5xx, too large, not HTTP,
 *   figures that cannot be. `failures` of them in a row take the endpoint out: whoever is told
 *   sets ENDPOINT_SCRAPE_DEAD, since he may know better. One answer of the first two kinds
 *   clears it.
 *
 * Figures older than `stale` are forgotten, once (endpoint_forget()).
 *
 * Targets that fail are asked over places of their own, a bounded number, so that a thousand
 * servers that hang take nothing from those that answer.
 *
 * All of it belongs to the control thread; callbacks come from the loop only.
 */
#ifndef OBSERVE_SCRAPE_H
#define OBSERVE_SCRAPE_H

#include <stdbool.h>
#include <stdint.h>
#include "observe/engine.h"

#define SCRAPE_NONE_MAX_NS (UINT64_C(30) * 1000000000)

struct event_base;
struct endpoints;
struct http_room;
struct scraper;

/* Where a page is and how it is asked for. Strings are copied. */
struct scrape_target {
	const char *name;         /* what logs call it */
	const char *url;          /* scheme://host:port, nothing behind it */
	const char *metrics;      /* whole URL of the page instead, or NULL */
	const char *metrics_path; /* NULL: /metrics, then /prometheus/metrics */
	const char *connect_to;   /* as in net/http.h, or NULL */
	const char *bearer;       /* token, or NULL */
	const char *ca_file;      /* NULL: the system's */
	bool tls_verify;
	int engine; /* enum config_engine; NONE: it is not asked at all and counts as alive */
	uint32_t interval_ms, timeout_ms, stale_ms, failures;
	uint64_t max_page;
};

enum scrape_outcome {
	SCRAPE_TOLD,   /* figures */
	SCRAPE_SILENT, /* an engine's page that does not tell its load (yet): alive */
	SCRAPE_NONE,   /* speaks no metrics: alive */
	SCRAPE_CONNECT,
	SCRAPE_TIMEOUT,
	SCRAPE_TLS,
	SCRAPE_STATUS, /* 5xx */
	SCRAPE_TOO_LARGE,
	SCRAPE_PROTOCOL,
	SCRAPE_BAD_VALUE,
	SCRAPE_MEMORY, /* ours was short: says nothing about the server */
	SCRAPE_OUTCOMES
};
const char *scrape_outcome_name(enum scrape_outcome o); /* "told", "connect", …; static */

/* What is known about one target, for /metrics, /state and explain. */
struct scrape_status {
	enum scrape_outcome last;
	enum engine engine; /* as last told; ENGINE_NONE: none or not known yet */
	bool asked;         /* there was an answer or a failure */
	bool alive;         /* not taken out; true until `failures` in a row */
	uint32_t failing;   /* failures in a row */
	uint64_t scrapes;   /* begun */
	uint64_t skipped;   /* turns, because the one before was under way */
	uint64_t outcomes[SCRAPE_OUTCOMES];
	uint64_t duration_ns;            /* of the last one that ended */
	uint64_t ended_ns;               /* when it did, clock_mono_ns(); 0: never */
	uint64_t told_ns;                /* when there were figures last; 0: never */
	double kv_blocks, kv_block_size; /* as last told; 0: not */
	const char *url;                 /* as asked last; owned by the scraper */
	char error[160];                 /* why the last failure or SCRAPE_NONE was one; "": none */
};

/*
 * An endpoint was taken out or came back (@alive), or answered for the first time: a good moment
 * to ask for its models. ENDPOINT_SCRAPE_DEAD is his to set. May call any scraper_* function,
 * scraper_free() too.
 */
typedef void (*scrape_changed)(uint32_t slot, bool alive, void *arg);

/* NULL when memory is short. @endpoints must outlive it. @changed may be NULL: then it is set. */
struct scraper *scraper_new(struct event_base *base, struct endpoints *endpoints,
			    scrape_changed changed, void *arg);
/* What pages that are here at a time may take together (net/http.h); outlives the scraper. */
void scraper_share(struct scraper *s, struct http_room *room);
struct scraper *scraper_free(struct scraper *s); /* ends what is under way; no callbacks */

/*
 * Asks for @slot from now on, or from now on so. A target whose URLs and engine stay the same keeps
 * its counters and state; setting what is set already does nothing. 0, -ENOMEM or -EINVAL (no such
 * slot); then nothing has changed.
 */
int scraper_set(struct scraper *s, uint32_t slot, const struct scrape_target *target)
    __attribute__((warn_unused_result));
/* Stops asking and takes back what it has told pick/ about @slot. Before endpoint_release(). */
void scraper_remove(struct scraper *s, uint32_t slot);

/* NULL: @slot is no target. Valid until the next scraper_* call. */
const struct scrape_status *scraper_status(const struct scraper *s, uint32_t slot);

/*
 * For explain: asks every target now, once, and calls @done when all have ended or @deadline_ms
 * passed, from the loop; @missing: how many had not ended. One at a time: -EBUSY. -ENOMEM.
 */
typedef void (*scrape_done)(uint32_t missing, void *arg);
int scraper_once(struct scraper *s, uint32_t deadline_ms, scrape_done done, void *arg)
    __attribute__((warn_unused_result));

#endif
