#include "discover/shares.h"

#include <stdlib.h>

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
