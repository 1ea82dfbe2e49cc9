/*
 * Writes what the status of our objects should say, once each: compares what is wanted with what
 * the store holds, and hands the difference to the writer. Two replicas that do this at the same
 * time come to rest: the second finds nothing to write; two that want different things, as they may
 * while a configuration is rolled out, slow down.
 */
#ifndef DISCOVER_KUBE_SCRIBE_H
#define DISCOVER_KUBE_SCRIBE_H

#include "discover/kube/kind.h"
#include "discover/kube/resolve.h"
#include "discover/kube/store.h"
#include "discover/kube/writer.h"

struct kube_scribe;

/* @again: the writer has room again, an object was written from elsewhere meanwhile, the watch did
 * not bring what was written for @silent_ms (0: ten seconds), or what somebody has undone may be
 * written again, which takes a tenth of that and more: compare once more when it suits.
 * Borrows all but @conf. NULL when memory is short. */
struct kube_scribe *kube_scribe_new(struct kube_client *client, const struct kube_writer_conf *conf,
				    struct kube_store *store, uint64_t silent_ms,
				    void (*again)(void *arg), void *arg);
struct kube_scribe *kube_scribe_free(struct kube_scribe *s);

/* Compares all of @r with the store. 0 or -ENOMEM. */
int kube_scribe_compare(struct kube_scribe *s, const struct kube_resolved *r,
			const struct kube_settings *set) __attribute__((warn_unused_result));
void kube_scribe_removed(struct kube_scribe *s, enum kube_kind kind, const char *namespace,
			 const char *name);

struct kube_writer_stats kube_scribe_stats(const struct kube_scribe *s);

#endif
