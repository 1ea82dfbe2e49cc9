/*
 * The engine against a second implementation that does everything the slow way: one pass over all
 * requests per step, KV counted token by token. What the engine does with heaps and phases must
 * come out the same to the nanosecond, preemptions included.
 */
#include "engine.h"

#include "draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define N 80

static struct {
	int64_t first, finish;
} seen[N];

static uint64_t rng;

static uint32_t rnd(uint32_t below)
{
	return (uint32_t)(draw_mix(rng++, 77) % below);
}

static void record(void *arg, struct engine_req *r, enum engine_event ev, int64_t when)
{
	uint32_t i = (uint32_t)(uintptr_t)engine_req_user(r);

	(void)arg;
	if (ev == ENGINE_FIRST)
		seen[i].first = when;
	else if (ev == ENGINE_FINISH)
		seen[i].finish = when;
}

struct slow_req {
	int64_t at;
	uint32_t prompt, output, made, done, left, kv; /* kv: tokens whose KV stands */
	uint32_t blocks;
	bool arrived, running, prefilling, finished;
	uint64_t ticket; /* of admission */
	int64_t rank;    /* in the queue */
	int64_t first, finish;
};

static uint32_t blocks_of(uint32_t tokens)
{
	return (tokens + 15) / 16;
}

/* Runs all of q to its end; no prefix reuse. Returns the number of preemptions. */
static uint32_t slow_run(struct slow_req *q, uint32_t n, const struct engine_conf *c)
{
	uint64_t tickets = 0;
	uint32_t used = 0, preempted = 0, finished = 0;
	int64_t now = 0, front = 0;

	for (uint32_t i = 0; i < n; i++)
		q[i].rank = i;
	while (finished < n) {
		uint32_t decoding = 0, prefilled = 0, running = 0, budget;
		bool any_preempted = false;

		for (uint32_t i = 0; i < n; i++)
			q[i].arrived = q[i].at <= now;
		/* Decodes grow, in order of admission. */
		for (uint64_t t = 0; t < tickets; t++) {
			uint32_t me = n;

			for (uint32_t i = 0; i < n; i++)
				if (q[i].running && !q[i].prefilling && q[i].ticket == t)
					me = i;
			if (me == n || q[me].kv % 16 != 0)
				continue;
			while (q[me].running && used == c->kv_blocks) {
				uint32_t last = me;

				for (uint32_t i = 0; i < n; i++)
					if (q[i].running && q[i].ticket > q[last].ticket)
						last = i;
				used -= q[last].blocks;
				q[last].blocks = 0;
				q[last].running = q[last].prefilling = false;
				q[last].rank = --front;
				preempted++;
				any_preempted = true;
			}
			if (q[me].running) {
				q[me].blocks++;
				used++;
			}
		}
		for (uint32_t i = 0; i < n; i++) {
			running += q[i].running;
			decoding += q[i].running && !q[i].prefilling;
		}
		budget = c->max_batched_tokens - decoding;
		for (uint64_t t = 0; t < tickets; t++)
			for (uint32_t i = 0; i < n; i++)
				if (q[i].running && q[i].prefilling && q[i].ticket == t) {
					uint32_t k = budget - prefilled < q[i].left
							 ? budget - prefilled
							 : q[i].left;

					q[i].left -= k;
					prefilled += k;
				}
		while (!any_preempted && prefilled < budget && running < c->max_num_seqs) {
			uint32_t head = n, k;

			for (uint32_t i = 0; i < n; i++)
				if (q[i].arrived && !q[i].running && !q[i].finished &&
				    (head == n || q[i].rank < q[head].rank))
					head = i;
			if (head == n ||
			    used + blocks_of(q[head].prompt + q[head].made) > c->kv_blocks)
				break;
			q[head].running = q[head].prefilling = true;
			q[head].ticket = tickets++;
			q[head].blocks = blocks_of(q[head].prompt + q[head].made);
			used += q[head].blocks;
			running++;
			q[head].left = q[head].prompt + q[head].made;
			k = budget - prefilled < q[head].left ? budget - prefilled : q[head].left;
			q[head].left -= k;
			prefilled += k;
		}
		if (running == 0) {
			int64_t next = INT64_MAX;

			for (uint32_t i = 0; i < n; i++)
				if (!q[i].finished && !q[i].arrived && q[i].at < next)
					next = q[i].at;
			assert_true(next != INT64_MAX);
			now = next;
			continue;
		}
		now += (int64_t)ceil(1e6 * (c->step_a_ms + c->step_b_ms * (double)decoding) +
				     1e9 * prefilled / c->prefill_rate);
		for (uint32_t i = 0; i < n; i++) {
			if (!q[i].running || (q[i].prefilling && q[i].left > 0))
				continue;
			q[i].kv = q[i].prefilling ? q[i].prompt + q[i].made : q[i].kv + 1;
			q[i].prefilling = false;
			if (q[i].made++ == 0)
				q[i].first = now;
			if (q[i].made == q[i].output) {
				q[i].finish = now;
				q[i].running = false;
				q[i].finished = true;
				used -= q[i].blocks;
				finished++;
			}
		}
	}
	return preempted;
}

static void put(struct engine *e, uint32_t i, const struct slow_req *q)
{
	struct engine_ask ask = {
	    .prompt = q->prompt, .output = q->output, .user = (void *)(uintptr_t)i};

	engine_advance(e, q->at);
	assert_non_null(engine_submit(e, &ask));
}

static void test_against_the_slow_way(void **state)
{
	static struct slow_req q[N];
	uint32_t preempted = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct engine_conf conf = ENGINE_CONF_DEFAULT;
		struct engine_stats st;
		struct engine *e;
		int64_t at = 0;
		uint32_t slow_preempted;

		rng = seed * 1000003;
		/* The largest request needs 19 blocks. */
		conf.kv_blocks = 19 + rnd(seed % 2 ? 60 : 10);
		conf.max_num_seqs = 2 + rnd(30);
		conf.max_batched_tokens = conf.max_num_seqs + rnd(300);
		memset(seen, 0, sizeof(seen));
		e = engine_new(&conf, record, NULL);
		assert_non_null(e);
		memset(q, 0, sizeof(q));
		for (uint32_t i = 0; i < N; i++) {
			/* Never at the very end of a step, where either order is right. */
			at += rnd(50) * 1000000LL + 1 + rnd(1000);
			q[i].at = at;
			q[i].prompt = 1 + rnd(seed % 2 ? 150 : 10);
			q[i].output = 1 + rnd(150);
			put(e, i, &q[i]);
		}
		while (engine_next(e) != ENGINE_NEVER)
			engine_advance(e, engine_next(e));
		slow_preempted = slow_run(q, N, &conf);
		engine_get_stats(e, &st);
		assert_int_equal(st.preempted, slow_preempted);
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(seen[i].first, q[i].first);
			assert_int_equal(seen[i].finish, q[i].finish);
		}
		preempted += slow_preempted;
		engine_free(e);
	}
	assert_true(preempted > 100); /* else the case was not tried */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_the_slow_way)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
