/*
 * The room's door: what exists (servers, models, pools) found out, kept current and published as
 * whole snapshots. Runs on the control thread's loop; workers only read what is published.
 */
#ifndef DISCOVER_DISCOVER_H
#define DISCOVER_DISCOVER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"
#include "config/config.h"
#include "discover/asker.h"
#include "discover/builder.h"
#include "discover/haproxy.h"
#include "discover/intern.h"
#include "discover/mapsync.h"
#include "discover/names.h"
#include "discover/place.h"
#include "discover/plan.h"
#include "discover/snapshot.h"
#include "pick/endpoint.h"

struct discover;
struct event_base;
struct http_client;
struct dns;

/* All are borrowed and must outlive the discover. */
struct discover_env {
	struct event_base *base;
	struct endpoints *endpoints;
	struct http_client *http; /* for /v1/models */
	struct dns *dns;          /* may be NULL when no pool has a host name */
	struct place_hooks places;
	/* After each publication; may be NULL. */
	void (*published)(const struct snapshot *s, void *arg);
	void *arg;
	bool read_only; /* never touch HAProxy's map nor write its file (explain) */
};

/* @conf is borrowed until discover_reload() with another one, or discover_free(), has returned. A
 * first snapshot is published before this returns. NULL when memory is short. */
struct discover *discover_new(const struct discover_env *env, const struct config *conf);
struct discover *discover_free(struct discover *d);

/* Another configuration from now on. Servers that stay keep their slots, states and models. 0, or
 * -ENOMEM, and the old configuration stays in use. */
int discover_reload(struct discover *d, const struct config *conf)
    __attribute__((warn_unused_result));

/*
 * What a controller wants served from now on; borrowed until the next call, or discover_free(), has
 * returned. Published within milliseconds. With `kubernetes:` in the configuration nothing is ready
 * before the first one. 0, or -ENOMEM, and the plan before it stays in use.
 */
int discover_plan(struct discover *d, const struct plan *plan) __attribute__((warn_unused_result));

/*
 * Whether HAProxy has the backend of a plan's pool: one that it has not (yet) answers as if all its
 * pods were down, since HAProxy would take the request elsewhere. @has NULL: it has them all. Say
 * discover_refresh() when another answer may be due.
 */
void discover_backends(struct discover *d, bool (*has)(struct view backend, void *arg), void *arg);
void discover_refresh(struct discover *d);

/* The published snapshot: for workers the address of the pointer, to be read by grace_read(); for
 * the control thread the snapshot itself, good until it returns to the loop. Never NULL. */
struct snapshot *const *discover_published(const struct discover *d);
const struct snapshot *discover_snapshot(const struct discover *d);

/* Too many scrapes of the endpoint failed: it is out, unless somebody who knows better says that it
 * is up. Or it answers, again or for the first time: its models are asked anew. */
void discover_endpoint_dead(struct discover *d, uint32_t slot);
void discover_endpoint_back(struct discover *d, uint32_t slot);

/* What is known of the server in @slot; NULL: nobody is there. */
const struct place *discover_place(const struct discover *d, uint32_t slot);
/* The slot of HAProxy's @server in @backend; -ENOENT. It looks through the backend's servers: for
 * log lines compare discover_place(the ticket's slot)->server first. */
int discover_find_server(const struct discover *d, struct view backend, struct view server);

/*
 * Calls @done once: with true when everything that can be asked has been asked to an end, well or
 * not; with false when that takes longer than @deadline_ms. One at a time.
 */
int discover_when_settled(struct discover *d, uint32_t deadline_ms,
			  void (*done)(bool settled, void *arg), void *arg)
    __attribute__((warn_unused_result));

/* --- for /state and /metrics ------------------------------------------------------------------ */

struct discover_status {
	struct haproxy_status haproxy;
	struct mapsync_status map;
	size_t endpoints, endpoints_refused; /* refused: past limits.endpoints */
	size_t names_pending, models_pending;
	uint64_t builds, publications, build_ns; /* build_ns: of the last */
	struct builder_notes notes;              /* of the last build */
};
void discover_status(const struct discover *d, struct discover_status *ret);
void discover_models(const struct discover *d, uint32_t slot, struct asker_view *ret);
const struct names *discover_names(const struct discover *d);
/* Counter indices: struct pool's stat and struct route_target's stat. They stay the same from
 * snapshot to snapshot that have the name; 1 to limits.pools and 1 to limits.model_labels as of
 * discover_new(), 0 is "other". */
const struct intern *discover_pool_names(const struct discover *d);
const struct intern *discover_model_names(const struct discover *d);
/* A model's index is about to become another's, and no snapshot has it: where its counters begin.
 */
void discover_on_model_reuse(struct discover *d, void (*reused)(uint32_t index, void *arg),
			     void *arg);

#endif
