/*
 * Written on plain events and send(): libevent's evhttp notices a client that leaves during an
 * answer only when it next writes, and a bufferevent costs two epoll_ctl calls per token. Here the
 * read event stays armed all the time, and a token is one send(); only what the kernel does not
 * take waits for a write event.
 *
 * A connection is freed in its own event callback and nowhere else: whoever finds it broken marks
 * it dead and makes its read event active. So every function of this room may be called at any
 * time, also from the model's callbacks, and at worst does nothing.
 *
 * EOF from the client is a client gone, even if it only closed its sending half: so do vLLM's
 * server and HAProxy's abortonclose see it.
 */
#include "http.h"

#include "buf.h"
#include "http_conn.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_PIPELINED (64 * 1024)
#define MAX_UNSENT    (8 * 1024 * 1024)
#define LINGER_S      2

struct listener {
	LIST_ENTRY(listener) next;
	struct http_server *server;
	struct event *ev;
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

static char scratch[256 * 1024];

/* --- life of a connection --- */

static void conn_free(struct http_conn *c)
{
	LIST_REMOVE(c, next);
	c->server->n_conns--;
	event_free(c->ev_read);
	event_free(c->ev_write);
	close(c->fd);
	buf_deinit(&c->in);
	buf_deinit(&c->out);
	buf_deinit(&c->body);
	free(c->head);
	free(c);
}

/* Its own read callback will free it. */
static void conn_die(struct http_conn *c)
{
	if (c->state == BUSY)
		return;
	c->state = DEAD;
	event_active(c->ev_read, EV_READ, 0);
}

static void set_timeout(struct http_conn *c, double s)
{
	struct timeval tv = {.tv_sec = (time_t)s};

	tv.tv_usec = (suseconds_t)((s - (double)tv.tv_sec) * 1e6);
	if (s > 0)
		event_add(c->ev_read, &tv);
	else
		event_remove_timer(c->ev_read);
}

/* Without it unread bytes would make close() reset the connection under our last answer. */
static void linger(struct http_conn *c)
{
	shutdown(c->fd, SHUT_WR);
	c->state = LINGER;
	set_timeout(c, LINGER_S);
}

/* --- writing --- */

/* While BUSY a broken connection is found by reading; what is written meanwhile is thrown away. */
static void out_broken(struct http_conn *c)
{
	c->close = true;
	buf_deinit(&c->out);
	shutdown(c->fd, SHUT_RDWR);
	event_active(c->ev_read, EV_READ, 0);
}

/* What was answered has left: idle, or the end. */
static void out_flushed(struct http_conn *c)
{
	if (c->state != HEAD)
		return;
	if (c->close)
		linger(c);
	else
		set_timeout(c, c->server->limits.keep_alive_s);
}

void http_conn_out(struct http_conn *c, const char *p, size_t len)
{
	ssize_t n = 0;

	if (c->state == DEAD || c->state == LINGER)
		return;
	if (c->out.len == 0) {
		n = send(c->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			out_broken(c);
			return;
		}
		if (n < 0)
			n = 0;
	}
	if ((size_t)n == len)
		return;
	if (c->out.len + len - (size_t)n > MAX_UNSENT + c->server->limits.body) {
		out_broken(c);
		return;
	}
	buf_add(&c->out, p + n, len - (size_t)n);
	if (!c->write_armed) {
		c->write_armed = true;
		event_add(c->ev_write, NULL);
	}
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;
	ssize_t n = send(fd, c->out.p, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)what;
	c->write_armed = false;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		out_broken(c);
		return;
	}
	if (n > 0)
		buf_drain(&c->out, (size_t)n);
	if (c->out.len > 0) {
		c->write_armed = true;
		event_add(c->ev_write, NULL);
	} else {
		out_flushed(c);
	}
}

const char *http_conn_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	}
	return "Unknown";
}

static void put_head(struct http_conn *c, struct buf *b, int status, const char *type,
		     const char *extra)
{
	static time_t at;
	static char date[40];
	time_t now = time(NULL);

	if (now != at) {
		struct tm tm;

		at = now;
		gmtime_r(&now, &tm);
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	if (c->server->refusing)
		c->close = true;
	buf_printf(b, "HTTP/1.1 %d %s\r\ndate: %s\r\nserver: uvicorn\r\n", status,
		   http_conn_reason(status), date);
	if (type)
		buf_printf(b, "content-type: %s\r\n", type);
	if (c->close)
		buf_puts(b, "connection: close\r\n");
	else if (c->http10)
		buf_puts(b, "connection: keep-alive\r\n");
	buf_puts(b, extra);
}

/* The answer is complete: the next request, or the end. */
static void answered(struct http_conn *c)
{
	c->state = HEAD;
	c->data = NULL;
	buf_deinit(&c->body);
	if (c->out.len == 0)
		out_flushed(c);
	if (c->in.len > 0 && c->state == HEAD)
		event_active(c->ev_read, EV_READ, 0);
}

void http_reply(struct http_conn *c, int status, const char *type, const char *extra,
		const void *body, size_t len)
{
	struct buf b = {0};

	buf_reserve(&b, len + 1024);
	put_head(c, &b, status, type, extra);
	buf_printf(&b, "content-length: %zu\r\n\r\n", len);
	if (!c->head_only)
		buf_add(&b, body, len);
	http_conn_out(c, b.p, b.len);
	buf_deinit(&b);
	answered(c);
}

void http_begin(struct http_conn *c, int status, const char *type, const char *extra)
{
	struct buf b = {0};

	c->chunked = !c->http10;
	if (c->http10)
		c->close = true;
	put_head(c, &b, status, type, extra);
	buf_puts(&b, c->chunked ? "transfer-encoding: chunked\r\n\r\n" : "\r\n");
	http_conn_out(c, b.p, b.len);
	buf_deinit(&b);
}

void http_chunk(struct http_conn *c, const void *data, size_t len)
{
	int n;

	if (len == 0 || c->head_only)
		return;
	if (!c->chunked) {
		http_conn_out(c, data, len);
	} else if (len > sizeof(scratch) - 32) {
		n = snprintf(scratch, sizeof(scratch), "%zx\r\n", len);
		http_conn_out(c, scratch, (size_t)n);
		http_conn_out(c, data, len);
		http_conn_out(c, "\r\n", 2);
	} else {
		n = snprintf(scratch, 32, "%zx\r\n", len);
		memcpy(scratch + n, data, len);
		memcpy(scratch + n + len, "\r\n", 2);
		http_conn_out(c, scratch, (size_t)n + len + 2);
	}
}

void http_end(struct http_conn *c)
{
	if (c->chunked && !c->head_only)
		http_conn_out(c, "0\r\n\r\n", 5);
	answered(c);
}

void http_cut(struct http_conn *c)
{
	c->state = HEAD;
	conn_die(c);
}

/* --- reading --- */

/* 1 something came, 0 nothing now, -1 the client has gone. */
static int receive(struct http_conn *c)
{
	char *to = scratch;
	size_t room = sizeof(scratch);
	ssize_t n;

	/* The bulk of a large body goes where it belongs without a copy. */
	if (c->state == BODY && c->in.len == 0 && c->body_left >= sizeof(scratch)) {
		room = c->body_left < 4 * sizeof(scratch) ? c->body_left : 4 * sizeof(scratch);
		buf_reserve(&c->body, room + 1);
		to = c->body.p + c->body.len;
	}
	n = recv(c->fd, to, room, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	if (c->state == LINGER || (c->state == HEAD && c->close))
		return 1;
	if (to != scratch) {
		c->body.len += (size_t)n;
		c->body_left -= (size_t)n;
	} else {
		buf_add(&c->in, scratch, (size_t)n);
	}
	return 1;
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;
	int got;

	(void)fd;
	if (c->state == DEAD || (what & EV_TIMEOUT && c->state != BUSY)) {
		conn_free(c);
		return;
	}
	got = receive(c);
	if (got < 0 || (c->state == BUSY && c->in.len > MAX_PIPELINED)) {
		if (c->state == BUSY)
			c->server->ops.on_gone(c->server->arg, c);
		conn_free(c);
		return;
	}
	if ((got > 0 || c->in.len > 0) && c->state != LINGER && c->state != BUSY)
		event_remove_timer(c->ev_read);
	http_conn_read(c);
}

/* --- listening --- */

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct http_server *s = l->server;

	(void)what;
	for (int i = 0; i < 64; i++) {
		int one = 1, new_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct http_conn *c;

		if (new_fd < 0)
			return;
		c = calloc(1, sizeof(*c));
		if (!c) {
			close(new_fd);
			return;
		}
		setsockopt(new_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->fd = new_fd;
		c->server = s;
		c->ev_read = event_new(s->base, new_fd, EV_READ | EV_PERSIST, on_read, c);
		c->ev_write = event_new(s->base, new_fd, EV_WRITE, on_write, c);
		LIST_INSERT_HEAD(&s->conns, c, next);
		s->n_conns++;
		event_add(c->ev_read, NULL);
	}
}

static int listener_open(struct listener *l)
{
	int one = 1, err;
	evutil_socket_t fd =
	    socket(l->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&l->addr, l->addr_len) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&l->addr, &l->addr_len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	l->ev = event_new(l->server->base, fd, EV_READ | EV_PERSIST, on_accept, l);
	return event_add(l->ev, NULL) < 0 ? -ENOMEM : 0;
}

static void listener_close(struct listener *l)
{
	if (l->ev) {
		close(event_get_fd(l->ev));
		event_free(l->ev);
		l->ev = NULL;
	}
}

/* libevent's evutil_parse_sockaddr_port would refuse port 0. */
static bool parse_address(const char *where, struct sockaddr_storage *addr, int *len)
{
	const char *colon = strrchr(where, ':');
	char host[INET6_ADDRSTRLEN + 3], *end;
	unsigned long port;

	if (!colon || (size_t)(colon - where) >= sizeof(host))
		return false;
	port = strtoul(colon + 1, &end, 10);
	if (!isdigit((unsigned char)colon[1]) || *end || port > 65535)
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (evutil_parse_sockaddr_port(host, (struct sockaddr *)addr, len) < 0)
		return false;
	if (addr->ss_family == AF_INET6)
		((struct sockaddr_in6 *)addr)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)addr)->sin_port = htons((uint16_t)port);
	return true;
}

int http_listen(struct http_server *s, const char *where, char *ret_name, size_t size)
{
	struct listener *l = calloc(1, sizeof(*l));
	int len = sizeof(l->addr), err;
	char host[INET6_ADDRSTRLEN];

	if (!l)
		return -ENOMEM;
	if (!parse_address(where, &l->addr, &len)) {
		free(l);
		return -EINVAL;
	}
	l->addr_len = (socklen_t)len;
	l->server = s;
	err = listener_open(l);
	if (err) {
		free(l);
		return err;
	}
	LIST_INSERT_HEAD(&s->listeners, l, next);
	if (l->addr.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&l->addr;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(ret_name, size, "[%s]:%d", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&l->addr;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(ret_name, size, "%s:%d", host, ntohs(in->sin_port));
	}
	return 0;
}

void http_refuse(struct http_server *s)
{
	struct listener *l;
	struct http_conn *c;

	s->refusing = true;
	LIST_FOREACH(l, &s->listeners, next)
	listener_close(l);
	LIST_FOREACH(c, &s->conns, next)
	if (c->state == HEAD && c->in.len == 0 && c->out.len == 0)
		conn_die(c);
}

int http_reopen(struct http_server *s)
{
	struct listener *l;
	int err = 0;

	s->refusing = false;
	LIST_FOREACH(l, &s->listeners, next)
	if (!l->ev && !err)
		err = listener_open(l);
	return err;
}

void http_drop_all(struct http_server *s)
{
	struct http_conn *c;
	struct listener *l;

	s->refusing = true;
	LIST_FOREACH(l, &s->listeners, next)
	listener_close(l);
	while ((c = LIST_FIRST(&s->conns)))
		conn_free(c);
}

size_t http_n_conns(const struct http_server *s)
{
	return s->n_conns;
}

struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits,
				    const struct http_ops *ops, void *arg)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = base;
	s->limits = *limits;
	s->ops = *ops;
	s->arg = arg;
	LIST_INIT(&s->listeners);
	LIST_INIT(&s->conns);
	return s;
}

struct http_server *http_server_free(struct http_server *s)
{
	struct listener *l;

	if (!s)
		return NULL;
	http_drop_all(s);
	while ((l = LIST_FIRST(&s->listeners))) {
		LIST_REMOVE(l, next);
		free(l);
	}
	free(s);
	return NULL;
}

void *http_conn_data(const struct http_conn *c)
{
	return c->data;
}

void http_set_conn_data(struct http_conn *c, void *data)
{
	c->data = data;
}
