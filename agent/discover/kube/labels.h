/* Labels of an object against what is wanted of them. */
#ifndef DISCOVER_KUBE_LABELS_H
#define DISCOVER_KUBE_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/kube/object.h"

/* All pairs of @wanted are in @labels. */
bool kube_labels_match(const struct kube_labels *wanted, const struct kube_labels *labels);
const struct view *kube_labels_get(const struct kube_labels *labels, struct view key);
bool kube_labels_select(const struct kube_expression *e, size_t n,
			const struct kube_labels *labels);

#endif
