/*
 * /state: what the agent knows, as JSON, for people and scripts that ask why.
 */
#include "serve/page.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/clock.h"
#include "serve/control.h"
#include "serve/page_kube.h"
#include "serve/pagejson.h"

static double age_s(uint64_t then_ns)
{
	return (double)(clock_mono_ns() - then_ns) / (double)CLOCK_NS_PER_S;
}

static void add_address(cJSON *o, const struct sockaddr_storage *addr)
{
	const struct sockaddr_in *v4 = (const void *)addr;
	const struct sockaddr_in6 *v6 = (const void *)addr;
	char ip[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 10];

	if (addr->ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof(ip));
		snprintf(text, sizeof(text), "%s:%u", ip, ntohs(v4->sin_port));
	} else if (addr->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof(ip));
		snprintf(text, sizeof(text), "[%s]:%u", ip, ntohs(v6->sin6_port));
	} else {
		return;
	}
	cJSON_AddStringToObject(o, "address", text);
}

static void add_models(cJSON *o, const struct control *c, uint32_t slot)
{
	struct asker_view v;
	cJSON *list;

	discover_models(c->discover, slot, &v);
	if (v.error)
		cJSON_AddStringToObject(o, "models_error", v.error);
	if (v.state != ASKER_ANSWERED || !v.models)
		return;
	cJSON_AddNumberToObject(o, "models_age_s", age_s(v.answered_ns));
	list = cJSON_AddArrayToObject(o, "models");
	for (size_t i = 0; i < v.models->n; i++)
		pagejson_append_view(list, v.models->items[i].id);
}

static void add_scrape(cJSON *o, const struct control *c, uint32_t slot)
{
	const struct scrape_status *s = scraper_status(watch_scraper(c->watch), slot);

	if (!s)
		return;
	cJSON_AddStringToObject(o, "engine", engine_name(s->engine));
	if (s->url)
		cJSON_AddStringToObject(o, "metrics", s->url);
	cJSON_AddNumberToObject(o, "scrapes", (double)s->scrapes);
	cJSON_AddNumberToObject(o, "scrapes_failing", s->failing);
	if (s->asked)
		cJSON_AddStringToObject(o, "last_scrape", scrape_outcome_name(s->last));
	if (s->error[0])
		cJSON_AddStringToObject(o, "scrape_error", s->error);
}

static cJSON *endpoint_object(const struct control *c, const struct pool_endpoint *e)
{
	cJSON *o = cJSON_CreateObject(), *flags;
	struct endpoint_view v;

	endpoint_view(c->endpoints, e->slot, &v);
	cJSON_AddStringToObject(o, "name", e->name);
	if (e->server)
		cJSON_AddStringToObject(o, "server", e->server);
	add_address(o, &e->addr);
	cJSON_AddBoolToObject(o, "candidate", v.flags == 0);
	flags = cJSON_AddArrayToObject(o, "flags");
	for (unsigned bit = 1; bit <= ENDPOINT_FLAG_LAST; bit <<= 1)
		if (v.flags & bit)
			pagejson_append_consume(flags, cJSON_CreateString(endpoint_flag_name(bit)));
	cJSON_AddNumberToObject(o, "load", v.load);
	cJSON_AddNumberToObject(o, "open", v.open);
	cJSON_AddNumberToObject(o, "foreign", v.foreign);
	if (v.drift > 0)
		cJSON_AddNumberToObject(o, "drift", v.drift);
	if (v.maxconn)
		cJSON_AddNumberToObject(o, "maxconn", v.maxconn);
	cJSON_AddNumberToObject(o, "picks", (double)v.picks);
	cJSON_AddNumberToObject(o, "answered", (double)v.answered);
	cJSON_AddNumberToObject(o, "failed", (double)v.failed);
	cJSON_AddNumberToObject(o, "aborted", (double)v.aborted);
	cJSON_AddNumberToObject(o, "rate", v.rate);
	if (v.observed_ns) {
		cJSON_AddNumberToObject(o, "waiting", v.waiting);
		cJSON_AddNumberToObject(o, "running", v.running);
		if (v.kv_usage >= 0)
			cJSON_AddNumberToObject(o, "kv_usage", v.kv_usage);
		cJSON_AddNumberToObject(o, "scrape_age_s", age_s(v.observed_ns));
	}
	add_scrape(o, c, e->slot);
	add_models(o, c, e->slot);
	return o;
}

static void add_pools(cJSON *root, const struct control *c, const struct snapshot *s)
{
	cJSON *pools = cJSON_AddArrayToObject(root, "pools");

	for (uint32_t i = 0; i < s->nwhole; i++) {
		const struct pool *p = &s->pools[i];
		cJSON *o = cJSON_CreateObject(), *endpoints;

		cJSON_AddStringToObject(o, "name", p->name);
		cJSON_AddStringToObject(o, "backend", p->backend);
		cJSON_AddStringToObject(o, "policy", policy_name(p->policy));
		cJSON_AddBoolToObject(o, "known", p->known);
		endpoints = cJSON_AddArrayToObject(o, "endpoints");
		for (uint32_t k = 0; k < p->n; k++)
			pagejson_append_consume(endpoints, endpoint_object(c, &p->endpoints[k]));
		pagejson_append_consume(pools, o);
	}
}

static void add_routes(cJSON *root, const struct snapshot *s)
{
	cJSON *models = cJSON_AddArrayToObject(root, "models");

	for (size_t i = 0; i < route_table_count(s->routes); i++) {
		const struct route_def *def = route_table_at(s->routes, i);
		const struct pool *p = &s->pools[def->pool];
		cJSON *o = cJSON_CreateObject();

		pagejson_add_view(o, "name", def->model);
		cJSON_AddStringToObject(o, "pool", p->name);
		cJSON_AddNumberToObject(o, "endpoints", p->n);
		if (def->base.len)
			pagejson_add_view(o, "base", def->base);
		if (def->target.len)
			pagejson_add_view(o, "target", def->target);
		if (def->hidden)
			cJSON_AddTrueToObject(o, "hidden");
		pagejson_append_consume(models, o);
	}
}

/* Of rules and their matches no more than this are shown. */
#define RULES_SHOWN 1000

/* The host that is listened for, and HAProxy's ports that lead there. */
static void add_entrance(cJSON *o, const struct rule_listeners *l, const struct rule_def *def)
{
	cJSON *ports;

	if (!def->listener)
		return;
	ports = cJSON_AddArrayToObject(o, "ports");
	for (size_t i = 0; i < l->nports; i++)
		if (def->ports >> l->ports[i].bit & 1)
			pagejson_append_consume(ports, cJSON_CreateNumber(l->ports[i].port));
}

static cJSON *rule_object(const struct snapshot *s, const struct rule_def *def)
{
	cJSON *o = cJSON_CreateObject(), *list;

	pagejson_add_view(o, "route", def->route);
	if (def->host.len)
		pagejson_add_view(o, "host", def->host);
	cJSON_AddStringToObject(o, "path_type",
				def->path_type == RULE_PATH_EXACT ? "exact" : "prefix");
	pagejson_add_view(o, "path", def->path.len ? def->path : VIEW_LIT("/"));
	if (def->method.len)
		pagejson_add_view(o, "method", def->method);
	add_entrance(o, rules_listeners(s->rules), def);
	list = cJSON_AddObjectToObject(o, "headers");
	for (size_t i = 0; i < def->nheaders; i++) {
		char *name = view_dup(def->headers[i].name);

		if (name)
			pagejson_add_view(list, name, def->headers[i].value);
		free(name);
	}
	list = cJSON_AddArrayToObject(o, "pools");
	for (size_t i = 0; i < def->nbackends; i++) {
		cJSON *b = cJSON_CreateObject();

		if (def->backends[i].pool >= 0)
			cJSON_AddStringToObject(b, "pool", s->pools[def->backends[i].pool].name);
		else
			cJSON_AddNullToObject(b, "pool");
		cJSON_AddNumberToObject(b, "weight", def->backends[i].weight);
		pagejson_append_consume(list, b);
	}
	if (def->timeout_ms)
		cJSON_AddNumberToObject(o, "timeout_ms", def->timeout_ms);
	return o;
}

/* By precedence: the first that matches a request is its rule. */
static void add_rules(cJSON *root, const struct snapshot *s)
{
	size_t n = s->rules ? rules_count(s->rules) : 0;
	cJSON *rules;

	if (!s->rules)
		return;
	rules = cJSON_AddArrayToObject(root, "rules");
	for (size_t i = 0; i < n && i < RULES_SHOWN; i++)
		pagejson_append_consume(rules, rule_object(s, rules_at(s->rules, i)));
	if (n > RULES_SHOWN)
		cJSON_AddNumberToObject(root, "rules_not_shown", (double)(n - RULES_SHOWN));
}

static void add_haproxy(cJSON *root, const struct discover_status *s)
{
	static const char *const map_states[] = {
	    [MAPSYNC_OFF] = "off",         [MAPSYNC_WAITING] = "waiting",
	    [MAPSYNC_BUSY] = "busy",       [MAPSYNC_CURRENT] = "current",
	    [MAPSYNC_MISSING] = "missing", [MAPSYNC_FAILED] = "failed",
	};
	cJSON *o, *map;

	if (!s->haproxy.configured)
		return;
	o = cJSON_AddObjectToObject(root, "haproxy");
	cJSON_AddBoolToObject(o, "answers", s->haproxy.good);
	cJSON_AddStringToObject(o, "version", s->haproxy.version);
	cJSON_AddNumberToObject(o, "pid", s->haproxy.pid);
	if (s->haproxy.last_good_ns)
		cJSON_AddNumberToObject(o, "age_s", age_s(s->haproxy.last_good_ns));
	if (s->haproxy.error[0])
		cJSON_AddStringToObject(o, "error", s->haproxy.error);
	map = cJSON_AddObjectToObject(o, "map");
	cJSON_AddStringToObject(map, "state", map_states[s->map.state]);
	if (s->map.path)
		cJSON_AddStringToObject(map, "path", s->map.path);
	if (s->map.file)
		cJSON_AddStringToObject(map, "file", s->map.file);
	cJSON_AddNumberToObject(map, "entries", (double)s->map.entries);
	cJSON_AddNumberToObject(map, "left_out", (double)s->map.left_out);
	if (s->map.error)
		cJSON_AddStringToObject(map, "error", s->map.error);
	if (s->map.file_error)
		cJSON_AddStringToObject(map, "file_error", s->map.file_error);
}

static void add_feedback(cJSON *root, const struct control *c)
{
	cJSON *o = cJSON_AddObjectToObject(root, "tickets");
	struct feedback_counts f;

	feedback_counts(c->feedback, &f);
	cJSON_AddNumberToObject(o, "open", tickets_open(c->tickets));
	cJSON_AddNumberToObject(o, "exhausted", (double)tickets_exhausted(c->tickets));
	cJSON_AddNumberToObject(o, "expired", (double)f.expired);
	o = cJSON_AddObjectToObject(root, "feedback");
	cJSON_AddNumberToObject(o, "lines", (double)f.lines);
	cJSON_AddNumberToObject(o, "no_ticket", (double)f.no_ticket);
	cJSON_AddNumberToObject(o, "unknown", (double)f.unknown);
	cJSON_AddNumberToObject(o, "broken", (double)f.broken);
	cJSON_AddNumberToObject(o, "reclaimed", (double)f.reclaimed);
	cJSON_AddNumberToObject(o, "orphaned", (double)f.orphaned);
	cJSON_AddNumberToObject(o, "moved", (double)f.moved);
}

int page_state(void *control, FILE *out)
{
	const struct control *c = control;
	const struct snapshot *s = discover_snapshot(c->discover);
	struct discover_status status;
	cJSON *root = pagejson_begin();
	char *text;

	discover_status(c->discover, &status);
	cJSON_AddStringToObject(root, "version", SPOA_VERSION);
	cJSON_AddNumberToObject(root, "uptime_s", age_s(c->started_ns));
	cJSON_AddBoolToObject(root, "ready", control_ready(c));
	cJSON_AddBoolToObject(root, "draining", c->stopping);
	cJSON_AddNumberToObject(root, "snapshot", (double)s->version);
	cJSON_AddNumberToObject(root, "spop_connections", atomic_load(&c->shared.connections));
	add_haproxy(root, &status);
	page_kube_state(root, c);
	add_feedback(root, c);
	add_pools(root, c, s);
	add_routes(root, s);
	add_rules(root, s);
	text = pagejson_end_consume(root, true);
	if (!text)
		return 500;
	fprintf(out, "%s\n", text);
	free(text);
	return 200;
}
