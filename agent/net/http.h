/*
 * Outgoing HTTP(S): GETs to model servers, on the libevent loop, by libcurl (its one door).
 *
 * A client keeps connections alive and reuses them. Nothing here ever blocks. Redirects are not
 * followed, compressed answers are not asked for and refused when they come, bodies past the
 * limit end the transfer. One deadline covers a transfer from look-up to last byte; time spent in
 * line before it does not count, so that servers that hang do not make others look slow.
 *
 * Proxies of the environment are not used. The program must ignore SIGPIPE (TLS writes to a
 * connection that the peer has closed).
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

struct event_base;
struct http_client;

/* @max_connections: transfers at a time; further ones wait in line. NULL when memory is short. */
struct http_client *http_client_new(struct event_base *base, unsigned max_connections);
/* How many idle connections are kept for reuse; at first @max_connections. */
void http_client_keep(struct http_client *c, unsigned idle_connections);
struct http_client *http_client_free(struct http_client *c); /* ends transfers, no callbacks */

enum http_error {
	HTTP_OK,      /* an answer, whatever its status */
	HTTP_CONNECT, /* refused, unreachable, name not found */
	HTTP_TIMEOUT,
	HTTP_TLS, /* handshake or certificate */
	HTTP_TOO_LARGE,
	HTTP_PROTOCOL, /* not HTTP, closed early, compressed though not asked for */
	HTTP_CANCELLED,
	HTTP_MEMORY, /* ours was short */
};
const char *http_error_name(enum http_error e);

struct http_request {
	const char *url;
	const char *bearer;  /* token for Authorization, or NULL; never logged */
	const char *ca_file; /* NULL: the system's */
	bool tls_verify;
	uint32_t timeout_ms;
	uint64_t max_body;
	/* Connect somewhere else than to the URL's host, which stays the name for Host and TLS: an
	 * address, ADDRESS:PORT or [V6]:PORT; NULL: the system's resolver through libcurl. */
	const char *connect_to;
};

struct http_answer {
	enum http_error error;
	const char *detail; /* why, for logs; never NULL */
	int status;         /* 0 when none was seen; may be set beside an error */
	struct view content_type;
	struct view body; /* whole; valid during the callback only */
};

typedef void (*http_done)(const struct http_answer *answer, void *arg);

/* Starts a GET. @done is called exactly once, from the loop, never from inside this call, unless
 * the transfer is cancelled. 0, or -ENOMEM / -EINVAL (a URL that is not http(s)://HOST…, a token
 * with control characters, a bad connect_to). The strings of @req are copied. */
struct http_transfer;
int http_get(struct http_client *c, const struct http_request *req, http_done done, void *arg,
	     struct http_transfer **ret) __attribute__((warn_unused_result));
/* After this @done is not called any more. No effect inside @done: there the transfer is over
 * already, and after @done returned it is gone. */
void http_cancel(struct http_transfer *t);

#endif
