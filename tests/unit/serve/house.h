/*
 * A house of workers for tests, with real sockets: HAProxy's side of the protocol is spop/'s own
 * client, the snapshot is made by hand.
 */
#ifndef TESTS_HOUSE_H
#define TESTS_HOUSE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/worker.h"
#include "serve/close.h"
#include "serve/conn.h"
#include "spop/client.h"

#define PATIENCE_MS 60000
#define FRAME_MAX   (1024 * 1024)
/* At most. */
#define HOUSE_WORKERS 4

struct house {
	struct pool pools[2];
	struct pool_endpoint endpoints[4];
	uint32_t slots[4];
	struct snapshot snapshot, *snapshot_ptr;
	struct worker_conf conf, *conf_ptr;
	_Atomic uint32_t cursors[2];
	struct worker_env env;
	struct worker workers[HOUSE_WORKERS];
	unsigned nworkers, dealt;
	int send_buffer; /* of the agent's ends, 0: as usual */
};

static inline void add_pool(struct house *h, unsigned i, char *name, uint32_t first, uint32_t n)
{
	h->pools[i] = (struct pool){
	    .name = name,
	    .backend = name,
	    .stat = i,
	    .policy = policy_find(VIEW_LIT("least-loaded")),
	    .retry_after = 5,
	    .known = true,
	    .n = n,
	    .endpoints = &h->endpoints[first],
	    .slots = &h->slots[first],
	};
}

static inline struct house *build(void)
{
	static char *const servers[4] = {"a1", "a2", "b1", NULL};
	static const struct route_def defs[] = {
	    {.model = {"A", 1}, .base = {"A", 1}, .pool = 0, .stat = 1, .weight = 1},
	    {.model = {"B", 1}, .base = {"B", 1}, .pool = 1, .stat = 2, .weight = 1},
	    {.model = {"alias", 5},
	     .target = {"A", 1},
	     .base = {"A", 1},
	     .pool = 0,
	     .stat = 3,
	     .weight = 1},
	};
	struct house *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->env.endpoints = endpoints_new(16);
	h->env.tickets = tickets_new(h->env.endpoints, HOUSE_WORKERS, 4096, 77);
	for (unsigned i = 0; i < 4; i++) {
		struct sockaddr_in *addr = (void *)&h->endpoints[i].addr;
		int slot = endpoint_alloc(h->env.endpoints);

		assert_true(slot >= 0);
		h->slots[i] = h->endpoints[i].slot = (uint32_t)slot;
		h->endpoints[i].server = servers[i];
		addr->sin_family = AF_INET;
		addr->sin_port = htons((uint16_t)(8000 + i));
		addr->sin_addr.s_addr = htonl(0x0a000001 + i);
	}
	add_pool(h, 0, "llama", 0, 2);
	add_pool(h, 1, "phi4", 3, 1); /* the one without a server name: dst */
	h->snapshot = (struct snapshot){.npools = 2,
					.pools = h->pools,
					.routes = route_table_new(defs, 3),
					.default_pool = -1,
					.ready = true};
	h->conf = (struct worker_conf){
	    .decide.limits = {.max_depth = 512, .cut_margin = 16384},
	    .variables = UINT32_MAX,
	    .max_frame = FRAME_MAX,
	    .max_output = 64 * 1024,
	    .max_partial = 16 * 1024 * 1024,
	    .hello_ns = 5000000000,
	    .frame_ns = 5000000000,
	};
	h->snapshot_ptr = &h->snapshot;
	h->conf_ptr = &h->conf;
	h->env.snapshot = &h->snapshot_ptr;
	h->env.conf = &h->conf_ptr;
	h->env.cursors = h->cursors;
	return h;
}

static inline void start_workers(struct house *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(worker_start(&h->workers[i], i, &h->env, 8), 0);
	h->nworkers = n;
}

static inline void start(struct house *h)
{
	start_workers(h, 1);
}

static inline void demolish(struct house *h)
{
	for (unsigned i = 0; i < h->nworkers; i++)
		worker_stop(&h->workers[i]);
	assert_int_equal(h->env.connections, 0);
	route_table_free(h->snapshot.routes);
	tickets_free(h->env.tickets);
	endpoints_free(h->env.endpoints);
	free(h);
}

/* --- HAProxy's side --- */

struct peer {
	int fd;
	struct spop_client client;
	size_t have, used; /* bytes in buf; those of the frame last handed out */
	uint8_t *buf;
};

static inline struct peer *knock(struct house *h)
{
	struct peer *p = calloc(1, sizeof(*p));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	if (h->send_buffer)
		setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &h->send_buffer, sizeof(int));
	p->fd = fds[0];
	p->buf = malloc(2 * FRAME_MAX);
	spop_client_init(&p->client, FRAME_MAX - 4, SPOP_CAP_PIPELINING, false);
	atomic_fetch_add(&h->env.connections, 1);
	assert_int_equal(worker_give(&h->workers[h->dealt++ % h->nworkers], fds[1], false), 0);
	return p;
}

static inline void leave(struct peer *p)
{
	close(p->fd);
	free(p->buf);
	free(p);
}

static inline void push(struct peer *p, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t sent = send(p->fd, at, n, MSG_NOSIGNAL);

		assert_true(sent > 0);
		at += sent;
		n -= (size_t)sent;
	}
}

/* The next frame; false at the end of the stream. */
static inline bool pull(struct peer *p, struct spop_client_input *in)
{
	struct spop_fault fault;
	struct pollfd ready = {.fd = p->fd, .events = POLLIN};
	ssize_t n;

	memmove(p->buf, p->buf + p->used, p->have - p->used);
	p->have -= p->used;
	p->used = 0;
	for (;;) {
		n = p->have ? spop_client_receive(&p->client, p->buf, p->have, in, &fault) : 0;
		if (n < 0)
			fail_msg("the agent broke the protocol: %s", fault.msg);
		if (n > 0) {
			p->used = (size_t)n;
			return true;
		}
		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		n = recv(p->fd, p->buf + p->have, 2 * FRAME_MAX - p->have, 0);
		if (n <= 0) {
			p->have = 0;
			return false;
		}
		p->have += (size_t)n;
	}
}

static inline void hello(struct peer *p)
{
	struct spop_client_input in;
	uint8_t frame[512];
	size_t n = spop_client_write_hello(&p->client, frame, sizeof(frame), "engine");

	assert_true(n > 0);
	push(p, frame, n);
	assert_true(pull(p, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
	assert_int_equal(in.hello.max_frame_size, FRAME_MAX - 4);
	assert_true(spop_client_pipelining(&p->client));
}

static inline size_t notify(uint8_t *buf, size_t cap, uint64_t id, const char *body, size_t len)
{
	struct spop_notify_builder b;

	spop_notify_begin(&b, buf, cap, id, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), 3);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("surprise"), spop_value_null());
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"), spop_value_bin(spop_view_of(body, len)));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_type"),
			    spop_value_str(SPOP_VIEW_LIT("application/json")));
	return spop_notify_end(&b);
}

static inline void ask(struct peer *p, uint64_t id, const char *body)
{
	uint8_t frame[4096];
	size_t n = notify(frame, sizeof(frame), id, body, strlen(body));

	assert_true(n > 0);
	push(p, frame, n);
}

struct answer {
	uint64_t id;
	char text[512]; /* name=value in the order of the frame, each followed by a blank */
	int64_t ticket;
};

static inline void render(struct answer *a, const struct spop_action *v)
{
	char *at = a->text + strlen(a->text);
	size_t room = sizeof(a->text) - strlen(a->text);
	struct spop_view bytes = spop_value_bytes(&v->value);
	int64_t number;

	assert_int_equal(v->scope, SPOP_SCOPE_TXN);
	if (v->value.type == SPOP_DATA_T_IPV4)
		snprintf(at, room, "%.*s=%u.%u.%u.%u ", (int)v->name.len, (char *)v->name.ptr,
			 v->value.bytes.ptr[0], v->value.bytes.ptr[1], v->value.bytes.ptr[2],
			 v->value.bytes.ptr[3]);
	else if (spop_value_integer(&v->value, &number) != 0)
		snprintf(at, room, "%.*s=%.*s ", (int)v->name.len, (char *)v->name.ptr,
			 (int)bytes.len, (char *)bytes.ptr);
	else if (spop_view_eq(v->name, SPOP_VIEW_LIT("ticket")))
		a->ticket = number;
	else
		snprintf(at, room, "%.*s=%lld ", (int)v->name.len, (char *)v->name.ptr,
			 (long long)number);
}

static inline void hear(struct peer *p, struct answer *a)
{
	struct spop_client_input in;
	struct spop_action v;

	memset(a, 0, sizeof(*a));
	assert_true(pull(p, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_ACK);
	assert_int_equal(in.frame.frame_id, 1);
	a->id = in.frame.stream_id;
	while (spop_actions_next(&in.actions, &v))
		render(a, &v);
}

static inline void expect_goodbye(struct peer *p, uint32_t status)
{
	struct spop_client_input in;

	assert_true(pull(p, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_DISCONNECT);
	assert_int_equal(in.disconnect.status, status);
	assert_false(pull(p, &in));
}

#endif
