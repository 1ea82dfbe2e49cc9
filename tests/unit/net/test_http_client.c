/* Many requests of one client of net/http: connections that are kept, the line before a server,
 * what is cancelled or freed under way. */
#include "net/http.h"

#include <signal.h>

#include "unit/net/get.h"

static void fixed(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head)))
		if (!peer_answer(fd, 200, "", "body", 4))
			return;
}

static void test_keep_alive(void **state)
{
	struct peer *p = peer_start(fixed, NULL);
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);
	struct http_request req;
	const char *url;

	(void)state;
	url = peer_url(p, "/");
	req = get_request(url);
	for (int i = 0; i < 20; i++) {
		get_wait(c, &req, &o);
		assert_int_equal(o.error, HTTP_OK);
		assert_string_equal(o.body, "body");
	}
	assert_int_equal(p->connections, 1);
	assert_int_equal(p->requests, 20);
	got_end(&o, c);
	peer_stop(p);
}

/* Answers one request a connection and closes it without saying so: the next request finds the
 * kept connection dead and takes another. */
static void one_and_close(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (peer_read_head(p, fd, head, sizeof(head)))
		peer_answer(fd, 200, "", "body", 4);
}

static void test_kept_connection_closed(void **state)
{
	struct peer *p = peer_start(one_and_close, NULL);
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);
	struct http_request req;
	const char *url;

	(void)state;
	url = peer_url(p, "/");
	req = get_request(url);
	for (int i = 0; i < 5; i++) {
		get_wait(c, &req, &o);
		if (o.error != HTTP_OK)
			fail_msg("%d: %s", i, o.detail);
	}
	assert_int_equal(p->connections, 5);
	got_end(&o, c);
	peer_stop(p);
}

static void counted(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		int open = ++p->open, most = p->most_open;

		while (open > most && !atomic_compare_exchange_weak(&p->most_open, &most, open))
			;
		usleep(2000);
		p->open--;
		if (!peer_answer(fd, 200, "", "body", 4))
			return;
	}
}

static void test_line(void **state)
{
	struct peer *p = peer_start(counted, NULL);
	struct got o = {.base = event_base_new(), .wanted = 100};
	struct http_client *c = http_client_new(o.base, 3);
	struct http_request req;
	const char *url;

	(void)state;
	url = peer_url(p, "/");
	req = get_request(url);
	for (int i = 0; i < 100; i++)
		assert_int_equal(http_get(c, &req, get_told, &o, NULL), 0);
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 100);
	assert_int_equal(p->requests, 100);
	assert_true(p->most_open <= 3);
	assert_true(p->connections <= 3);
	got_end(&o, c);
	peer_stop(p);
}

/* A server that hangs holds one place; those in line still get theirs whole. */
static void test_cancel(void **state)
{
	struct peer *h = peer_start(peer_mute, NULL), *p = peer_start(fixed, NULL);
	struct got never = {.base = event_base_new()}, o = {.base = never.base};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_transfer *under_way, *waiting;
	const char *hung, *url;
	struct http_request req, good;

	(void)state;
	hung = peer_url(h, "/");
	url = peer_url(p, "/");
	req = get_request(hung);
	good = get_request(url);
	/* At once; after some turns of the loop; while waiting in line. */
	assert_int_equal(http_get(c, &req, get_told, &never, &under_way), 0);
	http_cancel(under_way);
	assert_int_equal(http_get(c, &req, get_told, &never, &under_way), 0);
	assert_int_equal(http_get(c, &req, get_told, &never, &waiting), 0);
	for (int i = 0; i < 10; i++) {
		event_base_loop(o.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	got_clear(&o);
	assert_int_equal(http_get(c, &good, get_told, &o, NULL), 0);
	http_cancel(waiting);
	http_cancel(under_way); /* lets the good one in */
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.error, HTTP_OK);
	assert_int_equal(never.calls, 0);
	got_end(&o, c);
	peer_stop(h);
	peer_stop(p);
}

struct deed {
	struct http_client *client;
	struct http_transfer *self, *other;
	struct got *then;
	const char *url;
	int calls;
	enum { DEED_CANCEL_BOTH, DEED_FREE, DEED_ASK_AGAIN } what;
};

static void act(const struct http_answer *answer, void *arg)
{
	struct deed *d = arg;
	struct http_request req = get_request(d->url);

	assert_int_equal(answer->error, HTTP_OK);
	d->calls++;
	switch (d->what) {
	case DEED_CANCEL_BOTH:
		http_cancel(d->self);
		http_cancel(d->other);
		break;
	case DEED_FREE:
		http_client_free(d->client);
		assert_int_equal(http_get(d->client, &req, get_told, NULL, NULL), -EINVAL);
		break;
	case DEED_ASK_AGAIN:
		assert_int_equal(http_get(d->client, &req, get_told, d->then, NULL), 0);
		assert_int_equal(d->then->calls, 0);
		break;
	}
	/* The answer is still there. */
	assert_int_equal(answer->body.len, 4);
	assert_memory_equal(answer->body.ptr, "body", 4);
}

static void test_deeds_in_callback(void **state)
{
	struct peer *h = peer_start(peer_mute, NULL), *p = peer_start(fixed, NULL);
	const char *hung, *url;

	(void)state;
	hung = peer_url(h, "/");
	url = peer_url(p, "/");
	for (int what = DEED_CANCEL_BOTH; what <= DEED_ASK_AGAIN; what++) {
		struct got never = {.base = event_base_new()},
			   then = {.base = never.base, .wanted = 1};
		struct deed d = {.what = what, .url = url, .then = &then};
		struct http_request req = get_request(hung), good = get_request(url);

		d.client = http_client_new(never.base, 4);
		assert_int_equal(http_get(d.client, &req, get_told, &never, &d.other), 0);
		assert_int_equal(http_get(d.client, &good, act, &d, &d.self), 0);
		while (d.calls == 0 || (what == DEED_ASK_AGAIN && then.calls == 0))
			event_base_loop(never.base, EVLOOP_ONCE);
		assert_int_equal(d.calls, 1);
		assert_int_equal(never.calls, 0);
		if (what == DEED_ASK_AGAIN)
			assert_int_equal(then.error, HTTP_OK);
		if (what != DEED_FREE)
			http_client_free(d.client);
		got_clear(&then);
		assert_int_equal(event_base_get_num_events(never.base, EVENT_BASE_COUNT_ADDED), 0);
		event_base_free(never.base);
	}
	peer_stop(h);
	peer_stop(p);
}

static void test_free_under_way(void **state)
{
	struct peer *p = peer_start(peer_mute, NULL);
	struct got never = {.base = event_base_new()};
	struct http_client *c = http_client_new(never.base, 2);
	struct http_request req;
	const char *url;

	(void)state;
	url = peer_url(p, "/");
	req = get_request(url);
	for (int i = 0; i < 5; i++)
		assert_int_equal(http_get(c, &req, get_told, &never, NULL), 0);
	for (int i = 0; i < 5; i++) {
		event_base_loop(never.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	assert_null(http_client_free(c));
	assert_null(http_client_free(NULL));
	assert_int_equal(event_base_get_num_events(never.base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_loop(never.base, EVLOOP_NONBLOCK);
	assert_int_equal(never.calls, 0);
	event_base_free(never.base);
	peer_stop(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keep_alive),
	    cmocka_unit_test(test_kept_connection_closed),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_deeds_in_callback),
	    cmocka_unit_test(test_free_under_way),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
