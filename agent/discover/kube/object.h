/*
 * Objects of the API server, with the fields that a gateway needs and no others.
 *
 * An object is decoded once, into memory of its own, and is immutable afterwards. A view that is
 * absent was absent. Defaults that the API server fills in are filled in here too, so that an
 * object stored before a default existed means the same.
 *
 * A value that is wrong stands beside the place it belongs to as a text ("spec.rules[0]…: …"), so
 * that what is right around it can be used and the condition can name the field. An object whose
 * very shape is wrong is not decoded at all (discover/kube/decode.h).
 */
#ifndef DISCOVER_KUBE_OBJECT_H
#define DISCOVER_KUBE_OBJECT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/condition.h"
#include "discover/kube/kind.h"
#include "discover/plan.h"

struct kube_label {
	struct view key, value;
};

struct kube_labels {
	const struct kube_label *items; /* sorted by key */
	size_t n;
	uint64_t
	    mask; /* a bit for each pair: what is wanted must be a subset before it is compared */
};

/* A reference to another object; absent group and kind were filled in by the decoder. */
struct kube_ref {
	struct view group, kind, namespace, name;
};

#define KUBE_PORTS_MAX 8 /* of an InferencePool */

struct kube_pod {
	struct kube_labels labels;
	struct in6_addr ips[2]; /* IPv4 as ::ffff:a.b.c.d; in the pod's order */
	uint8_t nips;
	bool running, ready, leaving; /* leaving: deletionTimestamp */
	bool over;                    /* Succeeded or Failed */
	bool ranks;                   /* only the ports below are served */
	uint8_t nports;
	uint16_t ports[KUBE_PORTS_MAX];
};

struct kube_namespace {
	struct kube_labels labels;
};

struct kube_service_port {
	uint16_t port, node; /* node: nodePort; 0: none */
	uint16_t target;     /* of the pod; 0: it has a name there */
	struct view target_name;
};

struct kube_service {
	struct view type;
	const struct view *addresses; /* the ones to be told, best first; see decode_small.c */
	size_t naddresses;
	const struct kube_service_port *ports;
	size_t nports;
};

/* A base model and its adapters. */
struct kube_configmap {
	bool managed; /* has one of the labels; if not, the rest is empty */
	struct view base;
	const struct view *adapters;
	size_t nadapters;
};

struct kube_class {
	struct view controller;
	bool parameters; /* spec.parametersRef is there */
};

/* matchLabels as expressions too. */
enum kube_operator { KUBE_IN, KUBE_NOT_IN, KUBE_EXISTS, KUBE_ABSENT };
struct kube_expression {
	enum kube_operator op;
	struct view key;
	const struct view *values;
	size_t nvalues;
};

enum kube_from { KUBE_FROM_SAME, KUBE_FROM_ALL, KUBE_FROM_SELECTOR, KUBE_FROM_NONE };

struct kube_listener {
	struct view name, hostname, protocol;
	uint16_t port;
	enum kube_from from;
	const struct kube_expression *selector;
	size_t nselector;
	bool kinds_given;
	bool takes_routes; /* HTTPRoute is among the kinds, or none were given */
	struct view kinds; /* those given that we do not support, for the message; or absent */
	bool passthrough;  /* tls.mode */
	const struct kube_ref *certificates;
	size_t ncertificates;
	struct view wrong; /* a value that we do not support; absent: none */
};

struct kube_address {
	struct view type, value;
};

struct kube_gateway {
	struct view class;
	const struct kube_listener *listeners;
	size_t nlisteners;
	const struct kube_address *addresses; /* asked for */
	size_t naddresses;
	bool parameters;       /* infrastructure.parametersRef */
	struct view remarks;   /* asked for, not done, and of no effect on what is served */
	struct view wrong;     /* concerns the Gateway as a whole */
	struct view wrong_tls; /* concerns its HTTPS listeners */
};

struct kube_parent_ref {
	struct kube_ref ref;  /* namespace filled in */
	struct view section;  /* absent: none */
	uint16_t port;        /* 0: none */
	bool namespace_given; /* for the status, which repeats what was written */
};

struct kube_backend_ref {
	struct kube_ref ref; /* namespace filled in */
	uint32_t weight;
};

/* One match; what we do not support made the rule wrong. */
struct kube_match {
	enum rule_path path_type;
	struct view path;   /* absent: "/" */
	struct view method; /* absent: any */
	const struct rule_header *headers;
	size_t nheaders;
};

struct kube_rule {
	struct view wrong;                /* why it is not served; absent: it is */
	bool wrong_filters;               /* the reason is IncompatibleFilters */
	const struct kube_match *matches; /* at least one */
	size_t nmatches;
	const struct plan_header *headers; /* of RequestHeaderModifier; route is not set */
	size_t nheaders;
	const struct kube_backend_ref *backends;
	size_t nbackends;
	uint32_t timeout_ms; /* 0: none */
};

struct kube_route {
	const struct kube_parent_ref *parents;
	size_t nparents;
	const struct view *hostnames; /* lower case */
	size_t nhostnames;
	const struct kube_rule *rules;
	size_t nrules;
	struct view remarks; /* as of a Gateway */
	struct view wrong;   /* concerns the route as a whole */
};

struct kube_grant_from {
	struct view group, kind, namespace;
};
struct kube_grant_to {
	struct view group, kind, name; /* name absent: all */
};
struct kube_grant {
	const struct kube_grant_from *from;
	size_t nfrom;
	const struct kube_grant_to *to;
	size_t nto;
};

struct kube_pool {
	struct kube_labels selector;
	uint16_t ports[KUBE_PORTS_MAX];
	uint8_t nports;
	bool h2c, fail_open;
	struct plan_options options; /* of annotations */
	const struct view *models;
	size_t nmodels;
	struct view remarks; /* annotations that were not understood; absent: none */
	struct view wrong;   /* why this pool cannot be served as written; absent: it can */
};

/* What the status says as it stands: lists by kind, see condition.h. */
struct kube_object {
	enum kube_kind kind;
	struct view namespace, name; /* namespace "" for kinds without; both NUL-terminated */
	int64_t generation, created; /* created: seconds since the epoch; 0: it does not say */
	union {
		struct kube_pod pod;
		struct kube_namespace space;
		struct kube_service service;
		struct kube_configmap configmap;
		struct kube_class class;
		struct kube_gateway gateway;
		struct kube_route route;
		struct kube_grant grant;
		struct kube_pool pool;
	};
};

/* Can it be served as it is written? If not, an earlier version that could is kept beside it. */
bool kube_object_usable(const struct kube_object *o);

#endif
