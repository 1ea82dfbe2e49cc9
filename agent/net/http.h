/*
 * Outgoing HTTP(S), on the libevent loop, by libcurl (its one door): GETs to model servers, and
 * what a Kubernetes client needs.
 *
 * A client keeps connections alive and reuses them. Nothing here ever blocks. Redirects are not
 * followed, compressed answers are not asked for and refused when they come, bodies past the
 * limit end the transfer. One deadline covers a transfer from look-up to last byte; time spent in
 * line before it does not count, so that servers that hang do not make others look slow.
 *
 * A streamed answer (http_stream()) is handed over as it comes, has no end of its own and is
 * bounded by what is buffered instead: past HTTP_STREAM_BUFFER the server waits. It has a deadline
 * for its connection and one for silence. A transfer occupies one of its client's places all the
 * time: who streams for minutes wants a client of its own.
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

/* What all bodies that are here at a time may take together; the first HTTP_BODY_FREE bytes of each
 * do not count, so that large answers of some keep nobody from telling what is usual. */
#define HTTP_BODY_FREE (256 * 1024)
struct http_room {
	uint64_t max, used;
};
/* For transfers that begin from now on. @room is shared by clients of one loop and outlives them.
 */
void http_client_share(struct http_client *c, struct http_room *room);

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

enum http_method { HTTP_GET, HTTP_PUT, HTTP_POST, HTTP_PATCH };

/* TLS by bytes: PEM, and a name. All zero: by ca_file, no client certificate, the URL's name. */
struct http_tls {
	struct view ca;        /* in place of ca_file */
	struct view cert, key; /* the client's: certificate with its chain, private key */
	/* Sent as SNI and looked for in the certificate; Host stays the URL's. */
	const char *server_name;
};

/* What is left zero asks for nothing. */
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

	enum http_method method;
	struct view body; /* not with GET */
	const char *content_type;
	const char *const *headers; /* "Name: value", the last is NULL; never logged */
	struct http_tls tls;
	/* Is the other side still there? Asked by TCP while nothing comes: told dead in half a
	 * minute, by HTTP_PROTOCOL. */
	bool keepalive;
	uint32_t idle_ms; /* of a stream: HTTP_TIMEOUT after so long a silence; 0: none */
};

struct http_answer {
	enum http_error error;
	const char *detail; /* why, for logs; never NULL */
	int status;         /* 0 when none was seen; may be set beside an error */
	struct view content_type;
	struct view body;    /* whole; valid during the callback only; of a stream: none */
	int64_t retry_after; /* Retry-After in seconds from now; -1: none, or not understood */
};

typedef void (*http_done)(const struct http_answer *answer, void *arg);

/* Starts a GET. @done is called exactly once, from the loop, never from inside this call, unless
 * the transfer is cancelled. 0, or -ENOMEM / -EINVAL (a URL that is not http(s)://HOST…, a token
 * with control characters, a bad connect_to). What @req points to is copied. */
struct http_transfer;
int http_get(struct http_client *c, const struct http_request *req, http_done done, void *arg,
	     struct http_transfer **ret) __attribute__((warn_unused_result));
/* The same by the request's own method. */
int http_send(struct http_client *c, const struct http_request *req, http_done done, void *arg,
	      struct http_transfer **ret) __attribute__((warn_unused_result));

#define HTTP_STREAM_BUFFER (256 * 1024)

struct http_stream_hooks {
	void (*head)(int status, void *arg); /* once, before any chunk; may be NULL */
	void (*chunk)(int status, struct view bytes, void *arg);
	http_done done; /* as for http_get() */
};

/* As http_send(), but the body is handed over in pieces, timeout_ms covers the connection alone
 * (look-up to TLS) and max_body is not looked at. Hooks may do what @done may. */
int http_stream(struct http_client *c, const struct http_request *req,
		const struct http_stream_hooks *hooks, void *arg, struct http_transfer **ret)
    __attribute__((warn_unused_result));

/* After this no hook is called any more; a stream's head and chunk may call it. No effect inside
 * @done: there the transfer is over already, and after @done returned it is gone. */
void http_cancel(struct http_transfer *t);

#endif
