/* What the parts of one resolution share. Private to resolve*.c. */
#ifndef DISCOVER_KUBE_RESOLVE_PARTS_H
#define DISCOVER_KUBE_RESOLVE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/arena.h"
#include "discover/kube/object.h"
#include "discover/kube/resolve.h"
#include "discover/kube/store.h"

struct resolve_listener {
	const struct kube_listener *conf;
	bool takes_routes; /* HTTPRoute is among the supported kinds */
	bool accepted, programmed;
	uint64_t ports; /* the bit of its port, and its host's number, in the plan's listeners; */
	uint32_t place; /* programmed ones only */
	uint32_t attached;
	size_t counted; /* the route that was counted last; 0: none, else its number from 1 */
	struct kube_conditions conditions;
};

struct resolve_gateway {
	const struct kube_entry *entry;
	bool silent; /* served, but not spoken of: see KUBE_UNREADABLE */
	struct resolve_listener *listeners;
	size_t nlisteners;
};

/* Where a route is attached: a host name, absent for any, at a host of the plan's listeners. */
struct resolve_host {
	struct view name;
	uint32_t place;
	uint64_t ports;
};

struct resolve_route {
	const struct kube_entry *entry;
	const struct resolve_host *hosts; /* of the version that serves: each pair once */
	size_t nhosts;                    /* 0: attached to nothing that is programmed */
};

/* A route of this Gateway refers to this pool. */
struct resolve_use {
	size_t pool, gateway; /* index among the store's pools, among ours */
	bool accepted;        /* the route is */
};

struct resolving {
	struct kube_store *s;
	const struct kube_settings *set;
	const struct plan *before;
	struct arena *arena, *lasting; /* of the result, of the plan */
	bool failed;                   /* memory was short */
	struct resolve_gateway *gateways;
	size_t ngateways;
	struct resolve_route *routes; /* oldest first */
	size_t nroutes;
	struct resolve_use *uses;
	size_t nuses, uses_room;
	bool *used;       /* by the store's index of a pool: some route leads there */
	int32_t *pool_at; /* the store's index of a pool → the plan's, or -1 */
	struct kube_wanted *wanted;
	size_t nwanted, wanted_room;
	struct kube_problem *problems;
	size_t nproblems, problems_room;
	struct kube_counts counts;
	struct plan *plan;
};

/* From the arena of the result; a stand-in that may be written to when memory is short is not
 * given: NULL, and r->failed. */
void *resolve_get(struct resolving *r, size_t size);
/* Room for one more of @size in @items, which may move; NULL as above. */
void *resolve_more(struct resolving *r, void *items, size_t n, size_t *room, size_t size);
/* In ASCII, whatever went in: what the API server stores must be what was sent. */
struct view resolve_text(struct resolving *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A copy in the plan's arena. */
struct view resolve_keep(struct resolving *r, struct view v);

#define RESOLVE_CONDITIONS_MAX 8
struct resolve_conditions {
	struct kube_condition *items; /* RESOLVE_CONDITIONS_MAX of them */
	size_t n;
	int64_t generation;
};
/* False when memory is short. */
bool resolve_conditions(struct resolving *r, struct resolve_conditions *c, int64_t generation);
void resolve_condition(struct resolve_conditions *c, const char *type, bool status,
		       const char *reason, struct view message);
/* To be told to somebody; @e's kind and names. */
void resolve_problem(struct resolving *r, const struct kube_entry *e, struct view text);
struct kube_wanted *resolve_want(struct resolving *r, const struct kube_entry *e);

/* The Service in front of HAProxy; NULL: none is configured, or it is not there. */
const struct kube_object *resolve_service(const struct resolving *r);
/* May an object of @from_kind in @from refer to @to? Within one namespace always. */
bool resolve_permitted(const struct resolving *r, struct view from_kind, struct view from,
		       const struct kube_ref *to);
/* The store's index of the pool that @ref leads to from the route @o; -1: nowhere, and *reason is
 * that of the condition. */
int64_t resolve_find_pool(const struct resolving *r, const struct kube_object *o,
			  const struct kube_ref *ref, const char **reason);
/* Why our own HAProxy cannot have this pool, whatever it asks for; absent: it can. */
struct view resolve_refused(struct resolving *r, const struct kube_entry *e);
/* The reason of the first reference of the route that leads nowhere; NULL: none does. */
const char *resolve_check_refs(struct resolving *r, const struct kube_object *o,
			       struct view *ret_message);
/* How many rules of the plan it makes. */
size_t resolve_count_rules(const struct resolve_route *route);
/* The Gateway of ours, or NULL. */
struct resolve_gateway *resolve_find_gateway(const struct resolving *r, struct view namespace,
					     struct view name);

/* In this order. */
void resolve_gateways(struct resolving *r);  /* which are ours, their listeners */
void resolve_listeners(struct resolving *r); /* listeners of the plan */
void resolve_routes(struct resolving *r);    /* attachment, statuses, uses of pools */
void resolve_pools(struct resolving *r);     /* pools and members of the plan, statuses */
void resolve_rules(struct resolving *r);     /* rules and headers of the plan */
void resolve_adapters(struct resolving *r);  /* adapters of the plan */
void resolve_finish(struct resolving *r);    /* statuses of Gateways, as routes were counted */

#endif
