/*
 * One answer of the API server while it comes: bytes → objects and what is said around them. For
 * reflector.c; does no I/O.
 */
#ifndef DISCOVER_KUBE_ANSWER_H
#define DISCOVER_KUBE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/kube/client.h"

struct cJSON;
struct kube_stream;

enum kube_answer_kind {
	KUBE_ANSWER_LIST,  /* one page */
	KUBE_ANSWER_CLOCK, /* a list for the sake of its resource version: objects are not told */
	KUBE_ANSWER_WATCH,
};

struct kube_answer_hooks {
	/* There is such an object; -ENOMEM ends the answer. @namespace may be "". */
	int (*upsert)(const struct cJSON *object, const char *namespace, const char *name,
		      void *arg);
	void (*remove)(const char *namespace, const char *name, void *arg);
	/* Of a watch: everything up to here has been told. */
	void (*version)(const char *version, void *arg);
	void (*unreadable)(const char *why, void *arg); /* an object; the rest goes on */
};

#define KUBE_VERSION_MAX 64

struct kube_answer {
	char version[KUBE_VERSION_MAX]; /* of a list that is whole; or "" */
	char *go_on;                    /* mark of the next page, or NULL; the owner may take it */
	bool event;                     /* an ERROR event ended it: */
	struct kube_result result;      /* what it said, or why the answer is none */

	/* private */
	enum kube_answer_kind kind;
	struct kube_stream *stream;
	const struct kube_answer_hooks *hooks;
	void *arg;
	const char *broken;
};

/* 0 or -ENOMEM. */
int kube_answer_init(struct kube_answer *a, enum kube_answer_kind kind, size_t max_object,
		     const struct kube_answer_hooks *hooks, void *arg)
    __attribute__((warn_unused_result));
void kube_answer_deinit(struct kube_answer *a); /* twice is fine */

/* False: it is over, result says why; feed no more. */
bool kube_answer_feed(struct kube_answer *a, struct view bytes) __attribute__((warn_unused_result));
/* The bytes ended in peace. False: the answer is half of one, result says so. */
bool kube_answer_end(struct kube_answer *a) __attribute__((warn_unused_result));

#endif
