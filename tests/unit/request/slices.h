/* One body, sent in every way HAProxy may send it, must mean one thing. */
#ifndef TESTS_SLICES_H
#define TESTS_SLICES_H

#include <stdio.h>
#include <stdlib.h>
#include "request/request.h"
#include "unit/guard.h"

/* No body of a test is larger. */
#define SLICES_ROOM (4 << 20)

static struct guard slices_head, slices_tail;

static inline int slices_make(void **state)
{
	(void)state;
	slices_head = guard_new(SLICES_ROOM);
	slices_tail = guard_new(SLICES_ROOM);
	return 0;
}

static inline int slices_drop(void **state)
{
	(void)state;
	guard_free(&slices_head);
	guard_free(&slices_tail);
	return 0;
}

/*
 * How far apart the places are at which @n bytes are cut, @most of them. Where each takes long,
 * SPOA_TEST_PLACES says how many percent of them are enough [100].
 */
static inline size_t slices_step(size_t n, size_t most)
{
	const char *percent = getenv("SPOA_TEST_PLACES");

	if (percent)
		most = most * strtoul(percent, NULL, 10) / 100;
	if (most == 0)
		most = 1;
	return n <= most ? 1 : n / most + 1;
}

/* Says what differs and stops; the case was named by slices_name. */
static const char *slices_name = "";

static void slices_print(const char *what, const struct request *r)
{
	fprintf(stderr, "  %s: %s \"%.*s\" @%lld+%lld %s%s @%lld\n", what,
		request_status_name(r->status), (int)r->model.len, r->model.ptr ? r->model.ptr : "",
		(long long)r->model_at, (long long)r->model_len, r->truncated ? "truncated " : "",
		r->why ? r->why : "", (long long)r->at);
}

static void slices_differ(const char *how, size_t head, size_t tail, const struct request *want,
			  const struct request *got)
{
	fprintf(stderr, "%s: %s, head %zu, tail %zu\n", slices_name, how, head, tail);
	slices_print("whole", want);
	slices_print("slices", got);
	abort();
}

static bool slices_same(const struct request *a, const struct request *b)
{
	return a->status == b->status && view_eq(a->model, b->model) &&
	       a->truncated == b->truncated && a->multipart == b->multipart &&
	       a->model_at == b->model_at && a->model_len == b->model_len && a->at == b->at &&
	       (a->why == b->why || (a->why && b->why && strcmp(a->why, b->why) == 0));
}

static void slices_read(struct request *req, const struct request_input *whole, size_t head,
			size_t tail, const struct request_limits *limits)
{
	struct request_input in = *whole;
	const char *body = whole->body.ptr;
	size_t n = whole->body.len;

	in.body = VIEW_NULL;
	in.body_len = (int64_t)n;
	in.head = guard_put(&slices_head, (struct view){body, head});
	in.tail =
	    tail ? guard_put(&slices_tail, (struct view){body + (n - tail), tail}) : VIEW_NULL;
	request_read(req, &in, limits);
}

/*
 * @head and @tail bytes of @whole->body against @want, what the whole means. Slices that touch
 * must mean exactly that, errors included; with a gap, @strict (valid, no duplicate keys) bodies
 * must mean that or need_body.
 */
static inline void slices_check(const struct request *want, const struct request_input *whole,
				size_t head, size_t tail, const struct request_limits *limits,
				bool strict)
{
	struct request got;

	slices_read(&got, whole, head, tail, limits);
	if (head + tail >= whole->body.len) {
		if (!slices_same(want, &got))
			slices_differ("touching", head, tail, want, &got);
	} else if (strict && got.status != REQUEST_NEED_BODY && !slices_same(want, &got)) {
		slices_differ("with a gap", head, tail, want, &got);
	}
}

#endif
