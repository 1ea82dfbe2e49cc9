/*
 * Texts go in with their ends and views with their lengths, so that no two different snapshots are
 * the same bytes.
 */
#include "discover/digest.h"

#include <errno.h>
#include <xxhash.h>

#include "pick/pick.h"

static void hash_text(XXH3_state_t *h, const char *s)
{
	XXH3_128bits_update(h, s ? s : "\1", s ? strlen(s) + 1 : 2);
}

static void hash_view(XXH3_state_t *h, struct view v)
{
	uint64_t len = v.ptr ? v.len : UINT64_MAX;

	XXH3_128bits_update(h, &len, sizeof(len));
	if (v.ptr)
		XXH3_128bits_update(h, v.ptr, v.len);
}

static void hash_pool(XXH3_state_t *h, const struct pool *p)
{
	const uint32_t numbers[] = {p->stat, p->when_full,  p->max_inflight, p->retry_after,
				    p->n,    p->agent_only, p->known,        p->untold};

	hash_text(h, p->name);
	hash_text(h, p->backend);
	hash_text(h, policy_name(p->policy));
	XXH3_128bits_update(h, numbers, sizeof(numbers));
	for (uint32_t i = 0; i < p->n; i++) {
		XXH3_128bits_update(h, &p->endpoints[i].slot, sizeof(p->endpoints[i].slot));
		XXH3_128bits_update(h, &p->endpoints[i].addr, sizeof(p->endpoints[i].addr));
		hash_text(h, p->endpoints[i].server);
		hash_text(h, p->endpoints[i].name);
	}
}

static void hash_defs(XXH3_state_t *h, const struct deflist *l)
{
	XXH3_128bits_update(h, &l->n, sizeof(l->n));
	for (size_t i = 0; i < l->n; i++) {
		const struct route_def *d = &l->items[i];
		const uint32_t fields[] = {d->pool, d->weight, d->stat, d->hidden};

		XXH3_128bits_update(h, fields, sizeof(fields));
		hash_view(h, d->model);
		hash_view(h, d->base);
		hash_view(h, d->parent);
		hash_view(h, d->target);
	}
}

static void hash_listeners(XXH3_state_t *h, const struct rule_listeners *l)
{
	const int64_t counts[] = {(int64_t)l->n, (int64_t)l->nports};

	XXH3_128bits_update(h, counts, sizeof(counts));
	for (size_t i = 0; i < l->n; i++) {
		hash_view(h, l->items[i].host);
		XXH3_128bits_update(h, &l->items[i].ports, sizeof(l->items[i].ports));
	}
	for (size_t i = 0; i < l->nports; i++) {
		const int64_t port[] = {l->ports[i].port, l->ports[i].bit};

		XXH3_128bits_update(h, port, sizeof(port));
	}
}

static void hash_rules(XXH3_state_t *h, const struct rules *r)
{
	hash_listeners(h, rules_listeners(r));
	for (size_t i = 0; i < rules_count(r); i++) {
		const struct rule_def *d = rules_at(r, i);
		const int64_t numbers[] = {d->path_type,         d->timeout_ms,
					   (int64_t)d->nheaders, (int64_t)d->nbackends,
					   (int64_t)d->listener, (int64_t)d->ports};

		XXH3_128bits_update(h, numbers, sizeof(numbers));
		hash_view(h, d->host);
		hash_view(h, d->path);
		hash_view(h, d->method);
		hash_view(h, d->route);
		for (size_t k = 0; k < d->nheaders; k++) {
			hash_view(h, d->headers[k].name);
			hash_view(h, d->headers[k].value);
		}
		for (size_t k = 0; k < d->nbackends; k++) {
			const int64_t backend[] = {d->backends[k].pool, d->backends[k].weight};

			XXH3_128bits_update(h, backend, sizeof(backend));
		}
	}
}

int digest_snapshot(struct snapshot *s, const struct deflist *routes, const struct deflist *models)
{
	const int64_t numbers[] = {s->npools,       s->nwhole,
				   s->default_pool, s->ready,
				   s->awaited,      s->rules ? (int64_t)rules_count(s->rules) : -1};
	XXH3_state_t *h = XXH3_createState();
	XXH128_hash_t sum;

	if (!h)
		return -ENOMEM;
	XXH3_128bits_reset(h);
	XXH3_128bits_update(h, numbers, sizeof(numbers));
	for (uint32_t i = 0; i < s->npools; i++)
		hash_pool(h, &s->pools[i]);
	hash_defs(h, routes);
	hash_defs(h, models);
	if (s->rules)
		hash_rules(h, s->rules);
	sum = XXH3_128bits_digest(h);
	XXH3_freeState(h);
	s->hash[0] = sum.low64;
	s->hash[1] = sum.high64;
	return 0;
}
