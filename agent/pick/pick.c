/*
 * The decision: is the pool allowed one more, who are the candidates, and if there is none, what
 * is the client told.
 *
 * An endpoint that is only full can be waited for: HAProxy queues the request in the backend. One
 * that is down, in maintenance or draining takes no new request however long one waits, and a
 * pool of such endpoints is answered 503 at once. A pool of which nothing is known (no server
 * was found yet, and its source has not said that there is none) is HAProxy's to balance.
 */
#include "pick/pick.h"

#include "pick/policy.h"

static const struct policy policies[] = {
#define POLICY(name, function, what) {name, function},
#include "pick/policy.def"
#undef POLICY
};

const struct policy *policy_find(struct view name)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (view_eq(view_str(policies[i].name), name))
			return &policies[i];
	return NULL;
}

const char *policy_name(const struct policy *p)
{
	return p->name;
}

static bool over_limit(const struct pool *pool, const struct endpoints *e)
{
	uint64_t open = 0;

	if (!pool->max_inflight)
		return false;
	for (uint32_t i = 0; i < pool->nall; i++)
		open += live_in_flight(e, pool->all[i]);
	return open >= pool->max_inflight;
}

static enum pick_verdict nobody(const struct pool *pool, const struct endpoints *e)
{
	if (pool->n == 0)
		return pool->known ? PICK_NO_ENDPOINT : PICK_ANY;
	for (uint32_t i = 0; i < pool->n; i++)
		/* Without any flag: it was full until just now. */
		if ((endpoint_flags(e, pool->slots[i]) & ~(unsigned)ENDPOINT_FULL) == 0)
			return pool->when_full == POOL_FULL_REJECT ? PICK_SATURATED : PICK_ANY;
	return PICK_NO_ENDPOINT;
}

void pick(const struct pool *pool, const struct endpoints *e, const struct pick_env *env,
	  struct pick_result *ret)
{
	ret->n = 0;
	if (over_limit(pool, e)) {
		ret->verdict = PICK_SATURATED;
		return;
	}
	if (pool->n > 0)
		ret->n = pool->policy->order(pool, e, env, ret->index);
	ret->verdict = ret->n > 0 ? PICK_OK : nobody(pool, e);
}
