/*
 * Rules keep their order and meaning; what changes is whom they point to: the plan counts its own
 * pools, the snapshot counts those of the file before them. A pool that limits.pools left out is
 * nowhere, like one that does not exist.
 *
 * A model that only a rule names is known all the same: its requests are counted under its name,
 * and it is shown in /v1/models while its pool serves.
 */
#include "discover/ruling.h"

#include <errno.h>
#include <stdlib.h>

int ruling_adapters(struct deflist *models, const struct plan *plan, struct intern *names,
		    size_t max)
{
	for (size_t i = 0; i < plan->nadapters && models->n < max; i++) {
		const struct plan_adapter *a = &plan->adapters[i];
		struct route_def def = {
		    .model = a->model,
		    .pool = SNAPSHOT_NO_POOL,
		    .base = a->base,
		    .stat = intern_index(names, a->model),
		};
		int r = deflist_add(models, &def);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_named(struct deflist *models, const struct rule_def *rule,
		     const struct catalog *others, struct intern *names, size_t max)
{
	for (size_t i = 0; i < rule->nheaders && models->n < max; i++) {
		const struct rule_header *h = &rule->headers[i];
		struct route_def def = {
		    .model = h->value, .pool = SNAPSHOT_NO_POOL, .base = h->value};
		int r;

		if (!rules_is_model_header(h->name) || catalog_find(others, h->value))
			continue;
		def.stat = intern_index(names, h->value);
		r = deflist_add(models, &def);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct rules *make_rules(const struct snapshot *s, const struct poolset *pools)
{
	const struct plan *plan = pools->plan;
	struct rule_def *defs = calloc(plan->nrules, sizeof(*defs));
	struct rule_backend *backends, *at;
	struct rules *rules = NULL;
	size_t n = 1;

	for (size_t i = 0; i < plan->nrules; i++)
		n += plan->rules[i].nbackends;
	backends = at = calloc(n, sizeof(*backends));
	for (size_t i = 0; defs && backends && i < plan->nrules; i++) {
		defs[i] = plan->rules[i];
		defs[i].backends = at;
		for (size_t k = 0; k < defs[i].nbackends; k++) {
			struct rule_backend b = plan->rules[i].backends[k];
			size_t pool = pools->nfile + (size_t)b.pool;

			b.pool = b.pool >= 0 && pool < s->nwhole ? (int32_t)pool : -1;
			*at++ = b;
		}
	}
	if (defs && backends)
		rules = rules_new(defs, plan->nrules);
	if (rules && rules_listen(rules, &plan->listeners) < 0)
		rules = rules_free(rules);
	free(defs);
	free(backends);
	return rules;
}

int ruling_fill(struct snapshot *s, const struct poolset *pools, struct deflist *models,
		const struct catalog *others, struct intern *names, size_t max)
{
	const struct plan *plan = pools->plan;

	if (!plan)
		return 0;
	if (poolset_by_rules(pools) && plan->nrules > 0) {
		for (size_t i = 0; i < plan->nrules; i++) {
			int r = add_named(models, &plan->rules[i], others, names, max);

			if (r < 0)
				return r;
		}
		s->rules = make_rules(s, pools);
		if (!s->rules)
			return -ENOMEM;
	}
	s->models = route_table_new(models->items, models->n);
	return s->models ? 0 : -ENOMEM;
}
