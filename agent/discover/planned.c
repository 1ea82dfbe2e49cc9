/*
 * A plan's members.
 *
 * They are reached by name where we make HAProxy's servers ourselves, and by address where
 * somebody else's HAProxy has one backend for all of them.
 */
#include "discover/planned.h"

#include <stdlib.h>
#include "base/log.h"

static bool set_members(struct roster *r, struct group *g, const struct poolset_pool *pool,
			bool by_name)
{
	const struct plan_pool *plan = pool->plan;
	struct roster_want *wants = calloc(plan->nmembers + 1, sizeof(*wants));
	bool changed;

	if (!wants) {
		/* The next plan, or the same one again, tells it anew. */
		log_event(LOG_LEVEL_ERROR, "pods_lost", "pool", g->pool->name, "error",
			  "out of memory", NULL);
		return false;
	}
	for (size_t i = 0; i < plan->nmembers; i++) {
		const struct plan_member *m = &plan->members[i];

		wants[i] = (struct roster_want){
		    .name = m->name,
		    .server = by_name ? m->name : VIEW_NULL,
		    .addr = m->addr,
		    .https = pool->conf->scrape.scheme == CONFIG_SCHEME_HTTPS,
		    .draining = m->draining,
		};
	}
	changed = roster_set(r, g, wants, plan->nmembers);
	free(wants);
	return changed;
}

bool planned_refresh(const struct poolset *set, struct roster *r)
{
	bool by_name = set->conf->kubernetes.haproxy_dir != NULL;
	bool changed = false;

	for (size_t i = set->nfile; i < set->n; i++) {
		struct group *g = poolset_group(set, i, r);

		if (g)
			changed |= set_members(r, g, &set->pools[i], by_name);
	}
	return changed;
}
