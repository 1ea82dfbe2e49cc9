/* net/http against servers of the test: raw answers byte by byte, so that what is wrong with one
 * is exactly what the case says. */
#include "net/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <sys/wait.h>

#include "unit/net/peer.h"

struct outcome {
	struct event_base *base;
	int calls, wanted;
	enum http_error error;
	int status;
	char *detail, *type, *body;
	size_t len;
};

static void outcome_clear(struct outcome *o)
{
	free(o->detail);
	free(o->type);
	free(o->body);
	*o = (struct outcome){.base = o->base, .wanted = 1};
}

static void told(const struct http_answer *answer, void *arg)
{
	struct outcome *o = arg;
	int calls = o->calls + 1, wanted = o->wanted;

	assert_non_null(answer->detail);
	outcome_clear(o);
	o->calls = calls;
	o->wanted = wanted;
	o->error = answer->error;
	o->status = answer->status;
	o->detail = strdup(answer->detail);
	o->type = view_dup(answer->content_type);
	o->body = view_dup(answer->body);
	o->len = answer->body.len;
	if (calls >= wanted)
		event_base_loopbreak(o->base);
}

static struct http_request request(const char *url)
{
	return (struct http_request){
	    .url = url, .tls_verify = true, .timeout_ms = 10000, .max_body = 1 << 20};
}

static void get(struct http_client *c, const struct http_request *req, struct outcome *o)
{
	outcome_clear(o);
	assert_int_equal(http_get(c, req, told, o, NULL), 0);
	assert_int_equal(o->calls, 0);
	event_base_dispatch(o->base);
	assert_int_equal(o->calls, 1);
}

/* One GET to @p by a client of its own. */
static struct outcome get_once(struct peer *p, struct http_request req)
{
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);
	char url[128];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", p->port);
	req.url = url;
	get(c, &req, &o);
	http_client_free(c);
	assert_int_equal(event_base_get_num_events(o.base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o.base);
	o.base = NULL;
	return o;
}

/* Answers every request on a connection with the text of @arg, then closes. */
static void raw(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (peer_read_head(p, fd, head, sizeof(head)))
		peer_say(fd, p->arg);
}

static struct outcome get_raw(const char *answer, uint64_t max_body)
{
	struct peer *p = peer_start(raw, (void *)answer);
	struct http_request req = request(NULL);
	struct outcome o;

	req.max_body = max_body;
	o = get_once(p, req);
	peer_stop(p);
	return o;
}

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
	    /* Larger than the limit: told, chunked, until the end. The limit here is 16. */
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
		struct outcome o = get_raw(cases[i].answer, 16);

		if (o.error != cases[i].error || o.status != cases[i].status ||
		    (cases[i].body && strcmp(cases[i].body, o.body) != 0))
			fail_msg("case %zu: %s status %d body %s (%s)", i, http_error_name(o.error),
				 o.status, o.body, o.detail);
		outcome_clear(&o);
	}
}

static void test_content_type(void **state)
{
	struct outcome o = get_raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
				   "Content-Length: 0\r\n\r\n",
				   0);

	(void)state;
	assert_int_equal(o.error, HTTP_OK);
	assert_string_equal(o.type, "text/plain; version=0.0.4");
	outcome_clear(&o);
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
	struct http_request req = request(NULL);
	struct outcome o;

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	o = get_once(p, req);
	assert_int_equal(o.error, HTTP_OK);
	assert_memory_equal(o.body, "GET /metrics HTTP/1.1\r\n", 23);
	assert_null(strcasestr(o.body, "accept-encoding"));
	assert_null(strcasestr(o.body, "authorization"));
	assert_null(strcasestr(o.body, "connection: close"));
	outcome_clear(&o);
	req.bearer = "s3cret-t0ken==";
	o = get_once(p, req);
	assert_non_null(strstr(o.body, "Authorization: Bearer s3cret-t0ken==\r\n"));
	outcome_clear(&o);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	peer_stop(p);
}

/* A token does not stay in a handle that is used again. */
static void test_token_not_inherited(void **state)
{
	struct peer *p = peer_start(tell_back, NULL);
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(url);
	req.bearer = "one";
	get(c, &req, &o);
	assert_non_null(strstr(o.body, "Bearer one"));
	req.bearer = NULL;
	get(c, &req, &o);
	assert_null(strstr(o.body, "uthorization"));
	assert_int_equal(p->connections, 1);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
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
		req = request(urls[i]);
		if (http_get(c, &req, told, NULL, NULL) != -EINVAL)
			fail_msg("taken: %s", urls[i]);
	}
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		req = request("http://127.0.0.1:1/");
		req.bearer = tokens[i];
		assert_int_equal(http_get(c, &req, told, NULL, NULL), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		req = request("http://127.0.0.1:1/");
		req.connect_to = targets[i];
		if (http_get(c, &req, told, NULL, NULL) != -EINVAL)
			fail_msg("taken: %s", targets[i]);
	}
	http_client_free(c);
	event_base_free(base);
}

static void test_connect_to(void **state)
{
	struct peer *p = peer_start(tell_back, NULL);
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req = request("http://model.invalid:8000/metrics");
	char url[128], where[64];

	(void)state;
	snprintf(where, sizeof(where), "127.0.0.1:%u", p->port);
	req.connect_to = where;
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	assert_non_null(strstr(o.body, "Host: model.invalid:8000\r\n"));
	/* The port is the URL's when none is given. */
	snprintf(url, sizeof(url), "http://model.invalid:%u/", p->port);
	req = request(url);
	req.connect_to = "127.0.0.1";
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	/* v6, both ways of writing; whether the machine has it or not, it is an answer. */
	req.connect_to = "::1";
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	req.connect_to = "[::1]:1";
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
	peer_stop(p);
}

static void test_refused_and_unknown(void **state)
{
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_request req;
	char url[128];
	uint16_t port;
	int fd = peer_bind(&port);

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	req = request(url);
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_CONNECT);
	assert_true(o.detail[0] != '\0');
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
	close(fd);
}

static void hang(struct peer *p, int fd, int nth)
{
	(void)nth;
	peer_hang(p, fd);
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
	static const peer_fn slow[] = {hang, drip, drip_head};

	(void)state;
	for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
		struct peer *p = peer_start(slow[i], NULL);
		struct http_request req = request(NULL);
		struct outcome o;

		req.timeout_ms = 150;
		o = get_once(p, req);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		outcome_clear(&o);
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
		struct http_request req = request(NULL);
		struct outcome o;

		req.timeout_ms = cases[i].error == HTTP_TIMEOUT ? 200 : 30000;
		o = get_once(p, req);
		if (o.error != cases[i].error)
			fail_msg("case %zu: %s (%s)", i, http_error_name(o.error), o.detail);
		outcome_clear(&o);
		peer_stop(p);
	}
}

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
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(url);
	for (int i = 0; i < 20; i++) {
		get(c, &req, &o);
		assert_int_equal(o.error, HTTP_OK);
		assert_string_equal(o.body, "body");
	}
	assert_int_equal(p->connections, 1);
	assert_int_equal(p->requests, 20);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
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
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(url);
	for (int i = 0; i < 5; i++) {
		get(c, &req, &o);
		if (o.error != HTTP_OK)
			fail_msg("%d: %s", i, o.detail);
	}
	assert_int_equal(p->connections, 5);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
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
	struct outcome o = {.base = event_base_new(), .wanted = 100};
	struct http_client *c = http_client_new(o.base, 3);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(url);
	for (int i = 0; i < 100; i++)
		assert_int_equal(http_get(c, &req, told, &o, NULL), 0);
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 100);
	assert_int_equal(p->requests, 100);
	assert_true(p->most_open <= 3);
	assert_true(p->connections <= 3);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
	peer_stop(p);
}

/* A server that hangs holds one place; those in line still get theirs whole. */
static void test_cancel(void **state)
{
	struct peer *h = peer_start(hang, NULL), *p = peer_start(fixed, NULL);
	struct outcome never = {.base = event_base_new()}, o = {.base = never.base};
	struct http_client *c = http_client_new(o.base, 1);
	struct http_transfer *under_way, *waiting;
	char hung[128], url[128];
	struct http_request req, good;

	(void)state;
	snprintf(hung, sizeof(hung), "http://127.0.0.1:%u/", h->port);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(hung);
	good = request(url);
	/* At once; after some turns of the loop; while waiting in line. */
	assert_int_equal(http_get(c, &req, told, &never, &under_way), 0);
	http_cancel(under_way);
	assert_int_equal(http_get(c, &req, told, &never, &under_way), 0);
	assert_int_equal(http_get(c, &req, told, &never, &waiting), 0);
	for (int i = 0; i < 10; i++) {
		event_base_loop(o.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	outcome_clear(&o);
	assert_int_equal(http_get(c, &good, told, &o, NULL), 0);
	http_cancel(waiting);
	http_cancel(under_way); /* lets the good one in */
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.error, HTTP_OK);
	assert_int_equal(never.calls, 0);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
	peer_stop(h);
	peer_stop(p);
}

struct deed {
	struct http_client *client;
	struct http_transfer *self, *other;
	struct outcome *then;
	const char *url;
	int calls;
	enum { DEED_CANCEL_BOTH, DEED_FREE, DEED_ASK_AGAIN } what;
};

static void act(const struct http_answer *answer, void *arg)
{
	struct deed *d = arg;
	struct http_request req = request(d->url);

	assert_int_equal(answer->error, HTTP_OK);
	d->calls++;
	switch (d->what) {
	case DEED_CANCEL_BOTH:
		http_cancel(d->self);
		http_cancel(d->other);
		break;
	case DEED_FREE:
		http_client_free(d->client);
		assert_int_equal(http_get(d->client, &req, told, NULL, NULL), -EINVAL);
		break;
	case DEED_ASK_AGAIN:
		assert_int_equal(http_get(d->client, &req, told, d->then, NULL), 0);
		assert_int_equal(d->then->calls, 0);
		break;
	}
	/* The answer is still there. */
	assert_int_equal(answer->body.len, 4);
	assert_memory_equal(answer->body.ptr, "body", 4);
}

static void test_deeds_in_callback(void **state)
{
	struct peer *h = peer_start(hang, NULL), *p = peer_start(fixed, NULL);
	char hung[128], url[128];

	(void)state;
	snprintf(hung, sizeof(hung), "http://127.0.0.1:%u/", h->port);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	for (int what = DEED_CANCEL_BOTH; what <= DEED_ASK_AGAIN; what++) {
		struct outcome never = {.base = event_base_new()},
			       then = {.base = never.base, .wanted = 1};
		struct deed d = {.what = what, .url = url, .then = &then};
		struct http_request req = request(hung), good = request(url);

		d.client = http_client_new(never.base, 4);
		assert_int_equal(http_get(d.client, &req, told, &never, &d.other), 0);
		assert_int_equal(http_get(d.client, &good, act, &d, &d.self), 0);
		while (d.calls == 0 || (what == DEED_ASK_AGAIN && then.calls == 0))
			event_base_loop(never.base, EVLOOP_ONCE);
		assert_int_equal(d.calls, 1);
		assert_int_equal(never.calls, 0);
		if (what == DEED_ASK_AGAIN)
			assert_int_equal(then.error, HTTP_OK);
		if (what != DEED_FREE)
			http_client_free(d.client);
		outcome_clear(&then);
		assert_int_equal(event_base_get_num_events(never.base, EVENT_BASE_COUNT_ADDED), 0);
		event_base_free(never.base);
	}
	peer_stop(h);
	peer_stop(p);
}

static void test_free_under_way(void **state)
{
	struct peer *p = peer_start(hang, NULL);
	struct outcome never = {.base = event_base_new()};
	struct http_client *c = http_client_new(never.base, 2);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", p->port);
	req = request(url);
	for (int i = 0; i < 5; i++)
		assert_int_equal(http_get(c, &req, told, &never, NULL), 0);
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

/* TLS, against openssl's server with a certificate made now */

static char tls_dir[] = "/tmp/test_http.XXXXXX";
static pid_t tls_pid;
static uint16_t tls_port;

static int tls_start(void **state)
{
	char command[1024], line[256];
	int out[2];
	FILE *f;

	(void)state;
	if (!mkdtemp(tls_dir))
		return -1;
	snprintf(command, sizeof(command),
		 "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		 "-keyout key -out cert -days 2 -subj /CN=localhost "
		 "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null && "
		 "printf 'vllm:num_requests_running 1\\n' > metrics",
		 tls_dir);
	if (system(command) != 0)
		return -1;
	if (pipe(out) < 0)
		return -1;
	tls_pid = fork();
	if (tls_pid == 0) {
		dup2(out[1], 1);
		close(2);
		close(out[0]);
		if (chdir(tls_dir) < 0)
			_exit(1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "cert",
		       "-key", "key", "-WWW", (char *)NULL);
		_exit(1);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	while (fgets(line, sizeof(line), f)) {
		const char *colon = strrchr(line, ':');

		if (strncmp(line, "ACCEPT", 6) == 0 && colon) {
			tls_port = (uint16_t)atoi(colon + 1);
			break;
		}
	}
	/* The pipe stays open: the server goes on writing there. */
	return tls_port ? 0 : -1;
}

static int tls_end(void **state)
{
	char command[128];

	(void)state;
	if (tls_pid > 0) {
		kill(tls_pid, SIGTERM);
		waitpid(tls_pid, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf %s", tls_dir);
	return system(command);
}

static void test_tls(void **state)
{
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 2);
	struct http_request req;
	char url[128], ca[128], where[64];

	(void)state;
	snprintf(url, sizeof(url), "https://localhost:%u/metrics", tls_port);
	snprintf(ca, sizeof(ca), "%s/cert", tls_dir);
	snprintf(where, sizeof(where), "127.0.0.1:%u", tls_port);
	req = request(url);
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.ca_file = ca;
	get(c, &req, &o);
	if (o.error != HTTP_OK)
		fail_msg("%s", o.detail);
	assert_int_equal(o.status, 200);
	assert_string_equal(o.body, "vllm:num_requests_running 1\n");
	/* Not by a connection that was trusted under other rules. */
	req.ca_file = NULL;
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.tls_verify = false;
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	req.tls_verify = true;
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	/* The name is checked, also where the address is given. */
	snprintf(url, sizeof(url), "https://other.invalid:%u/metrics", tls_port);
	req.ca_file = ca;
	req.connect_to = where;
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.connect_to = NULL;
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/metrics", tls_port);
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	req.ca_file = "/nonexistent/ca.pem";
	get(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
}

/* Plain HTTP where TLS is spoken, and the other way round. */
static void test_tls_mixed_up(void **state)
{
	struct peer *p = peer_start(raw, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
	struct outcome o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 2);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", p->port);
	req = request(url);
	req.timeout_ms = 500;
	get(c, &req, &o);
	/* The peer waits for the end of a request's head that never comes. */
	assert_true(o.error == HTTP_TLS || o.error == HTTP_TIMEOUT);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", tls_port);
	get(c, &req, &o);
	assert_int_not_equal(o.error, HTTP_OK);
	outcome_clear(&o);
	http_client_free(c);
	event_base_free(o.base);
	peer_stop(p);
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
	    cmocka_unit_test(test_keep_alive),
	    cmocka_unit_test(test_kept_connection_closed),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_deeds_in_callback),
	    cmocka_unit_test(test_free_under_way),
	    cmocka_unit_test(test_tls),
	    cmocka_unit_test(test_tls_mixed_up),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, tls_start, tls_end);
}
