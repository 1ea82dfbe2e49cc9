/*
 * The pools of file and plan as one list.
 *
 * The rest of the room (groups, scraping, the builder) knows pools by their configuration; so a
 * pool of the plan gets one, made of the same defaults and the file's scrape: section. What an
 * annotation may say wrongly was sorted out by who made the plan.
 *
 * The file's pools come first, so that where both know a model the file wins, and so that
 * limits.pools, which the file was checked against, leaves out the plan's.
 */
#include "discover/poolset.h"

#include <errno.h>
#include <string.h>
#include "config/option.h"
#include "discover/arena.h"
#include "pick/pick.h"

static enum roster_source source_of(const struct config_pool *pool)
{
	return pool->nendpoints ? ROSTER_LISTED : pool->dns_host ? ROSTER_DNS : ROSTER_HAPROXY;
}

static bool set_models(struct arena *a, struct config_pool *c, const struct plan_pool *p)
{
	struct config_model *models = arena_get(a, p->nmodels * sizeof(*models));

	if (!models)
		return false;
	for (size_t i = 0; i < p->nmodels; i++) {
		models[i].name = arena_dup(a, p->models[i]);
		if (!models[i].name)
			return false;
	}
	c->models = models;
	c->nmodels = p->nmodels;
	return true;
}

static bool set_options(struct arena *a, struct config_pool *c, const struct plan_options *o)
{
	if (o->has_policy)
		c->policy = o->policy;
	if (o->has_when_full)
		c->when_full = o->when_full;
	if (o->has_max_inflight)
		c->max_inflight = o->max_inflight;
	if (o->has_retry_after)
		c->retry_after = o->retry_after;
	if (o->has_engine)
		c->scrape.engine = o->engine;
	if (o->has_scheme)
		c->scrape.scheme = o->scheme;
	if (!o->metrics_path.ptr)
		return true;
	c->scrape.metrics_path = arena_dup(a, o->metrics_path);
	return c->scrape.metrics_path != NULL;
}

static struct config_pool *make_pool(struct poolset *s, const struct plan_pool *p)
{
	struct config_pool *c = arena_get(s->arena, sizeof(*c));

	/* Rows of a pool have no strings as defaults: nothing is allocated that is not ours. */
	if (!c || option_defaults(OPTION_POOL, c) < 0)
		return NULL;
	c->name = arena_dup(s->arena, p->name);
	c->backend = arena_dup(s->arena, p->backend);
	c->scrape = s->conf->scrape;
	if (!c->name || !c->backend || !set_options(s->arena, c, &p->options) ||
	    !set_models(s->arena, c, p))
		return NULL;
	return c;
}

static bool fill(struct poolset *s)
{
	size_t limit = s->conf->limits.pools, file = s->conf->npools;
	size_t planned = s->plan ? s->plan->npools : 0;

	s->nfile = file < limit ? file : limit;
	s->n = planned < limit - s->nfile ? s->nfile + planned : limit;
	s->left_out = file + planned - s->n;
	s->pools = arena_get(s->arena, s->n * sizeof(*s->pools));
	if (!s->pools)
		return false;
	for (size_t i = 0; i < s->nfile; i++) {
		struct poolset_pool *p = &s->pools[i];

		p->conf = &s->conf->pools[i];
		p->source = source_of(p->conf);
		p->sourceless = p->source == ROSTER_HAPROXY && !s->conf->haproxy.socket;
	}
	for (size_t i = s->nfile; s->plan && i < s->n; i++) {
		struct poolset_pool *p = &s->pools[i];

		p->plan = &s->plan->pools[i - s->nfile];
		p->conf = make_pool(s, p->plan);
		p->source = ROSTER_KUBE;
		if (!p->conf)
			return false;
	}
	return true;
}

struct poolset *poolset_new(const struct config *conf, const struct plan *plan)
{
	struct arena *a = arena_new();
	struct poolset *s = a ? arena_get(a, sizeof(*s)) : NULL;

	if (!s) {
		arena_free(a);
		return NULL;
	}
	*s = (struct poolset){.conf = conf, .plan = plan, .arena = a};
	return fill(s) ? s : poolset_free(s);
}

struct poolset *poolset_free(struct poolset *s)
{
	if (s)
		arena_free(s->arena);
	return NULL;
}

struct group *poolset_group(const struct poolset *s, size_t i, struct roster *r)
{
	const struct poolset_pool *p = &s->pools[i];

	if (p->sourceless)
		return NULL;
	return roster_find(r, p->source,
			   p->source == ROSTER_HAPROXY ? p->conf->backend : p->conf->name);
}

bool poolset_by_rules(const struct poolset *s)
{
	return s->plan && !s->plan->route_by_models;
}

static int fill_endpoints(struct pool *p, const struct group *g, struct arena *a)
{
	p->endpoints = arena_get(a, g->n * sizeof(*p->endpoints));
	p->slots = arena_get(a, g->n * sizeof(*p->slots));
	if (!p->endpoints || !p->slots)
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++) {
		const struct place *place = &g->members[i]->place;
		struct pool_endpoint *e = &p->endpoints[i];

		e->slot = p->slots[i] = place->slot;
		e->server = arena_dup(a, view_str(place->server));
		e->name = arena_dup(a, view_str(place->name));
		e->addr = place->addr;
		if (!e->name || (place->server && !e->server))
			return -ENOMEM;
	}
	p->n = p->nall = (uint32_t)g->n;
	p->all = p->slots;
	return 0;
}

bool poolset_unresolved(const struct poolset *p, size_t i, struct roster *r)
{
	const struct group *g = poolset_group(p, i, r);

	return g && g->source == ROSTER_DNS && !g->known;
}

int poolset_fill(struct pool *p, const struct poolset_pool *of, const struct group *g,
		 struct arena *a)
{
	const struct config_pool *conf = of->conf;

	p->name = arena_dup(a, view_str(conf->name));
	p->backend = arena_dup(a, view_str(conf->backend));
	if (!p->name || !p->backend)
		return -ENOMEM;
	p->policy = policy_find(view_str(config_enum_policy[conf->policy]));
	if (!p->policy)
		p->policy = policy_find(VIEW_LIT("least-loaded"));
	p->when_full = conf->when_full == CONFIG_FULL_REJECT ? POOL_FULL_REJECT : POOL_FULL_QUEUE;
	p->max_inflight = conf->max_inflight;
	p->retry_after = conf->retry_after;
	p->agent_only = of->plan && !of->plan->fail_open;
	if (!g)
		return 0;
	p->known = g->known && (g->source != ROSTER_HAPROXY || g->listed_here);
	return fill_endpoints(p, g, a);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool poolset_same_scrape(const struct config_scrape *a, const struct config_scrape *b)
{
	return a->interval_ms == b->interval_ms && a->timeout_ms == b->timeout_ms &&
	       a->stale_ms == b->stale_ms && a->failures == b->failures &&
	       a->models_interval_ms == b->models_interval_ms && a->engine == b->engine &&
	       a->scheme == b->scheme && a->tls_verify == b->tls_verify &&
	       same_text(a->metrics_path, b->metrics_path) &&
	       same_text(a->models_path, b->models_path) &&
	       same_text(a->api_key_file, b->api_key_file) &&
	       same_text(a->tls_ca_file, b->tls_ca_file);
}

int poolset_groups(const struct poolset *p, struct roster *r)
{
	struct group *g;

	for (g = roster_groups(r); g; g = g->hh.next)
		g->used = g->asked = false;
	for (size_t i = 0; i < p->n; i++) {
		const struct poolset_pool *pool = &p->pools[i];

		if (pool->sourceless)
			continue;
		g = roster_group(r, pool->source, pool->conf->backend, pool->conf->name);
		if (!g) {
			/* Those with a pool were there before. */
			for (g = roster_groups(r); g; g = g->hh.next)
				g->used = g->pool != NULL;
			return -ENOMEM;
		}
		if (!g->used)
			g->next_pool = pool->conf;
		g->used = true;
		g->asked |= pool->conf->nmodels == 0;
	}
	return 0;
}
