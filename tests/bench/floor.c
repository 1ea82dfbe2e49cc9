/*
 * The floor: what a SPOE agent costs that does nothing.
 *
 * One thread, epoll, a unix socket; the model is what memmem finds behind "model":" in the frame;
 * nothing is validated, known or chosen. One read takes many frames, one write answers them all,
 * and an answer is a template with the model put in the middle.
 *
 *   floor PATH                                  answers one variable, model: the bare floor
 *   floor PATH BACKEND PORT SERVER…             answers what spoa-inference sets for a routed
 *                                               request, all of it constants (the servers take
 *                                               turns), and throws away the lines that come to
 *                                               PORT: the contract floor
 *
 * FLOOR_WITHOUT in the environment, names with spaces around each, are variables that it leaves
 * out, to see what each costs HAProxy.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "spop/ack.h"
#include "spop/session.h"

#define KEY         "\"model\":\""
#define MAX_FRAME   (4 * 1024 * 1024)
#define OUT_SIZE    (256 * 1024)
#define ANSWER_MAX  2048
#define SERVERS_MAX 64
/* As many digits as a ticket of spoa-inference has. */
#define TICKET_BASE INT64_C(4503599627370496000)

struct peer {
	int fd;
	enum { LISTENER, LINES_LISTENER, SPOP, LINES } kind;
	struct spop_session session;
	size_t have, cap;
	uint8_t *buf;
};

struct piece {
	size_t len;
	uint8_t bytes[512];
};

/* before: everything up to the model; after[i]: everything behind it, by whose turn it is. */
static struct piece before, after[SERVERS_MAX];
static unsigned nservers, turn;
static int64_t ticket;
static uint8_t out[OUT_SIZE];
static size_t out_len;
static int epoll;

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	if (v < 240) {
		*p++ = (uint8_t)v;
		return p;
	}
	*p++ = (uint8_t)(v | 240);
	for (v = (v - 240) >> 4; v >= 128; v = (v - 128) >> 7)
		*p++ = (uint8_t)(v | 128);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

static void answer(const struct spop_frame *f)
{
	uint8_t *start = out + out_len, *p = start + 4;
	static const uint8_t head[5] = {SPOP_FRM_T_AGENT_ACK, 0, 0, 0, SPOP_FRM_FL_FIN};
	const uint8_t *end = f->payload.ptr + f->payload.len, *model, *quote = NULL;
	uint32_t len;

	model = memmem(f->payload.ptr, f->payload.len, KEY, sizeof(KEY) - 1);
	if (model) {
		model += sizeof(KEY) - 1;
		quote = memchr(model, '"', (size_t)(end - model));
	}
	len = quote && quote - model < 256 ? (uint32_t)(quote - model) : 0;
	p = put(p, head, sizeof(head));
	p = put_varint(p, f->stream_id);
	p = put_varint(p, f->frame_id);
	p = put(p, before.bytes, before.len);
	p = put_varint(p, len);
	p = put(p, model, len);
	if (nservers) {
		p = put(p, after[turn].bytes, after[turn].len);
		p = put_varint(p, (uint64_t)(TICKET_BASE + ticket++));
		turn = turn + 1 == nservers ? 0 : turn + 1;
	}
	len = htonl((uint32_t)(p - start - 4));
	memcpy(start, &len, 4);
	out_len = (size_t)(p - out);
}

/* Waits where the peer does not take its answers at once, as on a busy machine. */
static void flush(struct peer *p)
{
	struct pollfd until = {.fd = p->fd, .events = POLLOUT};
	size_t sent = 0;

	while (sent < out_len) {
		ssize_t n = send(p->fd, out + sent, out_len - sent, MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
		} else if ((errno != EAGAIN && errno != EINTR) || poll(&until, 1, 10000) == 0) {
			shutdown(p->fd, SHUT_RDWR);
			break;
		}
	}
	out_len = 0;
}

static void drop(struct peer *p)
{
	close(p->fd);
	free(p->buf);
	free(p);
}

static void watch(int fd, int kind)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};

	if (!p)
		abort();
	p->fd = fd;
	p->kind = kind;
	p->cap = 65536;
	p->buf = malloc(p->cap);
	spop_session_init(&p->session, MAX_FRAME);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void serve(struct peer *p)
{
	ssize_t got = recv(p->fd, p->buf + p->have, p->cap - p->have, MSG_DONTWAIT), n;
	struct spop_fault fault;
	struct spop_input in;
	size_t done = 0;

	if (got <= 0) {
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			drop(p);
		return;
	}
	if (p->kind == LINES)
		return;
	p->have += (size_t)got;
	for (;;) {
		in.frame.total = 0;
		if (p->session.state == SPOP_ST_RUNNING)
			n = spop_frame_decode(p->buf + done, p->have - done, MAX_FRAME, &in.frame,
					      &fault);
		else
			n = spop_session_receive(&p->session, p->buf + done, p->have - done, &in,
						 &fault);
		if (n <= 0)
			break;
		if (in.frame.type == SPOP_FRM_T_HAPROXY_NOTIFY)
			answer(&in.frame);
		else if (in.frame.type == SPOP_FRM_T_HAPROXY_HELLO)
			out_len += spop_session_write_hello(&p->session, out + out_len, OUT_SIZE);
		if (out_len > OUT_SIZE - ANSWER_MAX)
			flush(p);
		done += (size_t)n;
	}
	flush(p);
	if (n < 0) {
		drop(p);
		return;
	}
	memmove(p->buf, p->buf + done, p->have - done);
	p->have -= done;
	if (in.frame.total > p->cap) {
		p->cap = in.frame.total;
		p->buf = realloc(p->buf, p->cap);
		if (!p->buf)
			abort();
	}
}

static int listen_on(struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, addr, len) < 0 || listen(fd, 4096) < 0) {
		perror("floor: listen");
		exit(1);
	}
	return fd;
}

/* What stands between the model's bytes and the ends of the payload. */
static void cut(struct piece *to, const struct spop_ack *a, size_t from, size_t less)
{
	to->len = (size_t)(a->out.pos - a->out.begin) - from - less;
	if (a->out.failed || to->len > sizeof(to->bytes))
		abort();
	memcpy(to->bytes, a->out.begin + from, to->len);
}

static bool wanted(const char *name)
{
	const char *without = getenv("FLOOR_WITHOUT");

	return !without || !strstr(without, name);
}

#define SET(kind, name, value)                                                                     \
	do {                                                                                       \
		if (wanted(" " name " "))                                                          \
			spop_ack_set_##kind(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT(name), value);       \
	} while (0)

static void prepare(char **argv, int argc)
{
	enum { HEAD = 11 }; /* a frame's head with identifiers of one byte */
	uint8_t buf[2048];
	struct spop_ack a;

	spop_ack_begin(&a, buf, sizeof(buf), 0, 0);
	if (argc > 4) {
		SET(str, "verdict", SPOP_VIEW_LIT("routed"));
		SET(int, "status", 0);
	}
	SET(str, "model", SPOP_VIEW_LIT(""));
	cut(&before, &a, HEAD, 1); /* all but the length of nothing */
	for (int i = 4; i < argc; i++) {
		static const char base[] = "meta-llama/Llama-3.1-8B-Instruct";
		int n = argc - 4;

		spop_ack_begin(&a, buf, sizeof(buf), 0, 0);
		SET(str, "base_model", spop_view_str(base));
		SET(str, "backend", spop_view_str(argv[2]));
		SET(str, "server", spop_view_str(argv[i]));
		SET(str, "server2", spop_view_str(argv[4 + (i - 3) % n]));
		SET(str, "server3", spop_view_str(argv[4 + (i - 2) % n]));
		SET(int, "ticket", 0);
		cut(&after[nservers++], &a, HEAD, 1);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in ip = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event events[256];

	if (argc < 2 || argc == 3 || argc == 4 || argc - 4 > SERVERS_MAX ||
	    strlen(argv[1]) >= sizeof(un.sun_path)) {
		fprintf(stderr, "usage: %s PATH [BACKEND PORT SERVER...]\n", argv[0]);
		return 2;
	}
	prepare(argv, argc);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	strcpy(un.sun_path, argv[1]);
	unlink(argv[1]);
	watch(listen_on((struct sockaddr *)&un, sizeof(un)), LISTENER);
	if (argc > 4) {
		ip.sin_port = htons((uint16_t)atoi(argv[3]));
		watch(listen_on((struct sockaddr *)&ip, sizeof(ip)), LINES_LISTENER);
	}
	for (;;) {
		int n = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;

			if (p->kind == LISTENER || p->kind == LINES_LISTENER)
				watch(accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC),
				      p->kind == LISTENER ? SPOP : LINES);
			else
				serve(p);
		}
	}
}
