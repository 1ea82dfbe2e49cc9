/* The Prometheus text format: lines by table, at every truncation, against an unreadable page. */
#include "observe/promtext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "unit/guard.h"

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		double value;
	} good[] = {
	    {"0", 0},
	    {"1", 1},
	    {"1.0", 1},
	    {"0.4219", 0.4219},
	    {"123456789012345", 123456789012345.0},
	    {"1234567890123456789", 1234567890123456789.0},
	    {"0.123456789012345678901234567890", 0.123456789012345678901234567890},
	    {"5.", 5},
	    {".5", .5},
	    {"-1", -1},
	    {"+1", 1},
	    {"-0", -0.0},
	    {"1e3", 1000},
	    {"1E3", 1000},
	    {"1e+03", 1000},
	    {"1.7564081520938308e+09", 1.7564081520938308e+09},
	    {"1e-320", 1e-320},
	    {"1e300", 1e300},
	    {"1e400", INFINITY},
	    {"Inf", INFINITY},
	    {"+Inf", INFINITY},
	    {"-Inf", -INFINITY},
	    {"inf", INFINITY},
	    {"+infinity", INFINITY},
	    {"NaN", NAN},
	    {"nan", NAN},
	    {"-nan", NAN},
	};
	static const char *const bad[] = {
	    "",
	    ".",
	    "-",
	    "+",
	    "e",
	    "1e",
	    "1e+",
	    "0x10",
	    "0x1p3",
	    "1.2.3",
	    "1_0",
	    "1,5",
	    "--1",
	    "+-1",
	    "1-",
	    "nanx",
	    "in",
	    "infi",
	    "infinit",
	    "a",
	    "1 2",
	    "nan(1)",
	    "1f",
	    "\xd9\xa1",
	    "00000000000000000000000000000000000000000000000000000000000000001"};
	struct guard g = guard_new(100);
	double value;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (promtext_number(guard_put(&g, view_str(good[i].text)), &value) != 0)
			fail_msg("refused: %s", good[i].text);
		if (isnan(good[i].value)
			? !isnan(value)
			: (value != good[i].value || signbit(value) != signbit(good[i].value)))
			fail_msg("%s read as %.17g", good[i].text, value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (promtext_number(guard_put(&g, view_str(bad[i])), &value) != -EINVAL)
			fail_msg("taken: %s as %g", bad[i], value);
	guard_free(&g);
}

/* Short decimals are read without strtod(): they must be what it would say. */
static void test_numbers_are_strtod(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		char text[40];
		double value;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		snprintf(text, sizeof(text), "%.*f", (int)(seed >> 60) % 12,
			 (double)(seed >> 20 & 0xffffffffff) / (double)(1 << (seed >> 10 & 15)));
		assert_int_equal(promtext_number(view_str(text), &value), 0);
		if (value != strtod(text, NULL))
			fail_msg("%s: %.17g", text, value);
	}
}

static void test_samples(void **state)
{
	static const struct {
		const char *line, *name, *labels;
		double value;
	} good[] = {
	    {"a 1", "a", "", 1},
	    {"a\t1", "a", "", 1},
	    {"a{} 1", "a", "", 1},
	    {"a {} 1", "a", "", 1},
	    {"a{ } 1", "a", " ", 1},
	    {"a{b=\"c\"} 1", "a", "b=\"c\"", 1},
	    {"a{b=\"c\"}1", "a", "b=\"c\"", 1},
	    {"a{b=\"c\",} 1", "a", "b=\"c\",", 1},
	    {"a{b=\"c\" , d = \"e\" } 1", "a", "b=\"c\" , d = \"e\" ", 1},
	    {"a{b=\"}\"} 1", "a", "b=\"}\"", 1},
	    {"a{b=\"\\\"} 7\"} 1", "a", "b=\"\\\"} 7\"", 1},
	    {"a{b=\"\\\\\"} 1", "a", "b=\"\\\\\"", 1},
	    {"a{b=\"\"} NaN", "a", "b=\"\"", NAN},
	    {"_:a9{_=\"c\"} +Inf", "_:a9", "_=\"c\"", INFINITY},
	    {"a 1 1395066363000", "a", "", 1},
	    {"a 1 1520879607.789", "a", "", 1},
	    {"a_bucket{le=\"1\"} 11 # {trace=\"KO\"} 0.67", "a_bucket", "le=\"1\"", 11},
	    {"a 1 whatever follows", "a", "", 1},
	};
	static const char *const bad[] = {"",
					  "a",
					  "a ",
					  "1a 1",
					  "{a=\"b\"} 1",
					  "{\"a.b\"} 1",
					  "a{b=\"c\" 1",
					  "a{b=\"c} 1",
					  "a{b=c} 1",
					  "a{b} 1",
					  "a{=\"c\"} 1",
					  "a{b=\"c\"d=\"e\"} 1",
					  "a{,} 1",
					  "a{b=\"c\",,} 1",
					  "a{b=\"c\\",
					  "a{",
					  "a{b",
					  "a{b=",
					  "a{b=\"",
					  "a{b=\"c\"",
					  "a{b=\"c\"}",
					  "a{b=\"c\"} ",
					  "a{b=\"c\"} x",
					  "a-b 1",
					  "a.b 1",
					  "a 0x1",
					  "a =1",
					  "\xc3\xa9 1",
					  "<html>",
					  "a{b=\"c\"}} 1"};
	struct guard g = guard_new(200);
	struct promtext_sample s;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct view line = guard_put(&g, view_str(good[i].line));

		if (promtext_parse(line, &s) != 0)
			fail_msg("refused: %s", good[i].line);
		if (!view_eq(s.name, view_str(good[i].name)) ||
		    !view_eq(s.labels, view_str(good[i].labels)) ||
		    (isnan(good[i].value) ? !isnan(s.value) : s.value != good[i].value))
			fail_msg("%s: %.*s {%.*s} %g", good[i].line, (int)s.name.len, s.name.ptr,
				 (int)s.labels.len, s.labels.ptr, s.value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.value = 4711;
		if (promtext_parse(guard_put(&g, view_str(bad[i])), &s) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_true(s.value == 4711);
	}
	guard_free(&g);
}

static void test_labels(void **state)
{
	struct view labels = VIEW_LIT("a=\"1\" , b = \"x\\\\y\\\"z\\n\", c=\"\",");
	struct view rest = labels;
	struct promtext_label l;

	(void)state;
	assert_true(promtext_label(&rest, &l));
	assert_true(view_eq(l.name, VIEW_LIT("a")) && view_eq(l.value, VIEW_LIT("1")));
	assert_true(promtext_label(&rest, &l));
	assert_true(view_eq(l.name, VIEW_LIT("b")));
	assert_true(promtext_value_is(l.value, VIEW_LIT("x\\y\"z\n")));
	assert_false(promtext_value_is(l.value, VIEW_LIT("x\\y\"z\nn")));
	assert_false(promtext_value_is(l.value, VIEW_LIT("x\\y\"z")));
	assert_false(promtext_value_is(l.value, VIEW_LIT("x\\\\y\\\"z\\n")));
	assert_true(promtext_label(&rest, &l));
	assert_true(view_eq(l.name, VIEW_LIT("c")) && l.value.len == 0);
	assert_false(promtext_label(&rest, &l));
	assert_true(view_eq(promtext_label_find(labels, VIEW_LIT("a")), VIEW_LIT("1")));
	assert_int_equal(promtext_label_find(labels, VIEW_LIT("none")).len, 0);
	assert_int_equal(promtext_label_find(labels, VIEW_LIT("c")).len, 0);
	rest = VIEW_NULL;
	rest.ptr = "";
	assert_false(promtext_label(&rest, &l));
}

static void test_is(void **state)
{
	(void)state;
	assert_true(promtext_is(VIEW_LIT("a 1"), VIEW_LIT("a")));
	assert_true(promtext_is(VIEW_LIT("a{} 1"), VIEW_LIT("a")));
	assert_true(promtext_is(VIEW_LIT("a"), VIEW_LIT("a")));
	assert_false(promtext_is(VIEW_LIT("ab 1"), VIEW_LIT("a")));
	assert_false(promtext_is(VIEW_LIT("a_total 1"), VIEW_LIT("a")));
	assert_false(promtext_is(VIEW_LIT("a:b 1"), VIEW_LIT("a")));
	assert_false(promtext_is(VIEW_LIT("a"), VIEW_LIT("ab")));
	assert_false(promtext_is(VIEW_LIT(""), VIEW_LIT("ab")));
}

static const char page[] = "# HELP a Some help with \"quotes\" and {braces} 5\n"
			   "# TYPE a gauge\n"
			   "a{b=\"c\"} 1\n"
			   "\n"
			   "   \t \r\n"
			   "  a{b=\"d\"} 2 1395066363000\r\n"
			   "#comment\n"
			   "#TYPE b counter\n"
			   "# TYPEWRITER c counter\n"
			   "# TYPE\n"
			   "not a sample at all\n"
			   "b_total 3 # {x=\"y\"} 4\n"
			   "# EOF\n"
			   "after_the_end 5\n";

static void test_page(void **state)
{
	static const struct {
		enum promtext_kind kind;
		const char *line;
	} expected[] = {
	    {PROMTEXT_TYPE, "a gauge"},
	    {PROMTEXT_SAMPLE, "a{b=\"c\"} 1"},
	    {PROMTEXT_SAMPLE, "a{b=\"d\"} 2 1395066363000"},
	    {PROMTEXT_TYPE, "b counter"},
	    {PROMTEXT_TYPE, ""},
	    {PROMTEXT_SAMPLE, "not a sample at all"},
	    {PROMTEXT_SAMPLE, "b_total 3 # {x=\"y\"} 4"},
	};
	struct promtext p = promtext_open(view_str(page));
	enum promtext_kind kind;
	struct view line;

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_true(promtext_next(&p, &kind, &line));
		if (kind != expected[i].kind || !view_eq(line, view_str(expected[i].line)))
			fail_msg("line %zu: %.*s", i, (int)line.len, line.ptr);
	}
	assert_false(promtext_next(&p, &kind, &line));
	assert_false(promtext_next(&p, &kind, &line));
	p = promtext_open(VIEW_NULL);
	assert_false(promtext_next(&p, &kind, &line));
}

/* Cut anywhere, the whole lines before the cut say what they always say. */
static void test_every_truncation(void **state)
{
	struct guard g = guard_new(sizeof(page));

	(void)state;
	for (size_t len = 0; len < sizeof(page); len++) {
		struct promtext p = promtext_open(guard_put(&g, (struct view){page, len}));
		enum promtext_kind kind;
		struct view line;
		double first = 0;
		int n = 0;

		while (promtext_next(&p, &kind, &line)) {
			struct promtext_sample s;
			struct promtext_label l;

			assert_true(line.ptr >= g.end - len && line.ptr + line.len <= g.end);
			if (kind != PROMTEXT_SAMPLE || promtext_parse(line, &s) < 0)
				continue;
			if (n++ == 0)
				first = s.value;
			while (promtext_label(&s.labels, &l))
				assert_true(l.value.ptr + l.value.len <= g.end);
		}
		if (len >= (size_t)(strstr(page, "} 1\n") + 3 - page))
			assert_true(n >= 1 && first == 1);
	}
	guard_free(&g);
}

static void test_long_line(void **state)
{
	size_t len = 3 << 20;
	char *text = malloc(len + 64);
	struct promtext p;
	enum promtext_kind kind;
	struct promtext_sample s;
	struct view line;
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, "a{b=\"");
	memset(text + n, 'x', len);
	n += len;
	n += (size_t)sprintf(text + n, "\"} 17\nb 18\n");
	p = promtext_open((struct view){text, n});
	assert_true(promtext_next(&p, &kind, &line));
	assert_int_equal(promtext_parse(line, &s), 0);
	assert_true(s.value == 17);
	assert_int_equal(promtext_label_find(s.labels, VIEW_LIT("b")).len, len);
	assert_true(promtext_next(&p, &kind, &line));
	assert_int_equal(promtext_parse(line, &s), 0);
	assert_true(s.value == 18);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_numbers_are_strtod),
	    cmocka_unit_test(test_samples),
	    cmocka_unit_test(test_labels),
	    cmocka_unit_test(test_is),
	    cmocka_unit_test(test_page),
	    cmocka_unit_test(test_every_truncation),
	    cmocka_unit_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
