/* Whose things are: Gateways by their class's controller, entries of a status by what they say. */
#ifndef DISCOVER_KUBE_OWNER_H
#define DISCOVER_KUBE_OWNER_H

#include <stdbool.h>
#include "base/view.h"
#include "discover/kube/condition.h"
#include "discover/kube/kind.h"

struct kube_settings;
struct kube_store;

struct kube_entry;

enum kube_owner {
	KUBE_BLANK,  /* filled in by a definition before any controller looked */
	KUBE_NOBODY, /* there is no such Gateway, nor can there be one that we do not see */
	KUBE_OTHERS, /* another controller's, or nobody's that we know */
	KUBE_OURS,
	/* The newest version of the Gateway or of its class cannot be read: what is said of it
	 * stays as it is, since a replica that never saw a readable one could not say the same. */
	KUBE_UNREADABLE,
};

enum kube_owner kube_owner_gateway(const struct kube_store *s, const struct kube_settings *set,
				   struct view namespace, struct view name);

/* Is it served? By versions that could be read, were there one. */
bool kube_owner_serves(const struct kube_store *s, const struct kube_settings *set,
		       const struct kube_entry *gateway);

/*
 * Of the entry @p in the status of the object of @kind in @namespace. Older definitions of
 * InferencePool have no field for the controller: there the Gateway decides, and an entry of one
 * that does not exist is nobody's, for whoever sees it to take away.
 */
enum kube_owner kube_owner_parent(const struct kube_store *s, const struct kube_settings *set,
				  enum kube_kind kind, struct view namespace,
				  const struct kube_status_parent *p);

/* The status of @e holds an entry that is ours, or ours to take away. */
bool kube_owner_left(const struct kube_store *s, const struct kube_settings *set,
		     const struct kube_entry *e);

/* Of two entries: do they stand for the same parent? What is not written has its default. */
bool kube_owner_same(const struct kube_status_parent *a, const struct kube_status_parent *b,
		     struct view namespace);

#endif
