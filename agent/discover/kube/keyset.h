/*
 * The names of the objects that are held, and in which list each came up last.
 */
#ifndef DISCOVER_KUBE_KEYSET_H
#define DISCOVER_KUBE_KEYSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kube_keyset;

struct kube_keyset *kube_keyset_new(void);
struct kube_keyset *kube_keyset_free(struct kube_keyset *s);
size_t kube_keyset_count(const struct kube_keyset *s);

/* It is there, and came up in list @epoch. 0 or -ENOMEM (then it may not be there). */
int kube_keyset_put(struct kube_keyset *s, const char *namespace, const char *name, uint64_t epoch)
    __attribute__((warn_unused_result));
/* False: it was not there. */
bool kube_keyset_remove(struct kube_keyset *s, const char *namespace, const char *name);

/* Takes out and tells each one that did not come up in @epoch. @gone must leave the set alone. */
void kube_keyset_sweep(struct kube_keyset *s, uint64_t epoch,
		       void (*gone)(const char *namespace, const char *name, void *arg), void *arg);

#endif
