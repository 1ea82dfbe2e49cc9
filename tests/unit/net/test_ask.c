/* net/ask against servers of the test: what is asked and answered, and every way it can fail. */
#include "net/ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "unit/net/peer.h"

struct outcome {
	struct event_base *base;
	int calls;
	enum ask_error error;
	int err;
	char *text;
	size_t len;
	struct ask *cancel; /* to be cancelled from the callback */
};

static void told(const struct ask_answer *answer, void *arg)
{
	struct outcome *o = arg;

	o->calls++;
	o->error = answer->error;
	o->err = answer->err;
	o->len = answer->text.len;
	o->text = view_dup(answer->text);
	ask_cancel(o->cancel);
	event_base_loopbreak(o->base);
}

static struct outcome run(const char *where, struct view question, uint32_t timeout_ms,
			  uint64_t max)
{
	struct outcome o = {.base = event_base_new()};
	struct ask *a = NULL;

	assert_int_equal(ask(o.base, where, question, timeout_ms, max, told, &o, &a), 0);
	assert_non_null(a);
	assert_int_equal(o.calls, 0);
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 1);
	/* Nothing is left in the loop. */
	assert_int_equal(event_base_get_num_events(o.base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o.base);
	return o;
}

static struct outcome run_port(uint16_t port, const char *question, uint32_t timeout_ms,
			       uint64_t max)
{
	char where[64];

	snprintf(where, sizeof(where), "127.0.0.1:%u", port);
	return run(where, view_str(question), timeout_ms, max);
}

/* Echoes lines up to the first '\n', in pieces, then ends like HAProxy's runtime socket. */
static void echo(struct peer *p, int fd, int nth)
{
	char byte;

	(void)p;
	(void)nth;
	while (recv(fd, &byte, 1, 0) == 1) {
		if (byte == '\n') {
			peer_say(fd, "\n");
			return;
		}
		if (!peer_send(fd, &byte, 1))
			return;
	}
}

static void endless(struct peer *p, int fd, int nth)
{
	char block[4096];

	(void)nth;
	memset(block, 'x', sizeof(block));
	while (!p->stop && peer_send(fd, block, sizeof(block)))
		;
}

static void drip(struct peer *p, int fd, int nth)
{
	(void)nth;
	while (!p->stop && peer_say(fd, "."))
		usleep(5000);
}

/* Says no before it has read the question, and is gone. */
static void refuse_unread(struct peer *p, int fd, int nth)
{
	(void)p;
	(void)nth;
	peer_say(fd, "too long\n");
}

static void reset(struct peer *p, int fd, int nth)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	char byte;

	(void)p;
	(void)nth;
	recv(fd, &byte, 1, 0);
	peer_say(fd, "half an ans");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	/* Closing with unread input resets the connection; shutdown() alone would end it in order.
	 */
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	(void)!connect(fd, &none, sizeof(none));
}

/* Reads nothing for a while, then everything: the question must wait in pieces. */
static void count_slowly(struct peer *p, int fd, int nth)
{
	char block[65536], text[64];
	size_t len = 0;
	ssize_t n;

	(void)p;
	(void)nth;
	usleep(50000);
	while ((n = recv(fd, block, sizeof(block), 0)) > 0) {
		len += (size_t)n;
		if (block[n - 1] == '\n')
			break;
	}
	snprintf(text, sizeof(text), "%zu", len);
	peer_say(fd, text);
}

static void test_tcp(void **state)
{
	struct peer *p = peer_start(echo, NULL);
	struct outcome o = run_port(p->port, "show servers state;show stat\n", 5000, 1 << 20);
	char where[64];

	(void)state;
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "show servers state;show stat\n");
	free(o.text);
	/* localhost: whichever family has it; here ::1 does not. */
	snprintf(where, sizeof(where), "localhost:%u", p->port);
	o = run(where, VIEW_LIT("x\n"), 5000, 100);
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "x\n");
	free(o.text);
	peer_stop(p);
}

static void test_unix(void **state)
{
	char dir[] = "/tmp/test_ask.XXXXXX", path[64], prefixed[80];
	struct peer *p;
	struct outcome o;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(prefixed, sizeof(prefixed), "unix@%s", path);
	o = run(path, VIEW_LIT("a\n"), 5000, 100);
	assert_int_equal(o.error, ASK_CONNECT);
	assert_int_equal(o.err, ENOENT);
	free(o.text);
	p = peer_start_unix(path, echo, NULL);
	o = run(path, VIEW_LIT("abc\n"), 5000, 100);
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "abc\n");
	free(o.text);
	o = run(prefixed, VIEW_LIT("def\n"), 5000, 100);
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "def\n");
	free(o.text);
	peer_stop(p);
	o = run(path, VIEW_LIT("a\n"), 5000, 100);
	assert_int_equal(o.error, ASK_CONNECT);
	assert_int_equal(o.err, ECONNREFUSED);
	free(o.text);
	unlink(path);
	rmdir(dir);
}

struct late {
	int fd;
};

static void *accept_late(void *arg)
{
	struct late *l = arg;

	usleep(100000);
	for (int i = 0; i < 2; i++) {
		int fd = accept(l->fd, NULL, NULL);
		char block[64];

		if (i == 1 && recv(fd, block, sizeof(block), 0) > 0)
			peer_say(fd, "late but right");
		close(fd);
	}
	return NULL;
}

/* A unix socket whose backlog is full answers EAGAIN: wait, then get through. */
static void test_unix_backlog_full(void **state)
{
	char dir[] = "/tmp/test_ask.XXXXXX";
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct late late;
	pthread_t thread;
	struct outcome o;
	int filler;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
	late.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(late.fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(late.fd, 0), 0);
	filler = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof(un)), 0);
	/* It is really full. */
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(probe, (struct sockaddr *)&un, sizeof(un)), -1);
	assert_int_equal(errno, EAGAIN);
	close(probe);
	/* Full to the end: the deadline holds. */
	o = run(un.sun_path, VIEW_LIT("a\n"), 60, 100);
	assert_int_equal(o.error, ASK_TIMEOUT);
	free(o.text);
	pthread_create(&thread, NULL, accept_late, &late);
	o = run(un.sun_path, VIEW_LIT("a\n"), 20000, 100);
	pthread_join(thread, NULL);
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "late but right");
	free(o.text);
	close(filler);
	close(late.fd);
	unlink(un.sun_path);
	rmdir(dir);
}

static void test_refused(void **state)
{
	uint16_t port;
	int fd = peer_bind(&port); /* bound, never listening */
	struct outcome o = run_port(port, "a\n", 5000, 100);

	(void)state;
	assert_int_equal(o.error, ASK_CONNECT);
	assert_int_equal(o.err, ECONNREFUSED);
	free(o.text);
	close(fd);
}

static void test_hang(void **state)
{
	struct peer *p = peer_start(peer_mute, NULL);
	struct outcome o = run_port(p->port, "a\n", 100, 100);

	(void)state;
	assert_int_equal(o.error, ASK_TIMEOUT);
	free(o.text);
	peer_stop(p);
}

static void test_drip_past_deadline(void **state)
{
	struct peer *p = peer_start(drip, NULL);
	struct outcome o = run_port(p->port, "a\n", 150, 1 << 20);

	(void)state;
	assert_int_equal(o.error, ASK_TIMEOUT);
	free(o.text);
	peer_stop(p);
}

static void test_too_large(void **state)
{
	struct peer *p = peer_start(endless, NULL);
	struct outcome o = run_port(p->port, "a\n", 5000, 100000);

	(void)state;
	assert_int_equal(o.error, ASK_TOO_LARGE);
	assert_int_equal(o.len, 100000);
	free(o.text);
	peer_stop(p);
}

/* The limit itself still fits, at sizes around the buffer's growth. */
static void test_limit_exact(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 100, 16383, 16384, 16385, 40000};
	struct peer *p = peer_start(echo, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *question = malloc(sizes[i] + 2);
		struct outcome o;

		memset(question, 'q', sizes[i]);
		question[sizes[i]] = '\n';
		question[sizes[i] + 1] = '\0';
		o = run_port(p->port, question, 20000, sizes[i] + 1);
		assert_int_equal(o.error, ASK_OK);
		assert_int_equal(o.len, sizes[i] + 1);
		assert_memory_equal(o.text, question, o.len);
		free(o.text);
		o = run_port(p->port, question, 20000, sizes[i]);
		assert_int_equal(o.error, ASK_TOO_LARGE);
		free(o.text);
		free(question);
	}
	peer_stop(p);
}

static void test_long_question_in_pieces(void **state)
{
	size_t len = 8 << 20;
	struct peer *p = peer_start(count_slowly, NULL);
	char *question = malloc(len + 1);
	struct outcome o;

	(void)state;
	memset(question, 'q', len);
	question[len - 1] = '\n';
	question[len] = '\0';
	o = run_port(p->port, question, 30000, 100);
	assert_int_equal(o.error, ASK_OK);
	assert_string_equal(o.text, "8388608");
	free(o.text);
	free(question);
	peer_stop(p);
}

/* An answer to a question that was not read to its end is no answer. */
static void test_refused_unread(void **state)
{
	size_t len = 8 << 20;
	struct peer *p = peer_start(refuse_unread, NULL);
	char *question = malloc(len + 1);
	struct outcome o;

	(void)state;
	memset(question, 'q', len);
	question[len] = '\0';
	o = run_port(p->port, question, 10000, 100);
	assert_int_equal(o.error, ASK_BROKEN);
	assert_true(o.err != 0);
	free(o.text);
	free(question);
	peer_stop(p);
}

static void test_reset(void **state)
{
	struct peer *p = peer_start(reset, NULL);
	struct outcome o = run_port(p->port, "a\n", 5000, 100);

	(void)state;
	assert_int_equal(o.error, ASK_BROKEN);
	assert_int_equal(o.err, ECONNRESET);
	free(o.text);
	peer_stop(p);
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {
	    "",
	    ":",
	    "127.0.0.1",
	    "127.0.0.1:",
	    "127.0.0.1:0",
	    "127.0.0.1:65536",
	    "127.0.0.1:99999999999999999999",
	    "127.0.0.1:80x",
	    "127.0.0.1:-1",
	    "127.0.0.1: 80",
	    "example.com:80",
	    "256.1.1.1:80",
	    ":80",
	    "[]:80",
	    "[::1:80",
	    "relative/path",
	    "unix@relative",
	    "unix@",
	    "0123456789012345678901234567890123456789012345678901234:80"};
	static const char *const good[] = {"127.0.0.1:1",     "[::1]:1", "::1:1",
					   "localhost:65535", "/x",      "unix@/x"};
	struct event_base *base = event_base_new();
	char path[300];
	struct ask *a;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ask(base, bad[i], VIEW_LIT("x"), 100, 1, told, NULL, &a), -EINVAL);
	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	assert_int_equal(ask(base, path, VIEW_LIT("x"), 100, 1, told, NULL, &a), -EINVAL);
	path[107] = '\0';
	assert_int_equal(ask(base, path, VIEW_LIT("x"), 100, 1, told, NULL, &a), 0);
	ask_cancel(a);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ask(base, good[i], VIEW_LIT("x"), 100, 1, told, NULL, &a), 0);
		ask_cancel(a);
	}
	assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(base);
}

/* Cancelled before it began, under way, and from the callback of another one. */
static void test_cancel(void **state)
{
	struct peer *p = peer_start(peer_mute, NULL), *e = peer_start(echo, NULL);
	struct outcome never = {.base = event_base_new()}, ends = {.base = never.base};
	char where[64], answers[64];
	struct ask *a;

	(void)state;
	snprintf(where, sizeof(where), "127.0.0.1:%u", p->port);
	snprintf(answers, sizeof(answers), "127.0.0.1:%u", e->port);
	assert_int_equal(ask(never.base, where, VIEW_LIT("x\n"), 5000, 9, told, &never, &a), 0);
	ask_cancel(a);
	assert_int_equal(ask(never.base, where, VIEW_LIT("x\n"), 5000, 9, told, &never, &a), 0);
	for (int i = 0; i < 3; i++)
		event_base_loop(never.base, EVLOOP_NONBLOCK);
	ask_cancel(a);
	assert_int_equal(
	    ask(never.base, where, VIEW_LIT("x\n"), 5000, 9, told, &never, &ends.cancel), 0);
	assert_int_equal(ask(never.base, answers, VIEW_LIT("x\n"), 5000, 9, told, &ends, NULL), 0);
	event_base_dispatch(never.base);
	assert_int_equal(never.calls, 0);
	assert_int_equal(ends.calls, 1);
	assert_int_equal(ends.error, ASK_OK);
	free(ends.text);
	assert_int_equal(event_base_get_num_events(never.base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(never.base);
	peer_stop(p);
	peer_stop(e);
}

static struct ask *self;

static void cancel_self(const struct ask_answer *answer, void *arg)
{
	(void)answer;
	++*(int *)arg;
	ask_cancel(self);
}

static void test_cancel_self_in_callback(void **state)
{
	struct event_base *base = event_base_new();
	struct peer *p = peer_start(echo, NULL);
	char where[64];
	int calls = 0;

	(void)state;
	snprintf(where, sizeof(where), "127.0.0.1:%u", p->port);
	assert_int_equal(ask(base, where, VIEW_LIT("x\n"), 5000, 9, cancel_self, &calls, &self), 0);
	event_base_dispatch(base);
	assert_int_equal(calls, 1);
	event_base_free(base);
	peer_stop(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_unix_backlog_full),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_hang),
	    cmocka_unit_test(test_drip_past_deadline),
	    cmocka_unit_test(test_too_large),
	    cmocka_unit_test(test_limit_exact),
	    cmocka_unit_test(test_long_question_in_pieces),
	    cmocka_unit_test(test_refused_unread),
	    cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_cancel_self_in_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
