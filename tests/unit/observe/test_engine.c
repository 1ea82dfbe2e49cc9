/* What the pages of tests/golden/metrics and some made-up ones are read as. */
#include "observe/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "unit/golden.h"
#include "unit/guard.h"

#define AUTO CONFIG_ENGINE_AUTO

static const struct {
	const char *file;
	int configured;
	enum engine_result result;
	enum engine engine;
	double waiting, running, kv, blocks, block_size;
} golden[] = {
    {"vllm-0.8.prom", AUTO, ENGINE_TOLD, ENGINE_VLLM, 4, 7, 0.4219, 27817, 16},
    {"vllm-0.10.prom", AUTO, ENGINE_TOLD, ENGINE_VLLM, 4, 12, 0.61279296875, 27817, 16},
    {"vllm-0.11-dp4.prom", AUTO, ENGINE_TOLD, ENGINE_VLLM, 3, 17, 0.38, 4006, 16},
    {"vllm-fresh.prom", AUTO, ENGINE_TOLD, ENGINE_VLLM, 0, 0, 0, 0, 0},
    {"vllm-no-stats.prom", AUTO, ENGINE_ABSENT, ENGINE_NONE, 0, 0, -1, 0, 0},
    {"sglang.prom", AUTO, ENGINE_TOLD, ENGINE_SGLANG, 13, 6, 0.28, 11147, 64},
    {"sglang-tp2-pp2-all-ranks.prom", AUTO, ENGINE_TOLD, ENGINE_SGLANG, 4, 6, 0.3, 0, 0},
    {"sglang-dp2-priority.prom", AUTO, ENGINE_TOLD, ENGINE_SGLANG, 4, 13, 0.375, 0, 0},
    {"sglang-fresh.prom", AUTO, ENGINE_SILENT, ENGINE_SGLANG, 0, 0, -1, 0, 0},
    {"trtllm.prom", AUTO, ENGINE_TOLD, ENGINE_TRTLLM, 5, 3, 0.1732, 101256, 32},
    {"trtllm-fresh.prom", AUTO, ENGINE_SILENT, ENGINE_TRTLLM, 0, 0, -1, 0, 0},
    {"trtllm-iteration-stats.json", AUTO, ENGINE_ABSENT, ENGINE_NONE, 0, 0, -1, 0, 0},
    {"triton-trtllm.prom", AUTO, ENGINE_TOLD, ENGINE_TRITON_TRTLLM, 4, 9, 0.4875, 6316, 64},
    {"triton-trtllm.prom", CONFIG_ENGINE_TRITON, ENGINE_TOLD, ENGINE_TRITON_TRTLLM, 4, 9, 0.4875,
     6316, 64},
    {"triton.prom", AUTO, ENGINE_TOLD, ENGINE_TRITON, 7, 0, -1, 0, 0},
    {"triton.prom", CONFIG_ENGINE_TRITON, ENGINE_TOLD, ENGINE_TRITON, 7, 0, -1, 0, 0},
    {"llamacpp-b4500.prom", AUTO, ENGINE_TOLD, ENGINE_LLAMACPP, 46, 4, 0.625, 0, 0},
    {"llamacpp.prom", AUTO, ENGINE_TOLD, ENGINE_LLAMACPP, 46, 4, -1, 0, 0},
    /* Another engine was configured: nothing of it there. */
    {"llamacpp.prom", CONFIG_ENGINE_VLLM, ENGINE_ABSENT, ENGINE_NONE, 0, 0, -1, 0, 0},
    {"vllm-0.10.prom", CONFIG_ENGINE_VLLM, ENGINE_TOLD, ENGINE_VLLM, 4, 12, 0.61279296875, 27817,
     16},
    {"vllm-0.10.prom", CONFIG_ENGINE_NONE, ENGINE_ABSENT, ENGINE_NONE, 0, 0, -1, 0, 0},
};

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		char path[64];
		struct view text;

		snprintf(path, sizeof(path), "metrics/%s", golden[i].file);
		text = golden_read(path);
		/* Whatever was expected before, the page says what it is. */
		for (enum engine e = ENGINE_NONE; e < ENGINES; e++) {
			struct engine_report r;
			enum engine_result result = engine_read(golden[i].configured, e, text, &r);

			if (result != golden[i].result || r.engine != golden[i].engine ||
			    (result == ENGINE_TOLD &&
			     (r.waiting != golden[i].waiting || r.running != golden[i].running)) ||
			    r.kv_usage < golden[i].kv - 1e-9 || r.kv_usage > golden[i].kv + 1e-9 ||
			    (golden[i].blocks > 0 && r.kv_blocks != golden[i].blocks) ||
			    (golden[i].block_size > 0 && r.kv_block_size != golden[i].block_size))
				fail_msg("%s: result %d %s waiting %g running %g kv %g blocks %g "
					 "of %g",
					 golden[i].file, result, engine_name(r.engine), r.waiting,
					 r.running, r.kv_usage, r.kv_blocks, r.kv_block_size);
		}
		free((char *)text.ptr);
	}
}

static const struct {
	const char *page;
	enum engine_result result;
	double waiting, running, kv;
	const char *bad;
} cases[] = {
    {"", ENGINE_ABSENT, 0, 0, -1, NULL},
    {"vllm:num_requests_running 3\nvllm:num_requests_waiting 2\n", ENGINE_TOLD, 2, 3, -1, NULL},
    {"vllm:num_requests_running 3", ENGINE_TOLD, 0, 3, -1, NULL},
    {"vllm:num_requests_waiting 2\r\n", ENGINE_TOLD, 2, 0, -1, NULL},
    {"vllm:num_requests_waiting{} 2 1699000000000\n", ENGINE_TOLD, 2, 0, -1, NULL},
    {"vllm:num_requests_waiting 2e0 # {a=\"b\"} 9\n# EOF\n", ENGINE_TOLD, 2, 0, -1, NULL},
    {"vllm:num_requests_waiting_by_reason 2\n", ENGINE_SILENT, 0, 0, -1, NULL},
    {"vllm:num_requests_running_total 2\n", ENGINE_SILENT, 0, 0, -1, NULL},
    {"# TYPE vllm:num_requests_running gauge\n", ENGINE_SILENT, 0, 0, -1, NULL},
    {"# HELP vllm:num_requests_running Number\n", ENGINE_ABSENT, 0, 0, -1, NULL},
    {"vllm_num_requests_running 2\n", ENGINE_ABSENT, 0, 0, -1, NULL},
    {"ray_vllm:num_requests_running 2\n", ENGINE_ABSENT, 0, 0, -1, NULL},
    {"vllm:num_requests_running 1\n\nvllm:num_requests_running{engine=\"1\"} 2\n", ENGINE_TOLD, 0,
     3, -1, NULL},
    /* The load of no server. */
    {"vllm:num_requests_running NaN\nvllm:num_requests_waiting 2\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_running"},
    {"vllm:num_requests_running 1\nvllm:num_requests_waiting -1\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_waiting"},
    {"vllm:num_requests_running 1\nvllm:num_requests_waiting 1e300\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_waiting"},
    {"vllm:num_requests_running +Inf\n", ENGINE_BAD, 0, 0, -1, "vllm:num_requests_running"},
    {"vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_running{engine=\"1\"} nan\n",
     ENGINE_BAD, 0, 0, -1, "vllm:num_requests_running"},
    {"vllm:num_requests_running many\nvllm:num_requests_waiting 1\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_running"},
    {"vllm:num_requests_running\nvllm:num_requests_waiting 1\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_running"},
    {"vllm:num_requests_running{engine=\"0} 1\n", ENGINE_BAD, 0, 0, -1,
     "vllm:num_requests_running"},
    {"vllm:num_requests_running 0x10\n", ENGINE_BAD, 0, 0, -1, "vllm:num_requests_running"},
    {"sglang:num_queue_reqs{priority=\"\"} nan\n", ENGINE_BAD, 0, 0, -1, "sglang:num_queue_reqs"},
    /* A bad cache share is no share, and no reason to think ill of the load. */
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc NaN\n", ENGINE_TOLD, 0, 1, -1, NULL},
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc 61.5\n", ENGINE_TOLD, 0, 1, -1, NULL},
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc -0.1\n", ENGINE_TOLD, 0, 1, -1, NULL},
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc x\n", ENGINE_TOLD, 0, 1, -1, NULL},
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc 1.0001\n", ENGINE_TOLD, 0, 1, 1, NULL},
    {"sglang:num_running_reqs 1\nsglang:token_usage nan\n", ENGINE_TOLD, 0, 1, -1, NULL},
    {"vllm:num_requests_running 1\nvllm:kv_cache_usage_perc 0.5\nvllm:gpu_cache_usage_perc 0.9\n",
     ENGINE_TOLD, 0, 1, 0.5, NULL},
    {"vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.5\n",
     ENGINE_TOLD, 0, 1, 0.5, NULL},
    {"vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.9\n", ENGINE_TOLD, 0, 1, 0.9, NULL},
    /* A cumulative counter is not what runs. */
    {"nv_inference_exec_count 90000\nnv_inference_pending_request_count 2\n", ENGINE_TOLD, 2, 0, -1,
     NULL},
    {"nv_trt_llm_request_metrics{request_type=\"max\"} 512\n", ENGINE_SILENT, 0, 0, -1, NULL},
    {"nv_trt_llm_request_metrics{request_type=\"w\\\\aiting\"} 512\n", ENGINE_SILENT, 0, 0, -1,
     NULL},
    /* An engine that tells its load goes before one that does not. */
    {"vllm:prompt_tokens_total 5\nnv_inference_pending_request_count 2\n", ENGINE_TOLD, 2, 0, -1,
     NULL},
    /* Parts by priority without their total: nothing is made up from them. */
    {"sglang:num_running_reqs{priority=\"1\"} 5\n", ENGINE_SILENT, 0, 0, -1, NULL},
    /* what a disaggregated prefill server has before its own queue, under both names */
    {"sglang:num_queue_reqs 1\nsglang:num_prefill_bootstrap_queue_reqs{priority=\"\"} 2\n"
     "sglang:num_prefill_bootstrap_queue_reqs{priority=\"7\"} 2\n"
     "sglang:num_prefill_inflight_queue_reqs 64\n",
     ENGINE_TOLD, 3, 0, -1, NULL},
    {"sglang:num_queue_reqs 1\nsglang:num_prefill_prealloc_queue_reqs 4\n", ENGINE_TOLD, 5, 0, -1,
     NULL},
    /* a reason is a part of the whole */
    {"vllm:num_requests_waiting{engine=\"0\"} 3.0\n"
     "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 2.0\n"
     "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"deferred\"} 1.0\n",
     ENGINE_TOLD, 3, 0, -1, NULL},
};

static void test_cases(void **state)
{
	struct guard g = guard_new(1000);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct engine_report r;
		enum engine_result result =
		    engine_read(AUTO, ENGINE_NONE, guard_put(&g, view_str(cases[i].page)), &r);

		if (result != cases[i].result ||
		    (result == ENGINE_TOLD &&
		     (r.waiting != cases[i].waiting || r.running != cases[i].running ||
		      r.kv_usage != cases[i].kv)) ||
		    (cases[i].bad ? !r.bad || strcmp(r.bad, cases[i].bad) != 0 : r.bad != NULL))
			fail_msg("%s: result %d waiting %g running %g kv %g bad %s", cases[i].page,
				 result, r.waiting, r.running, r.kv_usage, r.bad ? r.bad : "-");
	}
	guard_free(&g);
}

/* Any number of series is added up; more ranks than can be told apart are bad, not half a load. */
static void test_many_series(void **state)
{
	static const struct {
		const char *format;
		int n;
		enum engine_result result;
	} many[] = {
	    {"vllm:num_requests_running{engine=\"%d\"} 1\n", 20000, ENGINE_TOLD},
	    {"sglang:num_running_reqs{dp_rank=\"%d\"} 1\n", 500, ENGINE_TOLD},
	    {"sglang:num_running_reqs{dp_rank=\"%d\"} 1\n", 20000, ENGINE_BAD},
	    {"sglang:num_running_reqs{tp_rank=\"%d\"} 1\n", 20000, ENGINE_TOLD},
	};
	char *page = malloc(2 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
		struct engine_report r;
		size_t len = 0;

		for (int k = 0; k < many[i].n; k++)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			len += (size_t)sprintf(page + len, many[i].format, k);
#pragma GCC diagnostic pop
		assert_int_equal(engine_read(AUTO, ENGINE_NONE, (struct view){page, len}, &r),
				 many[i].result);
		if (many[i].result == ENGINE_TOLD)
			assert_true(r.running == (strstr(many[i].format, "tp_") ? 1 : many[i].n));
	}
	free(page);
}

/* Cut anywhere, a page is read without a byte past its end, and never told of more than it had. */
static void test_every_truncation(void **state)
{
	static const char *const files[] = {"metrics/sglang-dp2-priority.prom",
					    "metrics/triton-trtllm.prom",
					    "metrics/llamacpp-b4500.prom", "metrics/trtllm.prom"};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct view text = golden_read(files[i]);
		struct guard g = guard_new(text.len);
		struct engine_report whole, r;

		assert_int_equal(engine_read(AUTO, 0, text, &whole), ENGINE_TOLD);
		for (size_t n = 0; n < text.len; n++) {
			enum engine_result result =
			    engine_read(AUTO, 0, guard_put(&g, (struct view){text.ptr, n}), &r);

			assert_true(result != ENGINE_TOLD ||
				    (r.waiting <= whole.waiting && r.running <= whole.running));
		}
		guard_free(&g);
		free((char *)text.ptr);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(engine_name(ENGINE_NONE), "none");
	assert_string_equal(engine_name(ENGINE_VLLM), "vllm");
	assert_string_equal(engine_name(ENGINE_TRITON_TRTLLM), "triton-trtllm");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_golden),      cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_many_series), cmocka_unit_test(test_every_truncation),
	    cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
