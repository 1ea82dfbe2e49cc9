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
	const uint32_t numbers[] = {p->stat,        p->when_full, p->max_inflight,
				    p->retry_after, p->known,     p->n};

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

int digest_snapshot(struct snapshot *s, const struct route_def *defs, size_t n)
{
	const int64_t numbers[] = {s->npools, s->nwhole, s->default_pool, s->ready};
	XXH3_state_t *h = XXH3_createState();
	XXH128_hash_t sum;

	if (!h)
		return -ENOMEM;
	XXH3_128bits_reset(h);
	XXH3_128bits_update(h, numbers, sizeof(numbers));
	for (uint32_t i = 0; i < s->npools; i++)
		hash_pool(h, &s->pools[i]);
	for (size_t i = 0; i < n; i++) {
		const uint32_t fields[] = {defs[i].pool, defs[i].weight, defs[i].stat,
					   defs[i].hidden};

		XXH3_128bits_update(h, fields, sizeof(fields));
		hash_view(h, defs[i].model);
		hash_view(h, defs[i].base);
		hash_view(h, defs[i].parent);
		hash_view(h, defs[i].target);
	}
	sum = XXH3_128bits_digest(h);
	XXH3_freeState(h);
	s->hash[0] = sum.low64;
	s->hash[1] = sum.high64;
	return 0;
}
