/*
 * All objects that were told, by kind, namespace and name, in step with the API server.
 *
 * An object is kept decoded (object.h) together with its status as it stands. What an object's
 * new version changes nothing of (a pod's heartbeat) costs no decoding and is told as such.
 *
 * Bad versions: where the newest version of an HTTPRoute or InferencePool cannot be served
 * (a value that is not supported, a shape that is no such object), the last one that could is kept
 * beside it, serves on, and is dropped when a good one comes or the object goes. The status always
 * speaks of the newest. A restart forgets the older one.
 *
 * Memory: one block per object and an entry of about 350 bytes; a pod with eight labels stays below
 * 1.5 KB. Control thread only; no I/O, no clock, no log.
 */
#ifndef DISCOVER_KUBE_STORE_H
#define DISCOVER_KUBE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/condition.h"
#include "discover/kube/kind.h"
#include "discover/kube/object.h"

struct cJSON;
struct kube_store;

struct kube_store_conf {
	/* RequestHeaderModifier is possible: the HAProxy in front is our own. Else a rule with one
	 * is a value that is not supported. */
	bool header_rules;
	struct view controller; /* whose entries of a status are ours; copied */
};

struct kube_store *kube_store_new(const struct kube_store_conf *conf);
struct kube_store *kube_store_free(struct kube_store *s);

enum kube_change {
	KUBE_SAME,   /* nothing that matters here */
	KUBE_STATUS, /* the status as it stands: compare again, the plan is as before */
	KUBE_SPEC,   /* what is to be served may be another: resolve */
};

/*
 * Takes what the reflector tells: @object is only read. @ret_error: a text when this version
 * cannot be used as written (log it, with kind, namespace and name), else NULL; good until the next
 * call. 0 and *ret_change, -EINVAL when it has no name (nothing is kept), -ENOMEM.
 */
int kube_store_upsert(struct kube_store *s, enum kube_kind kind, const struct cJSON *object,
		      enum kube_change *ret_change, const char **ret_error)
    __attribute__((warn_unused_result));
/* KUBE_SPEC when it was there. @namespace: NULL or "" for kinds without. */
enum kube_change kube_store_remove(struct kube_store *s, enum kube_kind kind, const char *namespace,
				   const char *name);

/* A list that replaces what is held: begin, any number of upserts, sweep. What did not come up in
 * between is removed by sweep(); its answer is how many went. A begin without sweep (the list broke
 * off) changes nothing. A reflector that tells removals itself needs neither. */
void kube_store_begin(struct kube_store *s, enum kube_kind kind);
size_t kube_store_sweep(struct kube_store *s, enum kube_kind kind);

/* One object as it is held. */
struct kube_entry {
	const struct kube_object *newest; /* NULL: the newest version could not be decoded */
	const struct kube_object
	    *serving;      /* newest when it is usable, else an older one, else NULL */
	const char *error; /* why the newest version could not be decoded; NULL: it was */
	enum kube_kind kind;
	struct view namespace, name;      /* NUL-terminated */
	struct view version;              /* metadata.resourceVersion */
	int64_t generation, created;      /* of the newest, decoded or not */
	const struct kube_status *status; /* as it stands; NULL for kinds without one of ours */
};

/* NULL: no such object. Good until the next call that changes the store. */
const struct kube_entry *kube_store_find(const struct kube_store *s, enum kube_kind kind,
					 struct view namespace, struct view name);
/* In order of namespace, then name; *ret_n is how many there are, NULL when none. Good until the
 * next call that changes the store. */
const struct kube_entry *const *kube_store_all(const struct kube_store *s, enum kube_kind kind,
					       size_t *ret_n);
/* Where the objects of one namespace stand in that list: *ret_n of them from the index returned. */
size_t kube_store_range(const struct kube_store *s, enum kube_kind kind, struct view namespace,
			size_t *ret_n);
size_t kube_store_count(const struct kube_store *s, enum kube_kind kind);
size_t kube_store_bytes(const struct kube_store *s); /* held, for /metrics */

#endif
