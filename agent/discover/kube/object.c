/* Of a route one rule that can be served is enough; what is wrong with the others is told. */
#include "discover/kube/object.h"

bool kube_object_usable(const struct kube_object *o)
{
	if (o->kind == KUBE_POOL)
		return !o->pool.wrong.ptr;
	if (o->kind != KUBE_ROUTE)
		return true;
	if (o->route.wrong.ptr)
		return false;
	for (size_t i = 0; i < o->route.nrules; i++)
		if (!o->route.rules[i].wrong.ptr)
			return true;
	return o->route.nrules == 0;
}
