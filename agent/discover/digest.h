/* What a snapshot comes to, in 128 bits: equal for equal content, whatever its version. */
#ifndef DISCOVER_DIGEST_H
#define DISCOVER_DIGEST_H

#include "discover/deflist.h"
#include "discover/snapshot.h"

/* Fills in @s->hash. @routes and @models are what the tables of these names were made of. 0 or
 * -ENOMEM. */
int digest_snapshot(struct snapshot *s, const struct deflist *routes, const struct deflist *models)
    __attribute__((warn_unused_result));

#endif
