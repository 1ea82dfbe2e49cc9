/*
 * /v1/models: one OpenAI list of what can be asked for now, in all pools. HAProxy serves it to
 * clients, so it tells names and nothing else, and it is kept: whoever asks a thousand times a
 * second costs a comparison each time, and not 10,000 objects. It is made anew when another
 * snapshot is in force, or another set of pools has somebody who serves.
 *
 * /v1/models/NAME: one of them. Names have slashes, which some clients send as they are and some
 * as %2F.
 */
#include "serve/page.h"

#include <stdlib.h>

#include "base/clock.h"
#include "serve/control.h"
#include "serve/pagejson.h"

struct models_page {
	char *text; /* NULL: none is kept */
	uint64_t version;
	uint32_t npools;
	bool *serves;     /* by pool, as they were for @text */
	uint64_t created; /* wall seconds when the agent began: once found it stays */
};

/* Whether waiting for it makes sense: somebody is up there, or nobody knows. */
static bool pool_serves(const struct control *c, const struct pool *p)
{
	if (p->n == 0)
		return !p->known;
	for (uint32_t i = 0; i < p->n; i++)
		if ((endpoint_flags(c->endpoints, p->slots[i]) & ~(unsigned)ENDPOINT_FULL) == 0)
			return true;
	return false;
}

struct asked_for {
	const struct snapshot *s;
	const bool *serves; /* by pool */
};

static bool rule_serves(int32_t pool, void *arg)
{
	const struct asked_for *a = arg;

	return a->serves[pool];
}

/* Somebody serves it by its name, or by a rule for some host and path. */
static bool is_served(struct asked_for *a, const struct route_def *def)
{
	const struct snapshot *s = a->s;
	struct view base = def->base.len ? def->base : def->model;

	if (def->hidden)
		return false;
	if (s->rules && rules_reach(s->rules, def->model, base, rule_serves, a))
		return true;
	return def->pool != SNAPSHOT_NO_POOL && route_table_get(s->routes, def->model) == def &&
	       a->serves[def->pool];
}

static bool *who_serves(const struct control *c, const struct snapshot *s)
{
	bool *serves = calloc(s->npools + 1, sizeof(*serves));

	for (uint32_t i = 0; serves && i < s->npools; i++)
		serves[i] = pool_serves(c, &s->pools[i]);
	return serves;
}

static void describe(cJSON *m, const struct route_def *def, uint64_t created)
{
	pagejson_add_view(m, "id", def->model);
	cJSON_AddStringToObject(m, "object", "model");
	cJSON_AddNumberToObject(m, "created", (double)created);
	cJSON_AddStringToObject(m, "owned_by", "spoa-inference");
	if (def->base.len && !view_eq(def->base, def->model))
		pagejson_add_view(m, "parent", def->base);
}

static void add_model(cJSON *list, const struct route_def *def, uint64_t created)
{
	cJSON *m = cJSON_CreateObject();

	describe(m, def, created);
	pagejson_append_consume(list, m);
}

static char *make(const struct snapshot *s, const bool *serves, uint64_t created)
{
	struct asked_for asked = {s, serves};
	cJSON *root = pagejson_begin(), *data;

	cJSON_AddStringToObject(root, "object", "list");
	data = cJSON_AddArrayToObject(root, "data");
	for (size_t i = 0; i < route_table_count(s->routes); i++) {
		const struct route_def *def = route_table_at(s->routes, i);

		if (is_served(&asked, def))
			add_model(data, def, created);
	}
	for (size_t i = 0; s->rules && i < route_table_count(s->models); i++) {
		const struct route_def *def = route_table_at(s->models, i);

		if (!route_table_get(s->routes, def->model) && is_served(&asked, def))
			add_model(data, def, created);
	}
	return pagejson_end_consume(root, false);
}

struct models_page *models_page_new(uint64_t started_ns)
{
	struct models_page *page = calloc(1, sizeof(*page));

	if (page)
		page->created = (clock_wall_ns() - (clock_mono_ns() - started_ns)) / CLOCK_NS_PER_S;
	return page;
}

struct models_page *models_page_free(struct models_page *page)
{
	if (page) {
		free(page->text);
		free(page->serves);
		free(page);
	}
	return NULL;
}

/* The list of now, kept; NULL: out of memory. */
static const char *text_of(struct models_page *page, const struct control *c)
{
	const struct snapshot *s = discover_snapshot(c->discover);
	bool *serves = who_serves(c, s);

	if (!serves)
		return NULL;
	if (page->text && page->version == s->version && page->npools == s->npools &&
	    memcmp(page->serves, serves, s->npools * sizeof(*serves)) == 0) {
		free(serves);
		return page->text;
	}
	free(page->text);
	free(page->serves);
	page->text = make(s, serves, page->created);
	page->serves = serves;
	page->version = s->version;
	page->npools = s->npools;
	return page->text;
}

int page_models(void *control, FILE *out)
{
	const struct control *c = control;
	const char *text = text_of(c->models_page, c);

	if (!text)
		return 500;
	fprintf(out, "%s\n", text);
	return 200;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9'                   ? c - '0'
	       : ((c | 32) >= 'a' && (c | 32) <= 'f') ? (c | 32) - 'a' + 10
						      : -1;
}

/* Without %XX, into @out of @v.len bytes. What is no escape stays as it is. */
static struct view unescape(struct view v, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < v.len; i++) {
		int high = v.ptr[i] == '%' && v.len - i > 2 ? hex_value(v.ptr[i + 1]) : -1;
		int low = high >= 0 ? hex_value(v.ptr[i + 2]) : -1;

		out[n++] = low >= 0 ? (char)(high << 4 | low) : v.ptr[i];
		i += low >= 0 ? 2 : 0;
	}
	return (struct view){out, n};
}

/* As in the list: what a name leads to in all pools, else what only rules lead to. */
static const struct route_def *find(const struct snapshot *s, struct view name)
{
	const struct route_def *def = route_table_get(s->routes, name);

	return !def && s->rules ? route_table_get(s->models, name) : def;
}

static int end_object(cJSON *root, int status, FILE *out)
{
	char *text = pagejson_end_consume(root, false);

	if (!text)
		return 500;
	fprintf(out, "%s\n", text);
	free(text);
	return status;
}

int page_model(void *control, struct view name, FILE *out)
{
	const struct control *c = control;
	const struct snapshot *s = discover_snapshot(c->discover);
	bool *serves = who_serves(c, s), there;
	struct asked_for asked = {s, serves};
	char *decoded = malloc(name.len + 1);
	const struct route_def *def;
	cJSON *root, *error;

	if (!serves || !decoded) {
		free(serves);
		free(decoded);
		return 500;
	}
	def = find(s, unescape(name, decoded));
	there = def && is_served(&asked, def);
	free(serves);
	free(decoded);
	root = pagejson_begin();
	if (there) {
		describe(root, def, c->models_page->created);
		return end_object(root, 200, out);
	}
	error = cJSON_AddObjectToObject(root, "error");
	cJSON_AddStringToObject(error, "message",
				"The model does not exist or you do not have access to it.");
	cJSON_AddStringToObject(error, "type", "invalid_request_error");
	cJSON_AddStringToObject(error, "param", "model");
	cJSON_AddStringToObject(error, "code", "model_not_found");
	return end_object(root, 404, out);
}
