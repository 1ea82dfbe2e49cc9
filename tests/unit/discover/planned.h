/*
 * A controller's plan on its way to the published snapshot: discover/ with four model servers, and
 * plans written by hand.
 */
#ifndef UNIT_DISCOVER_PLANNED_H
#define UNIT_DISCOVER_PLANNED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>

#include "unit/discover/modelserver.h" /* net/http.h before libevent */
#include "base/log.h"
#include "discover/arena.h"
#include "discover/discover.h"
#include "pick/pick.h"
#include "unit/config/conf.h"
#include "unit/discover/places.h"
#include "unit/discover/turn.h"

#define PLANNED_SERVERS 4

static struct {
	struct event_base *base;
	struct endpoints *endpoints;
	struct http_client *http;
	struct config *conf;
	struct discover *d;
	struct plan *plan;
	struct modelserver servers[PLANNED_SERVERS];
	struct places places;
	const char *absent; /* HAProxy does not have this backend */
} planned;

static inline const struct snapshot *planned_now(void)
{
	return discover_snapshot(planned.d);
}

static inline void planned_start(const char *text)
{
	struct discover_env env = {
	    .base = planned.base,
	    .endpoints = planned.endpoints,
	    .http = planned.http,
	    .places = places_hooks(&planned.places),
	};

	planned.conf = conf_of(text);
	planned.d = discover_new(&env, planned.conf);
	assert_non_null(planned.d);
}

static inline int planned_set_up(void **state)
{
	(void)state;
	memset(&planned, 0, sizeof(planned));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	planned.base = event_base_new();
	planned.endpoints = endpoints_new(64);
	planned.http = http_client_new(planned.base, 8);
	for (size_t i = 0; i < PLANNED_SERVERS; i++) {
		planned.servers[i].models = "[{\"id\":\"llama\"}]";
		modelserver_up(&planned.servers[i], planned.base);
	}
	return 0;
}

static inline int planned_tear_down(void **state)
{
	(void)state;
	discover_free(planned.d);
	plan_free(planned.plan);
	config_free(planned.conf);
	http_client_free(planned.http);
	endpoints_free(planned.endpoints);
	for (size_t i = 0; i < PLANNED_SERVERS; i++)
		modelserver_down(&planned.servers[i]);
	event_base_free(planned.base);
	return 0;
}

/*
 * Pools as "NAME: POD@SERVER POD@SERVER! …", one each, POD! drains; arrays end at NULL.
 */
struct draft {
	const char *pools[8];
	struct rule_def rules[8];
	size_t nrules;
	struct plan_adapter adapters[4];
	size_t nadapters;
	bool by_models, fail_close;
	bool listed; /* pools list the model "listed" */
};

static inline struct view planned_keep(struct arena *a, const char *text, size_t len)
{
	return (struct view){arena_dup(a, (struct view){text, len}), len};
}

static inline void planned_members(struct arena *a, struct plan_pool *p, const char *text)
{
	struct plan_member *m = arena_get(a, 8 * sizeof(*m));

	p->members = m;
	while (*text) {
		size_t len = strcspn(text, "@");
		struct sockaddr_in *addr = (void *)&m->addr;
		unsigned server = (unsigned)(text[len + 1] - '0');

		m->name = planned_keep(a, text, len);
		m->draining = text[len + 2] == '!';
		addr->sin_family = AF_INET;
		addr->sin_addr.s_addr = htonl(0x7f000001);
		addr->sin_port = htons(planned.servers[server].port);
		p->nmembers++;
		m++;
		text += len + 2 + (text[len + 2] == '!');
		text += *text == ' ';
	}
}

static inline struct plan *planned_make(const struct draft *draft)
{
	static uint64_t count;
	static const struct view listed[] = {{"listed", 6}};
	struct arena *a = arena_new();
	struct plan *p = arena_get(a, sizeof(*p));
	struct plan_pool *pools = arena_get(a, 8 * sizeof(*pools));

	p->arena = a;
	p->pools = pools;
	for (; draft->pools[p->npools]; p->npools++) {
		struct plan_pool *pool = &pools[p->npools];
		const char *text = draft->pools[p->npools], *colon = strchr(text, ':');
		const char *slash = strchr(text, '/');

		pool->name = planned_keep(a, text, (size_t)(colon - text));
		pool->backend = planned_keep(a, slash + 1, (size_t)(colon - slash - 1));
		pool->fail_open = !draft->fail_close;
		if (draft->listed) {
			pool->models = listed;
			pool->nmodels = 1;
		}
		planned_members(a, pool, colon + 1 + (colon[1] == ' '));
	}
	p->rules = draft->rules;
	p->nrules = draft->nrules;
	p->adapters = draft->adapters;
	p->nadapters = draft->nadapters;
	p->route_by_models = draft->by_models;
	p->hash[0] = ++count;
	return p;
}

/* The room's own plan_free() frees the arena; @draft must outlive the plan. */
static inline void planned_want(const struct draft *draft)
{
	struct plan *old = planned.plan;

	planned.plan = planned_make(draft);
	assert_int_equal(discover_plan(planned.d, planned.plan), 0);
	plan_free(old);
}

#define V(s)                                                                                       \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}
#define BACKENDS(...)                                                                              \
	.backends = (const struct rule_backend[])                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define MODEL(s)                                                                                   \
	.headers = (const struct rule_header[]){{V("X-Gateway-Model-Name"), V(s)}}, .nheaders = 1

static inline const struct pool *planned_pool(const char *name)
{
	for (uint32_t i = 0; i < planned_now()->nwhole; i++)
		if (strcmp(planned_now()->pools[i].name, name) == 0)
			return &planned_now()->pools[i];
	return NULL;
}

static inline const struct pool_endpoint *planned_pod(const char *pool_name, const char *name)
{
	const struct pool *p = planned_pool(pool_name);

	for (uint32_t i = 0; p && i < p->n; i++)
		if (strcmp(p->endpoints[i].name, name) == 0)
			return &p->endpoints[i];
	return NULL;
}

static inline unsigned planned_flags(const char *pool_name, const char *name)
{
	return endpoint_flags(planned.endpoints, planned_pod(pool_name, name)->slot);
}

#endif
