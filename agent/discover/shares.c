#include "discover/shares.h"

#include <errno.h>
#include <stdlib.h>

#include "discover/catalog.h"
#include "discover/poollists.h"

struct sharing {
	const struct builder_input *in;
	const struct config *conf;
	const struct poolset *set;
	const struct snapshot *s;
	struct poollists lists; /* of the pool at hand */
	size_t *quota;          /* by pool */
};

static int by_want(const void *pa, const void *pb)
{
	const struct share *a = pa, *b = pb;

	if (a->want != b->want)
		return a->want < b->want ? -1 : 1;
	return (a->who > b->who) - (a->who < b->who);
}

void shares_split(struct share *shares, size_t n, size_t room)
{
	if (n > 0)
		qsort(shares, n, sizeof(*shares), by_want);
	for (size_t i = 0; i < n; i++) {
		size_t even = room / (n - i);

		shares[i].got = shares[i].want < even ? shares[i].want : even;
		room -= shares[i].got;
	}
}

/* --- shares of limits.models -------------------------------------------------------------------
 */

/* How many names the pool at hand has: at most @max, as far as that matters. */
static int count_wanted(struct sharing *b, size_t max, size_t *ret)
{
	struct catalog names;
	bool new;
	int r = catalog_init(&names, max);

	for (size_t l = 0; r == 0 && l < b->lists.n; l++) {
		for (size_t i = 0; r == 0 && i < b->lists.lists[l]->n; i++) {
			struct catalog_entry *e;

			r = catalog_add(&names, b->lists.lists[l]->items[i].id, 0, &e, &new);
		}
	}
	*ret = names.n;
	catalog_deinit(&names);
	return r == -ENOSPC ? 0 : r;
}

/* Names that were written down, or stand in the map of a pool that has told none. */
static size_t count_given(const struct sharing *b, const struct config_pool *pool)
{
	const struct seed *seed = &b->in->seed;
	size_t n = 0;

	if (pool->nmodels > 0)
		return pool->nmodels;
	for (size_t i = 0; i < seed->n; i++)
		n += view_eq(seed->pairs[i].backend, view_str(pool->backend));
	return n;
}

/* Splits @room among the pools that are told apart, or those that are not; @exact: by how many
 * names they have, else by how many they have at most, which costs nothing. False: all fit. */
static int split_room(struct sharing *b, bool apart, size_t room, bool exact, bool *ret_all_fit)
{
	struct share *shares = calloc(b->s->nwhole + 1, sizeof(*shares));
	bool by_rules = poolset_by_rules(b->set);
	size_t n = 0, wanted = 0;
	int r = shares ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < b->s->nwhole; i++) {
		const struct poolset_pool *pool = &b->set->pools[i];
		struct share *share = &shares[n];

		if ((pool->plan && by_rules) != apart)
			continue;
		*share = (struct share){.who = i};
		r = poollists_gather(&b->lists, b->in, &b->s->pools[i]);
		if (r == 0 && (pool->conf->nmodels > 0 || !b->lists.n))
			share->want = count_given(b, pool->conf);
		else if (r == 0 && exact)
			r = count_wanted(b, b->conf->limits.models, &share->want);
		else if (r == 0)
			share->want = poollists_count(&b->lists);
		if (pool->conf->nmodels > 0) { /* first of all */
			b->quota[i] = share->want < room ? share->want : room;
			room -= b->quota[i];
			continue;
		}
		wanted += share->want;
		n++;
	}
	*ret_all_fit = wanted <= room;
	shares_split(shares, n, room);
	for (size_t i = 0; r == 0 && i < n; i++)
		b->quota[shares[i].who] = shares[i].got;
	free(shares);
	return r;
}

int shares_models(const struct builder_input *in, const struct snapshot *s, size_t taken,
		  size_t **ret_quota)
{
	struct sharing b = {.in = in, .set = in->pools, .conf = in->pools->conf, .s = s};
	const struct plan *plan = b.set->plan;
	bool by_rules = poolset_by_rules(b.set), fit[2] = {true, true};
	size_t adapters = plan && !by_rules ? plan->nadapters : 0, max = b.conf->limits.models;
	const size_t room[2] = {max - (adapters < max ? adapters : max), max - taken};
	int r = 0;

	*ret_quota = NULL;
	b.quota = calloc(s->nwhole + 1, sizeof(*b.quota));
	if (!b.quota)
		return -ENOMEM;
	for (unsigned exact = 0; r == 0 && exact < 2; exact++) {
		for (unsigned apart = 0; r == 0 && apart < 2; apart++)
			r = split_room(&b, apart, room[apart], exact, &fit[apart]);
		if (fit[0] && fit[1])
			break;
	}
	poollists_deinit(&b.lists);
	if (r == 0 && !(fit[0] && fit[1]))
		*ret_quota = b.quota;
	else
		free(b.quota);
	return r;
}
