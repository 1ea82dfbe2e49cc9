/*
 * Objects → what is to be served, and what their status is to say. Pure: the store and the
 * settings in, a plan and wanted statuses out; no clock, no I/O, no log. Two replicas with the same
 * objects come to the same statuses, word by word.
 *
 * Call it only when every kind that is watched has been listed once: before that, references lead
 * nowhere that would lead somewhere.
 *
 * Which rules of the Gateway API are decided here, and how where they leave a choice, stands in the
 * essays of resolve_*.c. Invariants of a result:
 * - plan rules come from routes that are Accepted by a programmed listener of a Gateway of a class
 *   with our controller name, or from an older version of such a route whose newest is unusable.
 * - plan pools are sorted by name, members by name; a backend of a rule is -1 or a pool of the
 * plan.
 * - a pod is not draining in one pool by what another pool says of it.
 * - of what cannot be read nothing is wanted: its status, and what is said of it, stay.
 * - every parent of a route that is a Gateway of ours has exactly one entry in its wanted status,
 *   with Accepted and ResolvedRefs; no other parent has one.
 * - an InferencePool has an entry for exactly those Gateways of ours to which a route that refers
 * to it is attached.
 */
#ifndef DISCOVER_KUBE_RESOLVE_H
#define DISCOVER_KUBE_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/kube/condition.h"
#include "discover/kube/kind.h"

struct kube_resolved;
struct kube_store;
struct plan;

/* A container's port by its name, as a Service's targetPort may have it. */
struct kube_port_name {
	struct view name;
	uint16_t port;
};

/* All borrowed during the call. */
struct kube_settings {
	struct view controller; /* "spoa-inference/gateway-controller" */
	struct view namespace;  /* our own: its pools' backends have short names */
	bool by_models;         /* pools serve what their members tell; no Gateway, no HTTPRoute */
	bool header_rules;      /* as in kube_store_conf */
	bool all_namespaces;    /* the whole cluster is watched */
	struct view service_namespace, service; /* whose addresses are told; absent: none */
	const struct view *addresses;           /* told when no Service is named */
	size_t naddresses;
	const struct view *secrets; /* NAMESPACE/NAME of the certificates that HAProxy holds */
	size_t nsecrets;
	const struct kube_port_name *ports; /* of HAProxy's container */
	size_t nports;
	size_t max_rules; /* of the plan; routes past it, the youngest, are refused. 0: 100,000 */
};

/*
 * @before: the plan in use, whose members drain when they stop being ones; NULL: none.
 * 0, -ENOMEM.
 */
int kube_resolve(struct kube_store *s, const struct kube_settings *set, const struct plan *before,
		 struct kube_resolved **ret) __attribute__((warn_unused_result));

/* The status that an object of ours is to have. Views are good until kube_resolved_free(), or until
 * the store tells of a KUBE_SPEC change. */
struct kube_wanted {
	enum kube_kind kind;
	struct view namespace, name;
	struct kube_status status;
};

/* What somebody should be told of: an object and why it is not, or not wholly, served. Good until
 * kube_resolved_free(), whatever becomes of the store. */
struct kube_problem {
	enum kube_kind kind;
	struct view namespace, name, text;
};

struct kube_counts {
	size_t classes, gateways, listeners; /* ours; listeners: programmed */
	size_t routes, routes_accepted;      /* with a Gateway of ours among the parents */
	size_t pools, pools_empty;           /* of the plan; selectors that select no pod */
};

struct kube_resolved {
	struct plan *plan; /* the caller may take it, leaving NULL */
	const struct kube_wanted *wanted;
	size_t nwanted;
	const struct kube_problem *problems;
	size_t nproblems;
	struct kube_counts counts;
	struct arena *arena; /* holds this and all but the plan */
};
struct kube_resolved *kube_resolved_free(struct kube_resolved *r); /* and the plan, if left */

#endif
