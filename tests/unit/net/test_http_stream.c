/* net/http as a Kubernetes client uses it: other methods, headers, answers that are streamed, TLS
 * by bytes; against servers of the test. */
#include "net/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <time.h>

#include "unit/net/peer.h"
#include "unit/net/secure.h"

static char dir[] = "/tmp/test_http_stream.XXXXXX";

enum trick { TRICK_NONE, TRICK_CANCEL_HEAD, TRICK_CANCEL_CHUNK, TRICK_FREE_HEAD, TRICK_FREE_CHUNK };

struct outcome {
	struct event_base *base;
	struct http_client *c;
	struct http_transfer *t;
	enum trick trick;
	int heads, chunks, dones;
	int status, told_status;
	enum http_error error;
	int64_t retry_after;
	char detail[256];
	char *body;
	size_t len, largest;
	bool only_count; /* bytes are compared with a pattern, not kept */
	bool wrong;
	unsigned slow_us;
};

static void play(struct outcome *o, enum trick cancel, enum trick release)
{
	if (o->trick == cancel)
		http_cancel(o->t);
	if (o->trick == release)
		o->c = http_client_free(o->c);
	if (o->trick == cancel || o->trick == release)
		event_base_loopexit(o->base, &(struct timeval){0, 50000});
}

static void on_head(int status, void *arg)
{
	struct outcome *o = arg;

	o->heads++;
	o->status = status;
	if (o->chunks || o->dones)
		o->wrong = true;
	play(o, TRICK_CANCEL_HEAD, TRICK_FREE_HEAD);
}

static char pattern(size_t at)
{
	return (char)('a' + at % 23 + at / 23 % 3);
}

static void on_chunk(int status, struct view bytes, void *arg)
{
	struct outcome *o = arg;

	if (status != o->status || o->dones || !bytes.len)
		o->wrong = true;
	o->chunks++;
	if (bytes.len > o->largest)
		o->largest = bytes.len;
	if (o->only_count) {
		for (size_t i = 0; i < bytes.len; i++)
			if (bytes.ptr[i] != pattern(o->len + i))
				o->wrong = true;
	} else {
		o->body = realloc(o->body, o->len + bytes.len + 1);
		memcpy(o->body + o->len, bytes.ptr, bytes.len);
		o->body[o->len + bytes.len] = '\0';
	}
	o->len += bytes.len;
	if (o->slow_us)
		usleep(o->slow_us);
	play(o, TRICK_CANCEL_CHUNK, TRICK_FREE_CHUNK);
}

static void on_done(const struct http_answer *answer, void *arg)
{
	struct outcome *o = arg;

	o->dones++;
	o->error = answer->error;
	o->told_status = answer->status;
	o->retry_after = answer->retry_after;
	snprintf(o->detail, sizeof(o->detail), "%s", answer->detail);
	if (answer->body.len && !o->body) {
		o->body = view_dup(answer->body);
		o->len = answer->body.len;
	}
	event_base_loopbreak(o->base);
}

static const struct http_stream_hooks hooks = {on_head, on_chunk, on_done};

static struct http_request request(const char *url)
{
	return (struct http_request){
	    .url = url, .tls_verify = true, .timeout_ms = 5000, .max_body = 1 << 20};
}

static void begin(struct outcome *o, const struct http_request *req, bool stream)
{
	o->base = event_base_new();
	o->c = http_client_new(o->base, 4);
	if (stream)
		assert_int_equal(http_stream(o->c, req, &hooks, o, &o->t), 0);
	else
		assert_int_equal(http_send(o->c, req, on_done, o, &o->t), 0);
	event_base_dispatch(o->base);
	assert_false(o->wrong);
}

static void end(struct outcome *o)
{
	http_client_free(o->c);
	assert_int_equal(event_base_get_num_events(o->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o->base);
	free(o->body);
}

static const char *url_of(const struct peer *p)
{
	static char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", p->port);
	return url;
}

/* Answers with what it was sent, head and body. */
static void echo(struct peer *p, int fd, int nth)
{
	char head[8192];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		const char *length = strcasestr(head, "\r\nContent-Length:");
		size_t want = length ? (size_t)atol(length + 17) : 0, at = strlen(head);
		char *all = malloc(at + want + 1);

		memcpy(all, head, at);
		for (size_t got = 0; got < want;) {
			ssize_t n = recv(fd, all + at + got, want - got, 0);

			if (n <= 0)
				break;
			got += (size_t)n;
		}
		peer_answer(fd, 200, "", all, at + want);
		free(all);
	}
}

static void test_methods(void **state)
{
	static const char *const names[] = {"GET", "PUT", "POST", "PATCH"};
	struct peer *p = peer_start(echo, NULL);

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		for (int m = HTTP_GET; m <= HTTP_PATCH; m++) {
			static const char *const extra[] = {"X-One: 1", "Accept: application/json",
							    NULL};
			struct outcome o = {0};
			struct http_request req = request(url_of(p));
			char line[64];

			req.method = (enum http_method)m;
			req.headers = extra;
			req.body = VIEW_LIT("{\"a\":\0\"b\"}");
			req.content_type = "application/merge-patch+json";
			begin(&o, &req, stream);
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
			end(&o);
		}
	}
	/* A large one; none at all, without a type. */
	{
		struct outcome o = {0}, none = {0};
		struct http_request req = request(url_of(p));
		char *large = malloc(3 << 20);

		memset(large, 'x', 3 << 20);
		req.method = HTTP_PUT;
		req.body = (struct view){large, 3 << 20};
		req.max_body = 4 << 20;
		begin(&o, &req, false);
		assert_int_equal(o.error, HTTP_OK);
		assert_true(o.len > 3 << 20);
		end(&o);
		free(large);
		req.body = VIEW_NULL;
		begin(&none, &req, false);
		assert_null(strcasestr(none.body, "Content-Type"));
		assert_non_null(strstr(none.body, "\r\nContent-Length: 0\r\n"));
		end(&none);
	}
	peer_stop(p);
}

static void test_refused(void **state)
{
	static const char *const evil[] = {"X: a\r\nY: b", NULL};
	struct event_base *base = event_base_new();
	struct http_client *c = http_client_new(base, 4);
	struct http_request req = request("http://127.0.0.1:1/");
	struct outcome o = {0};

	(void)state;
	req.headers = evil;
	assert_int_equal(http_send(c, &req, on_done, &o, NULL), -EINVAL);
	req.headers = NULL;
	req.method = HTTP_PATCH;
	req.content_type = "a\r\nb";
	assert_int_equal(http_stream(c, &req, &hooks, &o, NULL), -EINVAL);
	req.content_type = NULL;
	assert_int_equal(http_get(c, &req, on_done, &o, NULL), -EINVAL);
	req.tls.server_name = "a b/c";
	assert_int_equal(http_send(c, &req, on_done, &o, NULL), -EINVAL);
	http_client_free(c);
	event_base_free(base);
}

/* One request, one answer of @arg, and the end. */
static void raw(struct peer *p, int fd, int nth)
{
	char head[4096];

	(void)nth;
	if (peer_read_head(p, fd, head, sizeof(head)))
		peer_say(fd, p->arg);
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
		struct outcome o = {0};
		struct http_request req;

		snprintf(text, sizeof(text),
			 "HTTP/1.1 100 Continue\r\nRetry-After: 3\r\n\r\n"
			 "HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n%s\r\nhi",
			 cases[i].headers);
		p = peer_start(raw, text);
		req = request(url_of(p));
		begin(&o, &req, i % 2);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.told_status, 429);
		assert_true(o.retry_after >= cases[i].least && o.retry_after <= cases[i].most);
		assert_string_equal(o.body, "hi");
		end(&o);
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
			piece[i] = pattern(at + i);
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
		struct http_request req = request(url_of(p));
		struct outcome o = {.only_count = true, .slow_us = slow ? 500 : 0};

		req.max_body = 1; /* not looked at */
		begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.len, n);
		assert_int_equal(o.heads, 1);
		assert_int_equal(o.dones, 1);
		assert_true(o.largest <= HTTP_STREAM_BUFFER + 16384);
		end(&o);
		peer_stop(p);
	}
}

static void test_tricks(void **state)
{
	(void)state;
	for (int trick = TRICK_CANCEL_HEAD; trick <= TRICK_FREE_CHUNK; trick++) {
		size_t n = 4 << 20;
		struct peer *p = peer_start(flood, &n);
		struct http_request req = request(url_of(p));
		struct outcome o = {.only_count = true, .trick = (enum trick)trick};
		bool head = trick == TRICK_CANCEL_HEAD || trick == TRICK_FREE_HEAD;

		req.idle_ms = 1000;
		begin(&o, &req, true);
		assert_int_equal(o.heads, 1);
		assert_int_equal(o.chunks, head ? 0 : 1);
		assert_int_equal(o.dones, 0);
		if (o.c)
			end(&o);
		else
			event_base_free(o.base);
		peer_stop(p);
	}
	/* From outside, at any time. */
	for (int us = 0; us < 4000; us += 200) {
		size_t n = 1 << 20;
		struct peer *p = peer_start(flood, &n);
		struct http_request req = request(url_of(p));
		struct outcome o = {.only_count = true, .base = event_base_new()};
		int dones;

		o.c = http_client_new(o.base, 4);
		assert_int_equal(http_stream(o.c, &req, &hooks, &o, &o.t), 0);
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
		struct peer *p = peer_start(raw, (void *)(uintptr_t)cases[i].answer);
		struct http_request req = request(url_of(p));
		struct outcome o = {0};

		begin(&o, &req, true);
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
		end(&o);
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
		struct http_request req = request(url_of(p));
		struct outcome o = {0};

		req.idle_ms = 100;
		req.keepalive = true;
		begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		assert_string_equal(o.detail, "the server has fallen silent");
		assert_int_equal(o.len, i == 2 ? 3 : 0);
		end(&o);
		peer_stop(p);
	}
	{
		struct peer *p = peer_start(drip, NULL);
		struct http_request req = request(url_of(p));
		struct outcome o = {0};

		req.idle_ms = 2000;
		req.timeout_ms = 1500;
		begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_OK);
		assert_int_equal(o.len, 20);
		end(&o);
		peer_stop(p);
	}
	/* timeout_ms is for the connection, TLS included. */
	{
		struct peer *p = peer_start(mute, "");
		char url[64];
		struct http_request req = request(url);
		struct outcome o = {0};

		snprintf(url, sizeof(url), "https://127.0.0.1:%u/", p->port);
		req.timeout_ms = 100;
		begin(&o, &req, true);
		assert_int_equal(o.error, HTTP_TIMEOUT);
		end(&o);
		peer_stop(p);
	}
}

static struct view file(const char *name)
{
	static char text[8][8192];
	static int turn;
	char *out = text[turn++ % 8], path[128];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(text[0]), f);
	fclose(f);
	return (struct view){out, n};
}

static void test_tls(void **state)
{
	struct secure *s = secure_start(dir, true, echo, NULL);
	const struct http_tls good = {file("ca.crt"), file("client.crt"), file("client.key"),
				      "kubernetes"};
	char v4[64], name[64], host[64], where[64], ca[128];
	const struct {
		struct http_tls tls;
		const char *url, *ca_file, *connect_to;
		bool insecure;
		enum http_error error; /* HTTP_TLS: or a cut, which TLS 1.3 makes of a refusal */
	} cases[] = {
	    {good, v4, NULL, NULL, false, HTTP_OK},
	    /* Without the name the address counts, and it is not in the certificate. */
	    {{good.ca, good.cert, good.key, NULL}, v4, NULL, NULL, false, HTTP_TLS},
	    {{good.ca, good.cert, good.key, NULL}, v4, NULL, NULL, true, HTTP_OK},
	    {{good.ca, good.cert, good.key, NULL}, name, NULL, where, false, HTTP_OK},
	    {{good.ca, good.cert, good.key, "127.0.0.2"}, v4, NULL, NULL, false, HTTP_OK},
	    {{good.ca, good.cert, good.key, "kubernetes.default"}, v4, NULL, NULL, false, HTTP_TLS},
	    /* The CA: another, the system's, from a file. */
	    {{file("other.crt"), good.cert, good.key, "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    {{VIEW_NULL, good.cert, good.key, "kubernetes"}, v4, NULL, NULL, false, HTTP_TLS},
	    {{VIEW_NULL, good.cert, good.key, "kubernetes"}, v4, ca, NULL, false, HTTP_OK},
	    {{VIEW_LIT("no PEM"), good.cert, good.key, "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    /* The client's: none, another's, half of it, nonsense. */
	    {{good.ca, VIEW_NULL, VIEW_NULL, "kubernetes"}, v4, NULL, NULL, false, HTTP_TLS},
	    {{good.ca, file("other.crt"), file("other.key"), "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    {{good.ca, good.cert, file("other.key"), "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	    {{good.ca, VIEW_LIT("x"), VIEW_LIT("y"), "kubernetes"},
	     v4,
	     NULL,
	     NULL,
	     false,
	     HTTP_TLS},
	};

	(void)state;
	snprintf(v4, sizeof(v4), "https://127.0.0.1:%u/x", s->peer->port);
	snprintf(name, sizeof(name), "https://kubernetes:%u/x", s->peer->port);
	snprintf(where, sizeof(where), "127.0.0.1:%u", s->peer->port);
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", s->peer->port);
	snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct outcome o = {0};
		struct http_request req = request(cases[i].url);

		req.tls = cases[i].tls;
		req.ca_file = cases[i].ca_file;
		req.connect_to = cases[i].connect_to;
		req.tls_verify = !cases[i].insecure;
		begin(&o, &req, i % 2);
		if (cases[i].error == HTTP_OK) {
			if (o.error != HTTP_OK)
				fail_msg("case %zu: %s", i, o.detail);
			assert_int_equal(o.told_status, 200);
			/* Host is the URL's, whatever the certificate is called. */
			if (cases[i].url == v4)
				assert_non_null(strstr(o.body, host));
		} else if (o.error != HTTP_TLS && o.error != HTTP_PROTOCOL) {
			fail_msg("case %zu: %s", i, http_error_name(o.error));
		}
		end(&o);
	}
	/* One client, two identities: a kept connection is not lent to somebody else. */
	{
		struct outcome o = {.base = event_base_new()};
		struct http_request req = request(v4);

		o.c = http_client_new(o.base, 4);
		s->certified = 0;
		req.tls = good;
		for (int i = 0; i < 3; i++) {
			req.tls.cert = i == 1 ? VIEW_NULL : good.cert;
			req.tls.key = i == 1 ? VIEW_NULL : good.key;
			free(o.body);
			o.body = NULL;
			assert_int_equal(http_send(o.c, &req, on_done, &o, NULL), 0);
			event_base_dispatch(o.base);
			assert_int_equal(o.error == HTTP_OK, i != 1);
		}
		assert_int_equal(s->certified, 1); /* and the first is reused by the third */
		end(&o);
	}
	secure_stop(s);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	return mkdtemp(dir) ? secure_certificates(dir) : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_methods),     cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_retry_after), cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_flood),       cmocka_unit_test(test_tricks),
	    cmocka_unit_test(test_silence),     cmocka_unit_test(test_tls),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
