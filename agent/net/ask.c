/*
 * Ask a line-wise socket one thing.
 *
 * One struct, one socket, one deadline: connect, write, read, done. Every callback first asks
 * whether the deadline has passed. The state is moved by step() alone and left by finish() alone,
 * which calls the user back and frees; whatever ends at once inside ask() itself is kept until
 * the loop's next turn, so the caller never hears back before ask() has returned.
 *
 * Three things that the happy path hides. A unix socket whose backlog is full answers a
 * non-blocking connect with EAGAIN and tells nobody when there is room: it is tried again every
 * RETRY_MS. A peer may refuse the question before it has read all of it: EPIPE while writing ends
 * the writing, not the reading, and what it had to say is still read; the answer is then broken
 * all the same. And the deadline is kept even against a peer that sends one byte a second.
 */
#include "net/ask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <event2/event.h>

#include "base/clock.h"

#define RETRY_MS      20
#define FIRST_BUFFER  16384
#define READS_A_TURN  16 /* then others get their turn */
#define ADDRESSES_MAX 2  /* localhost is two */

enum ask_state { ASK_ST_CONNECT, ASK_ST_TALK, ASK_ST_DONE };

struct ask_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

struct ask {
	struct event_base *base;
	struct event *io;    /* the socket, NULL while there is none */
	struct event *timer; /* deadline, retry, or a result that waits for the loop */
	int fd;
	enum ask_state state;
	bool telling; /* inside @done */
	struct ask_address addresses[ADDRESSES_MAX];
	unsigned naddresses, address;
	uint64_t deadline_ns;
	ask_done done;
	void *arg;
	enum ask_error error;
	int err;
	int write_err; /* the peer closed before it had the whole question */
	char *question;
	size_t question_len, sent;
	char *text;
	size_t len, size;
	uint64_t max_answer;
};

const char *ask_error_name(enum ask_error e)
{
	switch (e) {
	case ASK_OK:
		return "ok";
	case ASK_CONNECT:
		return "connect";
	case ASK_TIMEOUT:
		return "timeout";
	case ASK_TOO_LARGE:
		return "too_large";
	case ASK_BROKEN:
		return "broken";
	}
	return "unknown";
}

/* Addresses */

static int address_unix(struct ask *a, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->addresses[0].addr;
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(un->sun_path))
		return -EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	a->addresses[0].len = sizeof(*un);
	a->naddresses = 1;
	return 0;
}

static int read_port(const char *text, in_port_t *ret)
{
	unsigned port = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(*text - '0');
		if (port > 65535)
			return -EINVAL;
	}
	if (port == 0)
		return -EINVAL;
	*ret = htons((uint16_t)port);
	return 0;
}

static int add_address(struct ask *a, int family, const char *host, in_port_t port)
{
	struct ask_address *at = &a->addresses[a->naddresses];
	struct sockaddr_in *in = (struct sockaddr_in *)&at->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&at->addr;

	if (family == AF_INET) {
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return -EINVAL;
		in->sin_family = AF_INET;
		in->sin_port = port;
		at->len = sizeof(*in);
	} else {
		if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
			return -EINVAL;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		at->len = sizeof(*in6);
	}
	a->naddresses++;
	return 0;
}

static int address_tcp(struct ask *a, const char *where)
{
	const char *colon = strrchr(where, ':');
	char host[INET6_ADDRSTRLEN];
	size_t len;
	in_port_t port;

	if (!colon || read_port(colon + 1, &port) < 0)
		return -EINVAL;
	len = (size_t)(colon - where);
	if (len >= 2 && where[0] == '[' && where[len - 1] == ']') {
		where++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, where, len);
	host[len] = '\0';
	if (strcmp(host, "localhost") == 0) {
		if (add_address(a, AF_INET, "127.0.0.1", port) < 0)
			return -EINVAL;
		return add_address(a, AF_INET6, "::1", port);
	}
	return add_address(a, strchr(host, ':') ? AF_INET6 : AF_INET, host, port);
}

static int read_address(struct ask *a, const char *where)
{
	if (strncmp(where, "unix@", 5) == 0)
		return address_unix(a, where + 5);
	if (where[0] == '/')
		return address_unix(a, where);
	return address_tcp(a, where);
}

/* The end */

static void close_socket(struct ask *a)
{
	if (a->io)
		event_free(a->io);
	a->io = NULL;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static void destroy(struct ask *a)
{
	close_socket(a);
	if (a->timer)
		event_free(a->timer);
	free(a->question);
	free(a->text);
	free(a);
}

static void end(struct ask *a, enum ask_error error, int err)
{
	close_socket(a);
	a->state = ASK_ST_DONE;
	a->error = error;
	a->err = err;
}

/* Tells the user; nothing may touch @a after it. */
static void finish(struct ask *a)
{
	struct ask_answer answer = {
	    .error = a->error,
	    .err = a->err,
	    .text = {a->text ? a->text : "", a->len},
	};

	a->telling = true;
	a->done(&answer, a->arg);
	destroy(a);
}

/* The way */

static void on_io(evutil_socket_t fd, short what, void *arg);

static int watch(struct ask *a, short what)
{
	if (a->io)
		event_free(a->io);
	a->io = event_new(a->base, a->fd, (short)(what | EV_PERSIST), on_io, a);
	if (!a->io || event_add(a->io, NULL) < 0) {
		end(a, ASK_BROKEN, ENOMEM);
		return -ENOMEM;
	}
	return 0;
}

static int arm(struct ask *a, uint64_t most_ms)
{
	uint64_t now = clock_mono_ns();
	uint64_t us = now < a->deadline_ns ? (a->deadline_ns - now + 999) / 1000 : 0;
	struct timeval tv;

	if (us > most_ms * 1000)
		us = most_ms * 1000;
	tv.tv_sec = (time_t)(us / 1000000);
	tv.tv_usec = (suseconds_t)(us % 1000000);
	return event_add(a->timer, &tv);
}

/* Starts a connect to the current address, moves past those that fail at once. No socket and no
 * end: the backlog was full. */
static void start_connect(struct ask *a)
{
	int err = ECONNREFUSED;

	for (; a->address < a->naddresses; a->address++) {
		const struct ask_address *at = &a->addresses[a->address];

		close_socket(a);
		a->fd = socket(at->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (a->fd < 0) {
			err = errno;
			continue;
		}
		if (connect(a->fd, (const struct sockaddr *)&at->addr, at->len) == 0 ||
		    errno == EINPROGRESS || errno == EINTR) {
			watch(a, EV_WRITE);
			return;
		}
		err = errno;
		if (err == EAGAIN && at->addr.ss_family == AF_UNIX) {
			close_socket(a);
			return;
		}
	}
	end(a, ASK_CONNECT, err);
}

static void connected(struct ask *a)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err == 0) {
		a->state = ASK_ST_TALK;
		watch(a, EV_READ | EV_WRITE);
		return;
	}
	a->address++;
	if (a->address < a->naddresses)
		start_connect(a);
	else
		end(a, ASK_CONNECT, err);
}

static void write_some(struct ask *a)
{
	while (a->sent < a->question_len) {
		ssize_t n =
		    send(a->fd, a->question + a->sent, a->question_len - a->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			a->write_err = errno;
			break;
		}
		a->sent += (size_t)n;
	}
	watch(a, EV_READ);
}

static int make_room(struct ask *a)
{
	size_t size = a->size ? a->size * 2 : FIRST_BUFFER;
	char *text;

	if (a->len < a->size)
		return 0;
	/* One byte past the limit is enough to know that there is more. */
	if (size > a->max_answer + 1)
		size = (size_t)a->max_answer + 1;
	text = realloc(a->text, size);
	if (!text)
		return -ENOMEM;
	a->text = text;
	a->size = size;
	return 0;
}

static void read_some(struct ask *a)
{
	for (unsigned i = 0; i < READS_A_TURN; i++) {
		ssize_t n;

		if (make_room(a) < 0) {
			end(a, ASK_BROKEN, ENOMEM);
			return;
		}
		n = recv(a->fd, a->text + a->len, a->size - a->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			end(a, ASK_BROKEN, errno);
			return;
		}
		if (n == 0) {
			if (a->sent < a->question_len)
				end(a, ASK_BROKEN, a->write_err ? a->write_err : EPIPE);
			else
				end(a, ASK_OK, 0);
			return;
		}
		a->len += (size_t)n;
		if (a->len > a->max_answer) {
			a->len = (size_t)a->max_answer;
			end(a, ASK_TOO_LARGE, 0);
			return;
		}
	}
}

static void step(struct ask *a, short what)
{
	if (a->state != ASK_ST_DONE && clock_mono_ns() >= a->deadline_ns)
		end(a, ASK_TIMEOUT, 0);
	switch (a->state) {
	case ASK_ST_CONNECT:
		if (a->fd < 0)
			start_connect(a);
		else if (what & EV_WRITE)
			connected(a);
		break;
	case ASK_ST_TALK:
		if (what & EV_WRITE)
			write_some(a);
		if (a->state == ASK_ST_TALK && what & EV_READ)
			read_some(a);
		break;
	case ASK_ST_DONE:
		break;
	}
	if (a->state != ASK_ST_DONE && !event_pending(a->timer, EV_TIMEOUT, NULL) &&
	    arm(a, a->fd < 0 ? RETRY_MS : UINT32_MAX) < 0)
		end(a, ASK_BROKEN, ENOMEM);
	if (a->state == ASK_ST_DONE)
		finish(a);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	step(arg, what);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	step(arg, EV_TIMEOUT);
}

int ask(struct event_base *base, const char *where, struct view question, uint32_t timeout_ms,
	uint64_t max_answer, ask_done done, void *arg, struct ask **ret)
{
	struct ask *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->base = base;
	a->fd = -1;
	a->done = done;
	a->arg = arg;
	a->max_answer = max_answer < SIZE_MAX - 1 ? max_answer : SIZE_MAX - 2;
	a->deadline_ns = clock_mono_ns() + timeout_ms * CLOCK_NS_PER_MS;
	r = read_address(a, where);
	if (r < 0) {
		destroy(a);
		return r;
	}
	a->question = view_dup(question);
	a->question_len = question.len;
	a->timer = event_new(base, -1, 0, on_timer, a);
	if (!a->question || !a->timer) {
		destroy(a);
		return -ENOMEM;
	}
	/* The connect itself waits for the loop: nothing can end inside this call. */
	if (event_add(a->timer, &(struct timeval){0, 0}) < 0) {
		destroy(a);
		return -ENOMEM;
	}
	if (ret)
		*ret = a;
	return 0;
}

void ask_cancel(struct ask *a)
{
	if (a && !a->telling)
		destroy(a);
}
