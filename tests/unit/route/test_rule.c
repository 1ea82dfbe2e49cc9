/* Routes by host, path, method and headers: Gateway API's precedence, as a table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "route/rule.h"

#define V(s) ((struct view){"" s, sizeof(s) - 1})

static const struct rule_backend to[] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1},
					 {5, 1}, {6, 1}, {7, 1}, {8, 1}, {9, 1}};

static struct view v(const char *s)
{
	return view_str(s);
}

/* Which pool; -2: no rule. */
static int32_t find(const struct rules *r, const char *host, const char *path, const char *model,
		    const char *base)
{
	struct rule_request req = {.host = v(host),
				   .path = v(path),
				   .method = v("POST"),
				   .model = v(model),
				   .base = v(base)};
	struct rule_target t;

	return rules_find(r, &req, 0, &t) ? t.pool : -2;
}

static void the_guide(void **state)
{
	const struct rule_header llama = {V("X-Gateway-Model-Name"),
					  V("meta-llama/Llama-3.1-8B-Instruct")};
	const struct rule_header phi = {V("x-gateway-model-name"),
					V("microsoft/Phi-4-mini-instruct")};
	const struct rule_header qwen = {V("X-Gateway-Base-Model-Name"), V("Qwen/Qwen3-32B")};
	const struct rule_def defs[] = {
	    {.path = V("/"),
	     .headers = &llama,
	     .nheaders = 1,
	     .backends = &to[0],
	     .nbackends = 1,
	     .route = V("default/llm-llama-route"),
	     .timeout_ms = 300000},
	    {.path = V("/"),
	     .headers = &phi,
	     .nheaders = 1,
	     .backends = &to[1],
	     .nbackends = 1,
	     .route = V("default/llm-phi4-route"),
	     .timeout_ms = 300000},
	    {.path = V("/"),
	     .headers = &qwen,
	     .nheaders = 1,
	     .backends = &to[2],
	     .nbackends = 1,
	     .route = V("default/qwen")},
	};
	struct rules *r = rules_new(defs, 3);
	struct rule_request req = {.path = V("/v1/chat/completions"), .model = phi.value};
	struct rule_target t;

	(void)state;
	assert_int_equal(find(r, NULL, "/v1/completions", "meta-llama/Llama-3.1-8B-Instruct", NULL),
			 0);
	assert_int_equal(find(r, "gw:80", "/", "microsoft/Phi-4-mini-instruct", NULL), 1);
	assert_int_equal(find(r, NULL, "/v1/x", "food-review-1", "Qwen/Qwen3-32B"), 2);
	assert_int_equal(find(r, NULL, "/v1/x", "microsoft/phi-4-mini-instruct", NULL), -2);
	assert_int_equal(find(r, NULL, "/v1/x", NULL, NULL), -2);
	assert_true(rules_find(r, &req, 0, &t));
	assert_int_equal(t.timeout_ms, 300000);
	assert_true(view_eq(t.route, V("default/llm-phi4-route")));
	assert_false(rules_want_headers(r));
	assert_int_equal(rules_count(r), 3);
	rules_free(r);
}

static void precedence(void **state)
{
	const struct rule_header m = {V("X-Gateway-Model-Name"), V("m")};
	const struct rule_header two[] = {{V("X-Gateway-Model-Name"), V("m")},
					  {V("X-Gateway-Base-Model-Name"), V("b")}};
	/* In the order of what must lose. */
	const struct rule_def defs[] = {
	    {.path = V("/"), .backends = &to[0], .nbackends = 1, .route = V("a/r")},
	    {.path = V("/"),
	     .headers = &m,
	     .nheaders = 1,
	     .backends = &to[1],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.path = V("/"),
	     .headers = two,
	     .nheaders = 2,
	     .backends = &to[2],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.path = V("/"),
	     .method = V("POST"),
	     .backends = &to[3],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.path = V("/v1"), .backends = &to[4], .nbackends = 1, .route = V("a/r")},
	    {.path = V("/v1/chat/"), .backends = &to[5], .nbackends = 1, .route = V("a/r")},
	    {.path_type = RULE_PATH_EXACT,
	     .path = V("/v1/x"),
	     .backends = &to[6],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.host = V("*.example.com"),
	     .path = V("/"),
	     .backends = &to[7],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.host = V("*.llm.example.com"),
	     .path = V("/"),
	     .backends = &to[8],
	     .nbackends = 1,
	     .route = V("a/r")},
	    {.host = V("a.llm.example.com"),
	     .path = V("/zz"),
	     .backends = &to[9],
	     .nbackends = 1,
	     .route = V("a/r")},
	};
	struct rules *r = rules_new(defs, 10);
	struct rule_request get = {
	    .path = V("/"), .method = V("GET"), .model = V("m"), .base = V("b")};
	struct rule_target t;

	(void)state;
	assert_int_equal(find(r, "h", "/", NULL, NULL), 3); /* method */
	assert_int_equal(find(r, "h", "/", "m", "b"), 3);   /* method before headers */
	assert_true(rules_find(r, &get, 0, &t));
	assert_int_equal(t.pool, 2); /* more headers */
	get.base = VIEW_NULL;
	assert_true(rules_find(r, &get, 0, &t));
	assert_int_equal(t.pool, 1);
	get.model = V("other");
	assert_true(rules_find(r, &get, 0, &t));
	assert_int_equal(t.pool, 0);
	assert_int_equal(find(r, "h", "/v1", "m", NULL), 4);
	assert_int_equal(find(r, "h", "/v1/", "m", NULL), 4);
	assert_int_equal(find(r, "h", "/v12", "m", NULL), 3);
	assert_int_equal(find(r, "h", "/v1/chat", "m", NULL), 5);
	assert_int_equal(find(r, "h", "/v1/chat/completions?x=/y", "m", NULL), 5);
	assert_int_equal(find(r, "h", "/v1/chats", "m", NULL), 4);
	assert_int_equal(find(r, "h", "/v1/x?beta=true", "m", NULL), 6);
	assert_int_equal(find(r, "h", "/v1/x/", "m", NULL), 4);
	assert_int_equal(find(r, "a.example.com", "/v1/x", "m", NULL), 7);
	assert_int_equal(find(r, "A.B.EXAMPLE.com:8443", "/v1/x", "m", NULL), 7);
	assert_int_equal(find(r, "example.com", "/v1/x", "m", NULL), 6);
	assert_int_equal(find(r, "b.llm.example.com", "/v1/x", "m", NULL), 8);
	assert_int_equal(find(r, "a.llm.example.com", "/zz/1", "m", NULL), 9);
	assert_int_equal(find(r, "a.llm.example.com", "/", "m", NULL), 8);
	rules_free(r);
}

static void the_older_wins_a_tie(void **state)
{
	const struct rule_def defs[] = {
	    {.path = V("/"), .backends = &to[0], .nbackends = 1, .route = V("b/x"), .created = 20},
	    {.path = V("/"), .backends = &to[1], .nbackends = 1, .route = V("z/x"), .created = 10},
	    {.path = V("/"), .backends = &to[2], .nbackends = 1, .route = V("a/x"), .created = 20},
	};
	struct rules *r = rules_new(defs, 3);

	(void)state;
	assert_int_equal(find(r, "h", "/", NULL, NULL), 1);
	rules_free(r);
	/* Of the same age: by name; within a route: as written. */
	r = rules_new(&defs[0], 1);
	rules_free(r);
	{
		const struct rule_def same[] = {defs[0], defs[2], defs[2]};
		struct rule_def copy[3];

		memcpy(copy, same, sizeof(copy));
		copy[2].backends = &to[5];
		r = rules_new(copy, 3);
		assert_int_equal(find(r, "h", "/", NULL, NULL), 2);
		rules_free(r);
	}
}

static void shares_by_weight(void **state)
{
	const struct rule_backend split[] = {{0, 70}, {-1, 10}, {1, 20}, {2, 0}};
	const struct rule_backend nothing[] = {{0, 0}};
	const struct rule_def defs[] = {
	    {.path = V("/a"), .backends = split, .nbackends = 4},
	    {.path = V("/b"), .backends = nothing, .nbackends = 1},
	    {.path = V("/c")},
	};
	struct rules *r = rules_new(defs, 3);
	struct rule_request req = {.path = V("/a")};
	unsigned hits[4] = {0};
	struct rule_target t;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		assert_true(rules_find(r, &req, i * UINT32_C(429497), &t));
		hits[t.pool + 1]++;
	}
	assert_in_range(hits[0], 990, 1010);
	assert_in_range(hits[1], 6990, 7010);
	assert_in_range(hits[2], 1990, 2010);
	assert_int_equal(hits[3], 0);
	assert_true(rules_find(r, &req, UINT32_MAX, &t));
	assert_int_equal(t.pool, 1);
	assert_int_equal(find(r, "h", "/b", NULL, NULL), -1);
	assert_int_equal(find(r, "h", "/c", NULL, NULL), -1);
	rules_free(r);
}

static void other_headers(void **state)
{
	const struct rule_header tenant[] = {{V("X-Tenant"), V("blue")},
					     {V("X-Gateway-Model-Name"), V("m")}};
	const struct rule_def def = {
	    .path = V("/"), .headers = tenant, .nheaders = 2, .backends = &to[3], .nbackends = 1};
	struct rules *r = rules_new(&def, 1);
	char long_value[400] = "";
	char sent[600];
	struct rule_request req = {.path = V("/"), .model = V("m")};
	struct rule_target t;
	size_t n = 0;

	(void)state;
	assert_true(rules_want_headers(r));
	assert_false(rules_find(r, &req, 0, &t)); /* none were sent */
	/* A value of 300 bytes before it: a varint of two bytes. */
	memset(long_value, 'x', 300);
	sent[n++] = 1;
	sent[n++] = 'a';
	sent[n++] = (char)(0xf0 | (300 - 240) % 16);
	sent[n++] = (char)((300 - 240) / 16);
	memcpy(sent + n, long_value, 300);
	n += 300;
	memcpy(sent + n, "\10x-tenant\4blue\0\0", 16);
	n += 16;
	req.headers = (struct view){sent, n};
	assert_true(rules_find(r, &req, 0, &t));
	assert_int_equal(t.pool, 3);
	/* A name of a model that the client sent is not believed. */
	req.model = VIEW_NULL;
	assert_false(rules_find(r, &req, 0, &t));
	req.model = V("m");
	/* Cut anywhere, it is read to its end and no further. */
	for (size_t i = 0; i < n - 2; i++) {
		char *exact = malloc(i + 1);

		memcpy(exact, sent, i);
		req.headers = (struct view){exact, i};
		(void)!rules_find(r, &req, 0, &t);
		free(exact);
	}
	/* Lengths that lie. */
	req.headers = V("\377\377\377\377\377\377\377\377\377\177");
	assert_false(rules_find(r, &req, 0, &t));
	rules_free(r);
}

static void ten_thousand_rules(void **state)
{
	enum { N = 10000 };
	static char names[N][32];
	static struct rule_header headers[N];
	static struct rule_backend backends[N];
	static struct rule_def defs[N];
	struct rules *r;

	(void)state;
	for (int32_t i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "model-%d", i);
		headers[i] = (struct rule_header){V("X-Gateway-Model-Name"), v(names[i])};
		backends[i] = (struct rule_backend){i, 1};
		defs[i] = (struct rule_def){.path = V("/"),
					    .headers = &headers[i],
					    .nheaders = 1,
					    .backends = &backends[i],
					    .nbackends = 1};
	}
	r = rules_new(defs, N);
	for (int32_t i = 0; i < N; i++)
		assert_int_equal(find(r, "h", "/v1/chat/completions", names[i], names[i]), i);
	assert_int_equal(find(r, "h", "/", "model-10000", NULL), -2);
	rules_free(r);
}

static bool in_mask(int32_t pool, void *arg)
{
	return *(unsigned *)arg >> pool & 1;
}

/* Rules by rank, and which models they lead somewhere at all. */
static void what_rules_reach(void **state)
{
	const struct rule_header a = {V("X-Gateway-Model-Name"), V("a")};
	const struct rule_header base = {V("x-gateway-base-model-name"), V("b")};
	const struct rule_header both[] = {{V("X-GATEWAY-MODEL-NAME"), V("c")},
					   {V("X-Gateway-Base-Model-Name"), V("b")}};
	const struct rule_backend none[] = {{5, 0}, {-1, 1}};
	const struct rule_def defs[] = {
	    {.path = V("/v1"), .headers = &a, 1, &to[0], 1, V("r/a"), .timeout_ms = 7},
	    {.host = V("h"), .path = V("/"), .headers = &base, 1, &to[1], 1, V("r/base")},
	    {.path = V("/"), .headers = both, 2, &to[2], 1, V("r/both")},
	    {.path = V("/"), .backends = none, 2, V("r/none")},
	};
	struct rules *r = rules_new(defs, 4);
	struct rule_request req = {.path = V("/v1/x"), .model = V("a")};
	struct rule_target t;
	unsigned mask = ~0U;

	(void)state;
	assert_non_null(r);
	assert_true(rules_find(r, &req, 0, &t));
	assert_true(view_eq(rules_at(r, t.rank)->route, v("r/a")));
	assert_int_equal(rules_at(r, t.rank)->timeout_ms, 7);
	/* The one with a host comes first of all. */
	assert_true(view_eq(rules_at(r, 0)->route, v("r/base")));

	assert_true(rules_reach(r, v("a"), v("a"), in_mask, &mask));
	assert_true(rules_reach(r, v("x"), v("b"), in_mask, &mask));
	assert_true(rules_reach(r, v("c"), v("b"), in_mask, &mask));
	assert_false(rules_reach(r, v("c"), v("x"), in_mask, &mask));
	assert_false(rules_reach(r, v("x"), v("x"), in_mask, &mask));
	/* Pools that do not serve. */
	mask = 1U << 1;
	assert_false(rules_reach(r, v("a"), v("a"), in_mask, &mask));
	assert_true(rules_reach(r, v("c"), v("b"), in_mask, &mask));
	/* A weight of 0 and a reference that leads nowhere reach nobody. */
	mask = 1U << 5;
	assert_false(rules_reach(r, v("x"), v("x"), in_mask, &mask));
	rules_free(r);
}

static void no_rules(void **state)
{
	struct rules *r = rules_new(NULL, 0);

	(void)state;
	assert_int_equal(find(r, "h", "/", "m", "b"), -2);
	rules_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_guide),
	    cmocka_unit_test(precedence),
	    cmocka_unit_test(the_older_wins_a_tie),
	    cmocka_unit_test(shares_by_weight),
	    cmocka_unit_test(other_headers),
	    cmocka_unit_test(ten_thousand_rules),
	    cmocka_unit_test(what_rules_reach),
	    cmocka_unit_test(no_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
