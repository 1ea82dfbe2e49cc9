/*
 * A small cluster for tests of the controller's pure side: objects as JSON, an API server's way of
 * taking status patches, and what came out as text to be compared. ' stands for " in JSON.
 */
#ifndef TESTS_KUBE_WORLD_H
#define TESTS_KUBE_WORLD_H

#include <arpa/inet.h>
#include <cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "discover/kube/resolve.h"
#include "discover/kube/status.h"
#include "discover/kube/store.h"
#include "discover/plan.h"

#define CONTROLLER "spoa-inference/gateway-controller"
#define NOW        "2026-11-22T12:00:00Z"

struct world_object {
	enum kube_kind kind;
	cJSON *json;
};

struct world {
	struct kube_store *s;
	struct kube_settings set;
	struct kube_resolved *r;
	struct plan *plan; /* in use; the next resolution gets it as the one before */
	struct world_object objects[4096];
	size_t n;
	unsigned version;
	bool prunes;       /* the definition of InferencePool has no controllerName */
	const char *error; /* of the last put */
	char text[65536];
};

static struct view world_addresses[] = {{"203.0.113.7", 11}};
static struct view world_secrets[] = {{"infra/site", 10}};

static inline struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct kube_store_conf conf = {.header_rules = true, .controller = VIEW_LIT(CONTROLLER)};

	assert_non_null(w);
	w->s = kube_store_new(&conf);
	assert_non_null(w->s);
	w->set = (struct kube_settings){
	    .controller = VIEW_LIT(CONTROLLER),
	    .namespace = VIEW_LIT("default"),
	    .header_rules = true,
	    .all_namespaces = true,
	    .addresses = world_addresses,
	    .naddresses = 1,
	    .secrets = world_secrets,
	    .nsecrets = 1,
	};
	return w;
}

static inline void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		cJSON_Delete(w->objects[i].json);
	kube_resolved_free(w->r);
	plan_free(w->plan);
	kube_store_free(w->s);
	free(w);
}

static inline cJSON *world_json(const char *text)
{
	char *copy = strdup(text);
	cJSON *json;

	assert_non_null(copy);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json = cJSON_Parse(copy);
	if (!json)
		fail_msg("no JSON: %s", copy);
	free(copy);
	return json;
}

static inline const char *world_text(const cJSON *o, const char *key)
{
	const cJSON *item =
	    cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, "metadata"), key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static inline struct world_object *world_find(struct world *w, enum kube_kind kind, const char *ns,
					      const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->objects[i].kind == kind &&
		    strcmp(world_text(w->objects[i].json, "namespace"), ns) == 0 &&
		    strcmp(world_text(w->objects[i].json, "name"), name) == 0)
			return &w->objects[i];
	return NULL;
}

/* Takes @json. */
static inline enum kube_change world_take(struct world *w, enum kube_kind kind, cJSON *json)
{
	struct world_object *o =
	    world_find(w, kind, world_text(json, "namespace"), world_text(json, "name"));
	cJSON *meta = cJSON_GetObjectItemCaseSensitive(json, "metadata");
	enum kube_change change = KUBE_SAME;
	char version[16];

	snprintf(version, sizeof(version), "%u", ++w->version);
	cJSON_DeleteItemFromObjectCaseSensitive(meta, "resourceVersion");
	cJSON_AddStringToObject(meta, "resourceVersion", version);
	if (!o) {
		assert_true(w->n < sizeof(w->objects) / sizeof(w->objects[0]));
		o = &w->objects[w->n++];
		o->kind = kind;
	} else if (o->json != json) {
		cJSON_Delete(o->json);
	}
	o->json = json;
	assert_int_equal(kube_store_upsert(w->s, kind, json, &change, &w->error), 0);
	return change;
}

/* @name: "NAMESPACE/NAME", or "NAME"; @created: a second of the day the world began; @rest: the
 * other members of the object. The status that is there stays. */
static inline enum kube_change put(struct world *w, enum kube_kind kind, const char *name,
				   int generation, int created, const char *rest)
{
	char text[16384], ns[128] = "";
	const char *slash = strchr(name, '/');
	struct world_object *old;
	cJSON *json, *status = NULL;

	if (slash)
		snprintf(ns, sizeof(ns), "%.*s", (int)(slash - name), name);
	name = slash ? slash + 1 : name;
	snprintf(text, sizeof(text),
		 "{'metadata':{'namespace':'%s','name':'%s','generation':%d,'uid':'%s-%s-%d',"
		 "'creationTimestamp':'2026-01-01T00:%02d:%02dZ'}%s%s}",
		 ns, name, generation, ns, name, created, created / 60, created % 60,
		 *rest ? "," : "", rest);
	json = world_json(text);
	old = world_find(w, kind, ns, name);
	if (old && !cJSON_GetObjectItemCaseSensitive(json, "status"))
		status =
		    cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(old->json, "status"), true);
	if (status)
		cJSON_AddItemToObject(json, "status", status);
	return world_take(w, kind, json);
}

static inline enum kube_change gone(struct world *w, enum kube_kind kind, const char *ns,
				    const char *name)
{
	struct world_object *o = world_find(w, kind, ns, name);

	assert_non_null(o);
	cJSON_Delete(o->json);
	*o = w->objects[--w->n];
	return kube_store_remove(w->s, kind, ns, name);
}

/* @labels: "'app':'x'". */
static inline enum kube_change pod(struct world *w, const char *name, const char *labels,
				   const char *ip, const char *ready)
{
	char rest[1024], full[256];
	const char *ns = strchr(name, '/') ? "" : "default/";
	const char *slash = strchr(name, '/');
	cJSON *json;

	snprintf(full, sizeof(full), "%s%s", ns, name);
	snprintf(rest, sizeof(rest),
		 "{'metadata':{'namespace':'%.*s','name':'%s','uid':'%s','labels':{%s}},"
		 "'status':{'phase':'Running','podIP':'%s','podIPs':[{'ip':'%s'}],"
		 "'conditions':[{'type':'Initialized','status':'True'},"
		 "{'type':'Ready','status':'%s'}]}}",
		 (int)(strchr(full, '/') - full), full, slash ? slash + 1 : name, full, labels, ip,
		 ip, ready);
	json = world_json(rest);
	return world_take(w, KUBE_POD, json);
}

/* Resolves with what was in use before, and takes the plan into use. */
static inline void resolve(struct world *w)
{
	struct plan *before = w->plan;

	w->r = kube_resolved_free(w->r);
	assert_int_equal(kube_resolve(w->s, &w->set, before, &w->r), 0);
	w->plan = w->r->plan;
	w->r->plan = NULL;
	plan_free(before);
}

/* --- as text --- */

static inline void add(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void add(struct world *w, const char *fmt, ...)
{
	size_t used = strlen(w->text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->text + used, sizeof(w->text) - used, fmt, args);
	va_end(args);
}

static inline void add_conditions(struct world *w, const struct kube_conditions *c)
{
	static const char *const truths[] = {"False", "True", "Unknown"};

	for (size_t i = 0; i < c->n; i++) {
		const struct kube_condition *k = &c->items[i];

		if (view_eq(k->type, VIEW_LIT("Conflicted")) && k->status == KUBE_FALSE)
			continue;
		if (k->status == KUBE_TRUE && view_eq(k->type, k->reason))
			add(w, " %s", k->type.ptr);
		else
			add(w, " %s=%s/%s", k->type.ptr, truths[k->status], k->reason.ptr);
	}
}

static inline const struct kube_wanted *wanted(struct world *w, enum kube_kind kind,
					       const char *name)
{
	char full[400];

	for (size_t i = 0; i < w->r->nwanted; i++) {
		const struct kube_wanted *x = &w->r->wanted[i];

		snprintf(full, sizeof(full), "%s%s%s", x->namespace.ptr,
			 x->namespace.len ? "/" : "", x->name.ptr);
		if (x->kind == kind && strcmp(full, name) == 0)
			return x;
	}
	return NULL;
}

/* The wanted status: parents "NS/GATEWAY[#section][:port] CONDITIONS; …" or conditions. */
static inline const char *said(struct world *w, enum kube_kind kind, const char *name)
{
	const struct kube_wanted *x = wanted(w, kind, name);

	w->text[0] = '\0';
	if (!x)
		return "nothing";
	if (kind == KUBE_CLASS || kind == KUBE_GATEWAY)
		add_conditions(w, &x->status.conditions);
	for (size_t i = 0; i < x->status.naddresses; i++)
		add(w, " %s:%s", x->status.addresses[i].type.ptr, x->status.addresses[i].value.ptr);
	for (size_t i = 0; i < x->status.nlisteners; i++) {
		const struct kube_status_listener *l = &x->status.listeners[i];

		add(w, "; %s(%u%s)", l->name.ptr, l->attached, l->takes_routes ? "" : ",none");
		add_conditions(w, &l->conditions);
	}
	for (size_t i = 0; i < x->status.nparents; i++) {
		const struct kube_status_parent *p = &x->status.parents[i];

		add(w, "%s%s%s%s", i ? "; " : " ", p->namespace.ptr ? p->namespace.ptr : "",
		    p->namespace.ptr ? "/" : "", p->name.ptr);
		if (p->section.ptr)
			add(w, "#%s", p->section.ptr);
		if (p->port)
			add(w, ":%u", p->port);
		add_conditions(w, &p->conditions);
	}
	return w->text[0] ? w->text + 1 : "";
}

/* The message of a condition of the first parent, or of the object. */
static inline const char *message(struct world *w, enum kube_kind kind, const char *name,
				  const char *type)
{
	const struct kube_wanted *x = wanted(w, kind, name);
	const struct kube_condition *c;

	assert_non_null(x);
	c = kube_conditions_find(x->status.nparents ? &x->status.parents[0].conditions
						    : &x->status.conditions,
				 view_str(type));
	return c && c->message.ptr ? c->message.ptr : "";
}

static inline const char *pool_name(const struct plan *p, int32_t i)
{
	return i < 0 ? "-" : p->pools[i].name.ptr;
}

/* "HOST METHOD PATH [NAME=VALUE…] > POOL*WEIGHT… [ROUTE] [ms]", one a line. */
static inline const char *rules(struct world *w)
{
	w->text[0] = '\0';
	for (size_t i = 0; i < w->plan->nrules; i++) {
		const struct rule_def *d = &w->plan->rules[i];

		add(w, "%s%s %s%s%s%s", i ? "\n" : "", d->host.ptr ? d->host.ptr : "*",
		    d->method.ptr ? d->method.ptr : "", d->method.ptr ? " " : "",
		    d->path_type == RULE_PATH_EXACT ? "=" : "", d->path.ptr);
		for (size_t k = 0; k < d->nheaders; k++)
			add(w, " %s=%s", d->headers[k].name.ptr, d->headers[k].value.ptr);
		add(w, " >");
		for (size_t k = 0; k < d->nbackends; k++)
			add(w, " %s*%u", pool_name(w->plan, d->backends[k].pool),
			    d->backends[k].weight);
		add(w, " %s", d->route.ptr);
		if (d->timeout_ms)
			add(w, " %ums", d->timeout_ms);
	}
	return w->text;
}

/* "POOL(BACKEND): MEMBER=ADDRESS:PORT[!]…; …", ! for one that drains. */
static inline const char *pools(struct world *w)
{
	w->text[0] = '\0';
	for (size_t i = 0; i < w->plan->npools; i++) {
		const struct plan_pool *p = &w->plan->pools[i];

		add(w, "%s%s(%s):", i ? "; " : "", p->name.ptr, p->backend.ptr);
		for (size_t k = 0; k < p->nmembers; k++) {
			const struct plan_member *m = &p->members[k];
			const struct sockaddr_in *v4 = (const struct sockaddr_in *)&m->addr;
			const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&m->addr;
			char ip[64];

			inet_ntop(m->addr.ss_family,
				  m->addr.ss_family == AF_INET ? (const void *)&v4->sin_addr
							       : (const void *)&v6->sin6_addr,
				  ip, sizeof(ip));
			add(w, " %s=%s:%u%s", m->name.ptr, ip,
			    ntohs(m->addr.ss_family == AF_INET ? v4->sin_port : v6->sin6_port),
			    m->draining ? "!" : "");
		}
	}
	return w->text;
}

static inline const char *adapters(struct world *w)
{
	w->text[0] = '\0';
	for (size_t i = 0; i < w->plan->nadapters; i++)
		add(w, "%s%s=%s", i ? " " : "", w->plan->adapters[i].model.ptr,
		    w->plan->adapters[i].base.ptr);
	return w->text;
}

static inline const char *problem(struct world *w, enum kube_kind kind, const char *name)
{
	for (size_t i = 0; i < w->r->nproblems; i++)
		if (w->r->problems[i].kind == kind && strcmp(w->r->problems[i].name.ptr, name) == 0)
			return w->r->problems[i].text.ptr;
	return "";
}

/* --- the API server's side of a status patch --- */

static inline void world_merge(cJSON *to, const cJSON *patch)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, patch)
	{
		cJSON *old = cJSON_GetObjectItemCaseSensitive(to, item->string);

		if (cJSON_IsObject(item) && cJSON_IsObject(old)) {
			world_merge(old, item);
			continue;
		}
		cJSON_DeleteItemFromObjectCaseSensitive(to, item->string);
		if (!cJSON_IsNull(item))
			cJSON_AddItemToObject(to, item->string, cJSON_Duplicate(item, true));
	}
}

/* 200 or 409. */
static inline int world_patch(struct world *w, const struct kube_wanted *x, const char *patch)
{
	struct world_object *o = world_find(w, x->kind, x->namespace.ptr, x->name.ptr);
	cJSON *json = cJSON_Parse(patch), *copy, *parent;

	assert_non_null(o);
	assert_non_null(json);
	if (strcmp(world_text(json, "resourceVersion"), world_text(o->json, "resourceVersion")) !=
	    0) {
		cJSON_Delete(json);
		return 409;
	}
	cJSON_DeleteItemFromObjectCaseSensitive(json, "metadata");
	copy = cJSON_Duplicate(o->json, true);
	world_merge(copy, json);
	if (w->prunes && x->kind == KUBE_POOL)
		cJSON_ArrayForEach(
		    parent, cJSON_GetObjectItem(cJSON_GetObjectItem(copy, "status"), "parents"))
		    cJSON_DeleteItemFromObject(parent, "controllerName");
	cJSON_Delete(json);
	world_take(w, x->kind, copy);
	return 200;
}

static inline int diff(struct world *w, const struct kube_wanted *x, char **patch)
{
	return kube_status_diff(w->s, &w->set, x, NOW, patch);
}

/* Writes what there is to write; how many patches that took. */
static inline size_t write_all(struct world *w)
{
	size_t n = 0;

	for (;;) {
		size_t i = 0;
		char *patch = NULL;

		resolve(w);
		while (i < w->r->nwanted && diff(w, &w->r->wanted[i], &patch) != KUBE_DIFF_PATCH)
			i++;
		if (i == w->r->nwanted)
			return n;
		assert_int_equal(world_patch(w, &w->r->wanted[i], patch), 200);
		free(patch);
		assert_true(++n < 10000);
	}
}

/* --- what most tests begin with --- */

#define GATEWAY_SPEC                                                                               \
	"'spec':{'gatewayClassName':'inference-haproxy','listeners':["                             \
	"{'name':'http','port':80,'protocol':'HTTP','allowedRoutes':{'namespaces':"                \
	"{'from':'Same'}}}]}"

#define POOL_SPEC(app)                                                                             \
	"'spec':{'selector':{'matchLabels':{'app':'" app "'}},'targetPorts':[{'number':8000}],"    \
	"'endpointPickerRef':{'name':'" app "-epp','port':{'number':9002}}}"

#define POOL_REF(pool)                                                                             \
	"{'group':'inference.networking.k8s.io','kind':'InferencePool','name':'" pool "'}"

static inline void gateway(struct world *w)
{
	put(w, KUBE_CLASS, "inference-haproxy", 1, 0, "'spec':{'controllerName':'" CONTROLLER "'}");
	put(w, KUBE_GATEWAY, "default/inference-gateway", 1, 0, GATEWAY_SPEC);
}

#endif
