/*
 * Names, labels, order of label names and form of numbers as each engine prints them: vLLM's come
 * from Python's prometheus_client (labels sorted, floats with a point), SGLang's likewise, those of
 * TensorRT-LLM's server, Triton and llama.cpp from their own printers.
 *
 * Each data-parallel rank is a series of its own with its own numbers. What a fault bends are the
 * three gauges that a picker reads; the rest of the page stays right.
 */
#include "metrics.h"

#include "api.h"
#include "draw.h"

#include <event2/event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TEXT "text/plain; version=0.0.4; charset=utf-8"

/* What one rank shows: the truth, plus pretended load, bent by a fault. */
struct shown {
	double running, waiting, kv;
	struct engine_stats st;
};

static double bend(enum sim_page fault, double v)
{
	switch (fault) {
	case PAGE_NAN:
		return NAN;
	case PAGE_NEGATIVE:
		return -v - 1;
	case PAGE_HUGE:
		return 1e300;
	default:
		return v;
	}
}

static struct shown show(const struct sim *s, uint32_t rank)
{
	struct shown v;

	engine_get_stats(s->ranks[rank], &v.st);
	v.running = v.st.running + s->foreign_running / s->conf.ranks +
		    (rank < s->foreign_running % s->conf.ranks);
	v.waiting = v.st.waiting + s->foreign_waiting / s->conf.ranks +
		    (rank < s->foreign_waiting % s->conf.ranks);
	v.kv = engine_kv_usage(s->ranks[rank]) + s->foreign_kv;
	if (v.kv > 1)
		v.kv = 1;
	v.running = bend(s->faults.metrics, v.running);
	v.waiting = bend(s->faults.metrics, v.waiting);
	v.kv = bend(s->faults.metrics, v.kv);
	return v;
}

/* As Python prints a float: the fewest digits that read back the same. */
static void number(struct buf *b, double v)
{
	if (isnan(v))
		buf_puts(b, "NaN");
	else if (isinf(v))
		buf_puts(b, v > 0 ? "+Inf" : "-Inf");
	else if (fabs(v) < 1e15 && v == (double)(int64_t)v)
		buf_printf(b, "%.1f", v);
	else {
		char text[32];

		for (int digits = 15; digits <= 17; digits++) {
			snprintf(text, sizeof(text), "%.*g", digits, v);
			if (strtod(text, NULL) == v)
				break;
		}
		buf_puts(b, text);
	}
}

static void family(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value with its quotes. */
static void label(struct buf *b, const char *v)
{
	buf_puts(b, "\"");
	for (; *v; v++) {
		if (*v == '\\' || *v == '"')
			buf_add(b, "\\", 1);
		if (*v == '\n')
			buf_puts(b, "\\n");
		else
			buf_add(b, v, 1);
	}
	buf_puts(b, "\"");
}

static void process(struct buf *b)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	family(b, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
	buf_printf(b, "process_resident_memory_bytes %.1f\n", (double)ru.ru_maxrss * 1024);
	family(b, "process_cpu_seconds_total", "counter",
	       "Total user and system CPU time spent in seconds.");
	buf_printf(b, "process_cpu_seconds_total %.2f\n",
		   (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
		       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
}

/* --- vLLM --- */

static void vllm_line(struct buf *b, struct sim *s, const char *name, uint32_t rank,
		      const char *more, double v)
{
	buf_printf(b, "%s{engine=\"%u\",%smodel_name=", name, rank, more);
	label(b, s->conf.model);
	buf_puts(b, "} ");
	number(b, v);
	buf_puts(b, "\n");
}

static void vllm_histogram(struct buf *b, struct sim *s, const char *name, const char *help,
			   const struct sim_histogram *h)
{
	char full[96], le[64];
	uint64_t sum = 0;
	bool last = false;

	family(b, name, "histogram", help);
	snprintf(full, sizeof(full), "%s_bucket", name);
	for (size_t i = 0; !last; i++) {
		double bound = h->bounds[i];

		last = bound <= 0;
		sum += h->count[i];
		if (last)
			snprintf(le, sizeof(le), "le=\"+Inf\",");
		else
			snprintf(le, sizeof(le), "le=\"%g%s\",", bound,
				 bound == floor(bound) ? ".0" : "");
		vllm_line(b, s, full, 0, le, (double)sum);
	}
	snprintf(full, sizeof(full), "%s_count", name);
	vllm_line(b, s, full, 0, "", (double)h->n);
	snprintf(full, sizeof(full), "%s_sum", name);
	vllm_line(b, s, full, 0, "", h->sum);
}

struct lora {
	struct sim *s;
	struct buf names[2]; /* running, waiting */
	uint64_t seen[2][SIM_MAX_ADAPTERS / 64 + 1];
};

static void lora_job(void *arg, void *user, bool running)
{
	struct lora *l = arg;
	struct job *j = user;
	int which = running ? 0 : 1;
	uint32_t at = 0;

	if (!j->model->adapter)
		return;
	while (l->s->models[at] != j->model)
		at++;
	if (l->seen[which][at / 64] & (uint64_t)1 << at % 64)
		return;
	l->seen[which][at / 64] |= (uint64_t)1 << at % 64;
	buf_puts(&l->names[which], l->names[which].len ? "," : "");
	buf_puts(&l->names[which], j->model->id);
}

static void vllm_lora(struct buf *b, struct sim *s)
{
	struct lora l = {.s = s};
	struct timespec ts;

	if (s->conf.max_loras == 0)
		return;
	for (uint32_t i = 0; i < s->conf.ranks; i++)
		engine_each(s->ranks[i], lora_job, &l);
	clock_gettime(CLOCK_REALTIME, &ts);
	family(b, "vllm:lora_requests_info", "gauge", "Running stats on lora requests.");
	buf_printf(
	    b, "vllm:lora_requests_info{max_lora=\"%u\",running_lora_adapters=", s->conf.max_loras);
	buf_add(&l.names[0], "", 1);
	buf_add(&l.names[1], "", 1);
	label(b, l.names[0].p);
	buf_puts(b, ",waiting_lora_adapters=");
	label(b, l.names[1].p);
	buf_printf(b, "} %.6f\n", (double)ts.tv_sec + (double)ts.tv_nsec / 1e9);
	buf_deinit(&l.names[0]);
	buf_deinit(&l.names[1]);
}

static void vllm_success(struct buf *b, struct sim *s)
{
	family(b, "vllm:request_success_total", "counter",
	       "Count of successfully processed requests.");
	vllm_line(b, s, "vllm:request_success_total", 0, "finished_reason=\"stop\",",
		  (double)s->finished_stop);
	vllm_line(b, s, "vllm:request_success_total", 0, "finished_reason=\"length\",",
		  (double)s->finished_length);
	vllm_line(b, s, "vllm:request_success_total", 0, "finished_reason=\"abort\",",
		  (double)s->finished_abort);
}

static double of_running(const struct shown *v)
{
	return v->running;
}

static double of_waiting(const struct shown *v)
{
	return v->waiting;
}

static double of_kv(const struct shown *v)
{
	return v->kv;
}

static double of_queries(const struct shown *v)
{
	return (double)v->st.prefix_queries;
}

static double of_hits(const struct shown *v)
{
	return (double)v->st.prefix_hits;
}

static double of_preempted(const struct shown *v)
{
	return (double)v->st.preempted;
}

static double of_prompt(const struct shown *v)
{
	return (double)v->st.prompt_tokens;
}

static double of_generated(const struct shown *v)
{
	return (double)v->st.generated_tokens;
}

struct row {
	const char *name, *type, *help;
	double (*of)(const struct shown *v);
};

static const struct row vllm_rows[] = {
    {"vllm:num_requests_running", "gauge", "Number of requests in model execution batches.",
     of_running},
    {"vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.",
     of_waiting},
    {"vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", of_kv},
    {"vllm:prefix_cache_queries_total", "counter",
     "Prefix cache queries, in terms of number of queried tokens.", of_queries},
    {"vllm:prefix_cache_hits_total", "counter",
     "Prefix cache hits, in terms of number of cached tokens.", of_hits},
    {"vllm:num_preemptions_total", "counter", "Cumulative number of preemption from the engine.",
     of_preempted},
    {"vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", of_prompt},
    {"vllm:generation_tokens_total", "counter", "Number of generation tokens processed.",
     of_generated},
};

/* prometheus_client's companion of every counter NAME_total. */
static void vllm_created(struct buf *b, struct sim *s, const char *name, const char *help)
{
	char created[96];

	snprintf(created, sizeof(created), "%.*s_created", (int)(strlen(name) - strlen("_total")),
		 name);
	family(b, created, "gauge", help);
	for (uint32_t r = 0; r < s->conf.ranks; r++)
		vllm_line(b, s, created, r, "", (double)s->born);
}

static void vllm(struct buf *b, struct sim *s)
{
	char blocks[128];

	for (size_t i = 0; i < sizeof(vllm_rows) / sizeof(vllm_rows[0]); i++) {
		const char *name = vllm_rows[i].name;

		if (s->conf.old_metrics && vllm_rows[i].of == of_kv)
			name = "vllm:gpu_cache_usage_perc";
		family(b, name, vllm_rows[i].type, vllm_rows[i].help);
		for (uint32_t r = 0; r < s->conf.ranks; r++) {
			struct shown v = show(s, r);

			vllm_line(b, s, name, r, "", vllm_rows[i].of(&v));
		}
		if (strcmp(vllm_rows[i].type, "counter") == 0)
			vllm_created(b, s, name, vllm_rows[i].help);
	}
	family(b, "vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
	snprintf(blocks, sizeof(blocks),
		 "block_size=\"%u\",cache_dtype=\"auto\",enable_prefix_caching=\"%s\",",
		 s->conf.engine.block_size, s->conf.engine.prefix_caching ? "True" : "False");
	for (uint32_t r = 0; r < s->conf.ranks; r++)
		buf_printf(b,
			   "vllm:cache_config_info{%sengine=\"%u\",gpu_memory_utilization=\"0.9\","
			   "num_gpu_blocks=\"%u\"} 1.0\n",
			   blocks, r, s->conf.engine.kv_blocks);
	vllm_success(b, s);
	vllm_lora(b, s);
	vllm_histogram(b, s, "vllm:time_to_first_token_seconds",
		       "Histogram of time to first token in seconds.", &s->ttft);
	vllm_histogram(b, s, "vllm:inter_token_latency_seconds",
		       "Histogram of inter-token latency in seconds.", &s->itl);
	vllm_histogram(b, s, "vllm:e2e_request_latency_seconds",
		       "Histogram of e2e request latency in seconds.", &s->e2e);
	process(b);
}

/* --- the others --- */

static void sglang(struct buf *b, struct sim *s)
{
	static const struct row rows[] = {
	    {"sglang:num_running_reqs", "gauge", "The number of running requests.", of_running},
	    {"sglang:num_queue_reqs", "gauge", "The number of requests in the waiting queue.",
	     of_waiting},
	    {"sglang:token_usage", "gauge", "The token usage.", of_kv},
	    {"sglang:prompt_tokens_total", "counter", "Number of prefill tokens processed.",
	     of_prompt},
	    {"sglang:generation_tokens_total", "counter", "Number of generation tokens processed.",
	     of_generated},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		family(b, rows[i].name, rows[i].type, rows[i].help);
		for (uint32_t r = 0; r < s->conf.ranks; r++) {
			struct shown v = show(s, r);

			buf_printf(b, "%s{dp_rank=\"%u\",engine_type=\"unified\",model_name=",
				   rows[i].name, r);
			label(b, s->conf.model);
			buf_puts(b, ",pp_rank=\"0\",tp_rank=\"0\"} ");
			number(b, rows[i].of(&v));
			buf_puts(b, "\n");
		}
	}
	family(b, "sglang:cache_config_info", "gauge", "Cache configuration.");
	buf_printf(b, "sglang:cache_config_info{num_pages=\"%u\",page_size=\"%u\"} 1.0\n",
		   s->conf.engine.kv_blocks, s->conf.engine.block_size);
	process(b);
}

static struct shown sum_of(const struct sim *s)
{
	struct shown all = show(s, 0);

	for (uint32_t r = 1; r < s->conf.ranks; r++) {
		struct shown v = show(s, r);

		all.running += v.running;
		all.waiting += v.waiting;
		all.kv += v.kv;
		all.st.generated_tokens += v.st.generated_tokens;
		all.st.prompt_tokens += v.st.prompt_tokens;
	}
	all.kv /= s->conf.ranks;
	return all;
}

static void trtllm(struct buf *b, struct sim *s)
{
	struct shown v = sum_of(s);
	const struct {
		const char *name, *help;
		double value;
	} rows[] = {
	    {"trtllm_num_requests_running", "Number of active requests", v.running},
	    {"trtllm_num_requests_waiting", "Number of queued requests", v.waiting},
	    {"trtllm_kv_cache_utilization", "KV cache utilization", v.kv},
	    {"trtllm_kv_cache_tokens_per_block", "Tokens per block", s->conf.engine.block_size},
	    {"trtllm_kv_cache_max_blocks", "Blocks",
	     (double)s->conf.engine.kv_blocks * s->conf.ranks},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		family(b, rows[i].name, "gauge", rows[i].help);
		buf_printf(b, "%s{engine_type=\"trtllm\",model_name=", rows[i].name);
		label(b, s->conf.model);
		buf_puts(b, "} ");
		number(b, rows[i].value);
		buf_puts(b, "\n");
	}
	process(b);
}

/* Triton prints integers without a point. */
static void plain(struct buf *b, double v)
{
	if (fabs(v) < 1e15 && v == (double)(int64_t)v)
		buf_printf(b, "%lld", (long long)v);
	else
		number(b, v);
}

static void triton(struct buf *b, struct sim *s)
{
	struct shown v = sum_of(s);
	const char *model = "tensorrt_llm";
	const struct {
		const char *family, *key, *kind;
		double value;
	} rows[] = {
	    {"nv_trt_llm_request_metrics", "request_type", "waiting", v.waiting},
	    {"nv_trt_llm_request_metrics", "request_type", "context", v.st.running - v.st.decoding},
	    {"nv_trt_llm_request_metrics", "request_type", "scheduled", v.running},
	    {"nv_trt_llm_request_metrics", "request_type", "max", s->conf.engine.max_num_seqs},
	    {"nv_trt_llm_request_metrics", "request_type", "active", v.running + v.waiting},
	    {"nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "fraction", v.kv},
	    {"nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "tokens_per",
	     s->conf.engine.block_size},
	    {"nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "used",
	     v.kv * s->conf.engine.kv_blocks},
	    {"nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "free",
	     (1 - v.kv) * s->conf.engine.kv_blocks},
	    {"nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "max",
	     s->conf.engine.kv_blocks},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (i == 0 || strcmp(rows[i].family, rows[i - 1].family) != 0)
			family(b, rows[i].family, "gauge",
			       i == 0 ? "TRT LLM request metrics"
				      : "TRT LLM KV cache block metrics");
		buf_printf(b, "%s{%s=\"%s\",model=\"%s\",version=\"1\"} ", rows[i].family,
			   rows[i].key, rows[i].kind, model);
		plain(b, rows[i].value);
		buf_puts(b, "\n");
	}
	family(b, "nv_inference_pending_request_count", "gauge",
	       "Instantaneous number of pending requests awaiting execution per-model.");
	buf_printf(b, "nv_inference_pending_request_count{model=\"%s\",version=\"1\"} ", model);
	plain(b, v.waiting);
	buf_puts(b, "\n");
	family(b, "nv_inference_exec_count", "counter",
	       "Number of model executions performed (does not include cached requests)");
	buf_printf(b, "nv_inference_exec_count{model=\"%s\",version=\"1\"} %llu\n", model,
		   (unsigned long long)s->started);
}

static void llamacpp(struct buf *b, struct sim *s)
{
	struct shown v = sum_of(s);
	const struct {
		const char *name, *type, *help;
		double value;
	} rows[] = {
	    {"llamacpp:prompt_tokens_total", "counter", "Number of prompt tokens processed.",
	     (double)v.st.prompt_tokens},
	    {"llamacpp:tokens_predicted_total", "counter", "Number of generation tokens processed.",
	     (double)v.st.generated_tokens},
	    {"llamacpp:requests_processing", "gauge", "Number of requests processing.", v.running},
	    {"llamacpp:requests_deferred", "gauge", "Number of requests deferred.", v.waiting},
	    {"llamacpp:kv_cache_usage_ratio", "gauge", "KV-cache usage. 1 means 100 percent usage.",
	     v.kv},
	    {"llamacpp:kv_cache_tokens", "gauge", "KV-cache tokens.",
	     v.kv * s->conf.engine.kv_blocks * s->conf.engine.block_size},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		family(b, rows[i].name, rows[i].type, rows[i].help);
		buf_printf(b, "%s ", rows[i].name);
		plain(b, rows[i].value);
		buf_puts(b, "\n");
	}
}

/* --- the page --- */

static void (*const pages[])(struct buf *b, struct sim *s) = {
    [SIM_VLLM] = vllm,     [SIM_SGLANG] = sglang,     [SIM_TRTLLM] = trtllm,
    [SIM_TRITON] = triton, [SIM_LLAMACPP] = llamacpp,
};

void metrics_answer(struct sim *s, struct http_conn *c, const char *headers)
{
	struct buf b = {0};

	switch (s->faults.metrics) {
	case PAGE_404:
		http_reply(c, 404, "application/json", headers, "{\"detail\":\"Not Found\"}", 22);
		return;
	case PAGE_500:
		http_reply(c, 500, "text/plain; charset=utf-8", headers, "Internal Server Error",
			   21);
		return;
	case PAGE_SLOW: /* never; the reader's timeout is what is tried */
		s->hung++;
		return;
	case PAGE_GARBAGE:
		for (uint32_t i = 0; i < 4096; i++) {
			uint64_t v = draw_mix(s->conf.seed, i);

			buf_add(&b, &v, sizeof(v));
		}
		break;
	default:
		pages[s->conf.flavour](&b, s);
	}
	http_reply(c, 200, TEXT, headers, b.p, b.len);
	buf_deinit(&b);
}
