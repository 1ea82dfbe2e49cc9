/*
 * The generated files against tests/golden/follow: byte for byte. GOLDEN=write in the environment
 * writes them anew; tests/e2e/test_follow.py has HAProxy load and obey such files.
 */
#include "discover/follow/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "discover/follow/follow.h"
#include "failmalloc.h"
#include "unit/golden.h"
#include "unit/guard.h"
#include "unit/discover/plans.h"

static void same(const char *name, char *(*generate)(const struct want *, size_t *),
		 const struct want *w)
{
	const char *how = getenv("GOLDEN");
	struct view want;
	size_t len = 0;
	char *text = generate(w, &len), path[300];
	FILE *out;

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	if (how && strcmp(how, "write") == 0) {
		snprintf(path, sizeof(path), "%s/golden/follow/%.60s", TESTS_DIR, name);
		out = fopen(path, "w");
		assert_non_null(out);
		fwrite(text, 1, len, out);
		fclose(out);
	}
	snprintf(path, sizeof(path), "follow/%.60s", name);
	want = golden_read(path);
	if (!view_eq(want, (struct view){text, len}))
		fail_msg("%s is otherwise:\n%s", name, text);
	free((void *)want.ptr);
	free(text);
}

static struct want *made(const char *text, const struct plan_header *headers, size_t n,
			 const struct rule_def *rule)
{
	struct plans p;
	struct want *w;

	plans_init(&p, text);
	p.plan.headers = headers;
	p.plan.nheaders = n;
	p.plan.rules = rule;
	p.plan.nrules = rule != NULL;
	w = want_new(&p.plan, VIEW_LIT(FOLLOW_KEYWORDS));
	assert_non_null(w);
	plans_deinit(&p);
	return w;
}

static void test_nothing(void **state)
{
	struct want *w = made("", NULL, 0, NULL);

	(void)state;
	same("nothing-env.cfg", generate_env, w);
	same("nothing-pools.cfg", generate_pools, w);
	want_free(w);
}

static void test_pools(void **state)
{
	struct want *w = made("vllm-llama3 vllm-0=10.1.2.3:8000 vllm-1=[fd00::7]:8000 "
			      "vllm-2=10.1.2.9:8000! | team-b_phi4* pod-8000=10.1.3.1:8000 "
			      "pod-8001=10.1.3.1:8001 | empty",
			      NULL, 0, NULL);

	(void)state;
	same("pools-env.cfg", generate_env, w);
	same("pools-pools.cfg", generate_pools, w);
	want_free(w);
}

static void test_rules(void **state)
{
	static const struct rule_header other = {{"x-tenant", 8}, {"blue", 4}};
	static const struct rule_def rule = {.headers = &other, .nheaders = 1};
	static const struct plan_header h[] = {
#define SET(name, value)                                                                           \
	{VIEW_LIT("default/llm-route"), PLAN_HEADER_SET, VIEW_LIT(name), VIEW_LIT(value)}
	    SET("X-Plain", "value"),
	    SET("X-Spaces", " two  spaces "),
	    SET("X-Percent", "100%% %[src] %{+Q}o"),
	    SET("X-Quotes", "it's \"quoted\""),
	    SET("X-Backslash", "a\\b\\\\c\\"),
	    SET("X-Environment", "$HOME ${HOME} \"$HOME\""),
	    SET("X-Arguments", "a,b)c(d]e"),
	    SET("X-Comment", "# none"),
	    SET("X-Bytes", "caf\xc3\xa9 \xff"),
	    SET("X-Tab", "a\tb"),
	    SET("X-Empty", ""),
	    SET("x'$%#`", "a name of odd letters"),
	    {VIEW_LIT("default/llm-route"), PLAN_HEADER_ADD, VIEW_LIT("X-More"), VIEW_LIT("1")},
	    {VIEW_LIT("it's/odd"), PLAN_HEADER_REMOVE, VIEW_LIT("X-Away"), VIEW_NULL},
	};
	struct want *w = made("llama a=10.0.0.1:80", h, sizeof(h) / sizeof(h[0]), &rule);

	(void)state;
	assert_int_equal(w->left_out, 0);
	same("rules-env.cfg", generate_env, w);
	same("rules-pools.cfg", generate_pools, w);
	want_free(w);
}

static void test_backends_next(void **state)
{
	static const struct {
		const char *text, *names;
	} cases[] = {
	    {"", ""},
	    {"\nbackend a from x\n", "a "},
	    {"\nbackend a from x\n    server b\n\nbackend c from x", "a c "},
	    {"\nbackend ", ""},
	    {"\nbackend a", ""},
	    {"\nbackend a\n", ""},
	    {"\nbackend a\n b from", ""},
	    {"\nbackend  from\n\nbackend b ", "b "},
	    {"backend a from x\n", ""},
	    {"\nback", ""},
	};
	struct guard g = guard_new(4096);
	struct want *w;
	struct view text, name;
	size_t len, n = 0;
	char *own;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char names[100] = "";

		text = guard_put(&g, view_str(cases[i].text));
		while (generate_backends_next(&text, &name)) {
			strncat(names, name.ptr, name.len);
			strcat(names, " ");
		}
		assert_string_equal(names, cases[i].names);
	}
	guard_free(&g);
	/* A value of a header is none. */
	w = made("llama a=10.0.0.1:80 | phi4",
		 &(struct plan_header){VIEW_LIT("a/b"), PLAN_HEADER_SET, VIEW_LIT("x"),
				       VIEW_LIT(" backend evil from x")},
		 1, NULL);
	own = generate_pools(w, &len);
	text = (struct view){own, len};
	while (generate_backends_next(&text, &name))
		assert_true(view_eq(name, n++ ? VIEW_LIT("phi4") : VIEW_LIT("llama")));
	assert_int_equal(n, 2);
	free(own);
	want_free(w);
}

static void test_short_of_memory(void **state)
{
	struct want *w = made("llama a=10.0.0.1:80 | phi4", NULL, 0, NULL);
	char *(*const generate[])(const struct want *, size_t *) = {generate_env, generate_pools};
	size_t len;
	char *text;
	long live;

	(void)state;
	for (int which = 0; which < 2; which++) {
		for (size_t i = 1;; i++) {
			bool good;

			failmalloc_arm(i);
			text = generate[which](w, &len);
			good = text != NULL;
			free(text);
			if (!failmalloc_disarm(&live)) {
				assert_true(good);
				break;
			}
			assert_int_equal(live, 0);
		}
	}
	want_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing),         cmocka_unit_test(test_pools),
	    cmocka_unit_test(test_rules),           cmocka_unit_test(test_backends_next),
	    cmocka_unit_test(test_short_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
