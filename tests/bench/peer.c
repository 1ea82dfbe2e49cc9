/*
 * Stream-ids count from 1 and choose the place in the window, so an ACK finds its NOTIFY without a
 * search. Payloads are the caller's and are written from where they lie.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IN_SIZE 65536

static void die(const char *what)
{
	fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(const char *address)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in ip = {.sin_family = AF_INET};
	const char *colon = strrchr(address, ':');
	char host[64] = "";
	int fd, one = 1;

	if (strncmp(address, "unix@", 5) == 0) {
		if (strlen(address + 5) >= sizeof(un.sun_path))
			die(address);
		strcpy(un.sun_path, address + 5);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
			die(address);
		return fd;
	}
	if (!colon || (size_t)(colon - address) >= sizeof(host))
		die(address);
	memcpy(host, address, (size_t)(colon - address));
	ip.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &ip.sin_addr) != 1)
		die(address);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&ip, sizeof(ip)) < 0)
		die(address);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void peer_open(struct peer *p, const char *address, uint32_t max_frame)
{
	uint8_t hello[512];
	size_t n;

	*p = (struct peer){.fd = connect_to(address), .next = 1, .written = 1};
	p->frames = calloc(PEER_WINDOW, sizeof(*p->frames));
	p->since_ns = calloc(PEER_WINDOW, sizeof(*p->since_ns));
	p->in_cap = IN_SIZE;
	p->in = malloc(p->in_cap);
	if (!p->frames || !p->since_ns || !p->in)
		die("memory");
	spop_client_init(&p->client, max_frame, SPOP_CAP_PIPELINING, false);
	n = spop_client_write_hello(&p->client, hello, sizeof(hello), "bench");
	if (n == 0 || send(p->fd, hello, n, MSG_NOSIGNAL) != (ssize_t)n)
		die("HELLO");
}

void peer_close(struct peer *p)
{
	close(p->fd);
	free(p->frames);
	free(p->since_ns);
	free(p->in);
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	if (v < 240) {
		p[n++] = (uint8_t)v;
		return n;
	}
	p[n++] = (uint8_t)(v | 240);
	for (v = (v - 240) >> 4; v >= 128; v = (v - 128) >> 7)
		p[n++] = (uint8_t)(v | 128);
	p[n++] = (uint8_t)v;
	return n;
}

bool peer_queue(struct peer *p, struct spop_view payload, uint64_t since_ns)
{
	static const uint8_t kind[5] = {SPOP_FRM_T_HAPROXY_NOTIFY, 0, 0, 0, SPOP_FRM_FL_FIN};
	size_t at = p->next % PEER_WINDOW, n = 4;
	struct peer_frame *f = &p->frames[at];
	uint32_t len;

	if (p->since_ns[at])
		return false;
	memcpy(f->head + n, kind, sizeof(kind));
	n += sizeof(kind);
	n += put_varint(f->head + n, p->next);
	n += put_varint(f->head + n, 1);
	len = htonl((uint32_t)(n - 4 + payload.len));
	memcpy(f->head, &len, 4);
	f->head_len = (uint8_t)n;
	f->payload = payload;
	p->since_ns[at] = since_ns;
	p->next++;
	p->in_flight++;
	return true;
}

static void add_part(struct iovec *iov, int *n, const void *bytes, size_t len, size_t *skip)
{
	size_t less = *skip < len ? *skip : len;

	*skip -= less;
	if (len > less)
		iov[(*n)++] = (struct iovec){(uint8_t *)(uintptr_t)bytes + less, len - less};
}

void peer_flush(struct peer *p)
{
	struct iovec iov[2 * PEER_BATCH];

	p->want_write = false;
	while (p->greeted && p->written != p->next) {
		struct msghdr m = {.msg_iov = iov};
		size_t skip = p->written_bytes;
		int parts = 0;
		ssize_t sent;

		for (uint64_t id = p->written; id != p->next && id - p->written < PEER_BATCH;
		     id++) {
			struct peer_frame *f = &p->frames[id % PEER_WINDOW];

			add_part(iov, &parts, f->head, f->head_len, &skip);
			add_part(iov, &parts, f->payload.ptr, f->payload.len, &skip);
		}
		m.msg_iovlen = (size_t)parts;
		sent = sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN) {
			p->want_write = true;
			return;
		}
		if (sent < 0)
			die("write");
		p->written_bytes += (size_t)sent;
		for (;;) {
			struct peer_frame *f = &p->frames[p->written % PEER_WINDOW];

			if (p->written == p->next ||
			    p->written_bytes < f->head_len + f->payload.len)
				break;
			p->written_bytes -= f->head_len + f->payload.len;
			p->written++;
		}
	}
}

static void take_ack(struct peer *p, struct spop_client_input *in, peer_ack_fn *fn, void *arg)
{
	size_t at = in->frame.stream_id % PEER_WINDOW;
	struct spop_action action;
	struct peer_ack ack = {.since_ns = p->since_ns[at]};

	if (!p->since_ns[at] || in->frame.stream_id >= p->next || in->frame.frame_id != 1) {
		fprintf(stderr, "bench-load: an ACK to no NOTIFY\n");
		exit(1);
	}
	p->since_ns[at] = 0;
	p->in_flight--;
	while (spop_actions_next(&in->actions, &action)) {
		if (spop_view_eq(action.name, SPOP_VIEW_LIT("ticket")))
			ack.ticket = action.value.sint;
		else if (spop_view_eq(action.name, SPOP_VIEW_LIT("verdict")))
			ack.routed =
			    spop_view_eq(spop_value_bytes(&action.value), SPOP_VIEW_LIT("routed"));
	}
	fn(arg, p, &ack);
}

void peer_read(struct peer *p, peer_ack_fn *fn, void *arg)
{
	ssize_t got = recv(p->fd, p->in + p->in_len, p->in_cap - p->in_len, MSG_DONTWAIT), n;
	struct spop_client_input in;
	struct spop_fault fault;
	size_t pos = 0;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		die(got == 0 ? "the agent closed a connection" : "read");
	p->in_len += (size_t)got;
	while ((n = spop_client_receive(&p->client, p->in + pos, p->in_len - pos, &in, &fault)) >
	       0) {
		pos += (size_t)n;
		if (in.event == SPOP_CLIENT_EV_HELLO) {
			p->greeted = true;
		} else if (in.event == SPOP_CLIENT_EV_ACK) {
			take_ack(p, &in, fn, arg);
		} else {
			fprintf(stderr, "bench-load: the agent disconnects\n");
			exit(1);
		}
	}
	if (n < 0) {
		fprintf(stderr, "bench-load: bad frame from the agent: %s\n", fault.msg);
		exit(1);
	}
	memmove(p->in, p->in + pos, p->in_len - pos);
	p->in_len -= pos;
}
