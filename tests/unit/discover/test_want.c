/* What of a plan HAProxy can have: order, names, addresses, header rules, and the stamp. */
#include "discover/follow/want.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "failmalloc.h"
#include "unit/discover/plans.h"

static struct want *made(const char *text, const struct plan_header *headers, size_t n)
{
	struct plans p;
	struct want *w;

	plans_init(&p, text);
	p.plan.headers = headers;
	p.plan.nheaders = n;
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_non_null(w);
	plans_deinit(&p);
	return w;
}

static void test_order_and_copies(void **state)
{
	/* The plan is gone when it is looked at. */
	struct want *w =
	    made("phi4* z=[2001:db8::1]:80 a=10.0.0.1:8000! | llama | a.b b=10.0.0.2:1", NULL, 0);
	const struct want_pool *p;

	(void)state;
	assert_int_equal(w->npools, 3);
	assert_int_equal(w->nservers, 3);
	assert_int_equal(w->left_out, 0);
	assert_true(view_eq(w->pools[0].backend, VIEW_LIT("a.b")));
	assert_true(view_eq(w->pools[1].backend, VIEW_LIT("llama")));
	p = want_pool(w, VIEW_LIT("phi4"));
	assert_non_null(p);
	assert_true(p->h2c);
	assert_int_equal(p->nservers, 2);
	assert_true(view_eq(p->servers[0].where, VIEW_LIT("10.0.0.1:8000")));
	assert_true(p->servers[0].draining);
	assert_true(view_eq(p->servers[1].where, VIEW_LIT("[2001:db8::1]:80")));
	assert_ptr_equal(want_server(p, VIEW_LIT("z")), &p->servers[1]);
	assert_null(want_server(p, VIEW_LIT("zz")));
	assert_null(want_server(want_pool(w, VIEW_LIT("llama")), VIEW_LIT("z")));
	assert_null(want_pool(w, VIEW_LIT("phi")));
	assert_null(want_pool(w, VIEW_LIT("phi44")));
	want_free(w);
	w = made("", NULL, 0);
	assert_null(want_pool(w, VIEW_LIT("phi4")));
	want_free(w);
}

static void test_left_out(void **state)
{
	static const struct {
		const char *plan, *why;
		size_t left_out, pools, servers;
	} cases[] = {
	    {"llama a=10.0.0.1:80 | llama b=10.0.0.2:80", "llama: there is one", 1, 1, 1},
	    {"llama a=10.0.0.1:80 a=10.0.0.2:80 b=10.0.0.3:80", "server a: there is one", 1, 1, 2},
	    {"llama a=10.0.0.1", "no address", 1, 1, 0},
	    {"llama a=0.0.0.0:80 b=[::]:80 c=10.0.0.1:0", "no address", 3, 1, 0},
	    {"ll\xc3\xa4ma a=10.0.0.1:80", "not a name", 1, 0, 0},
	    {"ll/ama a=10.0.0.1:80", "not a name", 1, 0, 0},
	    {"ll\nama a=10.0.0.1:80", "not a name", 1, 0, 0},
	    {"ll;ama a=10.0.0.1:80", "not a name", 1, 0, 0},
	    {"llama a;b=10.0.0.1:80 c/d=10.0.0.1:80", "not a name", 2, 1, 0},
	    {"inference-agent a=10.0.0.1:80", "has a section", 1, 0, 0},
	    {"inference-added a=10.0.0.1:80", "has a section", 1, 0, 0},
	    {"model-servers a=10.0.0.1:80 | inference", "has a section", 2, 0, 0},
	    {"inference-agents | inference-x", "", 0, 2, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct want *w = made(cases[i].plan, NULL, 0);

		assert_int_equal(w->left_out, cases[i].left_out);
		assert_int_equal(w->npools, cases[i].pools);
		assert_int_equal(w->nservers, cases[i].servers);
		assert_non_null(strstr(w->left_out_why, cases[i].why));
		want_free(w);
	}
}

static void test_long_names(void **state)
{
	char text[WANT_NAME_MAX + 40];
	struct want *w;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		memset(text, 'x', sizeof(text));
		snprintf(text + WANT_NAME_MAX + more, 20, " a=10.0.0.1:80");
		w = made(text, NULL, 0);
		assert_int_equal(w->npools, 1 - more);
		assert_int_equal(w->left_out, more);
		want_free(w);
	}
}

static void test_headers(void **state)
{
	static const struct {
		struct plan_header header;
		bool kept;
	} cases[] = {
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("v")}, true},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("a\tb")}, true},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("\xff\xc3\xa9")}, true},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_REMOVE, VIEW_LIT("x'$%#`"), VIEW_NULL}, true},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("a\nX-B: c")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("a\rb")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("a\0b")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("a\x7f")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X A"), VIEW_LIT("a")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X:"), VIEW_LIT("a")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X\"A"), VIEW_LIT("a")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT(""), VIEW_LIT("a")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_ADD, VIEW_LIT("Content-Length"), VIEW_LIT("1")}, false},
	    {{VIEW_LIT("ns/r"), PLAN_HEADER_REMOVE, VIEW_LIT("transfer-Encoding"), VIEW_NULL},
	     false},
	    {{VIEW_LIT("ns\n/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("v")}, false},
	    {{VIEW_NULL, PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("v")}, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct want *w = made("", &cases[i].header, 1);

		assert_int_equal(w->nheaders, cases[i].kept);
		assert_int_equal(w->left_out, !cases[i].kept);
		if (cases[i].kept) {
			assert_true(view_eq(w->headers[0].name, cases[i].header.name));
			assert_true(view_eq(w->headers[0].value, cases[i].header.value));
			assert_int_equal(w->headers[0].action, cases[i].header.action);
		}
		want_free(w);
	}
}

/* It changes with what HAProxy cannot change while it runs, and with nothing else. */
static void test_stamp(void **state)
{
	static const struct rule_header other = {{"x", 1}, {"1", 1}};
	static const struct rule_header model = {{"X-Gateway-Model-Name", 20}, {"m", 1}};
	static const struct rule_port doors[] = {{8080, 0}, {8443, 1}};
	struct plan_header h[] = {
	    {VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("v")},
	    {VIEW_LIT("ns/r"), PLAN_HEADER_ADD, VIEW_LIT("X-A"), VIEW_LIT("v")},
	};
	struct rule_def rule = {.headers = &other, .nheaders = 1};
	struct want *base = made("llama a=10.0.0.1:80 | phi4", h, 1), *w;
	struct plans p;

#define STAMPED(expected, text, headers, n)                                                        \
	do {                                                                                       \
		w = made(text, headers, n);                                                        \
		assert_int_equal(strcmp(w->stamp, base->stamp) == 0, expected);                    \
		want_free(w);                                                                      \
	} while (0)
	(void)state;
	assert_int_equal(strlen(base->stamp), 16);
	STAMPED(true, "llama a=10.0.0.1:80 | phi4", h, 1);
	STAMPED(true, "llama a=10.0.0.2:80! b=10.0.0.1:80 | mistral", h, 1);
	STAMPED(false, "llama a=10.0.0.1:80 | phi4*", h, 1);
	STAMPED(false, "llama a=10.0.0.1:80 | phi4", h, 2);
	STAMPED(false, "llama a=10.0.0.1:80 | phi4", h + 1, 1);
	STAMPED(false, "llama a=10.0.0.1:80 | phi4", h, 0);
	h[0].value = VIEW_LIT("w");
	STAMPED(false, "llama a=10.0.0.1:80 | phi4", h, 1);
	/* What moves from one field into the next is another rule. */
	h[0].name = VIEW_LIT("X-");
	h[0].value = VIEW_LIT("Av");
	STAMPED(false, "llama a=10.0.0.1:80 | phi4", h, 1);

	plans_init(&p, "");
	w = want_new(&p.plan, VIEW_LIT("check inter 1s"));
	assert_non_null(w);
	want_free(base);
	base = want_new(&p.plan, VIEW_LIT("check"));
	assert_string_not_equal(w->stamp, base->stamp);
	want_free(w);
	p.plan.rules = &rule;
	p.plan.nrules = 1;
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_true(w->hdrs);
	assert_string_not_equal(w->stamp, base->stamp);
	want_free(w);
	rule.headers = &model;
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_false(w->hdrs);
	assert_string_equal(w->stamp, base->stamp);
	want_free(w);
	/* A second port, and certificates. */
	p.plan.listeners = (struct rule_listeners){.ports = doors, .nports = 1};
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_false(w->dst_port);
	assert_string_equal(w->stamp, base->stamp);
	want_free(w);
	p.plan.listeners.nports = 2;
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_true(w->dst_port);
	assert_string_not_equal(w->stamp, base->stamp);
	want_free(w);
	p.plan.listeners = (struct rule_listeners){0};
	w = want_new(&p.plan, VIEW_LIT("check"));
	want_certificates(w, 1);
	assert_string_not_equal(w->stamp, base->stamp);
	want_certificates(w, 0);
	assert_string_equal(w->stamp, base->stamp);
	want_free(w);
	rule.headers = &other;
	p.plan.route_by_models = true;
	w = want_new(&p.plan, VIEW_LIT("check"));
	assert_false(w->hdrs);
	want_free(w);
	want_free(base);
	plans_deinit(&p);
}

static void test_short_of_memory(void **state)
{
	static const struct rule_header other = {{"x", 1}, {"1", 1}};
	static const struct rule_def rule = {.headers = &other, .nheaders = 1};
	struct plan_header h = {VIEW_LIT("ns/r"), PLAN_HEADER_SET, VIEW_LIT("X-A"), VIEW_LIT("v")};
	struct plans p;
	struct want *w;
	long live;

	(void)state;
	plans_init(&p, "llama a=10.0.0.1:80 b=10.0.0.2:80 | phi4 c=10.0.0.3:80");
	p.plan.headers = &h;
	p.plan.rules = &rule;
	p.plan.nheaders = p.plan.nrules = 1;
	for (size_t i = 1;; i++) {
		failmalloc_arm(i);
		w = want_new(&p.plan, VIEW_LIT("check"));
		want_free(w);
		if (!failmalloc_disarm(&live)) {
			assert_non_null(w);
			assert_true(i > 3);
			break;
		}
		assert_null(w);
		assert_int_equal(live, 0);
	}
	plans_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order_and_copies),
	    cmocka_unit_test(test_left_out),
	    cmocka_unit_test(test_long_names),
	    cmocka_unit_test(test_headers),
	    cmocka_unit_test(test_stamp),
	    cmocka_unit_test(test_short_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
