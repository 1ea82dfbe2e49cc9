/* A sorted list of copies. */
#include "discover/follow/backends.h"

#include <stdlib.h>

void backends_deinit(struct backends *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->names[i]);
	free(b->names);
	*b = (struct backends){0};
}

static bool same(const struct backends *b, const struct view *names, size_t n)
{
	if (b->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!view_eq(view_str(b->names[i]), names[i]))
			return false;
	return true;
}

bool backends_set(struct backends *b, const struct view *names, size_t n)
{
	if (same(b, names, n))
		return false;
	backends_deinit(b);
	b->names = calloc(n + 1, sizeof(*b->names));
	while (b->names && b->n < n) {
		b->names[b->n] = view_dup(names[b->n]);
		if (!b->names[b->n])
			break;
		b->n++;
	}
	return true;
}

static int compare(const void *key, const void *element)
{
	const struct view *name = key;
	struct view have = view_str(*(char *const *)element);
	int r = memcmp(name->ptr, have.ptr, name->len < have.len ? name->len : have.len);

	return r ? r : (name->len > have.len) - (name->len < have.len);
}

bool backends_have(const struct backends *b, struct view name)
{
	return b->n && bsearch(&name, b->names, b->n, sizeof(*b->names), compare);
}
