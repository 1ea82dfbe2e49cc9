/*
 * Adapters → base models, from the ConfigMaps that say so.
 *
 * The whole mapping is made from the ConfigMaps that are there, so one that goes, loses its label
 * or changes its base model takes with it exactly what it alone had said. Where two claim the same
 * adapter the older ConfigMap has it, as with routes, and the younger is told as a problem; when
 * the older goes the younger's holds. A base model is its own base, unless a ConfigMap calls it an
 * adapter.
 */
#include "discover/kube/resolve.h"

#include <stdlib.h>
#include "discover/kube/resolve_parts.h"
#include "discover/plan.h"

struct claim {
	struct view model, base;
	const struct kube_entry *by;
	bool self;
	size_t order; /* of the ConfigMap: the older one first */
};

static int by_age(const void *a, const void *b)
{
	const struct kube_entry *x = *(const struct kube_entry *const *)a;
	const struct kube_entry *y = *(const struct kube_entry *const *)b;
	int r;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	r = strcmp(x->namespace.ptr, y->namespace.ptr);
	return r ? r : strcmp(x->name.ptr, y->name.ptr);
}

static int by_model(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	size_t n = x->model.len < y->model.len ? x->model.len : y->model.len;
	int r = memcmp(x->model.ptr, y->model.ptr, n);

	if (r || x->model.len != y->model.len)
		return r ? r : x->model.len < y->model.len ? -1 : 1;
	if (x->self != y->self)
		return (int)x->self - (int)y->self;
	return (x->order > y->order) - (x->order < y->order);
}

static const struct kube_configmap *mapping(const struct kube_entry *e)
{
	return e->serving && e->serving->configmap.managed ? &e->serving->configmap : NULL;
}

static size_t collect(const struct kube_entry **order, size_t n, struct claim *claims)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		const struct kube_configmap *m = mapping(order[i]);

		claims[used++] = (struct claim){m->base, m->base, order[i], true, i};
		for (size_t k = 0; k < m->nadapters; k++)
			claims[used++] =
			    (struct claim){m->adapters[k], m->base, order[i], false, i};
	}
	return used;
}

static void contradiction(struct resolving *r, const struct claim *winner,
			  const struct claim *loser)
{
	if (loser->self || view_eq(winner->base, loser->base))
		return;
	resolve_problem(r, loser->by,
			resolve_text(r,
				     "adapter %.256s: ConfigMap %s/%s, which is older, has it "
				     "under another base model",
				     loser->model.ptr, winner->by->namespace.ptr,
				     winner->by->name.ptr));
}

void resolve_adapters(struct resolving *r)
{
	size_t all, n = 0, room = 0, used;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_CONFIGMAP, &all);
	const struct kube_entry **order = resolve_get(r, (all + 1) * sizeof(*order));
	const struct claim *winner = NULL;
	struct claim *claims;
	struct plan_adapter *adapters;

	for (size_t i = 0; order && i < all; i++)
		if (mapping(entries[i])) {
			order[n++] = entries[i];
			room += mapping(entries[i])->nadapters + 1;
		}
	claims = resolve_get(r, (room + 1) * sizeof(*claims));
	adapters = arena_get(r->lasting, (room + 1) * sizeof(*adapters));
	r->failed |= !adapters;
	if (!order || !claims || !adapters)
		return;
	qsort(order, n, sizeof(*order), by_age);
	used = collect(order, n, claims);
	qsort(claims, used, sizeof(*claims), by_model);
	for (size_t i = 0; i < used; i++) {
		if (winner && view_eq(winner->model, claims[i].model)) {
			contradiction(r, winner, &claims[i]);
			continue;
		}
		winner = &claims[i];
		adapters[r->plan->nadapters++] = (struct plan_adapter){
		    resolve_keep(r, winner->model), resolve_keep(r, winner->base)};
	}
	r->plan->adapters = adapters;
}
