/* net/http against servers of the test: raw answers byte by byte, so that what is wrong with one
 * is exactly what the case says. */
#include "net/http.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "unit/net/get.h"

static void test_answers(void **state)
{
	static const struct {
		const char *answer;
		enum http_error error;
		int status;
		const char *body; /* NULL: whatever */
	} cases[] = {
	    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", HTTP_OK, 200, "hi"},
	    {"HTTP/1.0 200 OK\r\n\r\nuntil the end", HTTP_OK, 200, "until the end"},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	     "chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
	     HTTP_OK, 200, "hi!"},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_OK, 200, ""},
	    {"HTTP/1.1 204 No\r\n\r\n", HTTP_OK, 204, ""},
	    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", HTTP_OK,
	     200, "x"},
	    {"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnone", HTTP_OK, 404, "none"},
	    {"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", HTTP_OK, 500, ""},
	    {"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", HTTP_OK,
	     200, "x"},
	    /* A redirect is an answer like any other. */
	    {"HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
	     HTTP_OK, 302, ""},
	    {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
	     HTTP_PROTOCOL, 200, NULL},
	    {"HTTP/1.1 200 OK\r\ncontent-encoding:\tbr \r\nContent-Length: 3\r\n\r\nabc",
	     HTTP_PROTOCOL, 200, NULL},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", HTTP_PROTOCOL,
	     200, NULL},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", HTTP_PROTOCOL, 200, NULL},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", HTTP_PROTOCOL, 200,
	     NULL},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", HTTP_PROTOCOL, 200,
	     NULL},
	    {"", HTTP_PROTOCOL, 0, NULL},
	    {"hello, this is no HTTP\r\n\r\n", HTTP_PROTOCOL, 0, NULL},
	    {"SSH-2.0-OpenSSH_9.2\r\n", HTTP_PROTOCOL, 0, NULL},
	    {"HTTP/1.1 2xx OK\r\n\r\n", HTTP_PROTOCOL, 0, NULL},
	    /* Cut within the head. */
	    {"HTTP/1.1 200 OK\r\nContent-Type: text/pl", HTTP_PROTOCOL, 200, NULL},
	    {"HTTP/1.1 200 OK\r\nX: y\r\n", HTTP_PROTOCOL, 200, NULL},
	    {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhi", HTTP_PROTOCOL, 200, NULL},
	    /* Larger than the limit: get_told, chunked, until the end. The limit here is 16. */
	    {"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n", HTTP_TOO_LARGE, 200, NULL},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", HTTP_TOO_LARGE, 200,
	     NULL},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n12345678901234567\r\n",
	     HTTP_TOO_LARGE, 200, NULL},
	    {"HTTP/1.0 200 OK\r\n\r\n12345678901234567", HTTP_TOO_LARGE, 200, NULL},
	    {"HTTP/1.0 200 OK\r\n\r\n1234567890123456", HTTP_OK, 200, "1234567890123456"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct got o = get_raw(cases[i].answer, 16);

		if (o.error != cases[i].error || o.status != cases[i].status ||
		    (cases[i].body && strcmp(cases[i].body, o.body) != 0))
			fail_msg("case %zu: %s status %d body %s (%s)", i, http_error_name(o.error),
				 o.status, o.body, o.detail);
		got_clear(&o);
	}
}

static void test_content_type(void **state)
{
	struct got o = get_raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
			       "Content-Length: 0\r\n\r\n",
			       0);

	(void)state;
	assert_int_equal(o.error, HTTP_OK);
	assert_string_equal(o.type, "text/plain; version=0.0.4");
	got_clear(&o);
}

/* What the server got: the request as it was sent. */
static void tell_back(struct peer *p, int fd, int nth)
{
	char head[8192];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head)))
		if (!peer_answer(fd, 200, "", head, strlen(head)))
			return;
}

static void test_request(void **state)
{
	struct peer *p = peer_start(tell_back, NULL);
	struct http_request req = get_request(NULL);
	struct got o;

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	o = get_once(p, req);
	assert_int_equal(o.error, HTTP_OK);
	assert_memory_equal(o.body, "GET /metrics HTTP/1.1\r\n", 23);
	assert_null(strcasestr(o.body, "accept-encoding"));
	assert_null(strcasestr(o.body, "authorization"));
	assert_null(strcasestr(o.body, "connection: close"));
	got_clear(&o);
	req.bearer = "s3cret-t0ken==";
	o = get_once(p, req);
	assert_non_null(strstr(o.body, "Authorization: Bearer s3cret-t0ken==\r\n"));
	got_clear(&o);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	peer_stop(p);
}

/* A token does not stay in a handle that is used again. */
static void test_token_not_inherited(void **state)
{
	struct peer *p = peer_start(tell_back, NULL);
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req;
	const char *url;

	(void)state;
	url = peer_url(p, "/");
	req = get_request(url);
	req.bearer = "one";
	get_wait(c, &req, &o);
	assert_non_null(strstr(o.body, "Bearer one"));
	req.bearer = NULL;
	get_wait(c, &req, &o);
	assert_null(strstr(o.body, "uthorization"));
	assert_int_equal(p->connections, 1);
	got_end(&o, c);
	peer_stop(p);
}

static void test_bad_requests(void **state)
{
	static const char *const urls[] = {"",
					   "127.0.0.1:80",
					   "/metrics",
					   "ftp://127.0.0.1/",
					   "file:///etc/passwd",
					   "http://",
					   "http://a b/",
					   "http://127.0.0.1:99999/",
					   "http://127.0.0.1:x/",
					   "http://127.0.0.1/a\r\nX-Evil: 1",
					   "gopher://127.0.0.1/"};
	static const char *const tokens[] = {"a\r\nX: y", "a\nb", "\x01", "a\x7f", "tab\there"};
	static const char *const targets[] = {
	    "",     "x",      "example.com:80", "1.2.3.4:x", "1.2.3.4:",
	    "[::1", "[x]:80", "1.2.3.4:123456", ":80",       "[1.2.3.4]:80"};
	struct event_base *base = event_base_new();
	struct http_client *c = http_client_new(base, 1);
	struct http_request req;

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		req = get_request(urls[i]);
		if (http_get(c, &req, get_told, NULL, NULL) != -EINVAL)
			fail_msg("taken: %s", urls[i]);
	}
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		req = get_request("http://127.0.0.1:1/");
		req.bearer = tokens[i];
		assert_int_equal(http_get(c, &req, get_told, NULL, NULL), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		req = get_request("http://127.0.0.1:1/");
		req.connect_to = targets[i];
		if (http_get(c, &req, get_told, NULL, NULL) != -EINVAL)
			fail_msg("taken: %s", targets[i]);
	}
	http_client_free(c);
	event_base_free(base);
}

static void test_connect_to(void **state)
{
	struct peer *p = peer_start(tell_back, NULL);
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req = get_request("http://model.invalid:8000/metrics");
	char url[128], where[64];

	(void)state;
	snprintf(where, sizeof(where), "127.0.0.1:%u", p->port);
	req.connect_to = where;
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	assert_non_null(strstr(o.body, "Host: model.invalid:8000\r\n"));
	/* The port is the URL's when none is given. */
	snprintf(url, sizeof(url), "http://model.invalid:%u/", p->port);
	req = get_request(url);
	req.connect_to = "127.0.0.1";
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	/* v6, both ways of writing; whether the machine has it or not, it is an answer. */
	req.connect_to = "::1";
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	req.connect_to = "[::1]:1";
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	got_end(&o, c);
	peer_stop(p);
}

static void test_refused_and_unknown(void **state)
{
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req;
	char url[128];
	uint16_t port;
	int fd = peer_bind(&port);

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	req = get_request(url);
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	/* The same words each time: what is logged when it is new must not count. */
	assert_string_equal(o.detail, strerror(ECONNREFUSED));
	got_end(&o, c);
	close(fd);
}

static void drip(struct peer *p, int fd, int nth)
{
	(void)nth;
	peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
	while (!p->stop && peer_say(fd, "."))
		usleep(5000);
}

static void drip_head(struct peer *p, int fd, int nth)
{
	(void)nth;
	peer_say(fd, "HTTP/1.1 200 OK\r\nX: ");
	while (!p->stop && peer_say(fd, "."))
		usleep(5000);
}

static void test_deadline(void **state)
{
	static const peer_fn slow[] = {peer_mute, drip, drip_head};

	(void)state;
	for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
		struct peer *p = peer_start(slow[i], NULL);
		struct http_request req = get_request(NULL);
		struct got o;

		req.timeout_ms = 150;
		o = get_once(p, req);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		assert_string_equal(o.detail, "no whole answer in time");
		got_clear(&o);
		peer_stop(p);
	}
}

static void endless_body(struct peer *p, int fd, int nth)
{
	char block[4096];

	(void)nth;
	memset(block, 'x', sizeof(block));
	peer_say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (!p->stop && peer_send(fd, block, sizeof(block)))
		;
}

static void endless_headers(struct peer *p, int fd, int nth)
{
	(void)nth;
	peer_say(fd, "HTTP/1.1 200 OK\r\n");
	while (!p->stop && peer_say(fd, "X-More: and more and more and more and more\r\n"))
		;
}

static void endless_hundreds(struct peer *p, int fd, int nth)
{
	(void)nth;
	while (!p->stop && peer_say(fd, "HTTP/1.1 100 Continue\r\n\r\n"))
		;
}

static void endless_chunk_extension(struct peer *p, int fd, int nth)
{
	char block[4096];

	(void)nth;
	memset(block, 'x', sizeof(block));
	peer_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;");
	while (!p->stop && peer_send(fd, block, sizeof(block)))
		;
}

static void test_endless(void **state)
{
	static const struct {
		peer_fn fn;
		enum http_error error;
	} cases[] = {{endless_body, HTTP_TOO_LARGE},
		     {endless_headers, HTTP_TOO_LARGE},
		     {endless_hundreds, HTTP_TOO_LARGE},
		     /* Takes time but no memory: the deadline ends it. */
		     {endless_chunk_extension, HTTP_TIMEOUT}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *p = peer_start(cases[i].fn, NULL);
		struct http_request req = get_request(NULL);
		struct got o;

		req.timeout_ms = cases[i].error == HTTP_TIMEOUT ? 200 : 30000;
		o = get_once(p, req);
		if (o.error != cases[i].error)
			fail_msg("case %zu: %s (%s)", i, http_error_name(o.error), o.detail);
		got_clear(&o);
		peer_stop(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_content_type),
	    cmocka_unit_test(test_request),
	    cmocka_unit_test(test_token_not_inherited),
	    cmocka_unit_test(test_bad_requests),
	    cmocka_unit_test(test_connect_to),
	    cmocka_unit_test(test_refused_and_unknown),
	    cmocka_unit_test(test_deadline),
	    cmocka_unit_test(test_endless),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
