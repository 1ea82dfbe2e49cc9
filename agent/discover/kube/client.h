/*
 * Requests to one API server: what reflectors and writers have in common. Adds the credentials,
 * keeps connections of its own (a watch occupies one for minutes; the scrapers' are not used),
 * reads Kubernetes' Status answers. Control thread only.
 */
#ifndef DISCOVER_KUBE_CLIENT_H
#define DISCOVER_KUBE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "net/http.h"

struct cJSON;
struct event_base;
struct kube_access;
struct kube_client;

/* One kind of objects, as it is written in URLs. All strings are the owner's and outlive users. */
struct kube_resource {
	const char *group; /* "" is the core group */
	const char *version;
	const char *plural;
};

/* NULL when memory is short. @access must outlive it. */
struct kube_client *kube_client_new(struct event_base *base, struct kube_access *access);
/* Calls under way end without a word; their owners (reflectors, writers) must be gone before. */
struct kube_client *kube_client_free(struct kube_client *c);
struct event_base *kube_client_base(const struct kube_client *c);

/* "/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME" and @tail into @out; @namespace and @name
 * may be NULL. False when it does not fit or a part is no word of a URL. */
bool kube_client_path(char *out, size_t size, const struct kube_resource *r, const char *namespace,
		      const char *name, const char *tail);

/* Why a call did not do what it should: what an owner acts on. */
enum kube_failure {
	KUBE_OK,
	KUBE_UNREACHABLE, /* no connection, cut, TLS, time-out, no HTTP */
	KUBE_UNAUTHORIZED,
	KUBE_FORBIDDEN,
	KUBE_NOT_FOUND,
	KUBE_CONFLICT,
	KUBE_EXPIRED,   /* 410, or reason Expired or Gone: the resource version is too old */
	KUBE_TOO_NEW,   /* the resource version is larger than any the server knows */
	KUBE_BUSY,      /* 429 */
	KUBE_INVALID,   /* 400, 405, 406, 413, 415, 422: it is our request that is wrong */
	KUBE_UNHEALTHY, /* 5xx and what is left */
};
const char *kube_failure_name(enum kube_failure f);

/* The end of a call, or what an ERROR event of a watch says. */
struct kube_result {
	enum kube_failure failure;
	int status;          /* HTTP's or the Status object's code; 0: none */
	int64_t retry_after; /* seconds the server asks us to wait; -1: it does not say */
	char message[256];   /* of the Status object, or why there is no answer; never empty */
	char reason[64];     /* of the Status object, or "" */
	bool renewed;        /* with KUBE_UNAUTHORIZED: there are other credentials now */
};

/* What an answer says. @body: a Status object, anything else, or nothing. */
void kube_result_read(struct kube_result *r, int status, int64_t retry_after, struct view body);
/* What the object of an ERROR event says. */
void kube_result_read_event(struct kube_result *r, const struct cJSON *status);

struct kube_call_hooks {
	void (*head)(int status, void *arg);         /* may be NULL; of a 2xx answer only */
	void (*chunk)(struct view bytes, void *arg); /* of a 2xx answer only; may be NULL */
	/* Once, at the end; not after kube_call_cancel(). An answer that was cut is not KUBE_OK. */
	void (*done)(const struct kube_result *result, void *arg);
};

struct kube_call {
	enum http_method method;
	const char *path;         /* with its query */
	const char *content_type; /* of the body */
	struct view body;
	uint32_t idle_ms; /* no byte for this long: KUBE_UNREACHABLE */
};

struct kube_pending;
/* 0, -ENOMEM, -EINVAL (no URL comes of it, or a token no header can hold). Hooks are called from
 * the loop only, never from inside this call; they may start and cancel anything, but not free the
 * client. */
int kube_client_call(struct kube_client *c, const struct kube_call *call,
		     const struct kube_call_hooks *hooks, void *arg, struct kube_pending **ret)
    __attribute__((warn_unused_result));
void kube_call_cancel(struct kube_pending *p); /* NULL is fine */

#endif
