/*
 * Keeps one kind of objects in step with the API server: a list in pages, then a watch from where
 * the list stood, for ever; whatever breaks is taken up again. Objects are told one by one and not
 * kept: a reflector holds their names alone, so that it can tell which of them have vanished
 * while it was away.
 *
 * What its owner can rely on:
 * - begin, any number of upsert, synced: a list. What is held and did not come up in it is told as
 *   removed between the last upsert and synced. A list that breaks off begins again (begin is told
 *   again); nothing is removed by one that was not whole.
 * - between lists: upsert and remove as they happen, in the server's order.
 * - an object may be told again unchanged. An object that cannot be read (no JSON, no name, larger
 *   than the maximum) is logged and left as it was.
 * Control thread only. Hooks are called from the loop; they must not free the reflector.
 */
#ifndef DISCOVER_KUBE_REFLECTOR_H
#define DISCOVER_KUBE_REFLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/client.h"

struct cJSON;
struct kube_reflector;

enum kube_reflector_state {
	KUBE_REFLECTOR_LISTING,   /* asks, or waits for its turn to ask, for the list */
	KUBE_REFLECTOR_WATCHING,  /* in step */
	KUBE_REFLECTOR_RESUMING,  /* the watch ended; what is held may be some seconds old */
	KUBE_REFLECTOR_FAILING,   /* waits before it tries again; last says why */
	KUBE_REFLECTOR_ABSENT,    /* the server does not know this kind (yet) */
	KUBE_REFLECTOR_FORBIDDEN, /* 401 or 403 */
};
const char *kube_reflector_state_name(enum kube_reflector_state s);

struct kube_reflector_status {
	enum kube_reflector_state state;
	bool synced;              /* a whole list has been told, ever */
	uint64_t in_step_ns;      /* monotonic; when it was last known to be in step; 0: never */
	size_t objects;           /* held */
	unsigned failures;        /* in a row */
	struct kube_result last;  /* of the last failure; failure KUBE_OK: none yet */
	const char *verb;         /* "list" or "watch": what failed last */
	char version[64];         /* resource version it stands at, or "" */
	uint64_t lists, watches;  /* started, since the start */
	uint64_t events, refused; /* objects told; objects that could not be read */
};

struct kube_reflector_hooks {
	void (*begin)(void *arg);                              /* may be NULL */
	void (*upsert)(const struct cJSON *object, void *arg); /* good during the call */
	/* @namespace is "" for kinds without. */
	void (*remove)(const char *namespace, const char *name, void *arg);
	void (*synced)(void *arg);                                            /* may be NULL */
	void (*state)(const struct kube_reflector_status *status, void *arg); /* may be NULL */
	/* The server stands at an earlier version than this kind has seen; may be NULL. */
	void (*went_back)(void *arg);
};

/* 0 in a number: the default, which stands beside it. Strings are copied. */
struct kube_reflector_conf {
	struct kube_resource resource;
	const char *namespace;      /* NULL: all of them, or a kind without */
	const char *label_selector; /* NULL: none; as kubectl takes it, not yet escaped */
	const char *field_selector;
	uint32_t page;     /* objects of one page of a list: 500 */
	size_t max_object; /* bytes: 4 MB; while it is read it takes up to 20 times that */
	uint32_t watch_s;  /* how long a watch lasts at least: 300; up to twice that, at random */
	uint32_t idle_ms;  /* of an answer that stops coming: 60,000; a watch: watch_s more */
	uint32_t retry_ms; /* first pause after a failure, doubled up to the next: 800 */
	uint32_t retry_max_ms; /* 30,000 */
	uint32_t absent_ms;    /* pause while the server does not know the kind: 5,000 */
};

/* Starts to list at the loop's next turn. NULL when memory is short or the conf makes no URL. */
struct kube_reflector *kube_reflector_new(struct kube_client *client,
					  const struct kube_reflector_conf *conf,
					  const struct kube_reflector_hooks *hooks, void *arg);
struct kube_reflector *kube_reflector_free(struct kube_reflector *r); /* tells nothing */

/* Good until the loop's next turn. */
const struct kube_reflector_status *kube_reflector_status(const struct kube_reflector *r);
/* Tries again now if it is waiting (a definition was installed, rights were granted). */
void kube_reflector_hurry(struct kube_reflector *r);
/* Another kind has found that the server's time went backwards: what this one stands at may be a
 * version of a past that never was, so it lists anew. */
void kube_reflector_distrust(struct kube_reflector *r);

#endif
