/*
 * InferencePools: which of them are served, by which pods, and what their statuses say.
 *
 * Served are pools that a route of ours refers to, and those that no other controller speaks for,
 * so that a pool is warm (scraped, its models asked for, known to HAProxy) before its route comes,
 * and between two routes. A pool that only others' Gateways use is left to them.
 *
 * A member is a pod of the pool's namespace that the selector takes, that runs, is ready and is not
 * being deleted. One that was a member of the plan before and is none now, while the pod is there
 * with the same address, drains: it gets no request and keeps what it has. A pod that is being
 * deleted and is still ready drains whether it was seen before or not: there may be streams of it
 * that a restart made us forget.
 *
 * A selector that takes no pod is told as a problem, not in the status: pods come and go, and a
 * status that follows them would be written all day.
 */
#include "discover/kube/resolve.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include "discover/follow/want.h"
#include "discover/kube/labels.h"
#include "discover/kube/owner.h"
#include "discover/kube/resolve_parts.h"
#include "discover/plan.h"

/* What deciding on a pod takes, side by side in memory. */
struct candidate {
	uint64_t mask;
	const struct kube_pod *pod;
	const struct kube_entry *entry;
	bool may, leaving; /* runs, is ready, has an address; is being deleted */
};

struct members {
	struct plan_member *items;
	size_t n;
};

/* --- members --- */

static struct candidate *list_pods(struct resolving *r)
{
	size_t n;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_POD, &n);
	struct candidate *c = resolve_get(r, (n + 1) * sizeof(*c));

	for (size_t i = 0; c && i < n; i++) {
		const struct kube_pod *pod = entries[i]->serving ? &entries[i]->serving->pod : NULL;

		c[i].entry = entries[i];
		if (!pod)
			continue;
		c[i].pod = pod;
		c[i].mask = pod->labels.mask;
		c[i].leaving = pod->leaving;
		c[i].may = pod->nips && pod->running && pod->ready && !pod->over;
	}
	return c;
}

static bool has_rank(const struct kube_pod *pod, uint16_t port)
{
	for (size_t i = 0; i < pod->nports; i++)
		if (pod->ports[i] == port)
			return true;
	return !pod->ranks;
}

static void set_address(struct sockaddr_storage *ss, const struct in6_addr *ip, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (IN6_IS_ADDR_V4MAPPED(ip)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip->s6_addr + 12, sizeof(v4->sin_addr));
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		v6->sin6_addr = *ip;
	}
}

static bool same_ip(const struct sockaddr_storage *ss, const struct in6_addr *ip)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET)
		return IN6_IS_ADDR_V4MAPPED(ip) &&
		       memcmp(ip->s6_addr + 12, &v4->sin_addr, sizeof(v4->sin_addr)) == 0;
	return ss->ss_family == AF_INET6 && memcmp(&v6->sin6_addr, ip, sizeof(*ip)) == 0;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	/* Both were zeroed before they were filled in. */
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void add_member(struct resolving *r, struct members *m, const struct kube_pool *pool,
		       const struct candidate *c, uint16_t port)
{
	struct plan_member *to = &m->items[m->n];
	char name[300];

	snprintf(name, sizeof(name), pool->nports > 1 ? "%s-%u" : "%s", c->entry->name.ptr, port);
	to->name = resolve_keep(r, view_str(name));
	to->draining = c->leaving;
	set_address(&to->addr, &c->pod->ips[0], port);
	if (to->name.ptr)
		m->n++;
}

static int compare_views(struct view a, struct view b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
	const struct plan_member *x = a, *y = b;

	return compare_views(x->name, y->name);
}

static const struct plan_pool *pool_before(const struct resolving *r, struct view name)
{
	size_t low = 0, high = r->before ? r->before->npools : 0;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = compare_views(r->before->pools[mid].name, name);

		if (c == 0)
			return &r->before->pools[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static const struct kube_pod *pod_named(const struct resolving *r, struct view namespace,
					struct view name)
{
	const struct kube_entry *e = kube_store_find(r->s, KUBE_POD, namespace, name);

	return e && e->serving ? &e->serving->pod : NULL;
}

/* The pod of a member that is there no more, while it has the member's address. */
static const struct kube_pod *pod_of(const struct resolving *r, struct view namespace,
				     const struct plan_member *m)
{
	const struct kube_pod *pod = pod_named(r, namespace, m->name);
	struct view name = m->name;

	if (pod && pod->nips && !pod->over && same_ip(&m->addr, &pod->ips[0]))
		return pod;
	while (name.len && name.ptr[name.len - 1] != '-')
		name.len--;
	if (!name.len)
		return NULL;
	name.len--;
	pod = pod_named(r, namespace, name);
	return pod && pod->nips && !pod->over && same_ip(&m->addr, &pod->ips[0]) ? pod : NULL;
}

/* The members before that are none now; @m has room for all of them and is sorted up to its end. */
static void add_draining(struct resolving *r, struct members *m, struct view namespace,
			 const struct plan_pool *before)
{
	size_t now = m->n, at = 0;

	for (size_t i = 0; i < before->nmembers; i++) {
		const struct plan_member *old = &before->members[i];
		bool served = false;

		while (at < now && compare_views(m->items[at].name, old->name) < 0)
			at++;
		if (at < now && view_eq(m->items[at].name, old->name))
			continue;
		if (!pod_of(r, namespace, old))
			continue;
		for (size_t k = 0; k < now && !served; k++)
			served = same_address(&m->items[k].addr, &old->addr);
		if (served)
			continue;
		m->items[m->n] = *old;
		m->items[m->n].name = resolve_keep(r, old->name);
		m->items[m->n].draining = true;
		m->n += m->items[m->n].name.ptr != NULL;
	}
	if (m->n > now)
		qsort(m->items, m->n, sizeof(*m->items), by_name);
}

static bool takes(const struct kube_pool *pool, const struct candidate *c)
{
	return c->may && (pool->selector.mask & c->mask) == pool->selector.mask &&
	       kube_labels_match(&pool->selector, &c->pod->labels);
}

/* Returns how many pods the selector takes, ready or not. */
static void find_members(struct resolving *r, const struct candidate *pods, struct view namespace,
			 const struct kube_pool *pool, struct plan_pool *to)
{
	const struct plan_pool *before = pool_before(r, to->name);
	size_t n, first = kube_store_range(r->s, KUBE_POD, namespace, &n), count = 0;
	struct members m = {NULL, 0};

	for (size_t i = first; i < first + n; i++)
		count += takes(pool, &pods[i]);
	count = count * pool->nports + (before ? before->nmembers : 0);
	if (!count)
		return;
	m.items = arena_get(r->lasting, count * sizeof(*m.items));
	if (!m.items) {
		r->failed = true;
		return;
	}
	for (size_t i = first; i < first + n; i++) {
		if (!takes(pool, &pods[i]))
			continue;
		for (size_t k = 0; k < pool->nports; k++)
			if (has_rank(pods[i].pod, pool->ports[k]))
				add_member(r, &m, pool, &pods[i], pool->ports[k]);
	}
	if (pool->nports > 1)
		qsort(m.items, m.n, sizeof(*m.items), by_name);
	if (before)
		add_draining(r, &m, namespace, before);
	to->members = m.items;
	to->nmembers = m.n;
}

/* --- pools of the plan --- */

static bool only_others(const struct resolving *r, const struct kube_entry *e)
{
	for (size_t i = 0; e->status && i < e->status->nparents; i++)
		if (kube_owner_parent(r->s, r->set, e->kind, e->namespace,
				      &e->status->parents[i]) == KUBE_OTHERS)
			return true;
	return false;
}

static struct view join(struct resolving *r, struct view a, char between, struct view b)
{
	char text[400];

	snprintf(text, sizeof(text), "%s%c%s", a.ptr, between, b.ptr);
	return resolve_keep(r, view_str(text));
}

struct view resolve_refused(struct resolving *r, const struct kube_entry *e)
{
	/* A name with a namespace in front is nobody's: sections have no '_'. */
	if (!r->set->header_rules || !view_eq(e->namespace, r->set->namespace) ||
	    !want_is_reserved(e->name))
		return VIEW_NULL;
	return resolve_text(r,
			    "HAProxy has a section %s of its own: give the pool another name, or "
			    "make it in another namespace than %s",
			    e->name.ptr, e->namespace.ptr);
}

static void fill(struct resolving *r, const struct candidate *pods, const struct kube_entry *e,
		 struct plan_pool *to)
{
	const struct kube_pool *pool = &e->serving->pool;
	struct view *models = arena_get(r->lasting, (pool->nmodels + 1) * sizeof(*models));

	to->name = join(r, e->namespace, '/', e->name);
	to->backend = view_eq(e->namespace, r->set->namespace)
			  ? resolve_keep(r, e->name)
			  : join(r, e->namespace, '_', e->name);
	to->h2c = pool->h2c;
	to->fail_open = pool->fail_open;
	to->options = pool->options;
	to->options.metrics_path = resolve_keep(r, pool->options.metrics_path);
	r->failed |= !models;
	for (size_t i = 0; models && i < pool->nmodels; i++)
		models[i] = resolve_keep(r, pool->models[i]);
	to->models = models;
	to->nmodels = models ? pool->nmodels : 0;
	find_members(r, pods, e->namespace, pool, to);
	if (!to->nmembers) {
		r->counts.pools_empty++;
		resolve_problem(r, e, VIEW_LIT("the selector takes no pod that is ready"));
	}
}

struct placed {
	struct plan_pool pool;
	size_t index; /* the store's */
};

static int by_pool_name(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	return compare_views(x->pool.name, y->pool.name);
}

static void tell_wrong(struct resolving *r, const struct kube_entry *e)
{
	const struct kube_pool *pool = e->newest ? &e->newest->pool : NULL;

	if (pool && pool->wrong.ptr)
		resolve_problem(r, e, pool->wrong);
	if (pool && pool->remarks.ptr)
		resolve_problem(r, e, pool->remarks);
}

static void plan_pools(struct resolving *r)
{
	size_t n, count = 0;
	struct view refused;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_POOL, &n);
	struct candidate *pods = list_pods(r);
	struct placed *placed = resolve_get(r, (n + 1) * sizeof(*placed));
	struct plan_pool *pools = arena_get(r->lasting, (n + 1) * sizeof(*pools));

	r->pool_at = resolve_get(r, (n + 1) * sizeof(*r->pool_at));
	r->failed |= !pools;
	if (!pods || !placed || !pools || !r->pool_at)
		return;
	for (size_t i = 0; i < n; i++) {
		r->pool_at[i] = -1;
		if (r->used && !r->used[i] && only_others(r, entries[i]))
			continue;
		tell_wrong(r, entries[i]);
		refused = resolve_refused(r, entries[i]);
		if (refused.ptr)
			resolve_problem(r, entries[i], refused);
		if (!entries[i]->serving || refused.ptr)
			continue;
		placed[count].index = i;
		fill(r, pods, entries[i], &placed[count++].pool);
		if (r->failed)
			return;
	}
	/* "a-b/x" sorts before "a/x": not the store's order. */
	qsort(placed, count, sizeof(*placed), by_pool_name);
	for (size_t i = 0; i < count; i++) {
		pools[i] = placed[i].pool;
		r->pool_at[placed[i].index] = (int32_t)i;
	}
	r->plan->pools = pools;
	r->plan->npools = count;
	r->counts.pools = count;
}

/* --- statuses --- */

static int by_use(const void *a, const void *b)
{
	const struct resolve_use *x = a, *y = b;

	if (x->pool != y->pool)
		return x->pool < y->pool ? -1 : 1;
	if (x->gateway != y->gateway)
		return x->gateway < y->gateway ? -1 : 1;
	/* The accepted one first: it decides. */
	return (int)y->accepted - (int)x->accepted;
}

static struct kube_conditions tell_use(struct resolving *r, const struct kube_entry *e,
				       bool accepted)
{
	const struct kube_pool *pool = e->newest ? &e->newest->pool : NULL;
	struct view refused = resolve_refused(r, e);
	struct resolve_conditions c;

	if (!resolve_conditions(r, &c, e->generation))
		return (struct kube_conditions){NULL, 0};
	if (refused.ptr)
		resolve_condition(&c, "Accepted", false, "NotSupportedByParent", refused);
	else if (!pool || pool->wrong.ptr)
		resolve_condition(&c, "Accepted", false, "UnsupportedValue",
				  pool ? pool->wrong
				       : resolve_text(r, "%s", e->error ? e->error : ""));
	else if (!accepted)
		resolve_condition(&c, "Accepted", false, "HTTPRouteNotAccepted",
				  VIEW_LIT("no HTTPRoute that refers to the pool is accepted"));
	else
		resolve_condition(&c, "Accepted", true, "Accepted", pool->remarks);
	/* No reference is followed: the agent is the endpoint picker. */
	resolve_condition(&c, "ResolvedRefs", true, "ResolvedRefs", VIEW_NULL);
	return (struct kube_conditions){c.items, c.n};
}

/* @uses: those of this pool, each Gateway once. */
static void tell_pool(struct resolving *r, const struct kube_entry *e,
		      const struct resolve_use *uses, size_t n)
{
	struct kube_status_parent *said = resolve_get(r, (n + 1) * sizeof(*said));
	struct kube_wanted *w;

	if (!said || (!n && !kube_owner_left(r->s, r->set, e)))
		return;
	w = resolve_want(r, e);
	for (size_t i = 0; w && i < n; i++) {
		const struct kube_entry *g = r->gateways[uses[i].gateway].entry;

		said[i] = (struct kube_status_parent){
		    .controller = r->set->controller,
		    .group = VIEW_LIT(KUBE_GATEWAY_GROUP),
		    .kind = VIEW_LIT("Gateway"),
		    .namespace = g->namespace,
		    .name = g->name,
		    .conditions = tell_use(r, e, uses[i].accepted),
		};
	}
	if (w) {
		w->status.parents = said;
		w->status.nparents = n;
	}
}

void resolve_pools(struct resolving *r)
{
	size_t n, at = 0, kept = 0;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_POOL, &n);

	if (r->nuses)
		qsort(r->uses, r->nuses, sizeof(*r->uses), by_use);
	for (size_t i = 0; i < r->nuses; i++) {
		const struct resolve_use *last = kept ? &r->uses[kept - 1] : NULL;

		if (!last || last->pool != r->uses[i].pool || last->gateway != r->uses[i].gateway)
			r->uses[kept++] = r->uses[i];
	}
	plan_pools(r);
	for (size_t i = 0; i < n && !r->set->by_models; i++) {
		size_t first = at;

		while (at < kept && r->uses[at].pool == i)
			at++;
		tell_pool(r, entries[i], at > first ? &r->uses[first] : NULL, at - first);
	}
}
