/*
 * What a controller wants served: pools with their members, routing rules, adapters. Made whole
 * from the controller's objects, immutable, compared by its hash. discover/ makes snapshots of it,
 * the HAProxy follower makes backends and servers of it.
 */
#ifndef DISCOVER_PLAN_H
#define DISCOVER_PLAN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "route/rule.h"

struct arena;

/* One pod at one of its pool's ports. */
struct plan_member {
	struct view
	    name; /* HAProxy's server name and the label: POD, or POD-PORT with several ports */
	struct sockaddr_storage addr;
	bool draining; /* keeps the streams it has, gets no request */
};

/* What annotations of the pool ask for. */
struct plan_options {
	bool has_policy, has_when_full, has_max_inflight, has_retry_after, has_engine, has_scheme;
	int policy, when_full, engine, scheme; /* values as in struct config_pool */
	uint32_t max_inflight, retry_after;
	struct view metrics_path; /* absent: the default */
};

struct plan_pool {
	struct view name;    /* NAMESPACE/NAME */
	struct view backend; /* HAProxy's backend: NAME in our own namespace, else NAMESPACE_NAME */
	bool h2c;            /* appProtocol kubernetes.io/h2c */
	bool fail_open;      /* HAProxy may choose by itself while the agent is away */
	struct plan_options options;
	const struct view *models; /* listed; none: what the members' /v1/models say */
	size_t nmodels;
	const struct plan_member *members;
	size_t nmembers;
};

/* A base model's adapter, as a ConfigMap says; the base model itself is one of them. Each model
 * once, in order. */
struct plan_adapter {
	struct view model, base;
};

/* A RequestHeaderModifier, by the rule's `route` value. */
enum plan_header_action { PLAN_HEADER_SET, PLAN_HEADER_ADD, PLAN_HEADER_REMOVE };
struct plan_header {
	struct view route; /* the value of the variable `route` it applies to */
	enum plan_header_action action;
	struct view name, value;
};

struct plan {
	const struct plan_pool *pools; /* in order of name */
	size_t npools;
	const struct rule_def *rules; /* backends' pool: index into pools above, or -1 */
	size_t nrules;
	struct rule_listeners listeners; /* what rules hang on, and the ports there are */
	const struct plan_adapter *adapters;
	size_t nadapters;
	const struct plan_header *headers;
	size_t nheaders;
	bool route_by_models; /* pools serve the models their members tell; rules are not used */
	uint64_t hash[2];     /* of all above: equal means nothing changed */
	struct arena *arena;  /* holds everything */
};

struct plan *plan_free(struct plan *p);
/* Fills in the hash, once all the rest is there. */
void plan_seal(struct plan *p);

#endif
