/*
 * A plan lies in its own arena, itself included: whoever makes one puts it there. Its hash is over
 * everything that a reader could act on, lengths included, so that nothing runs into the next.
 */
#include "discover/plan.h"

#include <xxhash.h>
#include "discover/arena.h"

static void mix(struct plan *p, const void *bytes, size_t len)
{
	XXH128_hash_t x = XXH3_128bits_withSeed(bytes, len, p->hash[0] ^ len);

	p->hash[1] = (p->hash[1] << 23 | p->hash[1] >> 41) ^ x.high64;
	p->hash[0] = x.low64 + p->hash[1];
}

static void mix_number(struct plan *p, int64_t n)
{
	mix(p, &n, sizeof(n));
}

static void mix_view(struct plan *p, struct view v)
{
	mix_number(p, v.ptr ? (int64_t)v.len : -1);
	if (v.len)
		mix(p, v.ptr, v.len);
}

static void mix_address(struct plan *p, const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	mix_number(p, ss->ss_family);
	if (ss->ss_family == AF_INET) {
		mix(p, &v4->sin_addr, sizeof(v4->sin_addr));
		mix_number(p, v4->sin_port);
	} else if (ss->ss_family == AF_INET6) {
		mix(p, &v6->sin6_addr, sizeof(v6->sin6_addr));
		mix_number(p, v6->sin6_port);
	}
}

static void mix_pool(struct plan *p, const struct plan_pool *pool)
{
	const struct plan_options *o = &pool->options;
	const int64_t options[] = {
	    pool->h2c,     pool->fail_open,     o->has_policy,      o->has_when_full, o->has_engine,
	    o->has_scheme, o->has_max_inflight, o->has_retry_after, o->policy,        o->when_full,
	    o->engine,     o->scheme,           o->max_inflight,    o->retry_after,
	};

	mix_view(p, pool->name);
	mix_view(p, pool->backend);
	mix(p, options, sizeof(options));
	mix_view(p, o->metrics_path);
	mix_number(p, (int64_t)pool->nmodels);
	for (size_t i = 0; i < pool->nmodels; i++)
		mix_view(p, pool->models[i]);
	mix_number(p, (int64_t)pool->nmembers);
	for (size_t i = 0; i < pool->nmembers; i++) {
		mix_view(p, pool->members[i].name);
		mix_address(p, &pool->members[i].addr);
		mix_number(p, pool->members[i].draining);
	}
}

static void mix_rule(struct plan *p, const struct rule_def *d)
{
	const int64_t numbers[] = {d->path_type,     (int64_t)d->nheaders, (int64_t)d->nbackends,
				   d->created,       d->timeout_ms,        d->listener,
				   (int64_t)d->ports};

	mix(p, numbers, sizeof(numbers));
	mix_view(p, d->host);
	mix_view(p, d->path);
	mix_view(p, d->method);
	mix_view(p, d->route);
	for (size_t i = 0; i < d->nheaders; i++) {
		mix_view(p, d->headers[i].name);
		mix_view(p, d->headers[i].value);
	}
	for (size_t i = 0; i < d->nbackends; i++) {
		mix_number(p, d->backends[i].pool);
		mix_number(p, d->backends[i].weight);
	}
}

static void mix_listeners(struct plan *p, const struct rule_listeners *l)
{
	mix_number(p, (int64_t)l->n);
	for (size_t i = 0; i < l->n; i++) {
		mix_view(p, l->items[i].host);
		mix_number(p, (int64_t)l->items[i].ports);
	}
	mix_number(p, (int64_t)l->nports);
	for (size_t i = 0; i < l->nports; i++)
		mix_number(p, l->ports[i].port << 8 | l->ports[i].bit);
}

void plan_seal(struct plan *p)
{
	const int64_t counts[] = {(int64_t)p->npools, (int64_t)p->nrules, (int64_t)p->nadapters,
				  (int64_t)p->nheaders, p->route_by_models};

	p->hash[0] = p->hash[1] = 0;
	mix(p, counts, sizeof(counts));
	for (size_t i = 0; i < p->npools; i++)
		mix_pool(p, &p->pools[i]);
	for (size_t i = 0; i < p->nrules; i++)
		mix_rule(p, &p->rules[i]);
	mix_listeners(p, &p->listeners);
	for (size_t i = 0; i < p->nadapters; i++) {
		mix_view(p, p->adapters[i].model);
		mix_view(p, p->adapters[i].base);
	}
	for (size_t i = 0; i < p->nheaders; i++) {
		mix_view(p, p->headers[i].route);
		mix_number(p, p->headers[i].action);
		mix_view(p, p->headers[i].name);
		mix_view(p, p->headers[i].value);
	}
}

struct plan *plan_free(struct plan *p)
{
	if (p)
		arena_free(p->arena);
	return NULL;
}
