/*
 * Status as it stands and as it is wanted: conditions of the Gateway API's shape, alone, by
 * listener or by parent.
 */
#ifndef DISCOVER_KUBE_CONDITION_H
#define DISCOVER_KUBE_CONDITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

enum kube_truth { KUBE_FALSE, KUBE_TRUE, KUBE_UNKNOWN };

struct kube_condition {
	struct view type, reason, message;
	enum kube_truth status;
	int64_t generation; /* observedGeneration; 0: none */
	struct view since;  /* lastTransitionTime as it stands; not in what is wanted */
};

struct kube_conditions {
	const struct kube_condition *items;
	size_t n;
};

struct kube_status_address {
	struct view type, value; /* IPAddress or Hostname */
};

struct kube_status_listener {
	struct view name;
	bool takes_routes; /* supportedKinds is [HTTPRoute], else [] */
	uint32_t attached;
	struct kube_conditions conditions;
};

struct kube_status_parent {
	struct view controller; /* absent: it does not say (older InferencePools cannot) */
	struct view group, kind, namespace, name, section; /* as written; absent: not written */
	uint16_t port;                                     /* 0: not written */
	struct kube_conditions conditions;
	struct view raw; /* JSON of the entry as it stands, where it is another controller's */
};

struct kube_status {
	struct kube_conditions conditions;           /* GatewayClass, Gateway */
	const struct kube_status_address *addresses; /* Gateway */
	size_t naddresses;
	const struct kube_status_listener *listeners; /* Gateway */
	size_t nlisteners;
	const struct kube_status_parent *parents; /* HTTPRoute, InferencePool */
	size_t nparents;
};

const struct kube_condition *kube_conditions_find(const struct kube_conditions *c,
						  struct view type);

#endif
