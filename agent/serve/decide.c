/*
 * The request path, in the order of DESIGN's drawing: request/ → route/ → pick/.
 */
#include "serve/decide.h"

#include <assert.h>

static const struct {
	struct view name;
	int status;
	const char *meaning;
} rows[] = {
#define VERDICT(symbol, name, status, when) {{name, sizeof(name) - 1}, status, when},
#include "serve/verdict.def"
#undef VERDICT
};

const char *verdict_name(enum verdict v)
{
	return rows[v].name.ptr;
}

struct view verdict_view(enum verdict v)
{
	return rows[v].name;
}

int verdict_status(enum verdict v)
{
	return rows[v].status;
}

const char *verdict_meaning(enum verdict v)
{
	return rows[v].meaning;
}

struct decide_conf decide_conf_of(const struct config *conf)
{
	return (struct decide_conf){
	    .limits = {.max_depth = conf->limits.depth,
		       .cut_margin = (unsigned)conf->limits.cut_margin,
		       .whole = conf->body == CONFIG_BODY_WHOLE},
	    .no_model_default = conf->no_model == CONFIG_NO_MODEL_DEFAULT,
	    .no_model_reject = conf->no_model == CONFIG_NO_MODEL_REJECT,
	    .unknown_default = conf->unknown_model == CONFIG_UNKNOWN_DEFAULT,
	};
}

static void conclude(struct decision *d, enum verdict v)
{
	d->verdict = v;
	d->status = rows[v].status;
}

/* What request/ alone can answer; false when a pool has to be looked up. */
static bool read_only(struct decision *d)
{
	switch (d->request.status) {
	case REQUEST_OK:
		d->has_model = true;
		return false;
	case REQUEST_NO_MODEL:
		return false;
	case REQUEST_NEED_BODY:
		conclude(d, VERDICT_NEED_BODY);
		return true;
	case REQUEST_BAD:
		conclude(d, VERDICT_BAD_REQUEST);
		return true;
	case REQUEST_TOO_LARGE:
		conclude(d, VERDICT_TOO_LARGE);
		return true;
	case REQUEST_BAD_ENCODING:
		conclude(d, VERDICT_UNSUPPORTED_ENCODING);
		return true;
	}
	conclude(d, VERDICT_BAD_REQUEST);
	return true;
}

/*
 * What is known of the model, and its base: the first definition has what was written down. Base
 * models are their own base, and so is a model that nobody knows: a rule that names it says so.
 */
static const struct route_def *know_model(const struct snapshot *s, struct decision *d)
{
	const struct route_def *def = route_table_get(s->models, d->request.model);

	if (!def)
		def = route_table_get(s->routes, d->request.model);
	if (!def)
		return NULL;
	d->has_target = true;
	d->target = (struct route_target){
	    .pool = SNAPSHOT_NO_POOL, .stat = def->stat, .model = def->model, .base = def->base};
	return def;
}

/* The part of the pool that has the model, where only a part has. */
static const struct pool *narrow(const struct snapshot *s, const struct decision *d, uint32_t pool)
{
	const struct route_def *def = route_table_get(s->models, d->request.model);

	for (; def; def = route_table_next(s->models, def))
		/* A variant has its pool's name, the very same. */
		if (def->pool != SNAPSHOT_NO_POOL &&
		    s->pools[def->pool].name == s->pools[pool].name)
			return &s->pools[def->pool];
	return &s->pools[pool];
}

/* True when a rule matches; d->pool stays NULL where it leads nowhere. */
static bool find_rule(const struct decide_env *env, const struct rule_request *where,
		      struct decision *d)
{
	const struct snapshot *s = env->snapshot;
	struct rule_request req = *where;

	req.model = req.base = VIEW_NULL;
	if (d->has_model) {
		req.model = req.base = d->request.model;
		if (know_model(s, d) && d->target.base.len)
			req.base = d->target.base;
	}
	d->has_rule = rules_find(s->rules, &req, (uint32_t)(env->chance >> 32), &d->rule);
	if (!d->has_rule) {
		d->has_target = false;
		return false;
	}
	if (d->rule.pool >= 0)
		d->pool =
		    d->has_model ? narrow(s, d, (uint32_t)d->rule.pool) : &s->pools[d->rule.pool];
	return true;
}

static const struct pool *find_pool(const struct decide_env *env, struct decision *d)
{
	const struct snapshot *s = env->snapshot;

	if (d->has_model &&
	    route_find(s->routes, d->request.model, (uint32_t)(env->chance >> 32), &d->target)) {
		d->has_target = true;
		return &s->pools[d->target.pool];
	}
	if (s->default_pool >= 0 &&
	    (d->has_model ? env->conf->unknown_default : env->conf->no_model_default))
		return &s->pools[s->default_pool];
	return NULL;
}

/*
 * Whether some pool might serve a model that nobody told: its servers did not say yet which models
 * they have, because they start or are gone. Those in maintenance are away on purpose.
 */
static bool may_be_served(const struct decide_env *env)
{
	const struct snapshot *s = env->snapshot;

	assert(s->pools || s->nwhole == 0);
	for (uint32_t i = 0; i < s->nwhole; i++) {
		const struct pool *p = &s->pools[i];

		if (p->untold && p->n == 0)
			return true;
		for (uint32_t k = 0; p->untold && k < p->n; k++)
			if (!(endpoint_flags(env->endpoints, p->slots[k]) & ENDPOINT_MAINT))
				return true;
	}
	return false;
}

/* No pool: what is said then. */
static void conclude_nowhere(const struct decide_env *env, struct decision *d)
{
	const struct snapshot *s = env->snapshot;

	if (d->has_rule) {
		conclude(d, VERDICT_NO_ENDPOINT);
	} else if (!s->ready && (d->has_model || s->awaited)) {
		/* A 404 would be a guess; HAProxy has its map. */
		d->unready = true;
		conclude(d, VERDICT_NO_MODEL);
	} else if (d->has_model && may_be_served(env)) {
		conclude(d, VERDICT_NO_ENDPOINT);
	} else {
		conclude(d, d->has_model || env->conf->no_model_reject ? VERDICT_MODEL_NOT_FOUND
								       : VERDICT_NO_MODEL);
	}
}

void decide(const struct decide_env *env, const struct request_input *in,
	    const struct rule_request *where, struct decision *ret)
{
	struct pick_env pick_env;

	ret->has_model = ret->has_target = ret->has_rule = ret->unready = false;
	ret->pool = NULL;
	ret->pick.n = 0;
	request_read(&ret->request, in, &env->conf->limits);
	if (read_only(ret))
		return;
	if (!env->snapshot->rules || !find_rule(env, where, ret))
		ret->pool = find_pool(env, ret);
	if (!ret->pool) {
		conclude_nowhere(env, ret);
		return;
	}
	pick_env = (struct pick_env){
	    /* route/ used the high half; mixing keeps the two choices independent. */
	    .chance = (env->chance ^ env->chance >> 32) * UINT64_C(0x9e3779b97f4a7c15),
	    .cursor = &env->cursors[ret->pool->stat],
	};
	pick(ret->pool, env->endpoints, &pick_env, &ret->pick);
	switch (ret->pick.verdict) {
	case PICK_OK:
	case PICK_ANY:
		conclude(ret, VERDICT_ROUTED);
		break;
	case PICK_SATURATED:
		conclude(ret, VERDICT_SATURATED);
		break;
	case PICK_NO_ENDPOINT:
		conclude(ret, VERDICT_NO_ENDPOINT);
		break;
	}
}
