/*
 * Room that is shared fairly (max-min): who wants little gets all of it, the others as much as each
 * other.
 */
#ifndef DISCOVER_SHARES_H
#define DISCOVER_SHARES_H

#include <stddef.h>

struct share {
	size_t who, want, got;
};

/* Fills in what each got of @room: at most what it wants. Sorts @shares by want, then by who; what
 * cannot be split evenly goes to the last. */
void shares_split(struct share *shares, size_t n, size_t room);

#endif
