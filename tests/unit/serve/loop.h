/* A libevent loop on a thread of its own, for what is tested from outside by sockets. */
#ifndef TESTS_LOOP_H
#define TESTS_LOOP_H

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOP_PATIENCE_MS 10000

struct loop {
	struct event_base *base;
	struct event *wake;
	int pipe[2];
	void (*call)(void *arg); /* to be run on the loop's thread; NULL: end */
	void *arg;
	pthread_t thread;
};

static inline void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	char byte;

	(void)what;
	assert_int_equal(read(fd, &byte, 1), 1);
	if (!l->call) {
		event_base_loopbreak(l->base);
		return;
	}
	l->call(l->arg);
	l->call = NULL;
	assert_int_equal(write(fd, "d", 1), 1);
}

static inline void loop_init(struct loop *l)
{
	memset(l, 0, sizeof(*l));
	l->base = event_base_new();
	assert_non_null(l->base);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, l->pipe), 0);
	l->wake = event_new(l->base, l->pipe[0], EV_READ | EV_PERSIST, loop_on_wake, l);
	assert_int_equal(event_add(l->wake, NULL), 0);
}

static inline void *loop_thread(void *arg)
{
	event_base_dispatch(((struct loop *)arg)->base);
	return NULL;
}

static inline void loop_start(struct loop *l)
{
	assert_int_equal(pthread_create(&l->thread, NULL, loop_thread, l), 0);
}

/* Runs @call on the loop's thread and returns when it is done. */
static inline void loop_call(struct loop *l, void (*call)(void *arg), void *arg)
{
	char byte;

	l->call = call;
	l->arg = arg;
	assert_int_equal(write(l->pipe[1], "c", 1), 1);
	assert_int_equal(read(l->pipe[1], &byte, 1), 1);
}

static inline void loop_stop(struct loop *l)
{
	l->call = NULL;
	assert_int_equal(write(l->pipe[1], "e", 1), 1);
	pthread_join(l->thread, NULL);
}

static inline void loop_deinit(struct loop *l)
{
	event_free(l->wake);
	event_base_free(l->base);
	close(l->pipe[0]);
	close(l->pipe[1]);
}

/* A port that nobody has at this moment. */
static inline unsigned free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (void *)&in, len), 0);
	assert_int_equal(getsockname(fd, (void *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

static inline int dial(unsigned port, int type)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (void *)&in, sizeof(in)), 0);
	return fd;
}

static inline bool readable(int fd, int ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	return poll(&ready, 1, ms) == 1;
}

#endif
