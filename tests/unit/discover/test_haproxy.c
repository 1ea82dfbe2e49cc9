/* The poller against a peer that answers as HAProxy should not, and against an old worker. */
#include "discover/haproxy.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "unit/config/conf.h"
#include "unit/discover/turn.h"

#define INFO(pid, stopping)                                                                        \
	"Name: HAProxy\nVersion: 3.0.1\nPid: " #pid "\nUptime_sec: 5\nStopping: " #stopping "\n\n"
#define SERVERS(lines)                                                                             \
	"1\n# be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n" lines \
	"\n"
#define STAT(lines) "# pxname,svname,status,scur,qcur,slim,bck\n" lines "\n"
#define ONE         SERVERS("a s1 10.0.0.1 2 0 1 80\n") STAT("a,s1,UP,0,0,,0\na,BACKEND,UP,0,0,,0\n")

static struct {
	struct event_base *base;
	struct evconnlistener *listener;
	char path[64];
	const char *answer; /* NULL: none, and the connection is held */
	char asked[200];
	struct config *conf;
	struct endpoints *endpoints;
	struct roster *roster;
	struct haproxy *h;
	int polled, changed, restarted, failed;
} t;

static void close_it(struct bufferevent *b, void *arg)
{
	(void)arg;
	if (evbuffer_get_length(bufferevent_get_output(b)) == 0)
		bufferevent_free(b);
}

static void was_read(struct bufferevent *b, void *arg)
{
	size_t n = evbuffer_get_length(bufferevent_get_input(b));

	(void)arg;
	n = bufferevent_read(b, t.asked, n < sizeof(t.asked) - 1 ? n : sizeof(t.asked) - 1);
	t.asked[n] = '\0';
	if (!t.answer)
		return;
	bufferevent_setcb(b, NULL, close_it, NULL, NULL);
	if (t.answer[0])
		bufferevent_write(b, t.answer, strlen(t.answer));
	else
		bufferevent_free(b);
}

static void was_closed(struct bufferevent *b, short what, void *arg)
{
	(void)what;
	(void)arg;
	bufferevent_free(b);
}

static void was_accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int len,
			 void *arg)
{
	struct bufferevent *b = bufferevent_socket_new(t.base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)l;
	(void)a;
	(void)len;
	(void)arg;
	bufferevent_setcb(b, was_read, NULL, was_closed, NULL);
	bufferevent_enable(b, EV_READ | EV_WRITE);
}

static void on_polled(bool changed, bool restarted, void *arg)
{
	(void)arg;
	t.polled++;
	t.changed += changed;
	t.restarted += restarted;
}

static void on_failed(void *arg)
{
	(void)arg;
	t.failed++;
}

static struct haproxy_status status(void)
{
	struct haproxy_status s;

	haproxy_status(t.h, &s);
	return s;
}

/* Two polls with this answer: the second began after the answer was set. */
static void answer(const char *text)
{
	uint64_t polls;

	t.answer = text;
	polls = status().polls;
	TURN_UNTIL(t.base, status().polls >= polls + 2);
}

static int set_up(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct haproxy_hooks hooks = {on_polled, on_failed, NULL};
	char text[300];

	(void)state;
	memset(&t, 0, sizeof(t));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	snprintf(t.path, sizeof(t.path), "/tmp/poll.%ld.sock", (long)getpid());
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", t.path);
	unlink(t.path);
	t.base = event_base_new();
	t.listener = evconnlistener_new_bind(t.base, was_accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 16,
					     (struct sockaddr *)&a, sizeof(a));
	assert_non_null(t.listener);
	snprintf(text, sizeof(text),
		 "haproxy: {socket: %s, poll: 100ms, timeout: 150ms, max_answer: 4k}\n"
		 "pools: {a: {}}\n",
		 t.path);
	t.conf = conf_of(text);
	t.endpoints = endpoints_new(16);
	t.roster = roster_new(t.endpoints, NULL);
	roster_options(t.roster, roster_group(t.roster, ROSTER_HAPROXY, "a", "a"),
		       &t.conf->pools[0], false);
	t.answer = INFO(7, 0) ONE;
	t.h = haproxy_new(t.base, t.roster, t.endpoints, &hooks, t.conf);
	assert_non_null(t.h);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	haproxy_free(t.h);
	roster_free(t.roster);
	endpoints_free(t.endpoints);
	evconnlistener_free(t.listener);
	event_base_free(t.base);
	config_free(t.conf);
	unlink(t.path);
	clock_set_fake(NULL);
	return 0;
}

static const struct {
	const char *what, *text, *error;
} wrong[] = {
    {"hangs", NULL, "timeout"},
    {"closes at once", "", "closed without an answer"},
    {"cut in the middle", INFO(7, 0) "1\n# be_name srv_na", "the answer was cut off"},
    {"cut before the last empty line", INFO(7, 0) SERVERS("") "# pxname,svname\n",
     "the answer was cut off"},
    {"another protocol", "HTTP/1.0 400 Bad request\n\n", "HAProxy says: HTTP/1.0 400"},
    {"too few rights", INFO(7, 0) "Permission denied\n\n" STAT(""), "needs level operator"},
    {"another format", INFO(7, 0) "2\n# new\n\n" STAT(""),
     "the answer is not one of HAProxy's runtime socket"},
    {"a broken line", INFO(7, 0) SERVERS("a s1\n") STAT(""),
     "the answer is not one of HAProxy's runtime socket"},
    {"no pid", "Name: HAProxy\n\n" ONE, "the answer is not one of HAProxy's runtime socket"},
};

/* None of these touches what was known. */
static void test_wrong(void **state)
{
	struct group *g = roster_find(t.roster, ROSTER_HAPROXY, "a");

	(void)state;
	TURN_UNTIL(t.base, status().good);
	assert_string_equal(t.asked, "show info;show servers state;show stat -1 6 -1\n");
	assert_int_equal(t.restarted, 1);
	assert_int_equal(status().pid, 7);
	assert_string_equal(status().version, "3.0.1");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		answer(wrong[i].text);
		TURN_UNTIL(t.base, !status().good);
		if (!strstr(status().error, wrong[i].error))
			fail_msg("%s: \"%s\"", wrong[i].what, status().error);
		assert_int_equal(g->n, 1);
		assert_true(g->members[0]->standing.known);
		answer(INFO(7, 0) ONE);
		TURN_UNTIL(t.base, status().good);
	}
	assert_int_equal(t.changed, 1);
	assert_int_equal(t.restarted, 1);
	assert_true(t.failed >= (int)(sizeof(wrong) / sizeof(wrong[0])));
	/* More than max_answer. */
	{
		char *large = malloc(8000);

		memset(large, 'x', 7999);
		large[7999] = '\0';
		answer(large);
		TURN_UNTIL(t.base, !status().good);
		answer(INFO(7, 0) ONE);
		TURN_UNTIL(t.base, status().good);
		free(large);
	}
	/* The socket is gone. */
	unlink(t.path);
	TURN_UNTIL(t.base, !status().good && strstr(status().error, "No such file"));
	assert_int_equal(g->n, 1);
}

/* An old worker that still answers says what it says of itself alone. */
static void test_stopping(void **state)
{
	struct group *g = roster_find(t.roster, ROSTER_HAPROXY, "a");
	int polled;

	(void)state;
	TURN_UNTIL(t.base, status().good);
	polled = t.polled;
	answer(INFO(7, 1) SERVERS("") STAT(""));
	TURN_UNTIL(t.base, status().ignored > 1);
	polled = t.polled;
	answer(INFO(7, 1) SERVERS("") STAT(""));
	assert_int_equal(t.polled, polled);
	assert_int_equal(g->n, 1);
	assert_true(status().good);
	answer(INFO(8, 0) SERVERS("a s2 10.0.0.2 2 0 1 80\n") STAT("a,BACKEND,UP,0,0,,0\n"));
	TURN_UNTIL(t.base, t.restarted == 2);
	assert_string_equal(g->members[0]->place.name, "s2");
}

/* Silent for longer than HAPROXY_STALE_MS: states are unknown, servers stay. */
static void test_stale(void **state)
{
	struct group *g = roster_find(t.roster, ROSTER_HAPROXY, "a");
	uint64_t fake;
	unsigned flags;

	(void)state;
	t.answer = INFO(7, 0) SERVERS("a s1 10.0.0.1 0 0 1 80\n") STAT("a,s1,DOWN,9,0,3,0\n");
	TURN_UNTIL(t.base, status().good && g->n == 1);
	flags = endpoint_flags(t.endpoints, g->members[0]->place.slot);
	assert_int_equal(flags, ENDPOINT_DOWN | ENDPOINT_FULL);
	answer("");
	TURN_UNTIL(t.base, !status().good);
	assert_false(status().stale);
	assert_int_equal(endpoint_flags(t.endpoints, g->members[0]->place.slot), flags);
	haproxy_free(t.h);
	{
		struct haproxy_hooks hooks = {on_polled, on_failed, NULL};

		fake = clock_mono_ns();
		clock_set_fake(&fake);
		t.h = haproxy_new(t.base, t.roster, t.endpoints, &hooks, t.conf);
	}
	fake += (HAPROXY_STALE_MS - 1) * CLOCK_NS_PER_MS;
	t.failed = 0;
	TURN_UNTIL(t.base, t.failed > 0);
	assert_false(status().stale);
	/* ask() measures its deadline by the same clock, so it moves between two polls. */
	fake += 2 * CLOCK_NS_PER_MS;
	TURN_UNTIL(t.base, status().stale);
	assert_int_equal(endpoint_flags(t.endpoints, g->members[0]->place.slot), 0);
	assert_int_equal(g->n, 1);
	t.answer = INFO(7, 0) SERVERS("a s1 10.0.0.1 0 0 1 80\n") STAT("a,s1,DOWN,9,0,3,0\n");
	TURN_UNTIL(t.base, status().good);
	assert_false(status().stale);
	assert_int_equal(endpoint_flags(t.endpoints, g->members[0]->place.slot), flags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_wrong, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stopping, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stale, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
