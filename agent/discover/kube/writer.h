/*
 * Writes of status to the API server: a bounded queue with one wish for each object. A newer wish
 * takes the place of one that has not been sent; while one is under way the newer one waits for
 * it. What can pass by itself (no connection, 429, 5xx, 401, missing rights) is tried again by the
 * writer, with pauses that grow; what cannot (conflict, no such object, refused as invalid) is told
 * to the owner and forgotten. Control thread only.
 */
#ifndef DISCOVER_KUBE_WRITER_H
#define DISCOVER_KUBE_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/client.h"

struct kube_writer;

enum kube_patch {
	KUBE_PATCH_MERGE, /* application/merge-patch+json (RFC 7386) */
	KUBE_PATCH_JSON,  /* application/json-patch+json (RFC 6902) */
};

/* All strings are copied, those of @resource too. */
struct kube_wish {
	struct kube_resource resource;
	const char *namespace; /* NULL or "": a kind without */
	const char *name;
	enum kube_patch patch;
	struct view
	    body; /* with metadata.resourceVersion (or its test), so that a conflict shows */
};

/*
 * The end of a wish: KUBE_OK, KUBE_CONFLICT (wait for the watch, compare again), KUBE_NOT_FOUND
 * (the object, or its status), KUBE_INVALID. Of one whose place a newer one took nothing is told.
 * @namespace is "" for kinds without. May put wishes, must not free the writer.
 */
struct kube_writer_hooks {
	void (*done)(const struct kube_resource *resource, const char *namespace, const char *name,
		     const struct kube_result *result, void *arg);
	void (*idle)(void *arg); /* the queue has run empty; may be NULL */
};

struct kube_writer_conf {      /* 0: the default */
	size_t max_wishes;     /* objects in the queue or under way: 4096 */
	unsigned at_a_time;    /* 4 */
	uint32_t timeout_ms;   /* of one write: 30,000 */
	uint32_t retry_ms;     /* 800 */
	uint32_t retry_max_ms; /* 30,000 */
};

struct kube_writer *kube_writer_new(struct kube_client *client, const struct kube_writer_conf *conf,
				    const struct kube_writer_hooks *hooks, void *arg);
struct kube_writer *kube_writer_free(struct kube_writer *w); /* tells nothing */

/* PATCH …/NAME/status. 0; -ENOBUFS: the queue is full (counted; try again when idle is told or
 * with the next wish); -ENOMEM; -EINVAL: names that make no URL. */
int kube_writer_put(struct kube_writer *w, const struct kube_wish *wish)
    __attribute__((warn_unused_result));
/* The object is gone, or what was wished is so already: forgets a wish that was not sent. */
void kube_writer_drop(struct kube_writer *w, const struct kube_resource *resource,
		      const char *namespace, const char *name);

struct kube_writer_stats {
	size_t waiting, under_way;
	uint64_t written, conflicts, refused, retries, overflows, replaced;
};
struct kube_writer_stats kube_writer_stats(const struct kube_writer *w);

#endif
