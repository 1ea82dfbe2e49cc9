/* Conditions are a map by type, written as a list. */
#include "discover/kube/condition.h"

const struct kube_condition *kube_conditions_find(const struct kube_conditions *c, struct view type)
{
	for (size_t i = 0; i < c->n; i++)
		if (view_eq(c->items[i].type, type))
			return &c->items[i];
	return NULL;
}
