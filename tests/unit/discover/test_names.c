/* Names and DNS pools against a name server that changes its mind. */
#include "discover/names.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "discover/listed.h"
#include "net/dns.h"
#include "unit/config/conf.h"
#include "unit/discover/turn.h"

static struct {
	struct event_base *base;
	struct event *readable;
	int fd;
	/* What it answers: rcode, and the last bytes of 10.0.0.x, and of 2001:db8::x. */
	int rcode, ttl;
	const char *four, *six;
	bool silent;
	int asked;
	struct dns *dns;
	struct config *conf;
	struct names *names;
	struct endpoints *endpoints;
	struct roster *roster;
	struct listed *listed;
	int changed;
} t;

static size_t put_record(uint8_t *at, int type, int last)
{
	size_t len = type == 1 ? 4 : 16;

	memcpy(at, "\xc0\x0c\0\0\0\1\0\0\0\0\0", 11);
	at[3] = (uint8_t)type;
	at[9] = (uint8_t)t.ttl;
	at[11] = (uint8_t)len;
	memset(at + 12, 0, len);
	memcpy(at + 12, type == 1 ? "\x0a\0\0" : "\x20\x01\x0d\xb8", type == 1 ? 3 : 4);
	at[12 + len - 1] = (uint8_t)last;
	return 12 + len;
}

static void serve(evutil_socket_t fd, short what, void *arg)
{
	uint8_t m[1500] = {0};
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t len = recvfrom(fd, m, 512, 0, (struct sockaddr *)&from, &from_len);
	size_t at = 12;
	const char *addrs;
	int type;

	(void)what;
	(void)arg;
	if (len < 17)
		return;
	t.asked++;
	if (t.silent)
		return;
	while (at < (size_t)len && m[at])
		at += (size_t)m[at] + 1;
	type = m[at + 2];
	at += 5;
	m[2] = 0x84;
	m[3] = (uint8_t)(0x80 | t.rcode);
	memset(m + 6, 0, 6);
	addrs = t.rcode ? "" : type == 1 ? t.four : type == 28 ? t.six : "";
	for (; *addrs; addrs++) {
		at += put_record(m + at, type, *addrs - '0');
		m[7]++;
	}
	sendto(fd, m, at, 0, (struct sockaddr *)&from, from_len);
}

static void on_changed(void *arg)
{
	(void)arg;
	t.changed++;
	listed_refresh(t.listed);
}

static void on_settled(void *arg)
{
	(void)arg;
	listed_refresh(t.listed);
}

static int set_up(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct names_hooks hooks = {on_changed, on_settled, NULL};
	socklen_t len = sizeof(a);
	const char *servers[1];
	char where[40];

	(void)state;
	memset(&t, 0, sizeof(t));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	t.four = t.six = "";
	t.base = event_base_new();
	t.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(t.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(t.fd, (struct sockaddr *)&a, &len), 0);
	t.readable = event_new(t.base, t.fd, EV_READ | EV_PERSIST, serve, NULL);
	event_add(t.readable, NULL);
	snprintf(where, sizeof(where), "127.0.0.1:%d", ntohs(a.sin_port));
	servers[0] = where;
	assert_int_equal(dns_new(t.base, servers, 1, 300, &t.dns), 0);
	t.names = names_new(t.base, t.dns, &hooks);
	t.endpoints = endpoints_new(32);
	t.roster = roster_new(t.endpoints, NULL);
	t.listed = listed_new(t.roster, t.names);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	listed_free(t.listed);
	names_free(t.names);
	roster_free(t.roster);
	endpoints_free(t.endpoints);
	dns_free(t.dns);
	event_free(t.readable);
	close(t.fd);
	event_base_free(t.base);
	config_free(t.conf);
	return 0;
}

static struct group *configure(const char *pools, enum roster_source source)
{
	struct group *g;
	char text[500];

	snprintf(text, sizeof(text), "dns: {min_ttl: 100ms, max_ttl: 200ms}\npools: %s\n", pools);
	t.conf = conf_of(text);
	g = roster_group(t.roster, source, "a", "a");
	assert_non_null(g);
	roster_options(t.roster, g, &t.conf->pools[0], false);
	names_options(t.names, t.conf);
	assert_int_equal(listed_configure(t.listed, t.conf), 0);
	return g;
}

static struct name_view view(void)
{
	struct name_view v;

	name_view(names_next(t.names, NULL), &v);
	return v;
}

static bool has(const struct group *g, const char *name)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcmp(g->members[i]->place.name, name) == 0)
			return true;
	return false;
}

static void test_pool(void **state)
{
	struct group *g;
	uint32_t slot;
	int asked;

	(void)state;
	t.silent = true;
	g = configure("{a: {dns: 'models.test:8000,8001'}}", ROSTER_DNS);
	assert_int_equal(names_pending(t.names), 1);
	assert_false(g->known);
	TURN_UNTIL(t.base, view().ended);
	assert_int_equal(names_pending(t.names), 0);
	assert_false(view().answered);
	assert_false(g->known);

	/* Both families, each address with each port. */
	t.silent = false;
	t.four = "12";
	t.six = "3";
	TURN_UNTIL(t.base, g->n == 6);
	assert_true(g->known);
	assert_true(has(g, "10.0.0.1:8000") && has(g, "10.0.0.1:8001"));
	assert_true(has(g, "10.0.0.2:8000") && has(g, "[2001:db8::3]:8001"));
	slot = g->members[0]->place.slot;
	assert_null(g->members[0]->place.server);
	assert_string_equal(g->members[0]->place.url, "http://10.0.0.1:8000");
	assert_string_equal(g->members[5]->place.url, "http://[2001:db8::3]:8001");

	/* The order of an answer is no news, and each name is asked again and again. */
	t.four = "21";
	t.changed = 0;
	asked = t.asked;
	TURN_UNTIL(t.base, t.asked > asked + 6);
	assert_int_equal(t.changed, 0);

	/* No such name, an empty answer, a failure, silence: the last good answer stays. */
	t.rcode = 3;
	TURN_UNTIL(t.base, view().failures > 1);
	assert_true(view().refused);
	assert_non_null(view().error);
	assert_int_equal(g->n, 6);
	t.rcode = 0;
	t.four = t.six = "";
	TURN_UNTIL(t.base, view().failures > 3);
	t.rcode = 2;
	TURN_UNTIL(t.base, view().failures > 4);
	t.silent = true;
	TURN_UNTIL(t.base, view().failures > 5);
	assert_int_equal(g->n, 6);
	assert_int_equal(g->members[0]->place.slot, slot);

	t.silent = false;
	t.rcode = 0;
	t.four = "1";
	TURN_UNTIL(t.base, g->n == 2);
	assert_int_equal(view().failures, 0);
	assert_int_equal(g->members[0]->place.slot, slot);
}

/* One listed endpoint is one server, and it keeps the address it has while that is still told. */
static void test_listed(void **state)
{
	struct group *g;
	struct place *p;
	uint32_t slot;

	(void)state;
	t.four = "5";
	t.rcode = 3;
	g = configure(
	    "{a: {endpoints: ['https://one.test:443', {address: 'two.test:80', server: s2},"
	    " '10.9.9.9:81']}}",
	    ROSTER_LISTED);
	/* Not resolved: there by its HAProxy name, or not yet. */
	TURN_UNTIL(t.base, names_pending(t.names) == 0);
	assert_int_equal(g->n, 2);
	assert_true(has(g, "s2") && has(g, "10.9.9.9:81"));
	assert_null(g->members[0]->place.url);
	slot = g->members[0]->place.slot;
	t.rcode = 0;
	TURN_UNTIL(t.base, g->n == 3 && g->members[1]->place.url);
	p = &g->members[0]->place;
	assert_string_equal(p->name, "one.test:443");
	assert_string_equal(p->url, "https://one.test:443");
	assert_string_equal(p->connect_to, "10.0.0.5");
	assert_int_equal(g->members[1]->place.slot, slot);
	assert_string_equal(g->members[1]->place.url, "http://two.test:80");
	slot = p->slot;
	t.four = "45";
	t.changed = 0;
	TURN_UNTIL(t.base, t.changed >= 2);
	assert_int_equal(g->members[0]->place.slot, slot);
	assert_string_equal(g->members[0]->place.connect_to, "10.0.0.5");
	t.four = "46";
	TURN_UNTIL(t.base, strcmp(g->members[0]->place.connect_to, "10.0.0.4") == 0);
	assert_int_not_equal(g->members[0]->place.slot, slot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_pool, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_listed, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
