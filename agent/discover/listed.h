/* Pools whose servers stand in the configuration, as addresses or as names, or behind one DNS name:
 * from configuration and names to the roster. */
#ifndef DISCOVER_LISTED_H
#define DISCOVER_LISTED_H

#include <stdbool.h>
#include "config/config.h"
#include "discover/names.h"
#include "discover/roster.h"

struct listed;

struct listed *listed_new(struct roster *r, struct names *n);
struct listed *listed_free(struct listed *l);
/* Follows the names of @conf, borrowed until the next call, and refreshes. The groups must be in
 * the roster already. */
int listed_configure(struct listed *l, const struct config *conf)
    __attribute__((warn_unused_result));
/* Tells the roster who is there by what the names say now. True: something changed. */
bool listed_refresh(struct listed *l);

#endif
