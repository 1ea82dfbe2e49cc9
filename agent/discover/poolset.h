/*
 * The pools that are to be: those of the configuration file in its order, then those of the plan
 * in its order, as if they had been written in the file with the plan's options over the defaults.
 * Immutable; a reload or another plan makes another one.
 */
#ifndef DISCOVER_POOLSET_H
#define DISCOVER_POOLSET_H

#include "config/config.h"
#include "discover/plan.h"
#include "discover/roster.h"
#include "pick/pool.h"

struct poolset_pool {
	const struct config_pool *conf;
	const struct plan_pool *plan; /* NULL: of the file */
	enum roster_source source;
	bool sourceless; /* nobody says which servers it has: HAProxy alone knows */
};

struct poolset {
	const struct config *conf;
	const struct plan *plan; /* NULL: none (yet) */
	size_t n, nfile;         /* all; those of the file, which come first */
	size_t left_out;         /* past limits.pools */
	struct poolset_pool *pools;
	struct arena *arena; /* holds all of it */
};

/* Borrows both; @plan may be NULL. NULL when memory is short. */
struct poolset *poolset_new(const struct config *conf, const struct plan *plan);
struct poolset *poolset_free(struct poolset *p);

/* Where the pool's servers come from; NULL: nowhere. */
struct group *poolset_group(const struct poolset *p, size_t i, struct roster *r);

/* Makes the groups of all pools and marks them used; `next_pool` is the first pool of each. 0, or
 * -ENOMEM: then those are marked that were there before. roster_sweep() drops the others. */
int poolset_groups(const struct poolset *p, struct roster *r) __attribute__((warn_unused_result));

/* Its servers come from a name that had no answer yet. */
bool poolset_unresolved(const struct poolset *p, size_t i, struct roster *r);

/* The pool as a snapshot holds it, with the servers of @g (NULL: none are known), but for its stat;
 * what it needs comes from @a. 0 or -ENOMEM. */
int poolset_fill(struct pool *p, const struct poolset_pool *of, const struct group *g,
		 struct arena *a) __attribute__((warn_unused_result));

/* Whether servers are asked in the same way by both. */
bool poolset_same_scrape(const struct config_scrape *a, const struct config_scrape *b);

/* The plan is there and says what is routed where: its pools are reached by its rules alone. */
bool poolset_by_rules(const struct poolset *p);

#endif
