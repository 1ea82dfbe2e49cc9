/*
 * Labels against what is wanted of them. Both sides are sorted by key, so a pool's selector walks a
 * pod's labels once; and most pods are told apart by one word of bits before any string is looked
 * at, which is what makes a thousand pods against two hundred selectors a matter of a millisecond.
 */
#include "discover/kube/labels.h"

const struct view *kube_labels_get(const struct kube_labels *labels, struct view key)
{
	for (size_t i = 0; i < labels->n; i++)
		if (view_eq(labels->items[i].key, key))
			return &labels->items[i].value;
	return NULL;
}

bool kube_labels_match(const struct kube_labels *wanted, const struct kube_labels *labels)
{
	size_t at = 0;

	if ((wanted->mask & labels->mask) != wanted->mask)
		return false;
	for (size_t i = 0; i < wanted->n; i++) {
		while (at < labels->n && !view_eq(labels->items[at].key, wanted->items[i].key))
			at++;
		if (at == labels->n || !view_eq(labels->items[at].value, wanted->items[i].value))
			return false;
	}
	return true;
}

static bool expression(const struct kube_expression *e, const struct kube_labels *labels)
{
	const struct view *value = kube_labels_get(labels, e->key);

	if (e->op == KUBE_EXISTS || e->op == KUBE_ABSENT)
		return (value != NULL) == (e->op == KUBE_EXISTS);
	for (size_t i = 0; value && i < e->nvalues; i++)
		if (view_eq(*value, e->values[i]))
			return e->op == KUBE_IN;
	/* NotIn holds of an object without the label, too. */
	return e->op == KUBE_NOT_IN;
}

bool kube_labels_select(const struct kube_expression *e, size_t n, const struct kube_labels *labels)
{
	for (size_t i = 0; i < n; i++)
		if (!expression(&e[i], labels))
			return false;
	return true;
}
