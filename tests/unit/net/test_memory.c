/*
 * net/ when memory is short: each start with its i-th allocation failing, for every i, and each
 * job with an allocation failing anywhere on its way. Nothing may crash, be told twice or never,
 * or (where that can be counted) be lost.
 *
 * The allocator is replaced for the test's own thread only; sanitizers bring theirs, so there the
 * tests are skipped. On the way of a transfer only our own allocations and libevent's fail: libcurl
 * 7.88 divides by zero after some of its own have.
 */
#include "net/ask.h"
#include "net/dns.h"
#include "net/http.h"
#include "net/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>

#include "unit/net/peer.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifndef SANITIZED

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static _Thread_local long countdown = -1; /* the allocation that fails; < 0: none */
static _Thread_local long live;           /* allocated less freed while counting */
static _Thread_local bool counting, failed;

static _Thread_local bool ours_only; /* callers in this executable */

extern char __executable_start, etext;

static bool fails(const void *caller)
{
	if (countdown < 0)
		return false;
	if (ours_only &&
	    ((const char *)caller < &__executable_start || (const char *)caller > &etext))
		return false;
	if (countdown-- == 0) {
		failed = true;
		return true;
	}
	return false;
}

void *malloc(size_t size)
{
	void *p = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

	live += counting && p;
	if (!p)
		errno = ENOMEM;
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p = fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);

	live += counting && p;
	if (!p)
		errno = ENOMEM;
	return p;
}

void *realloc(void *old, size_t size)
{
	void *p = fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);

	live += counting && p && !old;
	if (!p)
		errno = ENOMEM;
	return p;
}

void free(void *p)
{
	live -= counting && p;
	__libc_free(p);
}

/* libevent's allocations, made from here. */
static void *event_malloc(size_t size)
{
	void *p = malloc(size);

	__asm__ volatile("" ::: "memory"); /* no tail call: the caller counts */
	return p;
}

static void *event_realloc(void *old, size_t size)
{
	void *p = realloc(old, size);

	__asm__ volatile("" ::: "memory");
	return p;
}

struct job {
	struct event_base *base;
	struct http_client *client;
	struct dns *dns;
	uint16_t port, hung;
	int told;
};

static void asked(const struct ask_answer *answer, void *arg)
{
	(void)answer;
	((struct job *)arg)->told++;
}

static void got(const struct http_answer *answer, void *arg)
{
	(void)answer;
	((struct job *)arg)->told++;
}

static void resolved(const struct dns_answer *answer, void *arg)
{
	(void)answer;
	((struct job *)arg)->told++;
}

static void ticked(void *arg)
{
	((struct job *)arg)->told++;
}

enum kind { ASK, HTTP, DNS_LITERAL, DNS_NAME, KINDS };

struct running {
	struct ask *ask;
	struct http_transfer *transfer;
	struct dns_query *query;
};

static int start(struct job *j, enum kind kind, struct running *r)
{
	struct http_request req = {
	    .tls_verify = true, .timeout_ms = 300, .max_body = 1 << 20, .bearer = "token"};
	char text[64];

	*r = (struct running){0};
	switch (kind) {
	case ASK:
		snprintf(text, sizeof(text), "127.0.0.1:%u", j->port);
		return ask(j->base, text, VIEW_LIT("GET / HTTP/1.1\r\n\r\n"), 300, 1 << 20, asked,
			   j, &r->ask);
	case HTTP:
		snprintf(text, sizeof(text), "http://127.0.0.1:%u/", j->port);
		req.url = text;
		req.connect_to = "127.0.0.1";
		return http_get(j->client, &req, got, j, &r->transfer);
	case DNS_LITERAL:
		return dns_lookup(j->dns, "10.0.0.1", 10, resolved, j, &r->query);
	case DNS_NAME:
	default:
		return dns_lookup(j->dns, "name.test", 10, resolved, j, &r->query);
	}
}

static void cancel(enum kind kind, struct running *r)
{
	if (kind == ASK)
		ask_cancel(r->ask);
	else if (kind == HTTP)
		http_cancel(r->transfer);
	else
		dns_cancel(r->query);
}

static void answer(struct peer *p, int fd, int nth)
{
	char head[2048], page[20000];

	(void)nth;
	memset(page, 'x', sizeof(page));
	if (peer_read_head(p, fd, head, sizeof(head)))
		peer_answer(fd, 200, "Connection: close\r\n", page, sizeof(page));
}

static struct job job_open(struct peer *p)
{
	struct job j = {.base = event_base_new(), .port = p->port};
	char where[64];
	const char *servers[] = {where};
	uint16_t closed;
	int fd = peer_bind(&closed);

	/* Nobody answers there: the look-up ends by being refused or by its deadline. */
	snprintf(where, sizeof(where), "127.0.0.1:%u", closed);
	assert_int_equal(dns_new(j.base, servers, 1, 300, &j.dns), 0);
	j.client = http_client_new(j.base, 4);
	assert_non_null(j.client);
	close(fd);
	return j;
}

static void job_close(struct job *j)
{
	http_client_free(j->client);
	dns_free(j->dns);
	assert_int_equal(event_base_get_num_events(j->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(j->base);
}

static void test_starts(void **state)
{
	struct peer *p = peer_start(answer, NULL);
	struct job j = job_open(p);

	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		struct running r;
		long i;

		/* What the libraries keep for the next time is allocated by a first one. */
		for (i = 0; i < 3; i++) {
			assert_int_equal(start(&j, kind, &r), 0);
			cancel(kind, &r);
		}
		for (i = 0; i < 100000; i++) {
			int result;

			live = 0;
			counting = true;
			failed = false;
			countdown = i;
			result = start(&j, kind, &r);
			countdown = -1;
			if (result == 0)
				cancel(kind, &r);
			else
				assert_true(failed && result == -ENOMEM);
			counting = false;
			if (kind != HTTP && live > 0)
				fail_msg("kind %d allocation %ld: %ld lost", kind, i, live);
			if (!failed)
				break;
		}
		assert_true(i > 0);
	}
	assert_int_equal(j.told, 0);
	job_close(&j);
	peer_stop(p);
}

static void test_ways(void **state)
{
	struct peer *p = peer_start(answer, NULL);

	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		for (long i = 0; i < 100000; i++) {
			struct job j = job_open(p);
			struct running r;
			int turns = 0;

			failed = false;
			assert_int_equal(start(&j, kind, &r), 0);
			ours_only = kind == HTTP;
			countdown = i;
			while (j.told == 0 && turns++ < 5000) {
				event_base_loop(j.base, EVLOOP_NONBLOCK);
				usleep(200);
			}
			countdown = -1;
			ours_only = false;
			if (j.told != 1)
				fail_msg("kind %d allocation %ld: told %d times", kind, i, j.told);
			job_close(&j);
			if (!failed)
				break;
		}
	}
	peer_stop(p);
}

static void test_makers(void **state)
{
	struct event_base *base = event_base_new();
	const char *servers[] = {"127.0.0.1:53"};

	(void)state;
	for (long i = 0;; i++) {
		struct http_client *c;
		struct timer *t;
		struct dns *d = NULL;
		int r;

		failed = false;
		countdown = i;
		c = http_client_new(base, 4);
		countdown = failed ? -1 : i;
		t = timer_new(base, ticked, NULL);
		countdown = failed ? -1 : i;
		r = dns_new(base, servers, 1, 100, &d);
		countdown = -1;
		assert_true(r == 0 || r == -ENOMEM);
		assert_true(failed || (c && t && r == 0));
		http_client_free(c);
		timer_free(t);
		dns_free(d);
		if (!failed)
			break;
	}
	event_base_free(base);
}

#else

static void skipped(void **state)
{
	(void)state;
	skip();
}

#define test_starts skipped
#define test_ways   skipped
#define test_makers skipped

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_starts),
	    cmocka_unit_test(test_ways),
	    cmocka_unit_test(test_makers),
	};

	signal(SIGPIPE, SIG_IGN);
#ifndef SANITIZED
	event_set_mem_functions(event_malloc, event_realloc, free);
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
