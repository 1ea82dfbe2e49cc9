/*
 * What the servers of one pool say of their models: the distinct lists, and which of them each
 * server has. Servers that answered alike share one list (discover/asker.c), so these are a
 * handful.
 */
#ifndef DISCOVER_POOLLISTS_H
#define DISCOVER_POOLLISTS_H

#include "discover/builder.h"

#define LIST_ANY  SIZE_MAX       /* serves whatever the pool serves */
#define LIST_NONE (SIZE_MAX - 1) /* has not said yet */

struct poollists {
	size_t n, words; /* words of 64 bits for a set of lists */
	const struct models **lists;
	size_t *list_of; /* by endpoint: a list, LIST_ANY or LIST_NONE */
	bool whole;      /* no endpoint is LIST_NONE */
	bool silent;     /* some server has not answered yet */
};

/* Of @p, in the place of what was there. 0 or -ENOMEM. */
int poollists_gather(struct poollists *l, const struct builder_input *in, const struct pool *p)
    __attribute__((warn_unused_result));
/* Names of all lists together, each as often as it is there. */
size_t poollists_count(const struct poollists *l);
void poollists_deinit(struct poollists *l);

#endif
