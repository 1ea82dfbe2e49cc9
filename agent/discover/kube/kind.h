/* The kinds of objects that a gateway is made of; one row each in kind.def. */
#ifndef DISCOVER_KUBE_KIND_H
#define DISCOVER_KUBE_KIND_H

#include <stdbool.h>
#include "base/view.h"
#include "discover/kube/client.h"

#define KUBE_GATEWAY_GROUP   "gateway.networking.k8s.io"
#define KUBE_INFERENCE_GROUP "inference.networking.k8s.io"

enum kube_kind {
#define KIND(symbol, group, version, kind, plural, namespaced, status) symbol,
#include "discover/kube/kind.def"
#undef KIND
	KUBE_KINDS
};

struct kube_kind_info {
	const char *name; /* "HTTPRoute" */
	struct kube_resource resource;
	bool namespaced;
	bool status; /* we write its status */
};

const struct kube_kind_info *kube_kind_info(enum kube_kind k);

#endif
