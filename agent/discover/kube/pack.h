/* The memory of one object: small pieces, freed as a whole. */
#ifndef DISCOVER_KUBE_PACK_H
#define DISCOVER_KUBE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"

struct kube_pack;

/* @hint: bytes that will be asked for; more is given in further blocks. NULL: memory is short. */
struct kube_pack *kube_pack_new(size_t hint);
struct kube_pack *kube_pack_free(struct kube_pack *p); /* NULL is fine */
/* Zeroed; NULL when memory is short, which sticks: see kube_pack_failed(). */
void *kube_pack_get(struct kube_pack *p, size_t size);
/* A NUL-terminated copy; absent stays absent, and is what there is when memory is short. */
struct view kube_pack_dup(struct kube_pack *p, struct view v);
bool kube_pack_failed(const struct kube_pack *p);
size_t kube_pack_bytes(const struct kube_pack *p); /* taken from the heap */

#endif
