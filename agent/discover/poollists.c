#include "discover/poollists.h"

#include <errno.h>
#include <stdlib.h>

int poollists_gather(struct poollists *l, const struct builder_input *in, const struct pool *p)
{
	size_t last = 0;

	l->n = 0;
	l->whole = true;
	l->silent = false;
	free(l->lists);
	free(l->list_of);
	l->lists = calloc(p->n + 1, sizeof(*l->lists));
	l->list_of = calloc(p->n + 1, sizeof(*l->list_of));
	if (!l->lists || !l->list_of)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->n; i++) {
		struct asker_view v;
		size_t at;

		in->models(p->slots[i], &v, in->arg);
		if (v.state != ASKER_ANSWERED) {
			bool any = v.state == ASKER_MUTE || v.state == ASKER_LISTLESS ||
				   v.state == ASKER_UNWATCHED;

			l->silent |=
			    v.state == ASKER_WAITING || (v.state == ASKER_FAILED && v.absent);
			l->list_of[i] = any ? LIST_ANY : LIST_NONE;
			l->whole &= any;
			continue;
		}
		if (last < l->n && l->lists[last] == v.models) {
			l->list_of[i] = last;
			continue;
		}
		for (at = 0; at < l->n && l->lists[at] != v.models; at++)
			continue;
		if (at == l->n)
			l->lists[l->n++] = v.models;
		l->list_of[i] = last = at;
	}
	l->words = (l->n + 63) / 64;
	return 0;
}

size_t poollists_count(const struct poollists *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->lists[i]->n;
	return n;
}

void poollists_deinit(struct poollists *l)
{
	free(l->lists);
	free(l->list_of);
}
