/*
 * An HTTP/1.1 server for a model server: kept connections, request bodies by length or chunked,
 * answers whole or streamed, each chunk a write of its own, and a client that leaves is noticed at
 * once. One request at a time per connection; pipelined ones wait.
 *
 * A connection is the caller's from on_request until it has answered (http_reply, http_end,
 * http_cut) or was told on_gone, whichever comes first; http_conn_data keeps a pointer for that
 * time. on_gone comes only for requests not fully answered, and never from within a call to this
 * room.
 */
#ifndef SIM_HTTP_H
#define SIM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_server;
struct http_conn;

struct http_ops {
	void (*on_request)(void *arg, struct http_conn *c);
	void (*on_gone)(void *arg, struct http_conn *c);
};

struct http_limits {
	size_t body;         /* bytes; more is answered 413 */
	double keep_alive_s; /* an idle connection is closed after it; 0 = never */
};

struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits,
				    const struct http_ops *ops, void *arg);
/* Closes everything. */
struct http_server *http_server_free(struct http_server *s);
/* HOST:PORT or [V6]:PORT; port 0 takes a free one. ret_name holds at least 64 bytes: where. */
int http_listen(struct http_server *s, const char *where, char *ret_name, size_t size);
/* Connects are refused until http_reopen; connections that are idle close. */
void http_refuse(struct http_server *s);
int http_reopen(struct http_server *s);
/* As if the process had died: listeners and every connection, at once, without on_gone. */
void http_drop_all(struct http_server *s);
size_t http_n_conns(const struct http_server *s);

/* The request, valid while the connection is the caller's. */
const char *http_method(const struct http_conn *c);
const char *http_path(const struct http_conn *c);
/* NULL when absent; the first one if there are several. */
const char *http_header(const struct http_conn *c, const char *name);
/* A parameter of the query, decoded into out; false when absent. */
bool http_query(const struct http_conn *c, const char *name, char *out, size_t size);
/* NUL follows the body, so it can be read as a string where it holds none. */
const char *http_body(const struct http_conn *c, size_t *ret_len);
/* The body is not needed any more: frees large ones while the answer is under way. */
void http_forget_body(struct http_conn *c);
void *http_conn_data(const struct http_conn *c);
void http_set_conn_data(struct http_conn *c, void *data);

/* extra: complete header lines, or "". */
void http_reply(struct http_conn *c, int status, const char *type, const char *extra,
		const void *body, size_t len);
void http_begin(struct http_conn *c, int status, const char *type, const char *extra);
void http_chunk(struct http_conn *c, const void *data, size_t len);
void http_end(struct http_conn *c);
/* Breaks the connection off in the middle. */
void http_cut(struct http_conn *c);

#endif
