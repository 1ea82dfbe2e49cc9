/*
 * The names of the objects that are held. A key is "NAMESPACE\0NAME": neither can hold a NUL, so
 * two pairs never look alike, and both halves can be told as strings.
 */
#include "discover/kube/keyset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

struct key {
	UT_hash_handle hh;
	uint64_t epoch;
	char text[];
};

struct kube_keyset {
	struct key *table;
};

struct kube_keyset *kube_keyset_new(void)
{
	return calloc(1, sizeof(struct kube_keyset));
}

struct kube_keyset *kube_keyset_free(struct kube_keyset *s)
{
	struct key *k, *next;

	if (!s)
		return NULL;
	HASH_ITER(hh, s->table, k, next)
	{
		HASH_DEL(s->table, k);
		free(k);
	}
	free(s);
	return NULL;
}

size_t kube_keyset_count(const struct kube_keyset *s)
{
	return HASH_COUNT(s->table);
}

static struct key *key_new(const char *namespace, const char *name, size_t *ret_len)
{
	size_t a = strlen(namespace) + 1, b = strlen(name);
	struct key *k = calloc(1, sizeof(*k) + a + b + 1);

	if (k) {
		memcpy(k->text, namespace, a);
		memcpy(k->text + a, name, b);
		*ret_len = a + b;
	}
	return k;
}

int kube_keyset_put(struct kube_keyset *s, const char *namespace, const char *name, uint64_t epoch)
{
	size_t len;
	struct key *k = key_new(namespace, name, &len), *held;

	if (!k)
		return -ENOMEM;
	HASH_FIND(hh, s->table, k->text, len, held);
	if (held) {
		held->epoch = epoch;
		free(k);
		return 0;
	}
	k->epoch = epoch;
	HASH_ADD_KEYPTR(hh, s->table, k->text, len, k);
	if (!k->hh.tbl) {
		free(k);
		return -ENOMEM;
	}
	return 0;
}

bool kube_keyset_remove(struct kube_keyset *s, const char *namespace, const char *name)
{
	struct key *k, *held = NULL;
	size_t len;

	k = key_new(namespace, name, &len);
	if (!k)
		return true; /* told once too often rather than never */
	HASH_FIND(hh, s->table, k->text, len, held);
	free(k);
	if (!held)
		return false;
	HASH_DEL(s->table, held);
	free(held);
	return true;
}

void kube_keyset_sweep(struct kube_keyset *s, uint64_t epoch,
		       void (*gone)(const char *namespace, const char *name, void *arg), void *arg)
{
	struct key *k, *next;

	HASH_ITER(hh, s->table, k, next)
	{
		if (k->epoch == epoch)
			continue;
		HASH_DEL(s->table, k);
		gone(k->text, k->text + strlen(k->text) + 1, arg);
		free(k);
	}
}
