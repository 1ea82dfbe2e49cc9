/* What a snapshot comes to, in 128 bits: equal for equal content, whatever its version. */
#ifndef DISCOVER_DIGEST_H
#define DISCOVER_DIGEST_H

#include "discover/snapshot.h"

/* Fills in @s->hash. @defs are what @s->routes was made of. 0 or -ENOMEM. */
int digest_snapshot(struct snapshot *s, const struct route_def *defs, size_t n)
    __attribute__((warn_unused_result));

#endif
