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

#define MAX_HEAD      (256 * 1024)
#define MAX_HEADERS   256
#define MAX_LINE      4096
#define MAX_PIPELINED (64 * 1024)
#define MAX_UNSENT    (8 * 1024 * 1024)
#define LINGER_S      2

enum state {
	HEAD,   /* reading (or waiting for) a request's head */
	BODY,   /* by length */
	CHUNK,  /* chunked: at a size line, in data, or in the trailer: see chunk_part */
	BUSY,   /* the caller's */
	LINGER, /* answered for the last time; reads until the client has closed */
	DEAD,
};

enum chunk_part { SIZE, DATA, DATA_END, TRAILER };

struct header {
	char *name, *value;
};

struct http_conn {
	LIST_ENTRY(http_conn) next;
	struct http_server *server;
	evutil_socket_t fd;
	struct event *ev_read, *ev_write;
	enum state state;
	struct buf in, out;
	char *head; /* the request's head, cut into strings */
	char *method, *path, *query;
	struct header headers[MAX_HEADERS];
	size_t n_headers;
	struct buf body;
	size_t body_left;
	enum chunk_part part;
	bool http10, close, head_only;
	bool chunked, until_close; /* the answer under way */
	bool write_armed;
	void *data;
};

struct listener {
	LIST_ENTRY(listener) next;
	struct http_server *server;
	struct event *ev;
	struct sockaddr_storage addr;
	socklen_t addr_len;
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
	struct timeval tv = {.tv_sec = (time_t)s, .tv_usec = (suseconds_t)((s - (time_t)s) * 1e6)};

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

static void out_flushed(struct http_conn *c)
{
	if (c->state == HEAD && c->close)
		linger(c);
}

static void out(struct http_conn *c, const char *p, size_t len)
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

static const char *reason(int status)
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
	buf_printf(b, "HTTP/1.1 %d %s\r\ndate: %s\r\nserver: uvicorn\r\n", status, reason(status),
		   date);
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
	if (c->close) {
		if (c->out.len == 0)
			out_flushed(c);
		return;
	}
	set_timeout(c, c->server->limits.keep_alive_s);
	if (c->in.len > 0)
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
	out(c, b.p, b.len);
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
	out(c, b.p, b.len);
	buf_deinit(&b);
}

void http_chunk(struct http_conn *c, const void *data, size_t len)
{
	int n;

	if (len == 0 || c->head_only)
		return;
	if (!c->chunked) {
		out(c, data, len);
	} else if (len > sizeof(scratch) - 32) {
		n = snprintf(scratch, sizeof(scratch), "%zx\r\n", len);
		out(c, scratch, (size_t)n);
		out(c, data, len);
		out(c, "\r\n", 2);
	} else {
		n = snprintf(scratch, 32, "%zx\r\n", len);
		memcpy(scratch + n, data, len);
		memcpy(scratch + n + len, "\r\n", 2);
		out(c, scratch, (size_t)n + len + 2);
	}
}

void http_end(struct http_conn *c)
{
	if (c->chunked && !c->head_only)
		out(c, "0\r\n\r\n", 5);
	answered(c);
}

void http_cut(struct http_conn *c)
{
	c->state = HEAD;
	conn_die(c);
}

/* --- reading --- */

/* Refused by this room itself, before the caller has seen it. */
static void refuse(struct http_conn *c, int status)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "{\"detail\":\"%s\"}", reason(status));

	c->state = BUSY;
	c->close = true;
	c->head_only = false;
	http_reply(c, status, "application/json", "", body, (size_t)n);
}

static char *token(char **at, char until)
{
	char *start = *at, *end = strchr(start, until);

	if (!end)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return start;
}

static bool parse_headers(struct http_conn *c, char *at)
{
	char *line;

	c->n_headers = 0;
	while ((line = token(&at, '\n')) && *line && *line != '\r') {
		struct header *h = &c->headers[c->n_headers];
		char *colon = strchr(line, ':'), *end = line + strlen(line);

		if (!colon || colon == line || c->n_headers == MAX_HEADERS || *line == ' ' ||
		    *line == '\t' || colon[-1] == ' ' || colon[-1] == '\t')
			return false;
		*colon++ = '\0';
		while (*colon == ' ' || *colon == '\t')
			colon++;
		while (end > colon && strchr(" \t\r", end[-1]))
			*--end = '\0';
		h->name = line;
		h->value = colon;
		c->n_headers++;
	}
	return true;
}

/* 0, or the status to refuse with. Sets state, close and what is to be read. */
static int parse_head(struct http_conn *c, size_t len)
{
	char *at, *version;
	const char *v;
	bool chunked;

	free(c->head);
	c->head = strndup(c->in.p, len);
	if (!c->head || strlen(c->head) != len)
		return 400;
	at = c->head;
	c->method = token(&at, ' ');
	c->path = c->method ? token(&at, ' ') : NULL;
	version = c->path ? token(&at, '\n') : NULL;
	if (!version || strncmp(version, "HTTP/1.", 7) != 0 || *c->method == '\0')
		return 400;
	c->http10 = version[7] == '0';
	if (strncasecmp(c->path, "http://", 7) == 0) {
		c->path = strchr(c->path + 7, '/');
		if (!c->path)
			return 400;
	}
	if (*c->path != '/')
		return 400;
	c->query = strchr(c->path, '?');
	if (c->query)
		*c->query++ = '\0';
	if (!parse_headers(c, at))
		return 400;

	v = http_header(c, "connection");
	c->close = v ? strcasecmp(v, "close") == 0 || (c->http10 && strcasecmp(v, "keep-alive"))
		     : c->http10;
	c->head_only = strcmp(c->method, "HEAD") == 0;
	c->body_left = 0;
	v = http_header(c, "transfer-encoding");
	chunked = v && strcasecmp(v, "chunked") == 0;
	if (v && !chunked)
		return 501;
	v = http_header(c, "content-length");
	if (v && chunked)
		return 400;
	if (v) {
		char *end;

		errno = 0;
		c->body_left = strtoull(v, &end, 10);
		if (*v < '0' || *v > '9' || *end || errno)
			return 400;
		if (c->body_left > c->server->limits.body)
			return 413;
	}
	c->part = SIZE;
	c->state = chunked ? CHUNK : BODY;
	v = http_header(c, "expect");
	if (v && strcasecmp(v, "100-continue") == 0 && c->in.len == len)
		out(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return 0;
}

/* True when a request's head was there and fine. */
static bool read_head(struct http_conn *c)
{
	const char *end;
	size_t len, skip = 0;
	int status;

	while (skip < c->in.len && (c->in.p[skip] == '\r' || c->in.p[skip] == '\n'))
		skip++;
	if (skip > 0)
		buf_drain(&c->in, skip);
	if (c->in.len == 0)
		return false;
	end = memmem(c->in.p, c->in.len, "\r\n\r\n", 4);
	if (!end) {
		if (c->in.len > MAX_HEAD)
			refuse(c, 431);
		return false;
	}
	len = (size_t)(end - c->in.p) + 4;
	status = len > MAX_HEAD ? 431 : parse_head(c, len);
	buf_drain(&c->in, len);
	if (status)
		refuse(c, status);
	return status == 0;
}

/* 1 the body is complete, 0 more is needed, or the status to refuse with. */
static int parse_chunks(struct http_conn *c, size_t *at)
{
	for (;;) {
		const char *p = c->in.p + *at, *nl;
		size_t left = c->in.len - *at, n;

		if (c->part == DATA) {
			n = left < c->body_left ? left : c->body_left;
			buf_add(&c->body, p, n);
			*at += n;
			c->body_left -= n;
			if (c->body_left > 0)
				return 0;
			c->part = DATA_END;
			continue;
		}
		nl = left ? memchr(p, '\n', left) : NULL;
		if (!nl)
			return left > MAX_LINE ? 400 : 0;
		n = (size_t)(nl - p) + 1;
		*at += n;
		if (c->part == SIZE) {
			char line[32] = "", *end;

			memcpy(line, p, n - 1 < sizeof(line) - 1 ? n - 1 : sizeof(line) - 1);
			errno = 0;
			c->body_left = strtoull(line, &end, 16);
			if (!isxdigit((unsigned char)*line) || errno || !strchr("\r; ", *end))
				return 400;
			if (c->body_left > c->server->limits.body - c->body.len)
				return 413;
			c->part = c->body_left ? DATA : TRAILER;
		} else if (c->part == DATA_END) {
			if (n > 2 || (n == 2 && *p != '\r'))
				return 400;
			c->part = SIZE;
		} else if (n == 1 || (n == 2 && *p == '\r')) {
			return 1;
		}
	}
}

static bool read_chunked(struct http_conn *c)
{
	size_t at = 0;
	int status = parse_chunks(c, &at);

	if (at > 0)
		buf_drain(&c->in, at);
	if (status > 1)
		refuse(c, status);
	return status == 1;
}

/* True when the body is complete. */
static bool read_body(struct http_conn *c)
{
	size_t n;

	if (c->state == CHUNK)
		return read_chunked(c);
	n = c->in.len < c->body_left ? c->in.len : c->body_left;
	if (n > 0) {
		buf_add(&c->body, c->in.p, n);
		buf_drain(&c->in, n);
		c->body_left -= n;
	}
	return c->body_left == 0;
}

static void process(struct http_conn *c)
{
	while (c->state == HEAD || c->state == BODY || c->state == CHUNK) {
		if (c->state == HEAD && (c->close || !read_head(c)))
			return;
		if (!read_body(c))
			return;
		buf_reserve(&c->body, 1);
		c->body.p[c->body.len] = '\0';
		c->state = BUSY;
		c->server->ops.on_request(c->server->arg, c);
	}
}

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
	if (c->state == LINGER || c->state == DEAD)
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
	process(c);
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

/* --- the request, for the caller --- */

const char *http_method(const struct http_conn *c)
{
	return c->method;
}

const char *http_path(const struct http_conn *c)
{
	return c->path;
}

const char *http_header(const struct http_conn *c, const char *name)
{
	for (size_t i = 0; i < c->n_headers; i++)
		if (strcasecmp(c->headers[i].name, name) == 0)
			return c->headers[i].value;
	return NULL;
}

bool http_query(const struct http_conn *c, const char *name, char *ret_value, size_t size)
{
	size_t len = strlen(name);
	const char *at = c->query;

	while (at && *at) {
		const char *end = strchrnul(at, '&');

		if (strncmp(at, name, len) == 0 && (at[len] == '=' || at + len == end)) {
			size_t n = 0;

			at += len + (at[len] == '=');
			for (; at < end && n + 1 < size; at++) {
				unsigned int byte;

				if (*at == '%' && end - at > 2 &&
				    sscanf(at + 1, "%2x", &byte) == 1) {
					ret_value[n++] = (char)byte;
					at += 2;
				} else {
					ret_value[n++] = *at == '+' ? ' ' : *at;
				}
			}
			ret_value[n] = '\0';
			return true;
		}
		at = *end ? end + 1 : NULL;
	}
	return false;
}

const char *http_body(const struct http_conn *c, size_t *ret_len)
{
	*ret_len = c->body.len;
	return c->body.p;
}

void http_forget_body(struct http_conn *c)
{
	buf_deinit(&c->body);
}

void *http_conn_data(const struct http_conn *c)
{
	return c->data;
}

void http_set_conn_data(struct http_conn *c, void *data)
{
	c->data = data;
}
