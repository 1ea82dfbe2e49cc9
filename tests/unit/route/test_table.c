/* The table of models: look-ups, splits, repetitions, size. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "route/table.h"

static struct view v(const char *s)
{
	return view_str(s);
}

static void finds_exact_names_only(void **state)
{
	const struct route_def defs[] = {
	    {.model = v("meta-llama/Llama-3.1-8B-Instruct"),
	     .pool = 0,
	     .stat = 7,
	     .weight = 1,
	     .base = v("meta-llama/Llama-3.1-8B-Instruct")},
	    {.model = v("food-review-1"),
	     .pool = 0,
	     .stat = 8,
	     .weight = 1,
	     .base = v("meta-llama/Llama-3.1-8B-Instruct")},
	    {.model = v("microsoft/Phi-4-mini-instruct"), .pool = 1, .stat = 9, .weight = 1},
	    {.model = v("n\0l"), .pool = 2, .weight = 1},
	};
	struct route_table *t = route_table_new(defs, 4);
	struct route_target r;

	(void)state;
	assert_non_null(t);
	assert_true(route_find(t, v("food-review-1"), 0, &r));
	assert_int_equal(r.pool, 0);
	assert_int_equal(r.stat, 8);
	assert_true(view_eq(r.base, v("meta-llama/Llama-3.1-8B-Instruct")));
	assert_null(r.target.ptr);
	assert_true(route_find(t, v("microsoft/Phi-4-mini-instruct"), UINT32_MAX, &r));
	assert_int_equal(r.pool, 1);
	assert_null(r.base.ptr);
	assert_false(route_find(t, v("Food-review-1"), 0, &r));
	assert_false(route_find(t, v("food-review-"), 0, &r));
	assert_false(route_find(t, v("food-review-11"), 0, &r));
	assert_false(route_find(t, v(""), 0, &r));
	assert_int_equal(route_table_count(t), 4);
	assert_true(view_eq(route_table_at(t, 2)->model, v("microsoft/Phi-4-mini-instruct")));
	route_table_free(t);
}

static void strings_are_its_own(void **state)
{
	char name[] = "phi", base[] = "Phi";
	struct route_def def = {.model = {name, 3}, .base = {base, 3}, .weight = 1};
	struct route_table *t = route_table_new(&def, 1);
	struct route_target r;

	(void)state;
	memset(name, 'x', 3);
	memset(base, 'x', 3);
	assert_true(route_find(t, v("phi"), 0, &r));
	assert_true(view_eq(r.base, v("Phi")));
	route_table_free(t);
}

static void an_empty_table_finds_nothing(void **state)
{
	struct route_table *t = route_table_new(NULL, 0);
	struct route_target r;

	(void)state;
	assert_non_null(t);
	assert_false(route_find(t, v("a"), 0, &r));
	assert_int_equal(route_table_count(t), 0);
	route_table_free(t);
}

static void shares_by_weight(void **state)
{
	const struct route_def defs[] = {
	    {.model = v("chat"), .pool = 0, .target = v("old"), .weight = 70},
	    {.model = v("other"), .pool = 0, .weight = 1},
	    {.model = v("chat"), .pool = 1, .target = v("new"), .weight = 30},
	    {.model = v("chat"), .pool = 2, .target = v("off"), .weight = 0},
	};
	struct route_table *t = route_table_new(defs, 4);
	unsigned hits[3] = {0};
	struct route_target r;

	(void)state;
	assert_int_equal(route_table_count(t), 2);
	for (uint32_t i = 0; i < 100000; i++) {
		assert_true(route_find(t, v("chat"), i * UINT32_C(42949), &r));
		hits[r.pool]++;
	}
	assert_in_range(hits[0], 69900, 70100);
	assert_in_range(hits[1], 29900, 30100);
	assert_int_equal(hits[2], 0);
	/* The ends of the range. */
	assert_true(route_find(t, v("chat"), 0, &r));
	assert_int_equal(r.pool, 0);
	assert_true(route_find(t, v("chat"), UINT32_MAX, &r));
	assert_int_equal(r.pool, 1);
	route_table_free(t);
}

static void weight_zero_alone_still_serves(void **state)
{
	const struct route_def defs[] = {
	    {.model = v("a"), .pool = 0, .target = v("x"), .weight = 0},
	    {.model = v("a"), .pool = 1, .target = v("y"), .weight = 0},
	};
	struct route_table *t = route_table_new(defs, 2);
	struct route_target r;

	(void)state;
	assert_true(route_find(t, v("a"), UINT32_MAX, &r));
	assert_int_equal(r.pool, 0);
	route_table_free(t);
}

static void a_repetition_is_one_definition(void **state)
{
	const struct route_def defs[] = {
	    {.model = v("a"), .pool = 0, .weight = 1, .base = v("a")},
	    {.model = v("a"), .pool = 0, .weight = 1, .base = v("a")},
	    {.model = v("a"), .pool = 1, .weight = 1, .base = v("a")},
	};
	struct route_table *t = route_table_new(defs, 3);
	struct route_target r;
	unsigned second = 0;

	(void)state;
	assert_int_equal(route_table_count(t), 1);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(route_find(t, v("a"), i * UINT32_C(4294967), &r));
		second += r.pool;
	}
	assert_in_range(second, 490, 510);
	route_table_free(t);
}

static void definitions_of_one_name(void **state)
{
	const struct route_def defs[] = {
	    {.model = view_str("a"), .pool = 7, .base = view_str("x")},
	    {.model = view_str("b"), .pool = 1},
	    {.model = view_str("a"), .pool = 2, .base = view_str("y")},
	    {.model = view_str("a"), .pool = 3, .base = view_str("y")},
	};
	struct route_table *t = route_table_new(defs, 4);
	const struct route_def *d = route_table_get(t, view_str("a"));

	(void)state;
	assert_int_equal(d->pool, 7);
	assert_true(view_eq(d->base, view_str("x")));
	d = route_table_next(t, d);
	assert_int_equal(d->pool, 2);
	d = route_table_next(t, d);
	assert_int_equal(d->pool, 3);
	assert_null(route_table_next(t, d));
	assert_null(route_table_next(t, route_table_get(t, view_str("b"))));
	assert_null(route_table_get(t, view_str("c")));
	route_table_free(t);
}

static void ten_thousand_models(void **state)
{
	enum { N = 10000 };
	static char names[N][32];
	static struct route_def defs[N];
	struct route_table *t;
	struct route_target r;

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "vendor/model-%u", i);
		defs[i] = (struct route_def){.model = v(names[i]), .pool = i, .weight = 1};
	}
	t = route_table_new(defs, N);
	assert_int_equal(route_table_count(t), N);
	for (uint32_t i = 0; i < N; i++) {
		assert_true(route_find(t, v(names[i]), 0, &r));
		assert_int_equal(r.pool, i);
	}
	assert_false(route_find(t, v("vendor/model-10000"), 0, &r));
	route_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_exact_names_only),
	    cmocka_unit_test(strings_are_its_own),
	    cmocka_unit_test(an_empty_table_finds_nothing),
	    cmocka_unit_test(shares_by_weight),
	    cmocka_unit_test(weight_zero_alone_still_serves),
	    cmocka_unit_test(a_repetition_is_one_definition),
	    cmocka_unit_test(definitions_of_one_name),
	    cmocka_unit_test(ten_thousand_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
