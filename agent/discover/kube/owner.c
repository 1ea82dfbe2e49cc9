/* A Gateway is ours when its class names our controller. */
#include "discover/kube/owner.h"

#include "discover/kube/resolve.h"
#include "discover/kube/store.h"

enum kube_owner kube_owner_gateway(const struct kube_store *s, const struct kube_settings *set,
				   struct view namespace, struct view name)
{
	const struct kube_entry *gateway = kube_store_find(s, KUBE_GATEWAY, namespace, name);
	const struct kube_entry *class;

	if (!gateway)
		return set->all_namespaces ? KUBE_NOBODY : KUBE_OTHERS;
	if (!gateway->newest)
		return KUBE_UNREADABLE;
	class = kube_store_find(s, KUBE_CLASS, VIEW_LIT(""), gateway->newest->gateway.class);
	if (class && !class->newest)
		return KUBE_UNREADABLE;
	return class && view_eq(class->newest->class.controller, set->controller) ? KUBE_OURS
										  : KUBE_OTHERS;
}

bool kube_owner_serves(const struct kube_store *s, const struct kube_settings *set,
		       const struct kube_entry *gateway)
{
	const struct kube_entry *class =
	    gateway->serving
		? kube_store_find(s, KUBE_CLASS, VIEW_LIT(""), gateway->serving->gateway.class)
		: NULL;

	return class && class->serving &&
	       view_eq(class->serving->class.controller, set->controller);
}

static struct view or_else(struct view v, struct view fallback)
{
	return v.len ? v : fallback;
}

static bool is_gateway(const struct kube_status_parent *p)
{
	return (!p->group.ptr || view_eq(p->group, VIEW_LIT(KUBE_GATEWAY_GROUP))) &&
	       view_eq(or_else(p->kind, VIEW_LIT("Gateway")), VIEW_LIT("Gateway"));
}

enum kube_owner kube_owner_parent(const struct kube_store *s, const struct kube_settings *set,
				  enum kube_kind kind, struct view namespace,
				  const struct kube_status_parent *p)
{
	if (p->controller.len && !view_eq(p->controller, set->controller))
		return KUBE_OTHERS;
	if (p->controller.len)
		return kube_owner_gateway(s, set, or_else(p->namespace, namespace), p->name) ==
			       KUBE_UNREADABLE
			   ? KUBE_UNREADABLE
			   : KUBE_OURS;
	if (kind != KUBE_POOL)
		return KUBE_OTHERS;
	if (view_eq(p->kind, VIEW_LIT("Status")) && view_eq(p->name, VIEW_LIT("default")))
		return KUBE_BLANK;
	return is_gateway(p) ? kube_owner_gateway(s, set, or_else(p->namespace, namespace), p->name)
			     : KUBE_OTHERS;
}

bool kube_owner_left(const struct kube_store *s, const struct kube_settings *set,
		     const struct kube_entry *e)
{
	for (size_t i = 0; e->status && i < e->status->nparents; i++) {
		enum kube_owner o =
		    kube_owner_parent(s, set, e->kind, e->namespace, &e->status->parents[i]);

		if (o == KUBE_OURS || o == KUBE_NOBODY)
			return true;
	}
	return false;
}

bool kube_owner_same(const struct kube_status_parent *a, const struct kube_status_parent *b,
		     struct view namespace)
{
	return is_gateway(a) && is_gateway(b) && view_eq(a->name, b->name) &&
	       view_eq(or_else(a->namespace, namespace), or_else(b->namespace, namespace)) &&
	       a->section.len == b->section.len && view_eq(a->section, b->section) &&
	       a->port == b->port;
}
