/*
 * /v1/models: one OpenAI list of what can be asked for now, in all pools. HAProxy serves it to
 * clients, so it tells names and nothing else.
 */
#include "serve/page.h"

#include <cJSON.h>
#include <stdlib.h>

#include "base/clock.h"
#include "serve/control.h"

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
	const struct control *c;
	const struct snapshot *s;
};

static bool rule_serves(int32_t pool, void *arg)
{
	const struct asked_for *a = arg;

	return pool_serves(a->c, &a->s->pools[pool]);
}

/* Somebody serves it by its name, or by a rule for some host and path. */
static bool is_served(const struct control *c, const struct snapshot *s,
		      const struct route_def *def)
{
	struct asked_for asked = {c, s};
	struct view base = def->base.len ? def->base : def->model;

	if (def->hidden)
		return false;
	if (s->rules && rules_reach(s->rules, def->model, base, rule_serves, &asked))
		return true;
	return def->pool != SNAPSHOT_NO_POOL && route_table_get(s->routes, def->model) == def &&
	       pool_serves(c, &s->pools[def->pool]);
}

/* Views are not terminated; model names hold no NUL. */
static void add_view(cJSON *object, const char *key, struct view v)
{
	char *copy = view_dup(v);

	if (copy)
		cJSON_AddStringToObject(object, key, copy);
	free(copy);
}

static cJSON *model_object(const struct control *c, const struct route_def *def)
{
	cJSON *m = cJSON_CreateObject();
	uint64_t age_s = (clock_mono_ns() - c->started_ns) / CLOCK_NS_PER_S;

	add_view(m, "id", def->model);
	cJSON_AddStringToObject(m, "object", "model");
	cJSON_AddNumberToObject(m, "created", (double)(clock_wall_ns() / CLOCK_NS_PER_S - age_s));
	cJSON_AddStringToObject(m, "owned_by", "spoa-inference");
	if (def->base.len && !view_eq(def->base, def->model))
		add_view(m, "parent", def->base);
	return m;
}

int page_models(void *control, FILE *out)
{
	const struct control *c = control;
	const struct snapshot *s = discover_snapshot(c->discover);
	cJSON *root = cJSON_CreateObject(), *data;
	char *text;

	cJSON_AddStringToObject(root, "object", "list");
	data = cJSON_AddArrayToObject(root, "data");
	for (size_t i = 0; i < route_table_count(s->routes); i++) {
		const struct route_def *def = route_table_at(s->routes, i);

		if (is_served(c, s, def))
			cJSON_AddItemToArray(data, model_object(c, def));
	}
	for (size_t i = 0; s->rules && i < route_table_count(s->models); i++) {
		const struct route_def *def = route_table_at(s->models, i);

		if (!route_table_get(s->routes, def->model) && is_served(c, s, def))
			cJSON_AddItemToArray(data, model_object(c, def));
	}
	text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	if (!text)
		return 500;
	fprintf(out, "%s\n", text);
	cJSON_free(text);
	return 200;
}
