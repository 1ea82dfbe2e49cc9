/* net/dns against a name server of the test, over UDP and TCP, that behaves as the name asked for
 * says. */
#include "net/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>

#include "unit/net/peer.h"

#define TYPE_A     1
#define TYPE_CNAME 5
#define TYPE_AAAA  28

struct server {
	int udp;
	uint16_t port;
	struct peer *tcp;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int over_udp, over_tcp;
};

struct message {
	uint8_t data[65535];
	size_t len;
};

static void put16(struct message *m, unsigned v)
{
	m->data[m->len++] = (uint8_t)(v >> 8);
	m->data[m->len++] = (uint8_t)v;
}

static void put_record(struct message *m, unsigned type, unsigned ttl, const void *data, size_t len)
{
	put16(m, 0xc00c); /* the name of the question */
	put16(m, type);
	put16(m, 1);
	put16(m, ttl >> 16);
	put16(m, ttl & 0xffff);
	put16(m, (unsigned)len);
	memcpy(m->data + m->len, data, len);
	m->len += len;
}

static void put_addresses(struct message *m, unsigned type, unsigned ttl, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t a[16] = {10, 1};

		if (type == TYPE_AAAA)
			a[0] = 0xfd;
		a[type == TYPE_AAAA ? 14 : 2] = (uint8_t)(i >> 8);
		a[type == TYPE_AAAA ? 15 : 3] = (uint8_t)i;
		put_record(m, type, ttl, a, type == TYPE_AAAA ? 16 : 4);
	}
}

/* False: no answer at all. */
static bool answer(const uint8_t *question, size_t len, bool tcp, struct message *m)
{
	char name[256] = "";
	size_t at = 12, out = 0;
	unsigned type, rcode = 0, n = 0, ttl = 30;
	bool truncated = false;

	while (at < len && question[at]) {
		memcpy(name + out, question + at + 1, question[at]);
		out += question[at];
		name[out++] = '.';
		at += question[at] + 1u;
	}
	name[out ? out - 1 : 0] = '\0';
	type = (unsigned)(question[at + 1] << 8 | question[at + 2]);
	m->len = 0;
	memcpy(m->data, question, at + 5);
	m->len = at + 5;
	if (strcasecmp(name, "two.test") == 0 || strcasecmp(name, "short.search.test") == 0) {
		n = type == TYPE_A ? 2 : 1;
		ttl = type == TYPE_A ? 30 : 20;
	} else if (strcasecmp(name, "v4.test") == 0) {
		n = type == TYPE_A;
	} else if (strcasecmp(name, "v6.test") == 0) {
		n = type == TYPE_AAAA;
	} else if (strcasecmp(name, "none.test") == 0) {
		n = 0;
	} else if (strcasecmp(name, "drop.test") == 0) {
		return false;
	} else if (strcasecmp(name, "noaaaa.test") == 0) {
		if (type == TYPE_AAAA)
			return false;
		n = 1;
	} else if (strcasecmp(name, "servfail.test") == 0) {
		rcode = 2;
	} else if (strcasecmp(name, "big.test") == 0) {
		truncated = !tcp;
		n = !tcp ? 0 : type == TYPE_A ? 3000 : 2000;
	} else if (strcasecmp(name, "wrongid.test") == 0) {
		m->data[0] ^= 0xff;
		n = 1;
	} else if (strcasecmp(name, "garbage.test") == 0) {
		memset(m->data + 2, 0xff, 100);
		m->len = 102;
		return true;
	} else if (strcasecmp(name, "lies.test") == 0) {
		put_addresses(m, type, 1, 1);
		m->data[6] = 0xff; /* promises 65,281 answers */
		m->data[7] = 0x01;
		m->data[2] = 0x81;
		m->data[3] = 0x80;
		return true;
	} else if (strcasecmp(name, "loop.test") == 0) {
		put_record(m, TYPE_CNAME, 1, "\xc0\x0c", 2);
		m->data[2] = 0x81;
		m->data[3] = 0x80;
		m->data[6] = 0;
		m->data[7] = 1;
		return true;
	} else if (strcasecmp(name, "dup.test") == 0) {
		n = 0;
		if (type == TYPE_A) {
			for (int i = 0; i < 5; i++)
				put_addresses(m, type, 7, 1);
			m->data[2] = 0x81;
			m->data[3] = 0x80;
			m->data[6] = 0;
			m->data[7] = 5;
			return true;
		}
	} else {
		rcode = 3;
	}
	put_addresses(m, type, ttl, n);
	m->data[2] = (uint8_t)(0x81 | (truncated ? 2 : 0));
	m->data[3] = (uint8_t)(0x80 | rcode);
	m->data[6] = (uint8_t)(n >> 8);
	m->data[7] = (uint8_t)n;
	memset(m->data + 8, 0, 4);
	return true;
}

static void *serve_udp(void *arg)
{
	struct server *s = arg;
	static _Thread_local struct message m;
	uint8_t question[1500];

	while (!s->stop) {
		struct pollfd pfd = {.fd = s->udp, .events = POLLIN};
		struct sockaddr_in from;
		socklen_t fromlen = sizeof(from);
		ssize_t n;

		if (poll(&pfd, 1, 20) <= 0)
			continue;
		n = recvfrom(s->udp, question, sizeof(question), 0, (struct sockaddr *)&from,
			     &fromlen);
		if (n < 17)
			continue;
		s->over_udp++;
		if (answer(question, (size_t)n, false, &m))
			sendto(s->udp, m.data, m.len, 0, (struct sockaddr *)&from, fromlen);
	}
	return NULL;
}

static bool read_full(int fd, uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, data, len, 0);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void serve_tcp(struct peer *p, int fd, int nth)
{
	struct server *s = p->arg;
	static _Thread_local struct message m;
	uint8_t head[2], question[1500];

	(void)nth;
	while (read_full(fd, head, 2)) {
		size_t len = (size_t)(head[0] << 8 | head[1]);

		if (len < 17 || len > sizeof(question) || !read_full(fd, question, len))
			return;
		s->over_tcp++;
		if (!answer(question, len, true, &m))
			continue;
		head[0] = (uint8_t)(m.len >> 8);
		head[1] = (uint8_t)m.len;
		if (!peer_send(fd, head, 2) || !peer_send(fd, m.data, m.len))
			return;
	}
}

static struct server *server_start(void)
{
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

	s->tcp = peer_start(serve_tcp, s);
	s->port = s->tcp->port;
	in.sin_port = htons(s->port);
	s->udp = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(s->udp, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve_udp, s), 0);
	return s;
}

static void server_stop(struct server *s)
{
	s->stop = true;
	pthread_join(s->thread, NULL);
	close(s->udp);
	peer_stop(s->tcp);
	free(s);
}

struct outcome {
	struct event_base *base;
	int calls;
	enum dns_error error;
	size_t n, dropped;
	uint32_t ttl_s;
	struct sockaddr_storage *addrs;
	char text[512]; /* the addresses, while they fit */
	struct dns *free_me;
};

static void told(const struct dns_answer *a, void *arg)
{
	struct outcome *o = arg;

	o->calls++;
	assert_non_null(a->detail);
	o->error = a->error;
	o->n = a->n;
	o->dropped = a->dropped;
	o->ttl_s = a->ttl_s;
	o->text[0] = '\0';
	for (size_t i = 0; i < a->n; i++) {
		char one[INET6_ADDRSTRLEN];
		const struct sockaddr_in *in = (const void *)&a->addrs[i];
		const struct sockaddr_in6 *in6 = (const void *)&a->addrs[i];

		if (i)
			assert_true(memcmp(&a->addrs[i - 1], &a->addrs[i], sizeof(a->addrs[i])) <
				    0);
		if (in->sin_family == AF_INET) {
			assert_int_equal(in->sin_port, 0);
			inet_ntop(AF_INET, &in->sin_addr, one, sizeof(one));
		} else {
			assert_int_equal(in6->sin6_port, 0);
			inet_ntop(AF_INET6, &in6->sin6_addr, one, sizeof(one));
		}
		if (strlen(o->text) + strlen(one) + 2 < sizeof(o->text)) {
			strcat(o->text, one);
			strcat(o->text, " ");
		}
	}
	if (o->free_me)
		dns_free(o->free_me);
	event_base_loopbreak(o->base);
}

static struct dns *open_dns(struct event_base *base, const struct server *s, uint32_t timeout_ms)
{
	char where[64];
	const char *servers[] = {where};
	struct dns *d = NULL;

	snprintf(where, sizeof(where), "127.0.0.1:%u", s->port);
	assert_int_equal(dns_new(base, servers, 1, timeout_ms, &d), 0);
	return d;
}

static struct outcome look_up(const struct server *s, const char *host, size_t max,
			      uint32_t timeout_ms)
{
	struct outcome o = {.base = event_base_new()};
	struct dns *d = open_dns(o.base, s, timeout_ms);
	struct dns_query *q = NULL;

	assert_int_equal(dns_lookup(d, host, max, told, &o, &q), 0);
	assert_non_null(q);
	assert_int_equal(o.calls, 0);
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 1);
	assert_int_equal(event_base_get_num_events(o.base, EVENT_BASE_COUNT_ADDED), 0);
	dns_free(d);
	event_base_free(o.base);
	return o;
}

static void test_answers(void **state)
{
	static const struct {
		const char *host;
		enum dns_error error;
		const char *text;
		uint32_t ttl_s;
	} cases[] = {
	    {"two.test", DNS_OK, "10.1.0.0 10.1.0.1 fd01:: ", 20},
	    {"two.test.", DNS_OK, "10.1.0.0 10.1.0.1 fd01:: ", 20},
	    {"TWO.test", DNS_OK, "10.1.0.0 10.1.0.1 fd01:: ", 20},
	    {"v4.test", DNS_OK, "10.1.0.0 ", 30},
	    {"v6.test", DNS_OK, "fd01:: ", 30},
	    {"dup.test", DNS_OK, "10.1.0.0 ", 7},
	    {"short", DNS_OK, "10.1.0.0 10.1.0.1 fd01:: ", 20}, /* short.search.test */
	    {"nx.test", DNS_NOT_FOUND, "", 0},
	    {"none.test", DNS_NOT_FOUND, "", 0},
	    {"127.0.0.1", DNS_OK, "127.0.0.1 ", 0},
	    {"::1", DNS_OK, "::1 ", 0},
	    {"fd00::1:2", DNS_OK, "fd00::1:2 ", 0},
	    {"10.0.0.256", DNS_NOT_FOUND, "", 0},
	    {"", DNS_FAILED, "", 0},
	};
	struct server *s = server_start();

	(void)state;
	setenv("LOCALDOMAIN", "search.test", 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct outcome o = look_up(s, cases[i].host, 100, 10000);

		if (o.error != cases[i].error || strcmp(o.text, cases[i].text) != 0 ||
		    o.ttl_s != cases[i].ttl_s)
			fail_msg("%s: error %d, %s ttl %u", cases[i].host, o.error, o.text,
				 o.ttl_s);
	}
	unsetenv("LOCALDOMAIN");
	server_stop(s);
}

/* An address that the scope names, and one whose scope does not exist. */
static void test_scope(void **state)
{
	struct server *s = server_start();
	struct outcome o = look_up(s, "fe80::1%lo", 10, 2000);

	(void)state;
	assert_int_equal(o.error, DNS_OK);
	assert_string_equal(o.text, "fe80::1 ");
	o = look_up(s, "fe80::1%nosuchif", 10, 2000);
	assert_int_not_equal(o.error, DNS_OK);
	server_stop(s);
}

static void test_localhost_asks_nobody(void **state)
{
	static const char *const names[] = {"localhost", "LocalHost", "localhost.",
					    "api.localhost"};
	struct server *s = server_start();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome o = look_up(s, names[i], 10, 5000);

		assert_int_equal(o.error, DNS_OK);
		assert_non_null(strstr(o.text, "1 "));
		assert_true(strstr(o.text, "127.0.0.1 ") || strstr(o.text, "::1 "));
	}
	assert_int_equal(s->over_udp, 0);
	server_stop(s);
}

static void test_truncated_goes_over_tcp(void **state)
{
	struct server *s = server_start();
	struct outcome o = look_up(s, "big.test", 10000, 20000);

	(void)state;
	assert_int_equal(o.error, DNS_OK);
	assert_int_equal(o.n, 5000);
	assert_int_equal(o.dropped, 0);
	assert_int_equal(s->over_tcp, 2);
	/* The same first ones each time: the limit does not make members come and go. */
	o = look_up(s, "big.test", 1024, 20000);
	assert_int_equal(o.n, 1024);
	assert_int_equal(o.dropped, 3976);
	assert_memory_equal(o.text, "10.1.0.0 10.1.0.1 10.1.0.2 ", 27);
	server_stop(s);
}

static void test_silence(void **state)
{
	struct server *s = server_start();
	struct outcome o = look_up(s, "drop.test", 10, 300);

	(void)state;
	assert_int_equal(o.error, DNS_TIMEOUT);
	assert_true(s->over_udp >= 4); /* both families were tried again */
	o = look_up(s, "wrongid.test", 10, 300);
	assert_int_equal(o.error, DNS_TIMEOUT);
	/* AAAA never answered: the A is what there is, within the deadline. */
	o = look_up(s, "noaaaa.test", 10, 1000);
	assert_int_equal(o.error, DNS_OK);
	assert_string_equal(o.text, "10.1.0.0 ");
	server_stop(s);
}

static void test_lies(void **state)
{
	static const char *const names[] = {"servfail.test", "garbage.test", "lies.test",
					    "loop.test"};
	struct server *s = server_start();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome o = look_up(s, names[i], 10, 500);

		if (o.error == DNS_OK || o.n)
			fail_msg("%s: %zu addresses", names[i], o.n);
	}
	server_stop(s);
}

static void test_nobody_there(void **state)
{
	struct server s = {0};
	struct outcome o;
	int fd = peer_bind(&s.port); /* TCP only: UDP to this port is refused */

	(void)state;
	o = look_up(&s, "two.test", 10, 500);
	assert_int_not_equal(o.error, DNS_OK);
	close(fd);
}

static void test_servers(void **state)
{
	static const char *const good[] = {"127.0.0.1", "127.0.0.1:5353", "[::1]:5353", "::1",
					   "[::1]"};
	static const char *const bad[] = {"",
					  "dns.example",
					  "127.0.0.1:",
					  "127.0.0.1:x",
					  "127.0.0.1:0",
					  "127.0.0.1:65536",
					  "[::1",
					  "127.0.0.1:53 ",
					  "127.0.0.1,8.8.8.8"};
	struct event_base *base = event_base_new();
	struct dns *d;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (dns_new(base, &good[i], 1, 1000, &d) != 0)
			fail_msg("refused: %s", good[i]);
		dns_free(d);
	}
	assert_int_equal(dns_new(base, good, 5, 1000, &d), 0);
	dns_free(d);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (dns_new(base, &bad[i], 1, 1000, &d) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(dns_new(base, NULL, 0, 1000, &d), 0);
	dns_free(d);
	assert_null(dns_free(NULL));
	event_base_free(base);
}

static void test_cancel_and_free(void **state)
{
	struct server *s = server_start();
	struct outcome never = {.base = event_base_new()}, o = {.base = never.base};
	struct dns *d = open_dns(never.base, s, 5000);
	struct dns_query *q;

	(void)state;
	/* At once; an answer that is known already; under way. */
	assert_int_equal(dns_lookup(d, "two.test", 10, told, &never, &q), 0);
	dns_cancel(q);
	assert_int_equal(dns_lookup(d, "127.0.0.1", 10, told, &never, &q), 0);
	dns_cancel(q);
	assert_int_equal(dns_lookup(d, "drop.test", 10, told, &never, &q), 0);
	for (int i = 0; i < 3; i++) {
		event_base_loop(never.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	dns_cancel(q);
	/* Freed in a callback, others under way and waiting to be told. */
	assert_int_equal(dns_lookup(d, "drop.test", 10, told, &never, NULL), 0);
	assert_int_equal(dns_lookup(d, "two.test", 10, told, &o, NULL), 0);
	o.free_me = d;
	event_base_dispatch(never.base);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.error, DNS_OK);
	event_base_loop(never.base, EVLOOP_NONBLOCK);
	assert_int_equal(event_base_get_num_events(never.base, EVENT_BASE_COUNT_ADDED), 0);
	/* Freed from outside. */
	d = open_dns(never.base, s, 5000);
	assert_int_equal(dns_lookup(d, "drop.test", 10, told, &never, NULL), 0);
	assert_int_equal(dns_lookup(d, "::1", 10, told, &never, NULL), 0);
	event_base_loop(never.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	never.calls = 0;
	dns_free(d);
	event_base_loop(never.base, EVLOOP_NONBLOCK);
	assert_int_equal(never.calls, 0);
	event_base_free(never.base);
	server_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_scope),
	    cmocka_unit_test(test_localhost_asks_nobody),
	    cmocka_unit_test(test_truncated_goes_over_tcp),
	    cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_lies),
	    cmocka_unit_test(test_nobody_there),
	    cmocka_unit_test(test_servers),
	    cmocka_unit_test(test_cancel_and_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
