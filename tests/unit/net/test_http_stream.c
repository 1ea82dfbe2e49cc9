/* net/http as a Kubernetes client uses it: other methods, headers, answers that are streamed;
 * against servers of the test. */
#include "net/http.h"

#include <signal.h>
#include <time.h>

#include "unit/net/stream.h"

static void test_methods(void **state)
{
	static const char *const names[] = {"GET", "PUT", "POST", "PATCH"};
	struct peer *p = peer_start(stream_echo, NULL);

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		for (int m = HTTP_GET; m <= HTTP_PATCH; m++) {
			static const char *const extra[] = {"X-One: 1", "Accept: application/json",
							    NULL};
			struct stream o = {0};
			struct http_request req = stream_request(peer_url(p, "/x"));
			char line[64];

			req.method = (enum http_method)m;
			req.headers = extra;
			req.body = VIEW_LIT("{\"a\":\0\"b\"}");
			req.content_type = "application/merge-patch+json";
			stream_begin(&o, &req, stream);
			assert_int_equal(o.error, HTTP_OK);
			snprintf(line, sizeof(line), "%s /x HTTP/1.1\r\n", names[m]);
			assert_int_equal(strncmp(o.body, line, strlen(line)), 0);
			assert_non_null(strstr(o.body, "\r\nX-One: 1\r\n"));
			assert_non_null(strstr(o.body, "\r\nAccept: application/json\r\n"));
			assert_null(strcasestr(o.body, "Expect:"));
			if (m == HTTP_GET) {
				assert_null(strcasestr(o.body, "Content-"));
			} else {
				assert_non_null(
				    strstr(o.body, "\r\nContent-Type: application/merge-patch+json"
						   "\r\n"));
				assert_non_null(strstr(o.body, "\r\nContent-Length: 10\r\n"));
				assert_memory_equal(o.body + o.len - 10, "{\"a\":\0\"b\"}", 10);
			}
			stream_end(&o);
		}
	}
	/* A large one; none at all, without a type. */
	{
		struct stream o = {0}, none = {0};
		struct http_request req = stream_request(peer_url(p, "/x"));
		char *large = malloc(3 << 20);

		memset(large, 'x', 3 << 20);
		req.method = HTTP_PUT;
		req.body = (struct view){large, 3 << 20};
		req.max_body = 4 << 20;
		stream_begin(&o, &req, false);
		assert_int_equal(o.error, HTTP_OK);
		assert_true(o.len > 3 << 20);
		stream_end(&o);
		free(large);
		req.body = VIEW_NULL;
		stream_begin(&none, &req, false);
		assert_null(strcasestr(none.body, "Content-Type"));
		assert_non_null(strstr(none.body, "\r\nContent-Length: 0\r\n"));
		stream_end(&none);
	}
	peer_stop(p);
}

static void test_refused(void **state)
{
	static const char *const evil[] = {"X: a\r\nY: b", NULL};
	struct event_base *base = event_base_new();
	struct http_client *c = http_client_new(base, 4);
	struct http_request req = stream_request("http://127.0.0.1:1/");
	struct stream o = {0};

	(void)state;
	req.headers = evil;
	assert_int_equal(http_send(c, &req, stream_done, &o, NULL), -EINVAL);
	req.headers = NULL;
	req.method = HTTP_PATCH;
	req.content_type = "a\r\nb";
	assert_int_equal(http_stream(c, &req, &stream_hooks, &o, NULL), -EINVAL);
	req.content_type = NULL;
	assert_int_equal(http_get(c, &req, stream_done, &o, NULL), -EINVAL);
	req.tls.server_name = "a b/c";
	assert_int_equal(http_send(c, &req, stream_done, &o, NULL), -EINVAL);
	http_client_free(c);
	event_base_free(base);
}

static void test_retry_after(void **state)
{
	static const struct {
		const char *headers;
		int64_t least, most;
	} cases[] = {
	    {"", -1, -1},
	    {"Retry-After: 17\r\n", 17, 17},
	    {"retry-after:\t0 \r\n", 0, 0},
	    {"Retry-After: soon\r\n", -1, -1},
	    {"Retry-After: -5\r\n", -1, -1},
	    {"Retry-After: 99999999999999999999999999\r\n", 86400, 86400},
	    {"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 0, 0},
	    {"Retry-After: Sun, 31 Dec 2034 23:59:59 GMT\r\n", 86400, 86400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512];
		struct peer *p;
		struct stream o = {0};
		struct http_request req;

		snprintf(text, sizeof(text),
			 "HTTP/1.1 100 Continue\r\nRetry-After: 3\r\n\r\n"
			 "HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n%s\r\nhi",
			 cases[i].headers);
		p = peer_start(peer_raw, text);
		req = stream_request(peer_url(p, "/x"));
		stream_begin(&o, &req, i % 2);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.told_status, 429);
		assert_true(o.retry_after >= cases[i].least && o.retry_after <= cases[i].most);
		assert_string_equal(o.body, "hi");
		stream_end(&o);
		peer_stop(p);
	}
}

/* @arg: how many bytes of the pattern, as fast as they go. */
static void flood(struct peer *p, int fd, int nth)
{
	size_t n = *(size_t *)p->arg;
	char head[4096], piece[10000], text[32];

	(void)nth;
	if (!peer_read_head(p, fd, head, sizeof(head)))
		return;
	peer_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0; at < n;) {
		size_t size = n - at < sizeof(piece) ? n - at : sizeof(piece);

		for (size_t i = 0; i < size; i++)
			piece[i] = stream_pattern(at + i);
		snprintf(text, sizeof(text), "%zx\r\n", size);
		if (!peer_say(fd, text) || !peer_send(fd, piece, size) || !peer_say(fd, "\r\n"))
			return;
		at += size;
	}
	peer_say(fd, "0\r\n\r\n");
}

/* More than any buffer, to a reader that is slow: all of it in order, never much at a time. */
static void test_flood(void **state)
{
	(void)state;
	for (int slow = 0; slow < 2; slow++) {
		size_t n = slow ? 4 << 20 : 32 << 20;
		struct peer *p = peer_start(flood, &n);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {.only_count = true, .slow_us = slow ? 500 : 0};

		req.max_body = 1; /* not looked at */
		stream_begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.len, n);
		assert_int_equal(o.heads, 1);
		assert_int_equal(o.dones, 1);
		assert_true(o.largest <= HTTP_STREAM_BUFFER + 16384);
		stream_end(&o);
		peer_stop(p);
	}
}

static void test_tricks(void **state)
{
	(void)state;
	for (int trick = TRICK_CANCEL_HEAD; trick <= TRICK_FREE_CHUNK; trick++) {
		size_t n = 4 << 20;
		struct peer *p = peer_start(flood, &n);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {.only_count = true, .trick = (enum trick)trick};
		bool head = trick == TRICK_CANCEL_HEAD || trick == TRICK_FREE_HEAD;

		req.idle_ms = 1000;
		stream_begin(&o, &req, true);
		assert_int_equal(o.heads, 1);
		assert_int_equal(o.chunks, head ? 0 : 1);
		assert_int_equal(o.dones, 0);
		if (o.c)
			stream_end(&o);
		else
			event_base_free(o.base);
		peer_stop(p);
	}
	/* From outside, at any time. */
	for (int us = 0; us < 4000; us += 200) {
		size_t n = 1 << 20;
		struct peer *p = peer_start(flood, &n);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {.only_count = true, .base = event_base_new()};
		int dones;

		o.c = http_client_new(o.base, 4);
		assert_int_equal(http_stream(o.c, &req, &stream_hooks, &o, &o.t), 0);
		event_base_loopexit(o.base, &(struct timeval){0, us});
		event_base_dispatch(o.base);
		dones = o.dones;
		if (!dones)
			http_cancel(o.t);
		event_base_loopexit(o.base, &(struct timeval){0, 1000});
		event_base_dispatch(o.base);
		assert_int_equal(o.dones, dones);
		/* Of the events only loopexit's own may be left. */
		http_client_free(o.c);
		assert_true(event_base_get_num_events(o.base, EVENT_BASE_COUNT_ADDED) <= 2 * dones);
		event_base_free(o.base);
		peer_stop(p);
	}
}

static void test_ends(void **state)
{
	static const struct {
		const char *answer;
		enum http_error error;
		int status, heads;
		const char *body;
	} cases[] = {
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", HTTP_OK,
	     200, 1, "abc"},
	    /* What came before the cut is handed over. */
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", HTTP_PROTOCOL,
	     200, 1, "abc"},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", HTTP_PROTOCOL, 200, 1,
	     "abc"},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", HTTP_PROTOCOL, 200, 1, "abc"},
	    {"HTTP/1.1 200 OK\r\n\r\nabc", HTTP_OK, 200, 1, "abc"},
	    {"HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}", HTTP_OK, 410, 1, "{}"},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_OK, 200, 1, NULL},
	    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", HTTP_OK,
	     200, 1, "x"},
	    {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
	     HTTP_PROTOCOL, 200, 0, NULL},
	    {"HTTP/1.1 200 OK\r\nTransfer-Enc", HTTP_PROTOCOL, -1, 0, NULL},
	    {"", HTTP_PROTOCOL, 0, 0, NULL},
	    {"nonsense\r\n\r\n", HTTP_PROTOCOL, 0, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *p = peer_start(peer_raw, (void *)(uintptr_t)cases[i].answer);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {0};

		stream_begin(&o, &req, true);
		if (o.error != cases[i].error)
			fail_msg("case %zu: %s %d %d", i, http_error_name(o.error), o.told_status,
				 o.heads);
		assert_int_equal(o.heads, cases[i].heads);
		if (cases[i].status >= 0)
			assert_int_equal(o.told_status, cases[i].status);
		if (cases[i].body)
			assert_string_equal(o.body, cases[i].body);
		else
			assert_null(o.body);
		assert_true(o.error == HTTP_OK || o.detail[0]);
		stream_end(&o);
		peer_stop(p);
	}
}

/* Says @arg, then nothing more. */
static void mute(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (peer_read_head(p, fd, head, sizeof(head)) && peer_say(fd, p->arg))
		peer_hang(p, fd);
}

/* A drop each 150 ms: longer than timeout_ms, and than idle_ms, in all. */
static void drip(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (!peer_read_head(p, fd, head, sizeof(head)))
		return;
	peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
	for (int i = 0; i < 20; i++) {
		usleep(150000);
		peer_send(fd, "x", 1);
	}
}

static void test_silence(void **state)
{
	static const char *const said[] = {
	    "", "HTTP/1.1 200 OK\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		struct peer *p = peer_start(mute, (void *)(uintptr_t)said[i]);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {0};

		req.idle_ms = 100;
		req.keepalive = true;
		stream_begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		assert_string_equal(o.detail, "the server has fallen silent");
		assert_int_equal(o.len, i == 2 ? 3 : 0);
		stream_end(&o);
		peer_stop(p);
	}
	{
		struct peer *p = peer_start(drip, NULL);
		struct http_request req = stream_request(peer_url(p, "/x"));
		struct stream o = {0};

		req.idle_ms = 2000;
		req.timeout_ms = 1500;
		stream_begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.len, 20);
		stream_end(&o);
		peer_stop(p);
	}
	/* timeout_ms is for the connection, TLS included. */
	{
		struct peer *p = peer_start(mute, "");
		char url[64];
		struct http_request req = stream_request(url);
		struct stream o = {0};

		snprintf(url, sizeof(url), "https://127.0.0.1:%u/", p->port);
		req.timeout_ms = 100;
		stream_begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		stream_end(&o);
		peer_stop(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_methods),     cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_retry_after), cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_flood),       cmocka_unit_test(test_tricks),
	    cmocka_unit_test(test_silence),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
