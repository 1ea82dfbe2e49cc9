/* The model against its formulas, and its invariants under random load. */
#include "engine.h"

#include "blocks.h"
#include "draw.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MS 1000000LL
#define N  600

struct seen {
	int64_t arrived, first, finish;
	uint32_t tokens, prompt, output;
	struct engine_req *req;
};

struct log {
	struct seen of[N];
	uint32_t order[N], n_order; /* requests by their first token */
	uint32_t finished;
	int64_t at; /* last advanced to by put() */
};

static void record(void *arg, struct engine_req *r, enum engine_event ev, int64_t when)
{
	struct log *log = arg;
	uint32_t i = (uint32_t)(uintptr_t)engine_req_user(r);
	struct seen *s = &log->of[i];

	if (ev == ENGINE_FINISH) {
		s->finish = when;
		s->req = NULL;
		log->finished++;
		return;
	}
	if (ev == ENGINE_FIRST) {
		assert_int_equal(s->tokens, 0);
		s->first = when;
		log->order[log->n_order++] = i;
	}
	s->tokens++;
}

static struct engine_req *put(struct engine *e, struct log *log, uint32_t i, int64_t at,
			      uint32_t prompt, uint32_t output, const uint64_t *ids, uint32_t n_ids)
{
	struct engine_ask ask = {.prompt = prompt,
				 .output = output,
				 .ids = ids,
				 .n_ids = n_ids,
				 .id_tokens = 16,
				 .user = (void *)(uintptr_t)i};

	/* Several of one instant join the same step. */
	if (at > log->at)
		engine_advance(e, at);
	log->at = at;
	log->of[i] = (struct seen){.arrived = at, .prompt = prompt, .output = output};
	log->of[i].req = engine_submit(e, &ask);
	return log->of[i].req;
}

static void run(struct engine *e)
{
	while (engine_next(e) != ENGINE_NEVER)
		engine_advance(e, engine_next(e));
}

static struct engine *engine(struct engine_conf conf, struct log *log)
{
	struct engine *e = engine_new(&conf, record, log);

	assert_non_null(e);
	memset(log, 0, sizeof(*log));
	return e;
}

static struct log a_log, b_log;

/* --- formulas --- */

static void test_one_request(void **state)
{
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);
	struct engine_stats st;

	(void)state;
	put(e, &a_log, 0, 5 * MS, 800, 11, NULL, 0);
	run(e);
	/* One step of 6 ms + 800/8000 s, then ten of 6.35 ms. */
	assert_int_equal(a_log.of[0].first, (5 + 6 + 100) * MS);
	assert_int_equal(a_log.of[0].finish, (5 + 6 + 100) * MS + 10 * 6350000LL);
	assert_int_equal(a_log.of[0].tokens, 11);
	engine_get_stats(e, &st);
	assert_int_equal(st.steps, 11);
	assert_int_equal(st.busy_ns, a_log.of[0].finish - 5 * MS);
	assert_int_equal(st.generated_tokens, 11);
	assert_int_equal(st.prefill_tokens, 800);
	assert_int_equal(st.kv_used, 0);
	engine_free(e);
}

static void test_long_prompt_in_chunks(void **state)
{
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);

	(void)state;
	put(e, &a_log, 0, 0, 5000, 1, NULL, 0);
	run(e);
	/* 2048 + 2048 + 904 tokens: three steps. */
	assert_int_equal(a_log.of[0].first, 3 * 6 * MS + 625 * MS);
	assert_int_equal(a_log.of[0].finish, a_log.of[0].first);
	engine_free(e);
}

static void test_prefill_delays_decodes(void **state)
{
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);

	(void)state;
	put(e, &a_log, 0, 0, 8, 3, NULL, 0); /* 6 + 1 ms: first token at 7 */
	put(e, &a_log, 1, 6 * MS, 1600, 1, NULL, 0);
	run(e);
	/* The step in common: 6 + 0.35 x 1 + 200 ms. */
	assert_int_equal(a_log.of[1].first, 7 * MS + 206350000LL);
	/* Then the first one is left alone, with one token to go. */
	assert_int_equal(a_log.of[0].finish, a_log.of[1].first + 6350000LL);
	engine_free(e);
}

static void test_throughput(void **state)
{
	struct engine *e;
	struct engine_conf conf = ENGINE_CONF_DEFAULT;

	(void)state;
	conf.prefill_rate = 1e12;
	for (uint32_t batch = 1; batch <= 256; batch *= 4) {
		int64_t step = 6 * MS + 350000LL * batch;

		e = engine(conf, &a_log);
		for (uint32_t i = 0; i < batch; i++)
			put(e, &a_log, i, 0, 4, 101, NULL, 0);
		run(e);
		for (uint32_t i = 0; i < batch; i++) {
			assert_int_equal(a_log.of[i].tokens, 101);
			assert_int_equal(a_log.of[i].finish - a_log.of[i].first, 100 * step);
		}
		engine_free(e);
	}
}

static void test_speed(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;

	(void)state;
	conf.speed = 10;
	e = engine(conf, &a_log);
	put(e, &a_log, 0, 0, 800, 2, NULL, 0);
	run(e);
	assert_int_equal(a_log.of[0].first, 106 * MS / 10);
	engine_free(e);

	/* Slowed in the middle of a step, stopped, and let go again. */
	e = engine(ENGINE_CONF_DEFAULT, &a_log);
	put(e, &a_log, 0, 0, 800, 1, NULL, 0);
	engine_advance(e, 6 * MS);
	engine_set_speed(e, 0.5);
	engine_advance(e, 26 * MS); /* 10 of the 100 ms left are done */
	engine_set_speed(e, 0);
	assert_true(engine_next(e) == ENGINE_NEVER);
	engine_advance(e, 1000 * MS);
	assert_int_equal(a_log.finished, 0);
	engine_set_speed(e, 1);
	run(e);
	assert_int_equal(a_log.of[0].finish, 1090 * MS);
	engine_free(e);
}

static void test_foreign_load(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;
	struct engine_stats st;

	(void)state;
	conf.max_num_seqs = 10;
	e = engine(conf, &a_log);
	engine_set_foreign(e, 8);
	for (uint32_t i = 0; i < 5; i++)
		put(e, &a_log, i, 0, 8, 3, NULL, 0);
	engine_advance(e, 1);
	engine_get_stats(e, &st);
	assert_int_equal(st.running, 2);
	assert_int_equal(st.waiting, 3);
	/* 16 prompt tokens: 2 ms; and the step is as long as if the eight decoded. */
	assert_int_equal(engine_next(e), 2 * MS + 6 * MS + 8 * 350000);
	engine_set_foreign(e, 100); /* one seat remains */
	run(e);
	assert_int_equal(a_log.finished, 5);
	engine_free(e);
}

/* --- order and conservation --- */

static uint64_t rng;

static uint32_t rnd(uint32_t below)
{
	return (uint32_t)(draw_mix(rng++, 77) % below);
}

static void test_fcfs_and_work_conservation(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;
	int64_t at = 0;

	(void)state;
	conf.max_num_seqs = 7;
	e = engine(conf, &a_log);
	for (uint32_t i = 0; i < N; i++) {
		struct engine_stats st;

		at += rnd(60) * MS;
		put(e, &a_log, i, at, 1 + rnd(3000), 1 + rnd(60), NULL, 0);
		engine_advance(e, at);
		engine_get_stats(e, &st);
		/* Somebody waits only where the seats or the step's tokens are taken. */
		assert_true(st.waiting + st.running > 0);
		assert_true(engine_next(e) != ENGINE_NEVER);
		assert_true(st.running <= 7);
		if (st.running < 7 && st.waiting > 0)
			assert_true(engine_next(e) - at <= 6 * MS + 7 * 350000LL + 256 * MS);
	}
	run(e);
	assert_int_equal(a_log.finished, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(a_log.order[i], i);
		assert_int_equal(a_log.of[i].tokens, a_log.of[i].output);
	}
	engine_free(e);
}

static void test_full_batch_while_any_waits(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;
	struct engine_stats st;

	(void)state;
	conf.max_num_seqs = 16;
	e = engine(conf, &a_log);
	for (uint32_t i = 0; i < 400; i++)
		put(e, &a_log, i, 0, 10, 1 + rnd(50), NULL, 0);
	while (engine_next(e) != ENGINE_NEVER) {
		engine_advance(e, engine_next(e));
		engine_get_stats(e, &st);
		if (st.waiting > 0)
			assert_int_equal(st.running, 16);
	}
	assert_int_equal(a_log.finished, 400);
	assert_int_equal(st.max_running, 16);
	engine_free(e);
}

/* --- KV blocks --- */

static void test_kv_never_over_capacity(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;
	struct engine_stats st;
	int64_t at = 0;

	(void)state;
	conf.kv_blocks = 100;
	conf.max_num_seqs = 50;
	e = engine(conf, &a_log);
	for (uint32_t i = 0; i < N; i++) {
		uint64_t ids[40];
		uint32_t family = rnd(5), n = 1 + rnd(40);

		for (uint32_t k = 0; k < n; k++)
			ids[k] = k < 20 ? family : draw_mix(i, k);
		at += rnd(20) * MS;
		put(e, &a_log, i, at, n * 16, 1 + rnd(300), ids, n);
		engine_get_stats(e, &st);
		assert_true(st.kv_used <= st.kv_total);
		assert_true(engine_kv_usage(e) >= 0 && engine_kv_usage(e) <= 1);
		assert_true(st.running == 0 || st.kv_used > 0);
	}
	run(e);
	engine_get_stats(e, &st);
	assert_int_equal(a_log.finished, N);
	assert_true(st.preempted > 0);
	assert_true(st.prefix_hits > 0 && st.prefix_hits < st.prefix_queries);
	assert_int_equal(st.kv_used, 0);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(a_log.of[i].tokens, a_log.of[i].output);
	engine_free(e);
}

static void test_prefix_reuse(void **state)
{
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);
	uint64_t ids[100];
	struct engine_stats st;
	int64_t cold, warm;

	(void)state;
	for (uint32_t k = 0; k < 100; k++)
		ids[k] = k + 1;
	put(e, &a_log, 0, 0, 1600, 2, ids, 100);
	run(e);
	put(e, &a_log, 1, 1000 * MS, 1600, 2, ids, 100);
	run(e);
	cold = a_log.of[0].first - a_log.of[0].arrived;
	warm = a_log.of[1].first - a_log.of[1].arrived;
	assert_int_equal(cold, 206 * MS);
	/* All but the last block, which holds the token to compute: 16 of 1600 tokens. */
	assert_int_equal(warm, 6 * MS + 2 * MS);
	engine_get_stats(e, &st);
	assert_int_equal(st.prefix_queries, 3200);
	assert_int_equal(st.prefix_hits, 1584);

	/* Other text in block 10: the nine blocks before it (0..9 are ten) still count. */
	ids[10] = 999;
	put(e, &a_log, 2, 2000 * MS, 1600, 1, ids, 100);
	run(e);
	assert_int_equal(a_log.of[2].first - a_log.of[2].arrived, 6 * MS + 180 * MS);
	/* The same pieces after another beginning are other text, even if that is known too. */
	ids[10] = 11;
	ids[0] = 5000;
	put(e, &a_log, 3, 3000 * MS, 32, 1, ids, 1);
	run(e);
	put(e, &a_log, 4, 4000 * MS, 1600, 1, ids, 100);
	run(e);
	assert_int_equal(a_log.of[4].first - a_log.of[4].arrived, 6 * MS + 198 * MS);
	engine_free(e);
}

static void test_reuse_of_what_still_runs(void **state)
{
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);
	uint64_t ids[64];
	struct engine_stats st;

	(void)state;
	for (uint32_t k = 0; k < 64; k++)
		ids[k] = k;
	put(e, &a_log, 0, 0, 1024, 1000, ids, 64);
	engine_advance(e, 200 * MS);
	put(e, &a_log, 1, 200 * MS, 1024, 1000, ids, 64);
	engine_advance(e, 300 * MS);
	engine_get_stats(e, &st);
	assert_int_equal(st.running, 2);
	/* 63 shared, one each of the prompt's last, and the few tokens generated so far. */
	assert_in_range(st.kv_used, 65, 69);
	engine_cancel(e, a_log.of[0].req);
	engine_get_stats(e, &st);
	assert_in_range(st.kv_used, 64, 66);
	engine_cancel(e, a_log.of[1].req);
	assert_true(engine_kv_usage(e) == 0);
	engine_free(e);
}

static void test_ids_of_many_blocks(void **state)
{
	/* 512 tokens per id as in the Mooncake trace, the last one reaching past the prompt. */
	const uint64_t ids[] = {0, 1, 2, 3};
	struct engine *e = engine(ENGINE_CONF_DEFAULT, &a_log);
	struct engine_ask ask = {
	    .prompt = 1600, .output = 1, .ids = ids, .n_ids = 4, .id_tokens = 512};
	struct engine_stats st;

	(void)state;
	assert_non_null(engine_submit(e, &ask));
	run(e);
	ask.user = (void *)(uintptr_t)1;
	assert_non_null(engine_submit(e, &ask));
	run(e);
	engine_get_stats(e, &st);
	assert_int_equal(st.prefix_hits, 1584);
	ask.id_tokens = 100;
	assert_null(engine_submit(e, &ask));
	assert_int_equal(errno, EINVAL);
	engine_free(e);
}

static void test_blocks_lru(void **state)
{
	struct blocks *b = blocks_new(3);
	uint32_t x, y, z;

	(void)state;
	x = blocks_take(b);
	y = blocks_take(b);
	z = blocks_take(b);
	assert_int_equal(blocks_take(b), BLOCKS_NONE);
	blocks_name(b, x, 10);
	blocks_name(b, y, 20);
	blocks_name(b, z, 20); /* taken already */
	assert_int_equal(blocks_find(b, 20), y);
	blocks_drop(b, y);
	blocks_drop(b, x);
	blocks_drop(b, z);
	assert_int_equal(blocks_n_free(b), 3);
	blocks_hold(b, y); /* back from the queue: x is the oldest now */
	assert_int_equal(blocks_take(b), x);
	assert_int_equal(blocks_find(b, 10), BLOCKS_NONE);
	assert_int_equal(blocks_find(b, 20), y);
	assert_int_equal(blocks_take(b), z);
	assert_int_equal(blocks_take(b), BLOCKS_NONE);
	blocks_hold(b, y);
	blocks_drop(b, y);
	assert_int_equal(blocks_n_free(b), 0);
	blocks_drop(b, y);
	assert_int_equal(blocks_take(b), y);
	assert_int_equal(blocks_find(b, 20), BLOCKS_NONE);
	blocks_free(b);
}

static void test_refused(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;

	(void)state;
	conf.kv_blocks = 10;
	e = engine(conf, &a_log);
	assert_null(put(e, &a_log, 0, 0, 160, 2, NULL, 0));
	assert_int_equal(errno, EFBIG);
	assert_non_null(put(e, &a_log, 0, 0, 160, 1, NULL, 0));
	assert_null(put(e, &a_log, 1, 0, 0, 1, NULL, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(put(e, &a_log, 1, 0, 1, 0, NULL, 0));
	assert_null(put(e, &a_log, 1, 0, UINT32_MAX, UINT32_MAX, NULL, 0));
	run(e);
	assert_int_equal(a_log.finished, 1);
	engine_free(e);
	conf.max_batched_tokens = conf.max_num_seqs - 1;
	assert_null(engine_new(&conf, NULL, NULL));
}

static void test_cancel_frees_at_once(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;
	struct engine_stats st;
	int64_t at = 0;

	(void)state;
	conf.max_num_seqs = 8;
	conf.kv_blocks = 400;
	e = engine(conf, &a_log);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t victim = rnd(i + 1);

		at += rnd(200) * MS;
		put(e, &a_log, i, at, 1 + rnd(1500), 1 + rnd(100), NULL, 0);
		if (a_log.of[victim].req && rnd(3) == 0) {
			uint32_t tokens = a_log.of[victim].tokens;

			engine_cancel(e, a_log.of[victim].req);
			a_log.of[victim].req = NULL;
			engine_advance(e, at + MS);
			assert_int_equal(a_log.of[victim].tokens, tokens);
			at += MS;
		}
	}
	for (uint32_t i = 0; i < N; i++)
		if (a_log.of[i].req) {
			engine_cancel(e, a_log.of[i].req);
			a_log.of[i].req = NULL;
		}
	engine_get_stats(e, &st);
	assert_int_equal(st.running + st.waiting + st.kv_used, 0);
	assert_true(st.cancelled > 50 && st.finished > 50);
	assert_int_equal(st.finished + st.cancelled, N);
	/* A step may be under way with nobody left in it; it ends quietly. */
	run(e);
	put(e, &a_log, 0, at + 10000 * MS, 800, 1, NULL, 0);
	run(e);
	assert_int_equal(a_log.of[0].finish, at + 10106 * MS);
	engine_free(e);
}

/* --- the same twice --- */

static void random_load(struct engine *e, struct log *log, uint64_t seed)
{
	int64_t at = 0;

	rng = seed;
	for (uint32_t i = 0; i < N; i++) {
		uint64_t ids[64];
		uint32_t n = 1 + rnd(64);

		for (uint32_t k = 0; k < n; k++)
			ids[k] = k < 8 ? n % 3 : k < 30 ? n % 7 : draw_mix(seed, i * 64 + k);
		at += rnd(40) * MS;
		put(e, log, i, at, n * 16 - rnd(16), 1 + rnd(120), ids, n);
	}
	run(e);
	assert_int_equal(log->finished, N);
}

static void test_determinism(void **state)
{
	struct engine_conf conf = ENGINE_CONF_DEFAULT;
	struct engine *e;

	(void)state;
	conf.kv_blocks = 300;
	conf.max_num_seqs = 40;
	e = engine(conf, &a_log);
	random_load(e, &a_log, 1);
	engine_free(e);
	e = engine(conf, &b_log);
	random_load(e, &b_log, 1);
	engine_free(e);
	assert_memory_equal(&a_log, &b_log, sizeof(a_log));

	/* Without an event per token the times are the same. */
	conf.token_events = false;
	e = engine(conf, &b_log);
	random_load(e, &b_log, 1);
	engine_free(e);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(a_log.of[i].first, b_log.of[i].first);
		assert_int_equal(a_log.of[i].finish, b_log.of[i].finish);
		assert_int_equal(b_log.of[i].tokens, 1);
	}
	e = engine(conf, &b_log);
	random_load(e, &b_log, 2);
	engine_free(e);
	assert_memory_not_equal(&a_log, &b_log, sizeof(a_log));
}

/* --- lengths --- */

static void test_draw_output(void **state)
{
	double sum = 0;

	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		uint32_t n = draw_output(i, 200, 100000);

		assert_true(n >= 1 && n <= 100000);
		assert_int_equal(n, draw_output(i, 200, 100000));
		assert_true(draw_output(i, 200, 50) <= 50);
		sum += n;
	}
	assert_true(fabs(sum / 100000 - 200) < 4);
	assert_int_equal(draw_output(1, 0, 10), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_request),
	    cmocka_unit_test(test_long_prompt_in_chunks),
	    cmocka_unit_test(test_prefill_delays_decodes),
	    cmocka_unit_test(test_throughput),
	    cmocka_unit_test(test_speed),
	    cmocka_unit_test(test_foreign_load),
	    cmocka_unit_test(test_fcfs_and_work_conservation),
	    cmocka_unit_test(test_full_batch_while_any_waits),
	    cmocka_unit_test(test_kv_never_over_capacity),
	    cmocka_unit_test(test_prefix_reuse),
	    cmocka_unit_test(test_reuse_of_what_still_runs),
	    cmocka_unit_test(test_ids_of_many_blocks),
	    cmocka_unit_test(test_blocks_lru),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cancel_frees_at_once),
	    cmocka_unit_test(test_determinism),
	    cmocka_unit_test(test_draw_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
