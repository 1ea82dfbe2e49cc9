/*
 * The order in which a request is judged: control paths first, so that a server told to hang can
 * be told to stop; then faults; then the key, which vLLM asks for under /v1 only; then the path.
 */
#include "api.h"

#include "ask.h"
#include "control.h"
#include "draw.h"
#include "metrics.h"
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void api_json(struct http_conn *c, const char *headers, int status, const struct buf *body)
{
	http_reply(c, status, "application/json", headers, body->p, body->len);
}

void api_error(struct http_conn *c, const char *headers, int status, const char *type,
	       const char *param, const char *fmt, ...)
{
	struct buf b = {0};
	char message[1024];
	va_list ap;
	bool anthropic = strncmp(http_path(c), "/v1/messages", 12) == 0;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	buf_puts(&b, anthropic ? "{\"type\":\"error\",\"error\":{\"message\":"
			       : "{\"error\":{\"message\":");
	buf_json(&b, message);
	buf_puts(&b, ",\"type\":");
	buf_json(&b, type);
	if (!anthropic) {
		buf_puts(&b, ",\"param\":");
		if (param)
			buf_json(&b, param);
		else
			buf_puts(&b, "null");
		buf_printf(&b, ",\"code\":%d", status);
	}
	buf_puts(&b, "}}");
	api_json(c, headers, status, &b);
	buf_deinit(&b);
}

static void put_model(struct buf *b, struct sim *s, const struct sim_model *m)
{
	unsigned long long perm = 0;

	for (const char *p = m->id; *p; p++)
		perm = draw_mix(perm, (unsigned char)*p);
	buf_puts(b, "{\"id\":");
	buf_json(b, m->id);
	buf_printf(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"vllm\",\"root\":",
		   (long long)s->born);
	buf_json(b, m->root);
	buf_puts(b, ",\"parent\":");
	if (m->adapter) {
		buf_json(b, s->models[0]->id);
		buf_puts(b, ",\"max_model_len\":null");
	} else {
		buf_printf(b, "null,\"max_model_len\":%u", s->conf.max_model_len);
	}
	buf_printf(b,
		   ",\"permission\":[{\"id\":\"modelperm-%016llx\",\"object\":\"model_permission\","
		   "\"created\":%lld,\"allow_create_engine\":false,\"allow_sampling\":true,"
		   "\"allow_logprobs\":true,\"allow_search_indices\":false,\"allow_view\":true,"
		   "\"allow_fine_tuning\":false,\"organization\":\"*\",\"group\":null,"
		   "\"is_blocking\":false}]}",
		   perm, (long long)s->born);
}

static void models(struct sim *s, struct http_conn *c, const char *headers)
{
	struct buf b = {0};
	bool first = true;

	buf_puts(&b, "{\"object\":\"list\",\"data\":[");
	for (uint32_t i = 0; i < s->n_models; i++) {
		if (!s->models[i]->loaded)
			continue;
		if (!first)
			buf_puts(&b, ",");
		put_model(&b, s, s->models[i]);
		first = false;
	}
	buf_puts(&b, "]}");
	api_json(c, headers, 200, &b);
	buf_deinit(&b);
}

enum what { ASK, MODELS, EMPTY, VERSION, METRICS, LOAD, UNLOAD, COUNT };

static const struct {
	const char *path;
	const char *method; /* NULL: GET and POST */
	enum what what;
	enum sim_api api;
} paths[] = {
    {"/v1/chat/completions", "POST", ASK, API_CHAT},
    {"/v1/completions", "POST", ASK, API_COMPLETIONS},
    {"/v1/responses", "POST", ASK, API_RESPONSES},
    {"/v1/messages", "POST", ASK, API_MESSAGES},
    {"/v1/messages/count_tokens", "POST", COUNT, 0},
    {"/v1/embeddings", "POST", ASK, API_EMBEDDINGS},
    {"/v1/rerank", "POST", ASK, API_RERANK},
    {"/v2/rerank", "POST", ASK, API_RERANK},
    {"/rerank", "POST", ASK, API_RERANK},
    {"/v1/score", "POST", ASK, API_SCORE},
    {"/score", "POST", ASK, API_SCORE},
    {"/v1/audio/transcriptions", "POST", ASK, API_TRANSCRIPTION},
    {"/v1/images/generations", "POST", ASK, API_IMAGES},
    {"/v1/load_lora_adapter", "POST", LOAD, 0},
    {"/v1/unload_lora_adapter", "POST", UNLOAD, 0},
    {"/v1/models", "GET", MODELS, 0},
    {"/health", "GET", EMPTY, 0},
    {"/ping", NULL, EMPTY, 0},
    {"/version", "GET", VERSION, 0},
    {"/metrics", "GET", METRICS, 0},
};

static bool allowed(const char *method, const char *want)
{
	if (!want)
		return strcmp(method, "GET") == 0 || strcmp(method, "POST") == 0;
	return strcmp(method, want) == 0 || (!strcmp(want, "GET") && !strcmp(method, "HEAD"));
}

/* True when a fault has had this request. */
static bool faulty(struct sim *s, struct http_conn *c, const char *headers)
{
	struct sim_faults *f = &s->faults;
	bool fail = false;

	if (f->hang) {
		s->hung++;
		http_set_conn_data(c, NULL);
		return true;
	}
	if (strcmp(http_method(c), "POST") != 0)
		return false;
	if (f->error_next > 0) {
		f->error_next--;
		fail = true;
	} else if (f->error_share > 0) {
		fail =
		    (words_number(s->conf.seed + 1, (uint32_t)s->serial) + 1) / 2 < f->error_share;
	}
	if (fail) {
		s->errors++;
		api_error(c, headers, f->error_status, "InternalServerError", NULL,
			  "a fault that was asked for");
	}
	return fail;
}

static bool authorized(const struct sim *s, const struct http_conn *c)
{
	const char *key = http_header(c, "authorization");

	return !s->conf.api_key || strncmp(http_path(c), "/v1", 3) != 0 ||
	       (key && strncasecmp(key, "bearer ", 7) == 0 && !strcmp(key + 7, s->conf.api_key));
}

static void answer(struct sim *s, struct http_conn *c, size_t i, const char *headers)
{
	struct buf b = {0};

	switch (paths[i].what) {
	case ASK:
		ask(s, c, paths[i].api);
		break;
	case COUNT:
		ask_count_tokens(s, c);
		break;
	case LOAD:
	case UNLOAD:
		ask_adapter(s, c, paths[i].what == LOAD);
		break;
	case MODELS:
		models(s, c, headers);
		break;
	case EMPTY:
		http_reply(c, 200, NULL, headers, "", 0);
		break;
	case VERSION:
		buf_puts(&b, "{\"version\":\"0.11.0\"}");
		api_json(c, headers, 200, &b);
		break;
	case METRICS:
		metrics_answer(s, c, headers);
		break;
	}
	buf_deinit(&b);
}

static void route(struct sim *s, struct http_conn *c, const char *headers)
{
	const char *path = http_path(c);

	if (!authorized(s, c)) {
		static const char body[] = "{\"error\":\"Unauthorized\"}";

		http_reply(c, 401, "application/json", headers, body, sizeof(body) - 1);
		return;
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		static const char body[] = "{\"detail\":\"Method Not Allowed\"}";

		if (strcmp(paths[i].path, path) != 0)
			continue;
		if (allowed(http_method(c), paths[i].method))
			answer(s, c, i, headers);
		else
			http_reply(c, 405, "application/json", headers, body, sizeof(body) - 1);
		return;
	}
	http_reply(c, 404, "application/json", headers, "{\"detail\":\"Not Found\"}", 22);
}

void api_request(struct sim *s, struct http_conn *c)
{
	struct buf headers = {0};

	http_set_conn_data(c, NULL);
	if (strncmp(http_path(c), "/sim/", 5) == 0) {
		control_request(s, c);
		return;
	}
	s->serial++;
	sim_headers(s, c, NULL, &headers);
	buf_add(&headers, "", 1);
	if (!faulty(s, c, headers.p))
		route(s, c, headers.p);
	buf_deinit(&headers);
}
