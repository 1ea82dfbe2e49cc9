/* Host names of Gateways and HTTPRoutes, in lower case; an absent one stands for every name. */
#ifndef DISCOVER_KUBE_HOSTNAME_H
#define DISCOVER_KUBE_HOSTNAME_H

#include <stdbool.h>
#include "base/view.h"

/* RFC 1123, with at most one wildcard label in front; no IP address. */
bool kube_hostname_valid(struct view name);
/* The names that both stand for: one of the two, as one of them is always the narrower. False:
 * there are none. Views are those given. */
bool kube_hostname_intersect(struct view a, struct view b, struct view *ret);

#endif
