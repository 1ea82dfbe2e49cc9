/*
 * cJSON keeps the first of two members of one name, Python the last; so members are looked up by
 * hand. Prompts are only counted and hashed (words.h). What one adapter computes is no use to
 * another, so its name goes before its prompts.
 */
#include "reading.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define IMAGE_TOKENS 576

cJSON *reading_member(const cJSON *object, const char *name)
{
	cJSON *found = NULL, *at;

	if (cJSON_IsObject(object))
		cJSON_ArrayForEach(at, object) if (strcmp(at->string, name) == 0) found = at;
	return cJSON_IsNull(found) ? NULL : found;
}

const char *reading_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(reading_member(object, name));
}

void reading_deinit(struct reading *r)
{
	cJSON_Delete(r->root);
	prompt_deinit(&r->prompt);
	buf_deinit(&r->headers);
	buf_deinit(&r->whole);
}

bool reading_missing(struct reading *r, const char *name)
{
	api_error(r->c, r->headers.p, 400, "Bad Request", NULL,
		  "[{'type': 'missing', 'loc': ('body', '%s'), 'msg': 'Field required'}]", name);
	return false;
}

void reading_feed_content(struct prompt *p, const cJSON *content)
{
	const cJSON *part;

	if (cJSON_IsString(content)) {
		prompt_puts(p, content->valuestring);
		return;
	}
	cJSON_ArrayForEach(part, content)
	{
		const char *s =
		    cJSON_IsString(part) ? part->valuestring : reading_string(part, "text");
		const cJSON *inner = reading_member(part, "content");

		if (s) {
			prompt_puts(p, s);
		} else if (inner) {
			reading_feed_content(p, inner);
		} else {
			char *printed = cJSON_PrintUnformatted(part);

			prompt_feed_opaque(p, printed ? printed : "", IMAGE_TOKENS);
			cJSON_free(printed);
		}
	}
}

void reading_feed_messages(struct prompt *p, const cJSON *messages)
{
	const cJSON *m;

	cJSON_ArrayForEach(m, messages)
	{
		const char *role = reading_string(m, "role");

		prompt_puts(p, "<|");
		prompt_puts(p, role ? role : "user");
		prompt_puts(p, "|>");
		reading_feed_content(p, reading_member(m, "content"));
		prompt_puts(p, "\n");
	}
}

bool reading_feed_input(struct prompt *p, const cJSON *input)
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

bool reading_set_model(struct reading *r, const char *name)
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

bool reading_parse(struct reading *r)
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
	sim_headers(r->s, r->c, reading_string(r->root, "model"), &r->headers);
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
