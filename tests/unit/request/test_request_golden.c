#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit/request/reference.h"
#include "unit/request/slices.h"
#include "unit/request/readers.h"

/*
 * tests/golden/bodies.txt, case by case. Each body is read
 *  - whole, with its last byte before an unreadable page;
 *  - as head and tail that touch or overlap, at every place: the same in every field;
 *  - as head and tail with a gap: the same or need_body, when it is valid;
 *  - short of its end by every number of bytes, with a known length and with a full buffer;
 * and JSON also by the reference reader.
 */

#define BODY_MAX (2 << 20)

struct golden {
	char name[128];
	char type[256], encoding[64];
	bool has_type, has_encoding;
	char *body;
	size_t len;
	long long content_length, body_size, buffer, depth;
	/* expected */
	char status[32];
	char model[2048];
	size_t model_len;
	long long at, raw_len;
	char why[128];
	bool truncated;
};

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The notation of the table; returns the bytes written. */
static size_t decode(const char *s, size_t n, char *out)
{
	size_t k = 0;

	for (size_t i = 0; i < n;) {
		const char *unit = s + i;
		char byte;
		size_t unit_len = 1, times = 1;

		if (s[i] != '<') {
			out[k++] = s[i++];
			continue;
		}
		if (s[i + 1] == '>') {
			i += 2;
			continue;
		}
		if (s[i + 1] == '(') {
			const char *close = memchr(s + i, ')', n - i);

			assert_non_null(close);
			unit = s + i + 2;
			unit_len = (size_t)(close - unit);
			i = (size_t)(close + 1 - s);
		} else {
			assert_true(hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0);
			byte = (char)(hex(s[i + 1]) * 16 + hex(s[i + 2]));
			unit = &byte;
			i += 3;
		}
		if (s[i] == '*') {
			char *end;

			times = strtoul(s + i + 1, &end, 10);
			i = (size_t)(end - s);
		}
		assert_int_equal(s[i], '>');
		i++;
		assert_true(k + times * unit_len < BODY_MAX);
		while (times--) {
			memcpy(out + k, unit, unit_len);
			k += unit_len;
		}
	}
	return k;
}

static bool field(const char *line, const char *key, const char **value)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0 || line[n] != ':')
		return false;
	*value = line[n + 1] == ' ' ? line + n + 2 : line + n + 1;
	return true;
}

/* = STATUS [NAME] [@AT[+LEN]] [WHY | truncated] */
static void read_expected(struct golden *g, char *s)
{
	char *at;
	size_t n = strcspn(s, " ");

	memcpy(g->status, s, n);
	g->status[n] = '\0';
	s += n;
	if (strstr(s, " truncated")) {
		g->truncated = true;
		*strstr(s, " truncated") = '\0';
	}
	at = strstr(s, " @");
	if (!at)
		return;
	if (at > s)
		g->model_len = decode(s + 1, (size_t)(at - s - 1), g->model);
	g->at = strtoll(at + 2, &s, 10);
	if (*s == '+')
		g->raw_len = strtoll(s + 1, &s, 10);
	if (*s == ' ')
		snprintf(g->why, sizeof(g->why), "%s", s + 1);
}

/* The next case; false at the end of the file. */
static bool next_case(FILE *f, struct golden *g, char *body)
{
	static char line[1 << 16];
	const char *v;

	memset(g, 0, sizeof(*g));
	g->body = body;
	g->content_length = g->body_size = -1;
	g->depth = 512;
	while (fgets(line, sizeof(line), f)) {
		size_t n = strcspn(line, "\n");

		line[n] = '\0';
		if (line[0] == '[') {
			snprintf(g->name, sizeof(g->name), "%.*s", (int)strcspn(line + 1, "]"),
				 line + 1);
			slices_name = g->name;
		} else if (field(line, "body", &v)) {
			g->len += decode(v, strlen(v), body + g->len);
		} else if (field(line, "line", &v)) {
			g->len += decode(v, strlen(v), body + g->len);
			memcpy(body + g->len, "\r\n", 2);
			g->len += 2;
		} else if (field(line, "type", &v)) {
			g->has_type = true;
			g->type[decode(v, strlen(v), g->type)] = '\0';
		} else if (field(line, "encoding", &v)) {
			g->has_encoding = true;
			g->encoding[decode(v, strlen(v), g->encoding)] = '\0';
		} else if (field(line, "content-length", &v)) {
			g->content_length = atoll(v);
		} else if (field(line, "body-size", &v)) {
			g->body_size = atoll(v);
		} else if (field(line, "buffer", &v)) {
			g->buffer = atoll(v);
		} else if (field(line, "depth", &v)) {
			g->depth = atoll(v);
		} else if (line[0] == '=') {
			read_expected(g, line + 2);
			return true;
		} else if (line[0] && line[0] != '#' && !field(line, "why", &v)) {
			fail_msg("%s: what is \"%s\"?", g->name, line);
		}
	}
	return false;
}

static struct request_limits limits_of(const struct golden *g)
{
	return (struct request_limits){(unsigned)g->depth, 16384, false};
}

static struct request_input input_of(const struct golden *g, struct view body)
{
	return (struct request_input){
	    .body = body,
	    .content_type = g->has_type ? view_str(g->type) : VIEW_NULL,
	    .content_encoding = g->has_encoding ? view_str(g->encoding) : VIEW_NULL,
	    .body_len = -1,
	    .body_size = g->body_size,
	    .content_length = g->content_length,
	    .buffer_size = (uint32_t)g->buffer,
	};
}

static void check_answer(const struct golden *g, const struct request *r)
{
	bool ok =
	    strcmp(request_status_name(r->status), g->status) == 0 && r->truncated == g->truncated;

	if (r->status == REQUEST_OK)
		ok = ok && view_eq(r->model, (struct view){g->model, g->model_len}) &&
		     r->model_at == g->at && r->model_len == g->raw_len && !r->why;
	else
		ok = ok && r->model.len == 0 && r->model_at == -1 && r->model_len == -1;
	if (r->status == REQUEST_BAD)
		ok = ok && r->at == g->at && g->why[0] &&
		     strncmp(r->why, g->why, strlen(g->why)) == 0;
	if (!ok) {
		slices_print("got", r);
		fail_msg("%s: expected %s \"%.*s\" @%lld+%lld %s%s", g->name, g->status,
			 (int)g->model_len, g->model, g->at, g->raw_len,
			 g->truncated ? "truncated " : "", g->why);
	}
}

/* What the contract says of the whole body, from the reader that shares nothing with ours. */
static void check_reference(const struct golden *g, const struct request *r)
{
	static struct ref_answer a;
	static const enum request_status verdicts[] = {
	    [REF_OK] = REQUEST_OK, [REF_NO_MODEL] = REQUEST_NO_MODEL, [REF_BAD] = REQUEST_BAD};

	ref_answer(&a, g->body, g->len, (unsigned)g->depth);
	assert_int_equal(r->status, verdicts[a.verdict]);
	if (a.verdict != REF_OK)
		return;
	assert_true(view_eq(r->model, (struct view){a.name, a.name_len}));
	assert_int_equal(r->model_at, a.at);
	assert_int_equal(r->model_len, a.len);
}

/* JSON and nothing said of its charset, of which the reference reader knows nothing. */
static bool is_json(const struct golden *g)
{
	return !g->has_type || strcmp(g->type, "application/json") == 0;
}

static void check_slices(const struct golden *g, const struct request *want)
{
	struct request_limits limits = limits_of(g);
	struct request_input in = input_of(g, (struct view){g->body, g->len});
	bool strict = want->status == REQUEST_OK || want->status == REQUEST_NO_MODEL;
	size_t n = g->len;
	size_t step = slices_step(n, 100);

	for (size_t head = 0; head <= n; head += step) {
		for (size_t tail = 0; tail <= n; tail += step)
			slices_check(want, &in, head, tail, &limits, strict && !want->truncated);
		slices_check(want, &in, head, n - head, &limits, strict);
	}
}

/* The body short of its end: right until the first wrong byte, and wrong from there on. */
static void check_cuts(const struct golden *g, const struct request *whole)
{
	struct request_limits limits = limits_of(g);
	size_t step = g->len <= 3000 ? 1 : g->len / 1000;
	bool wrong = false, found = false;

	for (size_t n = 0; n < g->len; n += step) {
		struct view bytes = guard_put(&slices_head, (struct view){g->body, n});
		struct request_input in = input_of(g, bytes);
		struct request r, full;

		in.content_length = (int64_t)g->len;
		request_read(&r, &in, &limits);
		assert_true(r.truncated);
		if (wrong || r.status == REQUEST_BAD) {
			r.truncated = whole->truncated;
			if (!slices_same(&r, whole) || (int64_t)n <= whole->at)
				slices_differ("cut", n, 0, whole, &r);
			wrong = true;
			continue;
		}
		if (found || r.status == REQUEST_OK) {
			assert_int_equal(r.status, REQUEST_OK);
			assert_true((int64_t)n >= r.model_at + r.model_len + 1);
			if (whole->status == REQUEST_OK)
				assert_true(view_eq(r.model, whole->model));
			found = true;
		} else {
			assert_int_equal(r.status, REQUEST_TOO_LARGE);
			if (whole->status == REQUEST_OK && is_json(g))
				assert_true((int64_t)n < whole->model_at + whole->model_len + 1);
		}
		/* no length, but a full buffer: the same unless what is there is closed */
		in.content_length = in.body_size = -1;
		in.buffer_size = (uint32_t)n;
		request_read(&full, &in, &limits);
		if (full.truncated) {
			assert_true(slices_same(&full, &r));
		} else if (n > 0 && is_json(g)) {
			static struct ref_answer a;

			ref_answer(&a, bytes.ptr, n, (unsigned)g->depth);
			assert_true(a.duplicate_free);
		}
		/* no length and far from full: unfinished is wrong */
		in.buffer_size = 64 << 20;
		request_read(&r, &in, &limits);
		assert_int_equal(r.status == REQUEST_BAD,
				 full.status == REQUEST_BAD || (full.truncated && n > 0));
	}
}

static void golden(void **state)
{
	static char body[BODY_MAX];
	struct golden g;
	unsigned cases = 0;
	FILE *f = fopen(TESTS_DIR "/golden/bodies.txt", "r");

	(void)state;
	assert_non_null(f);
	while (next_case(f, &g, body)) {
		struct request_limits limits = limits_of(&g);
		struct request_input in;
		struct request r;

		cases++;
		in = input_of(&g, guard_put(&slices_head, (struct view){g.body, g.len}));
		request_read(&r, &in, &limits);
		check_answer(&g, &r);
		/* the other reading of the same bytes must not depend on where they lie */
		in = input_of(&g, (struct view){g.body, g.len});
		request_read(&r, &in, &limits);
		check_answer(&g, &r);
		if (g.len && is_json(&g) && !g.has_encoding && !g.truncated &&
		    strcmp(g.status, "too_large") != 0)
			check_reference(&g, &r);
		if (g.len && strcmp(g.name, "model-1m") != 0)
			check_slices(&g, &r);
		if (g.len && (is_json(&g) || strncmp(g.type, "multipart/form-data; b", 22) == 0) &&
		    !g.has_encoding && !g.truncated && !strstr(g.why, "usable boundary") &&
		    !strstr(g.why, "charset"))
			check_cuts(&g, &r);
	}
	fclose(f);
	assert_true(cases >= 400);
	printf("%u bodies\n", cases);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(golden),
	};

	return cmocka_run_group_tests(tests, slices_make, slices_drop);
}

int main(void)
{
	return readers_each(run);
}
