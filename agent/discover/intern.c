/*
 * Names are kept in the order in which they were last used, so that the one to give way is found at
 * once; where it is one in use, so are all others. In use is what the set that was kept last has,
 * and the one that is being made: an index must not change its owner while somebody counts by it.
 */
#include "discover/intern.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <uthash.h>

struct entry {
	uint32_t index;
	uint64_t set; /* the last that it was in */
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) by_use;
	char name[];
};

TAILQ_HEAD(entries, entry);

struct intern {
	uint32_t max, n;
	uint64_t refused;
	uint64_t set, kept; /* being made; in use */
	void (*reused)(uint32_t index, void *arg);
	void *arg;
	struct entry *table;
	struct entry **by_index;
	struct entries by_use; /* the longest unused first */
};

struct intern *intern_new(uint32_t max)
{
	struct intern *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->max = max;
	TAILQ_INIT(&t->by_use);
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

void intern_on_reuse(struct intern *t, void (*reused)(uint32_t index, void *arg), void *arg)
{
	t->reused = reused;
	t->arg = arg;
}

void intern_begin(struct intern *t)
{
	t->set = t->kept + 1;
}

void intern_keep(struct intern *t)
{
	t->kept = t->set;
}

static void use(struct intern *t, struct entry *e)
{
	if (e->set == t->set)
		return;
	e->set = t->set;
	TAILQ_REMOVE(&t->by_use, e, by_use);
	TAILQ_INSERT_TAIL(&t->by_use, e, by_use);
}

/* NULL: all are in use. */
static struct entry *unused(struct intern *t)
{
	struct entry *e = TAILQ_FIRST(&t->by_use);

	return e && e->set < t->kept ? e : NULL;
}

static void drop(struct intern *t, struct entry *e)
{
	if (t->reused)
		t->reused(e->index, t->arg);
	TAILQ_REMOVE(&t->by_use, e, by_use);
	HASH_DEL(t->table, e);
	free(e);
}

uint32_t intern_index(struct intern *t, struct view name)
{
	struct entry *e, *old;

	HASH_FIND(hh, t->table, name.ptr, name.len, e);
	if (e) {
		use(t, e);
		return e->index;
	}
	old = t->n < t->max ? NULL : unused(t);
	e = t->n < t->max || old ? malloc(sizeof(*e) + name.len + 1) : NULL;
	if (!e) {
		t->refused++;
		return 0;
	}
	memcpy(e->name, name.ptr, name.len);
	e->name[name.len] = '\0';
	e->set = t->set;
	HASH_ADD_KEYPTR(hh, t->table, e->name, name.len, e);
	if (!e->hh.tbl) {
		free(e);
		t->refused++;
		return 0;
	}
	e->index = old ? old->index : ++t->n;
	if (old)
		drop(t, old);
	t->by_index[e->index] = e;
	TAILQ_INSERT_TAIL(&t->by_use, e, by_use);
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
