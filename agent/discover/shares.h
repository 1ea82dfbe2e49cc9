/*
 * Room that is shared fairly (max-min): who wants little gets all of it, the others as much as each
 * other.
 */
#ifndef DISCOVER_SHARES_H
#define DISCOVER_SHARES_H

#include <stddef.h>
#include "discover/builder.h"

struct share {
	size_t who, want, got;
};

/* Fills in what each got of @room: at most what it wants. Sorts @shares by want, then by who; what
 * cannot be split evenly goes to the last. */
void shares_split(struct share *shares, size_t n, size_t room);

/*
 * How many names each whole pool of @s may have, by limits.models: *ret_quota, to be freed, or NULL
 * where all fit. What was written down comes first. @taken: names of the table of pools that rules
 * lead to that are taken already. 0 or -ENOMEM.
 */
int shares_models(const struct builder_input *in, const struct snapshot *s, size_t taken,
		  size_t **ret_quota) __attribute__((warn_unused_result));

#endif
