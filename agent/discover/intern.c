/* Names are only ever added: a counter that changed its owner would be worse than one unused. */
#include "discover/intern.h"

#include <stdlib.h>
#include <uthash.h>

struct entry {
	uint32_t index;
	UT_hash_handle hh;
	char name[];
};

struct intern {
	uint32_t max, n;
	uint64_t refused;
	struct entry *table;
	struct entry **by_index;
};

struct intern *intern_new(uint32_t max)
{
	struct intern *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->max = max;
	t->by_index = calloc((size_t)max + 1, sizeof(struct entry *));
	return t->by_index ? t : intern_free(t);
}

struct intern *intern_free(struct intern *t)
{
	struct entry *one, *next;

	if (t) {
		HASH_ITER(hh, t->table, one, next)
		{
			HASH_DEL(t->table, one);
			free(one);
		}
		free(t->by_index);
		free(t);
	}
	return NULL;
}

uint32_t intern_index(struct intern *t, struct view name)
{
	struct entry *e;

	HASH_FIND(hh, t->table, name.ptr, name.len, e);
	if (e)
		return e->index;
	e = t->n < t->max ? malloc(sizeof(*e) + name.len + 1) : NULL;
	if (!e) {
		t->refused++;
		return 0;
	}
	memcpy(e->name, name.ptr, name.len);
	e->name[name.len] = '\0';
	e->index = t->n + 1;
	HASH_ADD_KEYPTR(hh, t->table, e->name, name.len, e);
	if (!e->hh.tbl) {
		free(e);
		t->refused++;
		return 0;
	}
	t->by_index[++t->n] = e;
	return e->index;
}

uint32_t intern_count(const struct intern *t)
{
	return t->n;
}

const char *intern_name(const struct intern *t, uint32_t index)
{
	if (index == 0)
		return "other";
	return index <= t->n ? t->by_index[index]->name : NULL;
}

uint64_t intern_refused(const struct intern *t)
{
	return t->refused;
}
