/*
 * A model of a continuous-batching model server (vLLM's scheduler with chunked prefill and prefix
 * caching) without sockets, clocks or global state: time is an argument, in nanoseconds from any
 * origin, and never goes back. The same calls with the same seed give the same events at the same
 * times. What is modelled, with the formulas: README.md beside this file.
 *
 *	engine_advance(e, now);            everything due up to and including now happens
 *	r = engine_submit(e, &ask);        joins the queue at the time last advanced to
 *	when = engine_next(e);             when advance has something to do, ENGINE_NEVER if nothing
 *
 * Requests submitted before the first advance of an instant start in the same step. Callbacks come
 * out of engine_advance and must not call the engine, except the const functions.
 */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_NEVER INT64_MAX

enum engine_event {
	ENGINE_FIRST,  /* the first token */
	ENGINE_TOKEN,  /* any later one; only with conf.token_events */
	ENGINE_FINISH, /* right after the last token; the request is freed when the callback returns
			*/
};

struct engine_req;

typedef void engine_cb(void *arg, struct engine_req *r, enum engine_event ev, int64_t when);

struct engine_conf {
	double prefill_rate;         /* prompt tokens per second, > 0 */
	double step_a_ms, step_b_ms; /* a step lasts a + b x decoding requests, plus its prefill */
	double speed;                /* > 0; 10 = everything ten times faster */
	uint32_t max_num_seqs;       /* requests running at once, > 0 */
	uint32_t max_batched_tokens; /* decode + prefill tokens of one step, >= max_num_seqs */
	uint32_t kv_blocks;          /* > 0 */
	uint32_t block_size;         /* tokens per block, > 0 */
	bool prefix_caching;
	bool token_events;
};

/* prefill 8,000 tok/s, 6.0 + 0.35 x batch ms, 256 running, 2,048 batched, 32,768 blocks of 16. */
extern const struct engine_conf ENGINE_CONF_DEFAULT;

/*
 * What is asked. ids[i] names the tokens [i * id_tokens, (i + 1) * id_tokens) of the prompt (the
 * last may reach past its end); equal ids after equal ids are equal prompt text. id_tokens is a
 * multiple of the block size. Without ids nothing is shared. All is copied.
 */
struct engine_ask {
	uint32_t prompt, output; /* tokens, both >= 1 */
	const uint64_t *ids;
	uint32_t n_ids, id_tokens;
	void *user;
};

struct engine_stats {
	uint32_t waiting, running; /* now */
	uint32_t decoding;         /* of the running: past their prefill */
	uint32_t max_running, max_waiting;
	uint32_t kv_used, kv_total; /* blocks referred to; usage is their ratio */
	uint64_t submitted, finished, cancelled, preempted;
	uint64_t prompt_tokens; /* of requests admitted */
	uint64_t generated_tokens;
	uint64_t prefill_tokens;              /* computed, so less the cached, plus recomputed */
	uint64_t prefix_queries, prefix_hits; /* tokens, as vLLM counts them */
	uint64_t steps;
	int64_t busy_ns; /* time within steps that have ended */
};

/* NULL when memory is out or the configuration is outside the ranges above. */
struct engine *engine_new(const struct engine_conf *conf, engine_cb *cb, void *arg);
struct engine *engine_free(struct engine *e);

/* NULL with errno EFBIG when it would not fit the KV cache alone, ENOMEM, or EINVAL. */
struct engine_req *engine_submit(struct engine *e, const struct engine_ask *ask);
/* Leaves queue or batch at once, and so do its blocks; no further event. */
void engine_cancel(struct engine *e, struct engine_req *r);

int64_t engine_next(const struct engine *e);
void engine_advance(struct engine *e, int64_t now);

/* From the time last advanced to, also for the step under way. 0 stops time. */
void engine_set_speed(struct engine *e, double speed);
/* Requests that others run here: they take seats and lengthen steps. One seat always remains. */
void engine_set_foreign(struct engine *e, uint32_t running);

void engine_get_stats(const struct engine *e, struct engine_stats *ret);
double engine_kv_usage(const struct engine *e); /* 0..1 */

void *engine_req_user(const struct engine_req *r);
uint32_t engine_req_cached(const struct engine_req *r); /* prompt tokens found in the cache */
/* Requests in order of admission, then those in the queue. */
void engine_each(const struct engine *e, void (*fn)(void *arg, void *user, bool running),
		 void *arg);

#endif
