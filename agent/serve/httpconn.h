/*
 * One connection to a small HTTP server: one request, one answer, then it ends. Control thread.
 */
#ifndef SERVE_HTTPCONN_H
#define SERVE_HTTPCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "serve/httphead.h"

/* Of the whole head, request line included. */
#define HTTPCONN_HEAD_MAX 16384

struct bufferevent;
struct event;
struct event_base;
struct httpconn;

struct httpconn_owner {
	/* The head is there, or @bad is the status that tells why there will be none. Has to call
	 * httpconn_answer(); the views of @head die when it returns. */
	void (*asked)(struct httpconn *c, int bad, const struct httphead *head, void *arg);
	/* It is about to be freed: forget it. @late: because of its deadline. */
	void (*gone)(struct httpconn *c, bool late, void *arg);
	void *arg;
};

struct httpconn {
	TAILQ_ENTRY(httpconn) link; /* the owner's */
	const struct httpconn_owner *owner;
	struct bufferevent *bev;
	struct event *deadline;
	bool trusted;  /* the owner's: from where no token is wanted */
	bool answered; /* it has an answer to write, or has written it */
	bool failed;   /* memory was short: it has half an answer, and is ended */
	bool written;  /* the kernel has the answer; what still comes is thrown away */
};

/* A connection on @bev (taken in any case) that ends @timeout_ms from now at the latest. NULL:
 * out of memory. */
struct httpconn *httpconn_new_consume(const struct httpconn_owner *owner, struct event_base *base,
				      struct bufferevent *bev, uint32_t timeout_ms, bool trusted);
/* Ends it now, without a call of gone(). */
struct httpconn *httpconn_free(struct httpconn *c);

/* Sends the only answer: @len bytes of @body (malloc()ed, taken; may be NULL with 0), no body with
 * @head_only but its length. @extra: whole header lines with their ends, or "". */
void httpconn_answer_consume(struct httpconn *c, int status, const char *type, const char *extra,
			     char *body, size_t len, bool head_only);

#endif
