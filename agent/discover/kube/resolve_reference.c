/*
 * References between objects. Into another namespace they hold only where a ReferenceGrant over
 * there says so; and a route's backends are InferencePools, nothing else, as a gateway of inference
 * has no pods of a Service to pick from.
 *
 * The reasons are looked for in this order: the kind, then permission, then existence. Who may not
 * look into a namespace does not learn what is in it.
 */
#include "discover/kube/resolve.h"

#include "discover/kube/resolve_parts.h"

static bool grants(const struct kube_grant *g, struct view from_kind, struct view from,
		   const struct kube_ref *to)
{
	bool who = false;

	for (size_t i = 0; i < g->nfrom; i++)
		who |= view_eq(g->from[i].group, VIEW_LIT(KUBE_GATEWAY_GROUP)) &&
		       view_eq(g->from[i].kind, from_kind) && view_eq(g->from[i].namespace, from);
	for (size_t i = 0; who && i < g->nto; i++)
		if (view_eq(g->to[i].group, to->group) && view_eq(g->to[i].kind, to->kind) &&
		    (!g->to[i].name.ptr || view_eq(g->to[i].name, to->name)))
			return true;
	return false;
}

bool resolve_permitted(const struct resolving *r, struct view from_kind, struct view from,
		       const struct kube_ref *to)
{
	size_t all, n, first;
	const struct kube_entry *const *entries;

	if (view_eq(from, to->namespace))
		return true;
	entries = kube_store_all(r->s, KUBE_GRANT, &all);
	first = kube_store_range(r->s, KUBE_GRANT, to->namespace, &n);
	/* A grant that cannot be read any more grants nothing: it may have been narrowed. */
	for (size_t i = first; i < first + n; i++)
		if (entries[i]->newest && grants(&entries[i]->newest->grant, from_kind, from, to))
			return true;
	return false;
}

static bool is_pool(const struct kube_ref *ref)
{
	return view_eq(ref->group, VIEW_LIT(KUBE_INFERENCE_GROUP)) &&
	       view_eq(ref->kind, VIEW_LIT("InferencePool"));
}

int64_t resolve_find_pool(const struct resolving *r, const struct kube_object *o,
			  const struct kube_ref *ref, const char **reason)
{
	size_t n, first = kube_store_range(r->s, KUBE_POOL, ref->namespace, &n), last = first + n;
	const struct kube_entry *const *pools = kube_store_all(r->s, KUBE_POOL, &n);

	*reason = NULL;
	if (!is_pool(ref)) {
		*reason = "InvalidKind";
		return -1;
	}
	if (!resolve_permitted(r, VIEW_LIT("HTTPRoute"), o->namespace, ref)) {
		*reason = "RefNotPermitted";
		return -1;
	}
	for (size_t i = first; i < last; i++)
		if (view_eq(pools[i]->name, ref->name))
			return (int64_t)i;
	*reason = "BackendNotFound";
	return -1;
}

static struct view ref_message(struct resolving *r, const char *reason, size_t rule, size_t at,
			       const struct kube_ref *ref)
{
	const char *what = "there is no InferencePool %.63s/%.253s";

	if (strcmp(reason, "RefNotPermitted") == 0)
		what = "no ReferenceGrant in namespace %.63s lets this route refer to "
		       "InferencePool %.253s";
	else if (strcmp(reason, "InvalidKind") == 0)
		return resolve_text(r,
				    "spec.rules[%zu].backendRefs[%zu]: %.63s of group \"%.253s\": "
				    "only InferencePool of " KUBE_INFERENCE_GROUP " is served",
				    rule, at, ref->kind.ptr, ref->group.ptr);
	return resolve_text(r, "spec.rules[%zu].backendRefs[%zu]: %s", rule, at,
			    resolve_text(r, what, ref->namespace.ptr, ref->name.ptr).ptr);
}

/* Why the pool that is there serves nobody by its name; absent: it does. */
static struct view refused_message(struct resolving *r, int64_t pool, size_t rule, size_t at)
{
	size_t n;
	const struct kube_entry *const *pools = kube_store_all(r->s, KUBE_POOL, &n);
	struct view why = resolve_refused(r, pools[pool]);

	return why.ptr
		   ? resolve_text(r, "spec.rules[%zu].backendRefs[%zu]: InferencePool %s/%s: %s",
				  rule, at, pools[pool]->namespace.ptr, pools[pool]->name.ptr,
				  why.ptr)
		   : why;
}

const char *resolve_check_refs(struct resolving *r, const struct kube_object *o,
			       struct view *ret_message)
{
	*ret_message = VIEW_NULL;
	for (size_t i = 0; i < o->route.nrules; i++) {
		const struct kube_rule *rule = &o->route.rules[i];

		for (size_t k = 0; k < rule->nbackends; k++) {
			const char *reason;
			int64_t pool = resolve_find_pool(r, o, &rule->backends[k].ref, &reason);

			*ret_message = reason ? ref_message(r, reason, i, k, &rule->backends[k].ref)
					      : refused_message(r, pool, i, k);
			if (ret_message->ptr)
				return reason ? reason : "UnsupportedValue";
		}
	}
	return NULL;
}
