/*
 * Requests are judged as vLLM judges them: unknown fields are ignored, a missing model means the
 * base model, a wrong type is 400 before an unknown model is 404. What passes becomes a job.
 */
#include "ask.h"

#include "api.h"
#include "draw.h"
#include "multipart.h"
#include "pooling.h"
#include "reading.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one reader per API: false when it has answered an error --- */

static bool read_limit(struct reading *r, const char *const *names)
{
	r->max_tokens = -1;
	for (; *names; names++) {
		const cJSON *v = reading_member(r->root, *names);

		if (!v)
			continue;
		if (!cJSON_IsNumber(v) || v->valuedouble != (double)(int64_t)v->valuedouble)
			return READING_WRONG(r, *names, "%s must be an integer", *names);
		if (v->valuedouble < 1)
			return READING_WRONG(r, *names, "%s must be at least 1, got %.0f.", *names,
					     v->valuedouble);
		r->max_tokens = v->valuedouble;
		return true;
	}
	return true;
}

static bool read_stream(struct reading *r)
{
	const cJSON *v = reading_member(r->root, "stream"), *n = reading_member(r->root, "n");

	if (v && !cJSON_IsBool(v))
		return READING_WRONG(r, "stream", "stream must be a boolean");
	if (n && (!cJSON_IsNumber(n) || n->valuedouble != 1))
		return READING_WRONG(r, "n", "this simulator answers with n = 1 only");
	r->stream = cJSON_IsTrue(v);
	v = reading_member(r->root, "stream_options");
	if (v && !r->stream)
		return READING_WRONG(r, "stream_options",
				     "Stream options can only be defined when `stream=True`.");
	r->include_usage = cJSON_IsTrue(reading_member(v, "include_usage"));
	return true;
}

static bool read_chat(struct reading *r)
{
	const cJSON *messages = reading_member(r->root, "messages"),
		    *prompt = reading_member(r->root, "prompt");

	if (messages && !cJSON_IsArray(messages))
		return READING_WRONG(r, "messages", "messages must be a list");
	if (!messages && r->s->conf.lenient && prompt)
		reading_feed_content(&r->prompt, prompt);
	else if (!messages)
		return reading_missing(r, "messages");
	reading_feed_messages(&r->prompt, messages);
	return read_stream(r) &&
	       read_limit(r, (const char *const[]){"max_completion_tokens", "max_tokens", NULL});
}

static bool read_completions(struct reading *r)
{
	const cJSON *prompt = reading_member(r->root, "prompt");

	if (!prompt)
		return reading_missing(r, "prompt");
	if (cJSON_IsArray(prompt) && cJSON_GetArraySize(prompt) == 1 &&
	    !cJSON_IsNumber(prompt->child))
		prompt = prompt->child;
	if (!reading_feed_input(&r->prompt, prompt))
		return READING_WRONG(r, "prompt",
				     "prompt must be a string or a list of tokens; "
				     "this simulator takes one prompt per request");
	/* The default of this API is 16. */
	if (!read_stream(r) || !read_limit(r, (const char *const[]){"max_tokens", NULL}))
		return false;
	if (r->max_tokens < 0)
		r->max_tokens = 16;
	return true;
}

static bool read_responses(struct reading *r)
{
	const cJSON *input = reading_member(r->root, "input");

	if (!input)
		return reading_missing(r, "input");
	reading_feed_content(&r->prompt, reading_member(r->root, "instructions"));
	if (cJSON_IsString(input))
		prompt_puts(&r->prompt, input->valuestring);
	else if (cJSON_IsArray(input))
		reading_feed_messages(&r->prompt, input);
	else
		return READING_WRONG(r, "input", "input must be a string or a list");
	return read_stream(r) && read_limit(r, (const char *const[]){"max_output_tokens", NULL});
}

static bool read_messages(struct reading *r)
{
	const cJSON *messages = reading_member(r->root, "messages");

	if (!cJSON_IsArray(messages))
		return reading_missing(r, "messages");
	reading_feed_content(&r->prompt, reading_member(r->root, "system"));
	reading_feed_messages(&r->prompt, messages);
	if (!read_stream(r) || !read_limit(r, (const char *const[]){"max_tokens", NULL}))
		return false;
	return r->max_tokens >= 0 || reading_missing(r, "max_tokens");
}

/* --- from request to job --- */

static const struct {
	const char *id;
	bool (*read)(struct reading *r);
} readers[API_N] = {
    [API_CHAT] = {"chatcmpl-", read_chat},
    [API_COMPLETIONS] = {"cmpl-", read_completions},
    [API_RESPONSES] = {"resp_", read_responses},
    [API_MESSAGES] = {"msg_", read_messages},
    [API_EMBEDDINGS] = {"embd-", pooling_embeddings},
    [API_RERANK] = {"rerank-", pooling_rerank},
    [API_SCORE] = {"score-", pooling_score},
    [API_TRANSCRIPTION] = {"trsc-", NULL},
    [API_IMAGES] = {"img-", pooling_images},
};

static bool generates(enum sim_api api)
{
	return api == API_CHAT || api == API_COMPLETIONS || api == API_RESPONSES ||
	       api == API_MESSAGES || api == API_TRANSCRIPTION;
}

/* Tokens of the answer, and whether it ends by itself before the limit. */
static uint32_t output_tokens(struct reading *r, uint64_t seed, bool *ret_stopped)
{
	const struct sim_conf *conf = &r->s->conf;
	uint32_t cap = conf->engine.kv_blocks * conf->engine.block_size;
	uint32_t limit = cap, drawn;

	*ret_stopped = true;
	if (!generates(r->api))
		return 1;
	if (r->max_tokens >= 0 && r->max_tokens < cap)
		limit = (uint32_t)r->max_tokens;
	if (r->max_tokens >= 0 &&
	    (!conf->eos || cJSON_IsTrue(reading_member(r->root, "ignore_eos")))) {
		*ret_stopped = false;
		return limit;
	}
	drawn = conf->instant && conf->output_mean <= 0 ? 16
							: draw_output(seed, conf->output_mean, cap);
	*ret_stopped = drawn < limit;
	return drawn < limit ? drawn : limit;
}

static void start(struct reading *r)
{
	struct sim *s = r->s;
	uint64_t seed = draw_mix(prompt_hash(&r->prompt), s->conf.seed);
	uint32_t prompt = prompt_tokens(&r->prompt);
	struct job *j;
	double want = prompt + (r->max_tokens > 0 ? r->max_tokens : 0);

	if (s->conf.limit_len && want > s->conf.max_model_len) {
		api_error(
		    r->c, r->headers.p, 400, "BadRequestError", NULL,
		    "This model's maximum context length is %u tokens. However, you requested "
		    "%.0f tokens (%u in the messages, %.0f in the completion). Please reduce the "
		    "length of the messages or completion.",
		    s->conf.max_model_len, want, prompt, want - prompt);
		return;
	}
	j = calloc(1, sizeof(*j));
	if (!j)
		abort();
	j->sim = s;
	j->conn = r->c;
	j->model = r->model;
	j->api = r->api;
	j->stream = r->stream;
	j->include_usage = r->include_usage;
	j->prompt = prompt;
	j->seed = seed;
	j->output = output_tokens(r, seed, &j->stopped);
	j->created = time(NULL);
	snprintf(j->id, sizeof(j->id), "%s%016llx", readers[r->api].id,
		 (unsigned long long)draw_mix(seed, s->serial));
	j->whole = r->whole;
	r->whole = (struct buf){0};
	j->whole_type = r->whole_type;
	http_forget_body(r->c);
	sim_start(j, (const uint64_t *)(const void *)r->prompt.ids.p,
		  (uint32_t)(r->prompt.ids.len / sizeof(uint64_t)), r->headers.p);
}

static void read_transcription(struct reading *r)
{
	const char *type = http_header(r->c, "content-type"), *v, *body;
	char *model = NULL;
	size_t len, body_len;

	body = http_body(r->c, &body_len);
	if (!type || strncmp(type, "multipart/form-data", 19) != 0) {
		sim_headers(r->s, r->c, NULL, &r->headers);
		buf_add(&r->headers, "", 1);
		reading_missing(r, "file");
		return;
	}
	if (multipart_find(type, body, body_len, "model", &v, &len))
		model = strndup(v, len);
	sim_headers(r->s, r->c, model, &r->headers);
	buf_add(&r->headers, "", 1);
	r->whole_type = "application/json";
	if (multipart_find(type, body, body_len, "response_format", &v, &len) && len == 4 &&
	    memcmp(v, "text", 4) == 0)
		r->whole_type = "text/plain; charset=utf-8";
	if (!multipart_find(type, body, body_len, "file", &v, &len)) {
		reading_missing(r, "file");
	} else if (reading_set_model(r, model)) {
		/* 32 kB a second of sound, 50 tokens a second. */
		prompt_feed_opaque(&r->prompt, "", (uint32_t)(len / 640) + 1);
		prompt_feed(&r->prompt, v, len < 4096 ? len : 4096);
		r->max_tokens = -1;
		start(r);
	}
	free(model);
}

void ask(struct sim *s, struct http_conn *c, enum sim_api api)
{
	struct reading r = {
	    .s = s, .c = c, .api = api, .max_tokens = -1, .whole_type = "application/json"};
	const cJSON *model;

	if (api == API_TRANSCRIPTION) {
		read_transcription(&r);
	} else if (reading_parse(&r)) {
		model = reading_member(r.root, "model");
		if (model && !cJSON_IsString(model))
			api_error(
			    c, r.headers.p, 400, "Bad Request", NULL,
			    "[{'type': 'string_type', 'loc': ('body', 'model'), 'msg': 'Input "
			    "should be a valid string'}]");
		else if (reading_set_model(&r, cJSON_GetStringValue(model)) &&
			 readers[api].read(&r))
			start(&r);
	}
	reading_deinit(&r);
}

void ask_count_tokens(struct sim *s, struct http_conn *c)
{
	struct reading r = {.s = s, .c = c, .api = API_MESSAGES};

	if (reading_parse(&r) && reading_set_model(&r, reading_string(r.root, "model"))) {
		reading_feed_content(&r.prompt, reading_member(r.root, "system"));
		reading_feed_messages(&r.prompt, reading_member(r.root, "messages"));
		buf_printf(&r.whole, "{\"input_tokens\":%u}", prompt_tokens(&r.prompt));
		api_json(c, r.headers.p, 200, &r.whole);
	}
	reading_deinit(&r);
}

void ask_adapter(struct sim *s, struct http_conn *c, bool load)
{
	struct reading r = {.s = s, .c = c};
	const char *name, *path;
	struct sim_model *m;

	if (reading_parse(&r)) {
		name = reading_string(r.root, "lora_name");
		path = reading_string(r.root, "lora_path");
		m = name ? sim_model_find(s, name) : NULL;
		if (!name || !*name || (load && (!path || !*path)))
			api_error(c, r.headers.p, 400, "InvalidUserInput", NULL,
				  "%s must be provided.",
				  load ? "Both 'lora_name' and 'lora_path'" : "'lora_name'");
		else if (load && m)
			api_error(c, r.headers.p, 400, "InvalidUserInput", NULL,
				  "The lora adapter '%s' has already been loaded.", name);
		else if (!load && (!m || !m->adapter))
			api_error(c, r.headers.p, 404, "NotFoundError", NULL,
				  "The lora adapter '%s' cannot be found.", name);
		else if (load && !sim_adapter_add(s, name, path))
			api_error(c, r.headers.p, 500, "InternalServerError", NULL,
				  "no room for more adapters");
		else {
			if (!load)
				m->loaded = false;
			buf_printf(&r.whole, "Success: LoRA adapter '%s' %s successfully.", name,
				   load ? "added" : "removed");
			http_reply(c, 200, "text/plain; charset=utf-8", r.headers.p, r.whole.p,
				   r.whole.len);
		}
	}
	reading_deinit(&r);
}
