/* Inside http*.c only: what a connection is. */
#ifndef SIM_HTTP_CONN_H
#define SIM_HTTP_CONN_H

#include "buf.h"
#include "http.h"

#include <event2/util.h>
#include <sys/queue.h>

#define HTTP_MAX_HEADERS 256

struct event;

enum http_state {
	HEAD,   /* reading (or waiting for) a request's head */
	BODY,   /* by length */
	CHUNK,  /* chunked: at a size line, in data, or in the trailer: see part */
	BUSY,   /* the caller's */
	LINGER, /* answered for the last time; reads until the client has closed */
	DEAD,
};

enum http_part { SIZE, DATA, DATA_END, TRAILER };

struct http_header {
	char *name, *value;
};

struct http_conn {
	LIST_ENTRY(http_conn) next;
	struct http_server *server;
	evutil_socket_t fd;
	struct event *ev_read, *ev_write;
	enum http_state state;
	struct buf in, out;
	char *head; /* the request's head, cut into strings */
	char *method, *path, *query;
	struct http_header headers[HTTP_MAX_HEADERS];
	size_t n_headers;
	struct buf body;
	size_t body_left;
	enum http_part part;
	bool http10, close, head_only;
	bool chunked; /* the answer under way */
	bool write_armed;
	void *data;
};

struct http_server {
	struct event_base *base;
	struct http_limits limits;
	struct http_ops ops;
	void *arg;
	LIST_HEAD(, listener) listeners;
	LIST_HEAD(, http_conn) conns;
	size_t n_conns;
	bool refusing;
};

/* http.c: bytes to the client, now if the kernel takes them. */
void http_conn_out(struct http_conn *c, const char *p, size_t len);
const char *http_conn_reason(int status);
/* http_read.c: requests out of c->in, each handed to on_request. */
void http_conn_read(struct http_conn *c);

#endif
