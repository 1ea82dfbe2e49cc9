/* The pods of a plan's pools: from the plan to the roster. */
#ifndef DISCOVER_PLANNED_H
#define DISCOVER_PLANNED_H

#include <stdbool.h>
#include "discover/poolset.h"
#include "discover/roster.h"

/* Tells the roster who is there by the plan of @set. The groups must be in the roster already.
 * True: something changed. */
bool planned_refresh(const struct poolset *set, struct roster *r);

#endif
