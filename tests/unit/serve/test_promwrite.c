/* The text format of /metrics, with labels that try to be more than labels; counters summed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "serve/promwrite.h"
#include "serve/stats.h"

static char *text;
static size_t len;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &len);
}

static void labels_stay_labels(void **state)
{
	FILE *out = begin();

	(void)state;
	prom_sample(out, METRIC_MODEL_REQUESTS, 3, "model", "a\"} 1\nevil{x=\"\\", "verdict",
		    "routed", NULL);
	fclose(out);
	assert_string_equal(text, "spoa_inference_model_requests_total{model="
				  "\"a\\\"} 1\\nevil{x=\\\"\\\\\",verdict=\"routed\"} 3\n");
}

static void numbers(void **state)
{
	static const struct {
		double value;
		const char *text;
	} table[] = {
	    {0, "0"},        {-0.0, "-0"},    {1, "1"},     {123456789012345, "123456789012345"},
	    {0.25, "0.25"},  {1e-9, "1e-09"}, {0.1, "0.1"}, {31536000.000001, "31536000.000001"},
	    {1e15, "1e+15"},
	};
	char expected[128];

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		FILE *out = begin();

		prom_sample(out, METRIC_TICKETS, table[i].value, NULL);
		fclose(out);
		snprintf(expected, sizeof(expected), "spoa_inference_tickets %s\n", table[i].text);
		assert_string_equal(text, expected);
	}
}

static void a_family_of_one(void **state)
{
	FILE *out = begin();

	(void)state;
	prom_single(out, METRIC_READY, 1);
	fclose(out);
	assert_string_equal(text, "# HELP spoa_inference_ready 1 when /readyz says so\n"
				  "# TYPE spoa_inference_ready gauge\nspoa_inference_ready 1\n");
}

static void sums(void **state)
{
	struct stats *a = stats_new(3), *b = stats_new(3), *sum = stats_new(3);
	static const uint64_t bounds[] = STATS_BOUNDS;
	uint64_t all = 0;

	(void)state;
	stat_add(&a->models[2].verdicts[VERDICT_ROUTED], 5);
	stat_add(&b->models[2].verdicts[VERDICT_ROUTED], 7);
	/* Bounds are inclusive; what is above all of them has a place. */
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		stats_time(a, bounds[i]);
		stats_time(b, bounds[i] + 1);
	}
	stats_time(a, 0);
	stats_time(b, UINT64_MAX / 4);
	stats_sum(sum, a);
	stats_sum(sum, b);
	assert_int_equal(stat_get(&sum->models[2].verdicts[VERDICT_ROUTED]), 12);
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		all += stat_get(&sum->buckets[i]);
	assert_int_equal(all, 2 * (STATS_BUCKETS - 1) + 2);
	assert_int_equal(stat_get(&sum->buckets[0]), 2);
	assert_int_equal(stat_get(&sum->buckets[1]), 2);
	assert_int_equal(stat_get(&sum->buckets[STATS_BUCKETS - 1]), 2);
	stats_free(a);
	stats_free(b);
	stats_free(sum);
}

static int drop(void **state)
{
	(void)state;
	free(text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(labels_stay_labels),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(a_family_of_one),
	    cmocka_unit_test(sums),
	};

	return cmocka_run_group_tests(tests, NULL, drop);
}
