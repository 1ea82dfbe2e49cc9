/* The rows of kind.def as a table. */
#include "discover/kube/kind.h"

#include <assert.h>

static const struct kube_kind_info kinds[] = {
#define KIND(symbol, group, version, kind, plural, namespaced, status)                             \
	[symbol] = {kind, {group, version, plural}, namespaced, status},
#include "discover/kube/kind.def"
#undef KIND
};

const struct kube_kind_info *kube_kind_info(enum kube_kind k)
{
	assert(k < KUBE_KINDS);
	return &kinds[k];
}
