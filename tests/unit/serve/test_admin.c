/*
 * The administration port: what is answered to which bytes, and what many or slow clients can do.
 */
#include "serve/admin.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "unit/serve/rig.h"

static const struct {
	const char *request;
	int status;
	const char *has;
} plain_cases[] = {
    {"GET /small HTTP/1.1\r\nHost: a\r\n\r\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small HTTP/1.0\r\n\r\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small HTTP/1.1\n\n", 200, "\r\n\r\nsmall\n"},
    {"GET /small?a=b?c HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET http://other/small HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET HTTPS://other:1/small?x HTTP/1.1\r\n\r\n", 200, "small\n"},
    {"GET /readyz HTTP/1.1\r\n\r\n", 503, "down\n"},
    {"GET / HTTP/1.1\r\n\r\n", 200, "/small\n/big\n"},
    {"GET /nothing HTTP/1.1\r\n\r\n", 404, "/small\n"},
    {"GET /small/ HTTP/1.1\r\n\r\n", 200, "below: \n"},
    {"GET /big/ HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /small/a/%2F?b HTTP/1.1\r\n\r\n", 200, "below: a/%2F\n"},
    {"GET /smallx/a HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /big/a HTTP/1.1\r\n\r\n", 404, NULL},
    {"POST /small/a HTTP/1.1\r\n\r\n", 405, "Allow: GET, HEAD\r\n"},
    {"GET //small HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /x/../small HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /%73mall HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /small%00 HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET /SMALL HTTP/1.1\r\n\r\n", 404, NULL},
    {"GET http://other HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET ftp://other/small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET * HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small#x HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /sm\x01ll HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /sm\xc3\xa4ll HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET  /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small  HTTP/1.1\r\n\r\n", 400, NULL},
    {"GET /small\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.2\r\n\r\n", 505, NULL},
    {"GET /small HTTP/2.0\r\n\r\n", 505, NULL},
    {"GET /small http/1.1\r\n\r\n", 400, NULL},
    {"G\x7fT /small HTTP/1.1\r\n\r\n", 400, NULL},
    {" GET /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"\r\n\r\n", 400, NULL},
    {"\n\nGET /small HTTP/1.1\r\n\r\n", 400, NULL},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL},
    {"\x16\x03\x01\x02\n\n", 400, NULL},
    {"GET /small HTTP/1.1\r\nA : b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\n a: b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\nno colon\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\n: b\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: b\rc\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: \x01\r\n\r\n", 400, NULL},
    {"GET /small HTTP/1.1\r\na: \xff\t\xfe \r\nb:\r\n\r\n", 200, NULL},
    {"POST /small HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 405, "Allow: GET, HEAD\r\n"},
    {"DELETE /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"get /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"OPTIONS /small HTTP/1.1\r\n\r\n", 405, NULL},
    {"TRACE /small HTTP/1.1\r\nCookie: secret\r\n\r\n", 405, NULL},
    {"PROPFIND /none HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n\r\n", 405, NULL},
};

static void test_requests(void **state)
{
	struct rig *r = rig_new(false, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(plain_cases) / sizeof(plain_cases[0]); i++)
		rig_expect(r, plain_cases[i].request, plain_cases[i].status, plain_cases[i].has);
	rig_free(r);
}

static void test_nul_is_no_end(void **state)
{
	static const char request[] = "GET /small\0x HTTP/1.1\r\n\r\n";
	struct rig *r = rig_new(false, NULL);
	char *said = rig_say(r, request, sizeof(request) - 1, NULL);

	(void)state;
	assert_int_equal(rig_status(said), 400);
	free(said);
	rig_free(r);
}

static void test_head(void **state)
{
	struct rig *r = rig_new(false, NULL);
	const char *request = "HEAD /big HTTP/1.1\r\n\r\n";
	char *said = rig_say(r, request, strlen(request), NULL);

	(void)state;
	assert_int_equal(rig_status(said), 200);
	assert_non_null(strstr(said, "\r\nContent-Length: 3000000\r\n"));
	assert_string_equal(rig_body(said), "");
	free(said);
	rig_free(r);
}

static void test_big_page(bool tls)
{
	struct rig *r = rig_new(tls, NULL);
	const char *request = "GET /big HTTP/1.1\r\n\r\n";
	char *said = rig_say(r, request, strlen(request), NULL);

	assert_int_equal(strlen(rig_body(said)), RIG_BIG);
	free(said);
	rig_free(r);
}

static void test_big(void **state)
{
	(void)state;
	test_big_page(false);
	test_big_page(true);
}

/* A connection is asked once: what follows is neither a body nor a request. */
static void test_one_request(void **state)
{
	static const char *const requests[] = {
	    "GET /small HTTP/1.1\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	    "GET /small HTTP/1.1\r\nContent-Length: 22\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	    ("GET /small HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
	     "0\r\n\r\nGET /big HTTP/1.1\r\n\r\n"),
	    "HEAD /small HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /big HTTP/1.1\r\n\r\n",
	};
	struct rig *r = rig_new(false, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		char *said = rig_say(r, requests[i], strlen(requests[i]), NULL);

		assert_int_equal(rig_status(said), 200);
		assert_non_null(strstr(said, "\r\nConnection: close\r\n"));
		assert_null(strstr(rig_body(said), "HTTP/1.1"));
		assert_null(strstr(said, "0123"));
		free(said);
	}
	rig_free(r);
}

static void test_lengths(void **state)
{
	struct rig *r = rig_new(false, NULL);
	char *text = malloc(200000), *said;
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, "GET /%010000d HTTP/1.1\r\n\r\n", 0);
	said = rig_say(r, text, n, NULL);
	assert_int_equal(rig_status(said), 404);
	free(said);
	/* A head that is too long, with an end or without, in one line or many. */
	for (int kind = 0; kind < 3; kind++) {
		n = kind == 0 ? (size_t)sprintf(text, "GET /%017000d HTTP/1.1\r\n\r\n", 0)
			      : (size_t)sprintf(text, "GET /small HTTP/1.1\r\n");
		for (int i = 0; kind && i < 9000; i++)
			n += (size_t)sprintf(text + n, "%s", kind == 1 ? "a: b\r\n" : "aaaaaa");
		said = rig_say(r, text, n, NULL);
		assert_int_equal(rig_status(said), 431);
		free(said);
	}
	free(text);
	rig_free(r);
}

/* Bytes that come one by one are a request all the same, and a peer that has said everything and
 * closed its side gets its answer. */
static void test_byte_by_byte(void **state)
{
	const char *request = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
	struct rig *r = rig_new(false, NULL);
	int fd = rig_dial(r);
	char *said;

	(void)state;
	for (const char *p = request; *p; p++) {
		assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
		poll(NULL, 0, 1);
	}
	shutdown(fd, SHUT_WR);
	said = rig_read(fd, NULL);
	assert_int_equal(strlen(rig_body(said)), RIG_BIG);
	free(said);
	close(fd);
	rig_free(r);
}

/* Many that say nothing, or begin and never end: a probe gets its answer at once, and the room is
 * never more than was configured. */
static void check_flood(bool tls, const char *beginning)
{
	struct rig *r = rig_new(tls, "token");
	enum { FLOOD = 300 };
	int fds[FLOOD], open = 0;

	for (int i = 0; i < FLOOD; i++) {
		fds[i] = rig_dial(r);
		if (*beginning)
			(void)!send(fds[i], beginning, strlen(beginning), MSG_NOSIGNAL);
		if (i % 50 == 49)
			rig_expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, "small");
	}
	rig_expect(r, "GET /healthz HTTP/1.1\r\n\r\n", 200, "small");
	assert_true(rig_counts(r).evicted >= FLOOD - 8);
	assert_int_equal(rig_counts(r).late, 0);
	for (int i = 0; i < FLOOD; i++) {
		char byte;
		ssize_t n = recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);

		open += n < 0 && errno == EAGAIN;
	}
	assert_true(open <= 8);
	for (int i = 0; i < FLOOD; i++)
		close(fds[i]);
	rig_free(r);
}

static void test_flood(void **state)
{
	(void)state;
	check_flood(false, "");
	check_flood(false, "GET /small HTTP/1.1\r\nHost: ");
	check_flood(true, "");
	check_flood(true, "\x16\x03\x01");
}

/* Time is for the whole of it: a byte now and then does not stretch it. */
static void test_slow(void **state)
{
	struct rig *r = rig_prepare(false, NULL, false);
	struct timespec from, to;
	int fd, slow_reader, error = 0;
	char text[64];

	(void)state;
	r->conf.timeouts.admin_ms = 300;
	rig_start(r);
	slow_reader = rig_dial(r);
	assert_true(send(slow_reader, "GET /big HTTP/1.1\r\n\r\n", 21, MSG_NOSIGNAL) == 21);
	fd = rig_dial(r);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < RIG_PATIENCE_MS / 20 && !error; i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		(void)!send(fd, "a", 1, MSG_NOSIGNAL);
		error = poll(&p, 1, 20) > 0 && recv(fd, text, sizeof(text), 0) <= 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(error);
	/* The other reads nothing: its page is not kept for it. */
	for (int i = 0; i < 1000 && rig_counts(r).late < 2; i++)
		poll(NULL, 0, 10);
	assert_int_equal(rig_counts(r).late, 2);
	close(fd);
	close(slow_reader);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_requests),     cmocka_unit_test(test_nul_is_no_end),
	    cmocka_unit_test(test_head),         cmocka_unit_test(test_big),
	    cmocka_unit_test(test_one_request),  cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_byte_by_byte), cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
