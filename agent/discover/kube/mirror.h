/*
 * What the API server holds of the kinds that matter here, kept in step: the way to the server, a
 * reflector for each kind and namespace, and the store that they fill. Control thread only.
 */
#ifndef DISCOVER_KUBE_MIRROR_H
#define DISCOVER_KUBE_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "config/config.h"
#include "discover/kube/client.h"
#include "discover/kube/kind.h"
#include "discover/kube/reflector.h"
#include "discover/kube/store.h"

struct event_base;
struct kube_mirror;

struct kube_mirror_hooks {
	/* Something in the store is another than before; @change is never KUBE_SAME. */
	void (*changed)(enum kube_kind kind, enum kube_change change, void *arg);
	/* An object is gone. */
	void (*removed)(enum kube_kind kind, const char *namespace, const char *name, void *arg);
	void (*synced)(void *arg); /* kube_mirror_synced() may be true now */
	void *arg;
};

/* Reads what says where the server is; 0, -ENOMEM, or -EINVAL and lines on @err (NULL: the log)
 * that say what is wrong. Copies what it needs of @conf. */
int kube_mirror_new(struct event_base *base, const struct config *conf,
		    const struct kube_mirror_hooks *hooks, FILE *err, struct kube_mirror **ret)
    __attribute__((warn_unused_result));
/* The first part of that, for -t. */
int kube_mirror_check(const struct config *conf, FILE *err) __attribute__((warn_unused_result));
struct kube_mirror *kube_mirror_free(struct kube_mirror *m);

/* Every kind that is watched has been listed once, or the server does not know it. */
bool kube_mirror_synced(const struct kube_mirror *m);

struct kube_store *kube_mirror_store(const struct kube_mirror *m);
struct kube_client *kube_mirror_client(const struct kube_mirror *m);
/* The namespace we are in, never NULL. */
const char *kube_mirror_namespace(const struct kube_mirror *m);
const char *kube_mirror_server(const struct kube_mirror *m);

/* --- for /state and /metrics --- */

/* One kind, over its namespaces. */
struct kube_mirror_kind {
	const char *name; /* of the resource: "pods" */
	bool watched, synced;
	enum kube_reflector_state state; /* of the namespace that is worst off */
	size_t objects;                  /* held */
	uint64_t lists, watches, failures, refused;
	uint64_t in_step_ns; /* the oldest of its namespaces; 0: not yet */
	uint64_t events;
	char error[256]; /* of the last failure, while it lasts; "" */
};
void kube_mirror_kind(const struct kube_mirror *m, enum kube_kind kind,
		      struct kube_mirror_kind *ret);
/* Left out for kubernetes.max_objects, since the start. */
uint64_t kube_mirror_left_out(const struct kube_mirror *m);

#endif
