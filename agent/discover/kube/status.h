/*
 * What there is to write so that an object's status says what is wanted: a JSON merge patch for
 * the /status sub-resource, with metadata.resourceVersion inside, so that a conflict is 409.
 *
 * Compared is what we say, not when: an entry that differs in nothing but lastTransitionTime is
 * right. A condition keeps its lastTransitionTime as long as its status (True, False, Unknown)
 * stays. Kept as they are: entries of other controllers, conditions of types that are not ours,
 * fields of the status that we do not write. Pure; the time is an argument.
 */
#ifndef DISCOVER_KUBE_STATUS_H
#define DISCOVER_KUBE_STATUS_H

#include <stdint.h>
#include "base/view.h"

struct kube_resolved;
struct kube_settings;
struct kube_store;
struct kube_wanted;

enum kube_diff {
	KUBE_DIFF_NONE,  /* it says so already */
	KUBE_DIFF_PATCH, /* *ret_patch is to be sent */
	/* Somebody, our other replica, has written of a newer version than we hold: wait for it. */
	KUBE_DIFF_STALE,
};

/*
 * An object that has gone, or whose status is not ours to write, is KUBE_DIFF_NONE. @now: RFC 3339
 * in whole seconds, "2026-11-22T18:29:10Z". *ret_patch (KUBE_DIFF_PATCH only): the caller frees.
 * A kube_diff, or -ENOMEM.
 */
int kube_status_diff(const struct kube_store *s, const struct kube_settings *set,
		     const struct kube_wanted *wanted, const char *now, char **ret_patch)
    __attribute__((warn_unused_result));

/* RFC 3339 of @seconds since the epoch, for @now above. */
void kube_status_time(int64_t seconds, char ret[static 21]);

#endif
