/*
 * From a plan to the rules of a snapshot, and to what is known of models whose pools are reached
 * by rules.
 */
#ifndef DISCOVER_RULING_H
#define DISCOVER_RULING_H

#include "discover/catalog.h"
#include "discover/deflist.h"
#include "discover/intern.h"
#include "discover/poolset.h"
#include "discover/snapshot.h"

/* The adapters that were written down: to stand before all other definitions. At most @max. */
int ruling_adapters(struct deflist *models, const struct plan *plan, struct intern *names,
		    size_t max) __attribute__((warn_unused_result));

/*
 * Fills in s->rules and s->models, the latter of @models, to which the names are added that rules
 * match and nobody else knows; @others: models of the file's pools. At most @max definitions. 0 or
 * -ENOMEM.
 */
int ruling_fill(struct snapshot *s, const struct poolset *pools, struct deflist *models,
		const struct catalog *others, struct intern *names, size_t max)
    __attribute__((warn_unused_result));

#endif
