/*
 * The other side of the tests of net/ and observe/: a server on a loopback port of its own, one
 * thread per connection, whose behaviour is a function that gets the connected socket. What it
 * has seen is counted.
 */
#ifndef UNIT_NET_PEER_H
#define UNIT_NET_PEER_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEER_CONNECTIONS_MAX 4096

struct peer;
typedef void (*peer_fn)(struct peer *p, int fd, int nth);

struct peer {
	peer_fn fn;
	void *arg;
	int fd;
	uint16_t port;
	pthread_t acceptor;
	_Atomic bool stop;
	_Atomic int connections, requests, open, most_open;
	pthread_t threads[PEER_CONNECTIONS_MAX];
	int fds[PEER_CONNECTIONS_MAX];
	int nthreads;
};

struct peer_connection {
	struct peer *p;
	int fd, nth;
};

static void *peer_serve(void *arg)
{
	struct peer_connection c = *(struct peer_connection *)arg;

	free(arg);
	c.p->fn(c.p, c.fd, c.nth);
	shutdown(c.fd, SHUT_RDWR);
	return NULL;
}

static void *peer_accept(void *arg)
{
	struct peer *p = arg;

	while (!p->stop) {
		struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
		struct peer_connection *c;
		int fd;

		if (poll(&pfd, 1, 20) <= 0)
			continue;
		fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		/* Head and body are sent apart; the second must not wait for the other's ACK. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		assert(p->nthreads < PEER_CONNECTIONS_MAX);
		c = malloc(sizeof(*c));
		assert(c);
		*c = (struct peer_connection){p, fd, p->connections++};
		p->fds[p->nthreads] = fd;
		assert(pthread_create(&p->threads[p->nthreads++], NULL, peer_serve, c) == 0);
	}
	return NULL;
}

static struct peer *peer_start_on(int fd, peer_fn fn, void *arg)
{
	struct peer *p = calloc(1, sizeof(*p));

	assert(p);
	p->fd = fd;
	p->fn = fn;
	p->arg = arg;
	assert(listen(fd, 1024) == 0);
	assert(pthread_create(&p->acceptor, NULL, peer_accept, p) == 0);
	return p;
}

static int peer_bind(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	/* So that a test may come back on the same port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	assert(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	assert(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
	*port = ntohs(in.sin_port);
	return fd;
}

__attribute__((unused)) static struct peer *peer_start(peer_fn fn, void *arg)
{
	uint16_t port;
	int fd = peer_bind(&port);
	struct peer *p = peer_start_on(fd, fn, arg);

	p->port = port;
	return p;
}

__attribute__((unused)) static struct peer *peer_start_unix(const char *path, peer_fn fn, void *arg)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
	assert(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	return peer_start_on(fd, fn, arg);
}

/* Good until the fourth next call. */
static inline const char *peer_url(const struct peer *p, const char *path)
{
	static char urls[4][64];
	static unsigned turn;
	char *url = urls[turn++ % 4];

	snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%u%s", p->port, path);
	return url;
}

/* Ends every connection and waits for the threads. */
static inline void peer_stop(struct peer *p)
{
	p->stop = true;
	pthread_join(p->acceptor, NULL);
	close(p->fd);
	for (int i = 0; i < p->nthreads; i++)
		shutdown(p->fds[i], SHUT_RDWR);
	for (int i = 0; i < p->nthreads; i++) {
		pthread_join(p->threads[i], NULL);
		close(p->fds[i]);
	}
	free(p);
}

/* What handlers are made of */

/* Reads one request's head; false at the end of the connection. */
__attribute__((unused)) static bool peer_read_head(struct peer *p, int fd, char *head, size_t size)
{
	size_t len = 0;

	while (len < size - 1) {
		ssize_t n = recv(fd, head + len, 1, 0);

		if (n <= 0)
			return false;
		len += (size_t)n;
		head[len] = '\0';
		if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0) {
			p->requests++;
			return true;
		}
	}
	return false;
}

/* False when the other side has gone. */
__attribute__((unused)) static bool peer_send(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

__attribute__((unused)) static bool peer_say(int fd, const char *text)
{
	return peer_send(fd, text, strlen(text));
}

__attribute__((unused)) static bool peer_answer(int fd, int status, const char *headers,
						const char *body, size_t len)
{
	char head[512];

	snprintf(head, sizeof(head), "HTTP/1.1 %d Whatever\r\nContent-Length: %zu\r\n%s\r\n",
		 status, len, headers);
	return peer_say(fd, head) && peer_send(fd, body, len);
}

/* Until the test ends the connection, or its client does. */
__attribute__((unused)) static void peer_hang(struct peer *p, int fd)
{
	char byte;

	while (!p->stop && recv(fd, &byte, 1, 0) > 0)
		;
}

/* A peer_fn: one request, the text of @arg for an answer, the end. */
static inline void peer_raw(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (peer_read_head(p, fd, head, sizeof(head)))
		peer_say(fd, p->arg);
}

/* Another: says nothing, and stays. */
static inline void peer_mute(struct peer *p, int fd, int nth)
{
	(void)nth;
	peer_hang(p, fd);
}

#endif
