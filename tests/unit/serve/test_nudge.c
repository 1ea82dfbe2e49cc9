/*
 * A ring's forwarder that hangs, found in what HAProxy 3.0.11 really answers, and ended over a
 * runtime socket.
 */
#include "serve/nudge.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "house.h"

static const char brief[] =
    "0x7efe61655c00: proto=? ts=00 epoch=0 age=10s calls=4 rate=0 cpu=0 lat=0 "
    "rq[f=848000h,i=0,an=00h,ax=] rp[f=80008000h,i=0,an=00h,ax=] scf=[8,20040h,fd=-1,rex=,wex=] "
    "scb=[8,4004bh,fd=15,rex=,wex=] exp= rc=0 c_exp=\n"
    "0x7efe6165c000: proto=? ts=00 epoch=0 age=6s calls=1 rate=0 cpu=0 lat=0 "
    "rq[f=848101h,i=0,an=00h,ax=] rp[f=80048101h,i=0,an=00h,ax=] "
    "scf=[8,40h,fd=-1,rex=59m54s,wex=] scb=[8,1h,fd=39,rex=59m54s,wex=] exp=59m54s rc=0 c_exp=\n"
    "0x7efe60995c00: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 "
    "age=0s calls=1 rate=0 cpu=0 lat=0 rq[f=848000h,i=0,an=00h,ax=] "
    "rp[f=80008000h,i=0,an=00h,ax=] scf=[8,0h,fd=14,rex=30s,wex=] scb=[8,1h,fd=-1,rex=,wex=] "
    "exp=30s rc=0 c_exp=\n\n";

static const char whole[] =
    "0x7efe61655c00: [22/Nov/2026:18:34:09.906847] id=0 proto=?\n"
    "  flags=0x42, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x7f151b066000, "
    "pend_pos=(nil) waiting=0 epoch=0\n"
    "  frontend=inference-feedback (id=8 mode=tcp), listener=? (id=0)\n"
    "  backend=inference-feedback (id=8 mode=tcp) addr=127.0.0.1:44750\n"
    "  server=agent (id=1) addr=127.0.0.1:9014\n"
    "  scf=0x7f1519c856c0 flags=0x00020040 ioto=0s state=EST endp=APPCTX,0x7f151b19d280,0x50100402 "
    "sub=0 rex=<NEVER> wex=<NEVER> rto=? wto=<NEVER>\n"
    "      app0=0x7f151b19d280 st0=0 st1=0 applet=<SINKFWDOC> tid=0 nice=0 calls=1673 rate=0\n"
    "\n\n"
    "0x7efe61655d00: [22/Nov/2026:18:34:09.906847] id=0 proto=?\n"
    "  frontend=other (id=9 mode=tcp), listener=? (id=0)\n"
    "  backend=other (id=9 mode=tcp) addr=127.0.0.1:9014\n"
    "  server=syslog (id=1) addr=127.0.0.1:514\n"
    "      app0=0x7f151b19d280 st0=0 st1=0 applet=<SINKFWD> tid=0 nice=0 calls=1673 rate=0\n"
    "0x7efe61655e00: [22/Nov/2026:18:34:14.588067] id=1818 proto=?\n"
    "  backend=inference-agent (id=5 mode=tcp) addr=unix\n"
    "  server=agent (id=1) addr=127.0.0.1:9014\n"
    "      app0=0x7f151b19e180 st0=2 st1=0 applet=<SPOE> tid=0 nice=0 calls=97 rate=0\n";

static void test_versions(void **state)
{
	(void)state;
	assert_true(nudge_affected("3.0.11-1+deb13u4"));
	assert_true(nudge_affected("2.9.6") && nudge_affected("3.1"));
	assert_false(nudge_affected("3.2.4") || nudge_affected("2.6.12") || nudge_affected(""));
	assert_false(nudge_affected("3.4.7") || nudge_affected("3.10.1"));
}

static void test_suspects(void **state)
{
	char ids[NUDGE_IDS][NUDGE_ID_MAX];

	(void)state;
	assert_int_equal(nudge_suspects(view_str(brief), ids, NUDGE_IDS), 1);
	assert_string_equal(ids[0], "0x7efe61655c00");
	assert_int_equal(nudge_suspects(view_str(brief), ids, 0), 0);
	assert_int_equal(nudge_suspects(VIEW_LIT("\n"), ids, NUDGE_IDS), 0);
	assert_int_equal(nudge_suspects(VIEW_LIT("0x: proto=?  exp= \n"), ids, NUDGE_IDS), 0);
	assert_int_equal(nudge_suspects(VIEW_LIT("0x1;quit: proto=? exp= \n"), ids, NUDGE_IDS), 0);
	assert_int_equal(nudge_suspects(VIEW_LIT("0x0123456789abcdef0123456789: proto=? exp= \n"),
					ids, NUDGE_IDS),
			 0);
}

static void test_forwarders(void **state)
{
	const uint16_t ours[] = {9013, 9014}, others[] = {901, 44750, 9};
	char ids[NUDGE_IDS][NUDGE_ID_MAX];

	(void)state;
	assert_int_equal(nudge_forwarders(view_str(whole), ours, 2, ids, NUDGE_IDS), 1);
	assert_string_equal(ids[0], "0x7efe61655c00");
	assert_int_equal(nudge_forwarders(view_str(whole), others, 3, ids, NUDGE_IDS), 0);
	assert_int_equal(nudge_forwarders(view_str(whole), ours, 0, ids, NUDGE_IDS), 0);
	/* Cut anywhere, nothing else is ever named. */
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *cut = malloc(len + 1);
		size_t n;

		memcpy(cut, whole, len);
		n = nudge_forwarders((struct view){cut, len}, ours, 2, ids, NUDGE_IDS);
		assert_true(n == 0 || (n == 1 && strcmp(ids[0], "0x7efe61655c00") == 0));
		nudge_suspects((struct view){cut, len}, ids, NUDGE_IDS);
		free(cut);
	}
}

/* --- over a socket --- */

struct runtime {
	struct event_base *base;
	int fd;
	char seen[1024];
};

static void answer_it(evutil_socket_t peer, short what, void *arg)
{
	struct runtime *r = arg;
	char buf[512];
	ssize_t n = read(peer, buf, sizeof(buf) - 1);
	const char *answer = "\n";

	(void)what;
	assert_true(n > 0);
	buf[n] = '\0';
	strncat(r->seen, buf, sizeof(r->seen) - strlen(r->seen) - 1);
	if (strcmp(buf, "show sess\n") == 0)
		answer = brief;
	else if (strncmp(buf, "show sess 0x", 12) == 0)
		answer = whole;
	assert_int_equal(write(peer, answer, strlen(answer)), strlen(answer));
	close(peer);
}

static void take(evutil_socket_t fd, short what, void *arg)
{
	struct runtime *r = arg;
	int peer = accept(fd, NULL, NULL);

	(void)what;
	assert_true(peer >= 0);
	event_base_once(r->base, peer, EV_READ, answer_it, r, NULL);
}

static void test_wakes_it(void **state)
{
	static const uint16_t ports[] = {9014};
	char folder[] = "/tmp/test_nudge.XXXXXX", path[64];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct runtime runtime = {.base = event_base_new(), .fd = socket(AF_UNIX, SOCK_STREAM, 0)};
	struct event_base *base = runtime.base;
	const struct nudge_env env = {.base = base, .ports = ports, .nports = 1};
	struct config conf = {0};
	struct nudge *n = nudge_new(&env);
	struct event *ev;
	uint64_t now = clock_mono_ns();

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/admin.sock", folder);
	memcpy(addr.sun_path, path, sizeof(path));
	assert_int_equal(bind(runtime.fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(runtime.fd, 8), 0);
	ev = event_new(base, runtime.fd, EV_READ | EV_PERSIST, take, &runtime);
	event_add(ev, NULL);
	conf.haproxy.socket = path;
	conf.haproxy.timeout_ms = 5000;
	conf.haproxy.max_answer = 65536;

	/* Not affected, not missing, and not at once. */
	for (unsigned s = 0; s < 20; s++)
		nudge_tick(n, &conf, "3.2.1", true, now + s * CLOCK_NS_PER_S);
	nudge_tick(n, &conf, "3.0.11", true, now);
	nudge_tick(n, &conf, "3.0.11", true, now + 2 * CLOCK_NS_PER_S);
	nudge_tick(n, &conf, "3.0.11", false, now + 3 * CLOCK_NS_PER_S);
	nudge_tick(n, &conf, "3.0.11", true, now + 4 * CLOCK_NS_PER_S);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_string_equal(runtime.seen, "");

	nudge_tick(n, &conf, "3.0.11", true, now + 8 * CLOCK_NS_PER_S);
	for (unsigned i = 0; i < 1000 && nudge_count(n) == 0; i++)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(nudge_count(n), 1);
	assert_string_equal(runtime.seen, "show sess\nshow sess 0x7efe61655c00\n"
					  "shutdown session 0x7efe61655c00\n");
	/* It is given time to come back. */
	nudge_tick(n, &conf, "3.0.11", true, now + 5 * CLOCK_NS_PER_S);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(nudge_count(n), 1);

	/* Freed in the middle of a question. */
	nudge_tick(n, &conf, "3.0.11", true, now + 600 * CLOCK_NS_PER_S);
	nudge_free(n);
	event_free(ev);
	event_base_free(base);
	close(runtime.fd);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_versions),
	    cmocka_unit_test(test_suspects),
	    cmocka_unit_test(test_forwarders),
	    cmocka_unit_test(test_wakes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
