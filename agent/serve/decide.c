/*
 * The request path, in the order of DESIGN's drawing: request/ → route/ → pick/.
 */
#include "serve/decide.h"

static const struct {
	const char *name;
	int status;
	const char *meaning;
} rows[] = {
#define VERDICT(symbol, name, status, when) {name, status, when},
#include "serve/verdict.def"
#undef VERDICT
};

const char *verdict_name(enum verdict v)
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

/* What request/ alone can answer; false when a model or a default pool has to be looked up. */
static bool read_only(const struct decide_env *env, struct decision *d)
{
	switch (d->request.status) {
	case REQUEST_OK:
		d->has_model = true;
		return false;
	case REQUEST_NO_MODEL:
		if (env->conf->no_model_default)
			return false;
		conclude(d,
			 env->conf->no_model_reject ? VERDICT_MODEL_NOT_FOUND : VERDICT_NO_MODEL);
		return true;
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

static const struct pool *find_pool(const struct decide_env *env, struct decision *d)
{
	const struct snapshot *s = env->snapshot;

	if (d->has_model &&
	    route_find(s->routes, d->request.model, (uint32_t)(env->chance >> 32), &d->target)) {
		d->has_target = true;
		return &s->pools[d->target.pool];
	}
	if (s->default_pool >= 0 && (!d->has_model || env->conf->unknown_default))
		return &s->pools[s->default_pool];
	return NULL;
}

void decide(const struct decide_env *env, const struct request_input *in, struct decision *ret)
{
	struct pick_env pick_env;

	ret->has_model = ret->has_target = ret->unready = false;
	ret->pool = NULL;
	ret->pick.n = 0;
	request_read(&ret->request, in, &env->conf->limits);
	if (read_only(env, ret))
		return;
	ret->pool = find_pool(env, ret);
	if (!ret->pool && ret->has_model && !env->snapshot->ready) {
		/* A 404 would be a guess; HAProxy has its map. */
		ret->unready = true;
		conclude(ret, VERDICT_NO_MODEL);
		return;
	}
	if (!ret->pool) {
		conclude(ret, ret->has_model || env->conf->no_model_reject ? VERDICT_MODEL_NOT_FOUND
									   : VERDICT_NO_MODEL);
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
