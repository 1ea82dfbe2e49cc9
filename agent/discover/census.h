/*
 * One report of HAProxy (servers, states, queues) applied to the roster: who is in which backend,
 * what HAProxy thinks of each, and how much room is left there.
 */
#ifndef DISCOVER_CENSUS_H
#define DISCOVER_CENSUS_H

#include "base/view.h"
#include "discover/roster.h"
#include "pick/endpoint.h"

/*
 * @servers and @stat are the parts of one answer as runtime_split() gives them. 0 and *ret_changed
 * (servers came, went or moved), -EPROTO when a table cannot be read (nothing is applied then),
 * -ENOMEM.
 */
int census_apply(struct roster *r, struct endpoints *e, struct view servers, struct view stat,
		 bool *ret_changed) __attribute__((warn_unused_result));

/* HAProxy has said nothing for too long: what it said of states and room no longer counts. */
void census_forget(struct roster *r, struct endpoints *e);

/* The backends there are, nearest to @name first, as text for a log line. */
void census_backends(struct view stat, struct view name, char *out, size_t size);

#endif
