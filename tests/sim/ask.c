/*
 * Requests are read with cJSON and judged as vLLM judges them: unknown fields are ignored, a
 * missing model means the base model, a wrong type is 400 before an unknown model is 404. Of a key
 * that stands twice the last counts, as in Python.
 *
 * Prompts are only counted and hashed (words.h). What an adapter computes is no use to another, so
 * its name goes before its prompts.
 */
#include "ask.h"

#include "api.h"
#include "multipart.h"
#include "words.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_TOKENS 576
/* 1x1, grey */
#define PIXEL                                                                                      \
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGOoBwAAgQCAy1h5JQAAAABJRU5ErkJg" \
	"gg=="

struct reading {
	struct sim *s;
	struct http_conn *c;
	enum sim_api api;
	cJSON *root;
	struct sim_model *model;
	struct prompt prompt;
	struct buf headers; /* NUL at its end */
	double max_tokens;  /* < 0: not given */
	bool stream, include_usage;
	struct buf whole;
	const char *whole_type;
};

static cJSON *member(const cJSON *object, const char *name)
{
	cJSON *found = NULL, *at;

	if (cJSON_IsObject(object))
		cJSON_ArrayForEach(at, object) if (strcmp(at->string, name) == 0) found = at;
	return cJSON_IsNull(found) ? NULL : found;
}

static const char *string_member(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(member(object, name));
}

static void reading_deinit(struct reading *r)
{
	cJSON_Delete(r->root);
	prompt_deinit(&r->prompt);
	buf_deinit(&r->headers);
	buf_deinit(&r->whole);
}

#define WRONG(r, param, ...)                                                                       \
	(api_error((r)->c, (r)->headers.p, 400, "BadRequestError", param, __VA_ARGS__), false)

static bool missing(struct reading *r, const char *name)
{
	api_error(r->c, r->headers.p, 400, "Bad Request", NULL,
		  "[{'type': 'missing', 'loc': ('body', '%s'), 'msg': 'Field required'}]", name);
	return false;
}

/* --- prompts --- */

/* A string, or parts of a content list: text counts, anything else is opaque. */
static void feed_content(struct prompt *p, const cJSON *content)
{
	const cJSON *part;

	if (cJSON_IsString(content)) {
		prompt_puts(p, content->valuestring);
		return;
	}
	cJSON_ArrayForEach(part, content)
	{
		const char *s =
		    cJSON_IsString(part) ? part->valuestring : string_member(part, "text");
		const cJSON *inner = member(part, "content");

		if (s) {
			prompt_puts(p, s);
		} else if (inner) {
			feed_content(p, inner);
		} else {
			char *printed = cJSON_PrintUnformatted(part);

			prompt_feed_opaque(p, printed ? printed : "", IMAGE_TOKENS);
			cJSON_free(printed);
		}
	}
}

static void feed_messages(struct prompt *p, const cJSON *messages)
{
	const cJSON *m;

	cJSON_ArrayForEach(m, messages)
	{
		const char *role = string_member(m, "role");

		prompt_puts(p, "<|");
		prompt_puts(p, role ? role : "user");
		prompt_puts(p, "|>");
		feed_content(p, member(m, "content"));
		prompt_puts(p, "\n");
	}
}

/* Text, or a list of token numbers. */
static bool feed_input(struct prompt *p, const cJSON *input)
{
	const cJSON *t;

	if (cJSON_IsString(input)) {
		prompt_puts(p, input->valuestring);
		return true;
	}
	if (!cJSON_IsArray(input))
		return false;
	cJSON_ArrayForEach(t, input)
	{
		if (!cJSON_IsNumber(t))
			return false;
		prompt_feed_token(p, (uint32_t)t->valueint);
	}
	return true;
}

/* --- one reader per API: false when it has answered an error --- */

static bool read_limit(struct reading *r, const char *const *names)
{
	r->max_tokens = -1;
	for (; *names; names++) {
		const cJSON *v = member(r->root, *names);

		if (!v)
			continue;
		if (!cJSON_IsNumber(v) || v->valuedouble != (double)(int64_t)v->valuedouble)
			return WRONG(r, *names, "%s must be an integer", *names);
		if (v->valuedouble < 1)
			return WRONG(r, *names, "%s must be at least 1, got %.0f.", *names,
				     v->valuedouble);
		r->max_tokens = v->valuedouble;
		return true;
	}
	return true;
}

static bool read_stream(struct reading *r)
{
	const cJSON *v = member(r->root, "stream"), *n = member(r->root, "n");

	if (v && !cJSON_IsBool(v))
		return WRONG(r, "stream", "stream must be a boolean");
	if (n && (!cJSON_IsNumber(n) || n->valuedouble != 1))
		return WRONG(r, "n", "this simulator answers with n = 1 only");
	r->stream = cJSON_IsTrue(v);
	v = member(r->root, "stream_options");
	if (v && !r->stream)
		return WRONG(r, "stream_options",
			     "Stream options can only be defined when `stream=True`.");
	r->include_usage = cJSON_IsTrue(member(v, "include_usage"));
	return true;
}

static bool read_chat(struct reading *r)
{
	const cJSON *messages = member(r->root, "messages"), *prompt = member(r->root, "prompt");

	if (messages && !cJSON_IsArray(messages))
		return WRONG(r, "messages", "messages must be a list");
	if (!messages && r->s->conf.lenient && prompt)
		feed_content(&r->prompt, prompt);
	else if (!messages)
		return missing(r, "messages");
	feed_messages(&r->prompt, messages);
	return read_stream(r) &&
	       read_limit(r, (const char *const[]){"max_completion_tokens", "max_tokens", NULL});
}

static bool read_completions(struct reading *r)
{
	const cJSON *prompt = member(r->root, "prompt");

	if (!prompt)
		return missing(r, "prompt");
	if (cJSON_IsArray(prompt) && cJSON_GetArraySize(prompt) == 1 &&
	    !cJSON_IsNumber(prompt->child))
		prompt = prompt->child;
	if (!feed_input(&r->prompt, prompt))
		return WRONG(r, "prompt",
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
	const cJSON *input = member(r->root, "input");

	if (!input)
		return missing(r, "input");
	feed_content(&r->prompt, member(r->root, "instructions"));
	if (cJSON_IsString(input))
		prompt_puts(&r->prompt, input->valuestring);
	else if (cJSON_IsArray(input))
		feed_messages(&r->prompt, input);
	else
		return WRONG(r, "input", "input must be a string or a list");
	return read_stream(r) && read_limit(r, (const char *const[]){"max_output_tokens", NULL});
}

static bool read_messages(struct reading *r)
{
	const cJSON *messages = member(r->root, "messages");

	if (!cJSON_IsArray(messages))
		return missing(r, "messages");
	feed_content(&r->prompt, member(r->root, "system"));
	feed_messages(&r->prompt, messages);
	if (!read_stream(r) || !read_limit(r, (const char *const[]){"max_tokens", NULL}))
		return false;
	return r->max_tokens >= 0 || missing(r, "max_tokens");
}

static void put_vector(struct buf *b, uint64_t seed, uint32_t n, bool base64)
{
	if (base64) {
		struct buf floats = {0};

		for (uint32_t i = 0; i < n; i++) {
			float f = (float)words_number(seed, i);

			buf_add(&floats, &f, sizeof(f));
		}
		buf_puts(b, "\"");
		buf_base64(b, floats.p, floats.len);
		buf_puts(b, "\"");
		buf_deinit(&floats);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		buf_printf(b, "%s%.9g", i ? "," : "[", (double)(float)words_number(seed, i));
	buf_puts(b, "]");
}

static void put_json_head(struct reading *r, const char *object)
{
	buf_printf(&r->whole,
		   "{\"id\":\"%s-%llu\",\"object\":\"%s\",\"created\":%lld,\"model\":", object,
		   (unsigned long long)r->s->serial, object, (long long)time(NULL));
	buf_json(&r->whole, r->model->id);
}

static void put_usage_end(struct reading *r)
{
	uint32_t n = prompt_tokens(&r->prompt);

	buf_printf(&r->whole,
		   "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":0,"
		   "\"prompt_tokens_details\":null}}",
		   n, n);
}

static bool read_embeddings(struct reading *r)
{
	const cJSON *input = member(r->root, "input"), *one, *v;
	const char *format = string_member(r->root, "encoding_format");
	uint32_t n = r->s->conf.dimensions, i = 0;
	bool base64 = format && strcmp(format, "base64") == 0;

	if (!input)
		return missing(r, "input");
	if (format && !base64 && strcmp(format, "float") != 0)
		return WRONG(r, "encoding_format", "encoding_format must be float or base64");
	v = member(r->root, "dimensions");
	if (v && (!cJSON_IsNumber(v) || v->valueint < 1 || v->valueint > 65536))
		return WRONG(r, "dimensions", "dimensions must be between 1 and 65536");
	if (v)
		n = (uint32_t)v->valueint;
	put_json_head(r, "list");
	buf_puts(&r->whole, ",\"data\":[");
	one = cJSON_IsArray(input) && !cJSON_IsNumber(input->child) ? input->child : input;
	for (; one; one = one == input ? NULL : one->next) {
		struct prompt p;
		bool fine;

		prompt_init(&p, 16, r->model->id);
		fine = feed_input(&p, one) && feed_input(&r->prompt, one);
		if (fine) {
			buf_printf(&r->whole,
				   "%s{\"index\":%u,\"object\":\"embedding\",\"embedding\":",
				   i ? "," : "", i);
			put_vector(&r->whole, prompt_hash(&p), n, base64);
			buf_puts(&r->whole, "}");
			i++;
		}
		prompt_deinit(&p);
		if (!fine)
			return WRONG(r, "input", "input must be text or tokens, or a list of them");
	}
	put_usage_end(r);
	return true;
}

struct scored {
	int index;
	const char *text;
	double score;
};

static int by_score(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	return x->score < y->score ? 1 : x->score > y->score ? -1 : x->index - y->index;
}

static double score(const char *query, const char *text)
{
	struct prompt p;
	uint64_t h;

	prompt_init(&p, 16, query);
	prompt_puts(&p, text);
	h = prompt_hash(&p);
	prompt_deinit(&p);
	return (words_number(h, 0) + 1) / 2;
}

/* Text, or an object with one. */
static const char *text_of(const cJSON *v)
{
	return cJSON_IsString(v) ? v->valuestring : string_member(v, "text");
}

static bool read_rerank(struct reading *r)
{
	const cJSON *documents = member(r->root, "documents"), *d, *top = member(r->root, "top_n");
	const char *query = string_member(r->root, "query");
	int size = cJSON_GetArraySize(documents), n = 0, shown;
	struct scored *list;
	bool fine = true;

	if (!query)
		return missing(r, "query");
	if (!cJSON_IsArray(documents))
		return missing(r, "documents");
	list = calloc((size_t)size + 1, sizeof(*list));
	cJSON_ArrayForEach(d, documents)
	{
		const char *text = text_of(d);

		if (!text) {
			fine = false;
			break;
		}
		prompt_puts(&r->prompt, query);
		prompt_puts(&r->prompt, text);
		list[n] = (struct scored){n, text, score(query, text)};
		n++;
	}
	if (!fine) {
		free(list);
		return WRONG(r, "documents", "documents must be a list of texts");
	}
	qsort(list, (size_t)n, sizeof(*list), by_score);
	shown = cJSON_IsNumber(top) && top->valueint > 0 && top->valueint < n ? top->valueint : n;
	buf_printf(&r->whole,
		   "{\"id\":\"rerank-%llu\",\"model\":", (unsigned long long)r->s->serial);
	buf_json(&r->whole, r->model->id);
	buf_printf(&r->whole, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u},\"results\":[",
		   prompt_tokens(&r->prompt), prompt_tokens(&r->prompt));
	for (int i = 0; i < shown; i++) {
		buf_printf(&r->whole, "%s{\"index\":%d,\"document\":{\"text\":", i ? "," : "",
			   list[i].index);
		buf_json(&r->whole, list[i].text);
		buf_printf(&r->whole, "},\"relevance_score\":%.6f}", list[i].score);
	}
	buf_puts(&r->whole, "]}");
	free(list);
	return true;
}

static bool read_score(struct reading *r)
{
	const cJSON *a = member(r->root, "text_1"), *b = member(r->root, "text_2");
	const cJSON *x, *y;
	int n = 0;

	if (!a || !b)
		return missing(r, a ? "text_2" : "text_1");
	x = cJSON_IsArray(a) ? a->child : a;
	y = cJSON_IsArray(b) ? b->child : b;
	if (cJSON_IsArray(a) && cJSON_GetArraySize(a) > 1 &&
	    cJSON_GetArraySize(a) != cJSON_GetArraySize(b))
		return WRONG(r, "text_1", "Input lengths must be either 1:1, 1:N or N:N");
	put_json_head(r, "list");
	buf_puts(&r->whole, ",\"data\":[");
	for (; x && y; y = y == b ? NULL : y->next) {
		if (!text_of(x) || !text_of(y))
			return WRONG(r, "text_2",
				     "text_1 and text_2 must be texts or lists of them");
		prompt_puts(&r->prompt, text_of(x));
		prompt_puts(&r->prompt, text_of(y));
		buf_printf(&r->whole, "%s{\"index\":%d,\"object\":\"score\",\"score\":%.6f}",
			   n ? "," : "", n, score(text_of(x), text_of(y)));
		n++;
		if (cJSON_IsArray(a) && cJSON_GetArraySize(a) > 1)
			x = x->next;
	}
	put_usage_end(r);
	return true;
}

static bool read_images(struct reading *r)
{
	const char *prompt = string_member(r->root, "prompt");
	const cJSON *n = member(r->root, "n");
	int count = cJSON_IsNumber(n) ? n->valueint : 1;

	if (!prompt)
		return missing(r, "prompt");
	if (count < 1 || count > 10)
		return WRONG(r, "n", "n must be between 1 and 10");
	prompt_puts(&r->prompt, prompt);
	buf_printf(&r->whole, "{\"created\":%lld,\"data\":[", (long long)time(NULL));
	for (int i = 0; i < count; i++)
		buf_printf(&r->whole, "%s{\"b64_json\":\"" PIXEL "\"}", i ? "," : "");
	buf_puts(&r->whole, "]}");
	return true;
}

/* --- from request to job --- */

static const struct {
	const char *id;
	bool (*read)(struct reading *r);
} readers[API_N] = {
    [API_CHAT] = {"chatcmpl-", read_chat},         [API_COMPLETIONS] = {"cmpl-", read_completions},
    [API_RESPONSES] = {"resp_", read_responses},   [API_MESSAGES] = {"msg_", read_messages},
    [API_EMBEDDINGS] = {"embd-", read_embeddings}, [API_RERANK] = {"rerank-", read_rerank},
    [API_SCORE] = {"score-", read_score},          [API_TRANSCRIPTION] = {"trsc-", NULL},
    [API_IMAGES] = {"img-", read_images},
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
	if (r->max_tokens >= 0 && (!conf->eos || cJSON_IsTrue(member(r->root, "ignore_eos")))) {
		*ret_stopped = false;
		return limit;
	}
	drawn = conf->instant && conf->output_mean <= 0
		    ? 16
		    : engine_draw_output(seed, conf->output_mean, cap);
	*ret_stopped = drawn < limit;
	return drawn < limit ? drawn : limit;
}

static void start(struct reading *r)
{
	struct sim *s = r->s;
	uint64_t seed = engine_mix(prompt_hash(&r->prompt), s->conf.seed);
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
		 (unsigned long long)engine_mix(seed, s->serial));
	j->whole = r->whole;
	r->whole = (struct buf){0};
	j->whole_type = r->whole_type;
	http_forget_body(r->c);
	sim_start(j, (const uint64_t *)(const void *)r->prompt.ids.p,
		  (uint32_t)(r->prompt.ids.len / sizeof(uint64_t)), r->headers.p);
}

static bool set_model(struct reading *r, const char *name)
{
	r->model = !name || !*name ? r->s->models[0] : sim_model_find(r->s, name);
	if (!r->model) {
		api_error(r->c, r->headers.p, 404, "NotFoundError", "model",
			  "The model `%s` does not exist.", name);
		return false;
	}
	prompt_init(&r->prompt, r->s->conf.engine.block_size, r->model->adapter ? name : "");
	return true;
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
		missing(r, "file");
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
		missing(r, "file");
	} else if (set_model(r, model)) {
		/* 32 kB a second of sound, 50 tokens a second. */
		prompt_feed_opaque(&r->prompt, "", (uint32_t)(len / 640) + 1);
		prompt_feed(&r->prompt, v, len < 4096 ? len : 4096);
		r->max_tokens = -1;
		start(r);
	}
	free(model);
}

/* The body as an object; false when it has answered why not. */
static bool parse(struct reading *r)
{
	const char *type = http_header(r->c, "content-type"), *body, *end;
	size_t len;

	body = http_body(r->c, &len);
	if (!type || strncasecmp(type, "application/json", 16) != 0) {
		sim_headers(r->s, r->c, NULL, &r->headers);
		buf_add(&r->headers, "", 1);
		api_error(r->c, r->headers.p, 400, "Bad Request", NULL,
			  "[\"Unsupported Media Type: Only 'application/json' is allowed\"]");
		return false;
	}
	r->root = cJSON_ParseWithLengthOpts(body, len, &end, false);
	if (r->root)
		while (end < body + len && strchr(" \t\r\n", *end) && *end)
			end++;
	sim_headers(r->s, r->c, string_member(r->root, "model"), &r->headers);
	buf_add(&r->headers, "", 1);
	if (!cJSON_IsObject(r->root) || end < body + len) {
		api_error(
		    r->c, r->headers.p, 400, "Bad Request", NULL,
		    "[{'type': 'json_invalid', 'loc': ('body', %zu), 'msg': 'JSON decode error'}]",
		    r->root ? (size_t)(end - body) : (size_t)0);
		return false;
	}
	return true;
}

void ask(struct sim *s, struct http_conn *c, enum sim_api api)
{
	struct reading r = {
	    .s = s, .c = c, .api = api, .max_tokens = -1, .whole_type = "application/json"};
	const cJSON *model;

	if (api == API_TRANSCRIPTION) {
		read_transcription(&r);
	} else if (parse(&r)) {
		model = member(r.root, "model");
		if (model && !cJSON_IsString(model))
			api_error(
			    c, r.headers.p, 400, "Bad Request", NULL,
			    "[{'type': 'string_type', 'loc': ('body', 'model'), 'msg': 'Input "
			    "should be a valid string'}]");
		else if (set_model(&r, cJSON_GetStringValue(model)) && readers[api].read(&r))
			start(&r);
	}
	reading_deinit(&r);
}

void ask_count_tokens(struct sim *s, struct http_conn *c)
{
	struct reading r = {.s = s, .c = c, .api = API_MESSAGES};

	if (parse(&r) && set_model(&r, string_member(r.root, "model"))) {
		feed_content(&r.prompt, member(r.root, "system"));
		feed_messages(&r.prompt, member(r.root, "messages"));
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

	if (parse(&r)) {
		name = string_member(r.root, "lora_name");
		path = string_member(r.root, "lora_path");
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
