/*
 * A controller's plan on its way to the published snapshot: pools, pods that come, drain and go,
 * rules, adapters, and the fall-back map. The model servers are real HTTP servers.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "discover/arena.h"
#include "discover/discover.h"
#include "discover/map.h"
#include "net/http.h"
#include "pick/pick.h"

/* Its macros have names of net/http.h. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#define SERVERS 4
#define WAIT_S  20

struct server {
	struct evhttp *http;
	uint16_t port;
	const char *models; /* NULL: does not answer well */
	int asked;
};

static struct {
	struct event_base *base;
	struct endpoints *endpoints;
	struct http_client *http;
	struct config *conf;
	struct discover *d;
	struct plan *plan;
	struct server servers[SERVERS];
	int added, changed, removed;
	const char *absent; /* HAProxy does not have this backend */
} t;

static void serve(struct evhttp_request *req, void *arg)
{
	struct server *s = arg;
	struct evbuffer *out = evbuffer_new();

	s->asked++;
	if (s->models)
		evbuffer_add_printf(out, "{\"data\":%s}", s->models);
	evhttp_send_reply(req, s->models ? 200 : 500, "x", out);
	evbuffer_free(out);
}

static void on_added(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
	t.added++;
}

static void on_changed(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
	t.changed++;
}

static void on_removed(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
	t.removed++;
}

static void turn(int ms)
{
	const struct timeval tv = {.tv_usec = ms * 1000};

	event_base_loopexit(t.base, &tv);
	event_base_dispatch(t.base);
}

#define wait_for(what)                                                                             \
	do {                                                                                       \
		time_t wait_end = time(NULL) + WAIT_S;                                             \
		while (!(what)) {                                                                  \
			if (time(NULL) > wait_end)                                                 \
				fail_msg("never: %s", #what);                                      \
			turn(5);                                                                   \
		}                                                                                  \
	} while (0)

static struct config *parse(const char *text)
{
	struct config_errors errors = {0};
	struct config *conf;

	if (config_parse("test", text, strlen(text), &conf, &errors) < 0) {
		config_errors_print(&errors, "test", stderr);
		fail();
	}
	return conf;
}

static const struct snapshot *now(void)
{
	return discover_snapshot(t.d);
}

static void start(const char *text)
{
	struct discover_env env = {
	    .base = t.base,
	    .endpoints = t.endpoints,
	    .http = t.http,
	    .places = {on_added, on_changed, on_removed, NULL},
	};

	t.conf = parse(text);
	t.d = discover_new(&env, t.conf);
	assert_non_null(t.d);
}

static int set_up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	t.base = event_base_new();
	t.endpoints = endpoints_new(64);
	t.http = http_client_new(t.base, 8);
	for (size_t i = 0; i < SERVERS; i++) {
		struct server *s = &t.servers[i];
		struct evhttp_bound_socket *bound;
		struct sockaddr_in a;
		socklen_t len = sizeof(a);

		s->http = evhttp_new(t.base);
		bound = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", 0);
		assert_non_null(bound);
		assert_int_equal(getsockname(evhttp_bound_socket_get_fd(bound), (void *)&a, &len),
				 0);
		s->port = ntohs(a.sin_port);
		evhttp_set_gencb(s->http, serve, s);
		s->models = "[{\"id\":\"llama\"}]";
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	discover_free(t.d);
	plan_free(t.plan);
	config_free(t.conf);
	http_client_free(t.http);
	endpoints_free(t.endpoints);
	for (size_t i = 0; i < SERVERS; i++)
		evhttp_free(t.servers[i].http);
	event_base_free(t.base);
	return 0;
}

/* --- plans by hand --- */

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

static struct view keep(struct arena *a, const char *text, size_t len)
{
	return (struct view){arena_dup(a, (struct view){text, len}), len};
}

static void add_members(struct arena *a, struct plan_pool *p, const char *text)
{
	struct plan_member *m = arena_get(a, 8 * sizeof(*m));

	p->members = m;
	while (*text) {
		size_t len = strcspn(text, "@");
		struct sockaddr_in *addr = (void *)&m->addr;
		unsigned server = (unsigned)(text[len + 1] - '0');

		m->name = keep(a, text, len);
		m->draining = text[len + 2] == '!';
		addr->sin_family = AF_INET;
		addr->sin_addr.s_addr = htonl(0x7f000001);
		addr->sin_port = htons(t.servers[server].port);
		p->nmembers++;
		m++;
		text += len + 2 + (text[len + 2] == '!');
		text += *text == ' ';
	}
}

static struct plan *make(const struct draft *draft)
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

		pool->name = keep(a, text, (size_t)(colon - text));
		pool->backend = keep(a, slash + 1, (size_t)(colon - slash - 1));
		pool->fail_open = !draft->fail_close;
		if (draft->listed) {
			pool->models = listed;
			pool->nmodels = 1;
		}
		add_members(a, pool, colon + 1 + (colon[1] == ' '));
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
static void want(const struct draft *draft)
{
	struct plan *old = t.plan;

	t.plan = make(draft);
	assert_int_equal(discover_plan(t.d, t.plan), 0);
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

static const struct pool *pool(const char *name)
{
	for (uint32_t i = 0; i < now()->nwhole; i++)
		if (strcmp(now()->pools[i].name, name) == 0)
			return &now()->pools[i];
	return NULL;
}

static const struct pool_endpoint *pod(const char *pool_name, const char *name)
{
	const struct pool *p = pool(pool_name);

	for (uint32_t i = 0; p && i < p->n; i++)
		if (strcmp(p->endpoints[i].name, name) == 0)
			return &p->endpoints[i];
	return NULL;
}

static unsigned flags(const char *pool_name, const char *name)
{
	return endpoint_flags(t.endpoints, pod(pool_name, name)->slot);
}

/* --- cases --- */

static void pods_come_drain_and_go(void **state)
{
	struct draft first = {.pools = {"ns/a: p1@0 p2@1", "ns/b: p9@2"}};
	struct draft drains = {.pools = {"ns/a: p1@0! p2@1 p3@3", "ns/b: p9@2"}};
	struct draft gone = {.pools = {"ns/a: p2@1 p3@3", "ns/b: p9@2"}};
	struct draft back = {.pools = {"ns/a: p1@0 p2@1 p3@3", "ns/b: p9@2"}};
	uint32_t one, two;
	uint64_t version;

	(void)state;
	start("haproxy: {socket: /nowhere}\nkubernetes: {haproxy_dir: /nowhere}");
	assert_false(now()->ready);
	assert_true(now()->awaited);
	want(&first);
	wait_for(pool("ns/a"));
	assert_false(now()->awaited);
	wait_for(now()->ready);
	assert_int_equal(pool("ns/a")->n, 2);
	assert_string_equal(pool("ns/a")->backend, "a");
	assert_string_equal(pod("ns/a", "p1")->server, "p1");
	assert_int_equal(flags("ns/a", "p1"), 0);
	one = pod("ns/a", "p1")->slot;
	two = pod("ns/a", "p2")->slot;

	/* Draining takes effect at once: workers read the flag, not the snapshot. */
	want(&drains);
	assert_int_equal(endpoint_flags(t.endpoints, one), ENDPOINT_DRAIN);
	wait_for(pod("ns/a", "p3"));
	assert_int_equal(pod("ns/a", "p1")->slot, one);
	assert_int_equal(pod("ns/a", "p2")->slot, two);
	assert_int_equal(t.removed, 0);

	/* Ready again before it was gone. */
	want(&back);
	assert_int_equal(endpoint_flags(t.endpoints, one), 0);
	want(&drains);
	assert_int_equal(endpoint_flags(t.endpoints, one), ENDPOINT_DRAIN);

	want(&gone);
	assert_true(endpoint_flags(t.endpoints, one) & ENDPOINT_GONE);
	wait_for(!pod("ns/a", "p1"));
	assert_int_equal(t.removed, 1);
	assert_int_equal(pod("ns/a", "p2")->slot, two);

	/* The same again is nothing new. */
	version = now()->version;
	want(&gone);
	turn(50);
	assert_int_equal(now()->version, version);
	assert_int_equal(t.removed, 1);
}

/* Somebody else's HAProxy has one backend for all: no names, addresses. */
static void by_address(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0"}, .listed = true};

	(void)state;
	start("kubernetes: {}");
	want(&draft);
	wait_for(pool("ns/a"));
	assert_null(pod("ns/a", "p1")->server);
	assert_int_equal(ntohs(((const struct sockaddr_in *)&pod("ns/a", "p1")->addr)->sin_port),
			 t.servers[0].port);
	/* Listed models: nobody is asked. */
	turn(50);
	assert_int_equal(t.servers[0].asked, 0);
}

/* All pods replaced at once, or the whole pool gone: nobody is told that all servers are down. */
static void replaced_as_a_whole(void **state)
{
	struct draft first = {.pools = {"ns/a: p1@0", "ns/b: p2@1"}};
	struct draft other = {.pools = {"ns/a: p3@2", "ns/b: p2@1"}};
	struct draft none = {.pools = {"ns/b: p2@1"}};
	uint32_t slot;

	(void)state;
	start("kubernetes: {}");
	want(&first);
	wait_for(pool("ns/a"));
	slot = pod("ns/a", "p1")->slot;
	want(&other);
	assert_int_equal(endpoint_flags(t.endpoints, slot), 0);
	wait_for(pod("ns/a", "p3"));
	assert_int_equal(endpoint_flags(t.endpoints, slot), ENDPOINT_GONE);
	slot = pod("ns/a", "p3")->slot;
	want(&none);
	assert_int_equal(endpoint_flags(t.endpoints, slot), 0);
	wait_for(!pool("ns/a"));
	assert_int_equal(endpoint_flags(t.endpoints, slot), ENDPOINT_GONE);
	assert_int_equal(t.removed, 2);
}

/* The same for pools of the file: a reload removes one, or gives another its servers anew. */
static void removed_by_a_reload(void **state)
{
	struct config *old;
	uint32_t slot, moved;

	(void)state;
	start("pools:\n"
	      "  f1: {endpoints: ['127.0.0.1:1'], models: [one]}\n"
	      "  f2: {endpoints: ['127.0.0.1:2'], models: [two]}\n");
	wait_for(now()->ready);
	slot = pool("f1")->slots[0];
	moved = pool("f2")->slots[0];
	old = t.conf;
	t.conf = parse("pools: {f2: {endpoints: ['127.0.0.1:3'], models: [two]}}\n");
	assert_int_equal(discover_reload(t.d, t.conf), 0);
	config_free(old);
	/* Workers still see the old snapshot, and find its servers as they were. */
	assert_non_null(pool("f1"));
	assert_int_equal(endpoint_flags(t.endpoints, slot), 0);
	assert_int_equal(endpoint_flags(t.endpoints, moved), 0);
	wait_for(!pool("f1"));
	assert_int_equal(endpoint_flags(t.endpoints, slot), ENDPOINT_GONE);
	assert_int_equal(endpoint_flags(t.endpoints, moved), ENDPOINT_GONE);
	assert_int_equal(t.removed, 2);
}

static const struct route_def *known(const char *model)
{
	return route_table_get(now()->models, view_str(model));
}

static const struct pool *known_at(const char *model, const char *pool_name)
{
	for (const struct route_def *d = known(model); d; d = route_table_next(now()->models, d))
		if (d->pool != SNAPSHOT_NO_POOL &&
		    strcmp(now()->pools[d->pool].name, pool_name) == 0)
			return &now()->pools[d->pool];
	return NULL;
}

/* Two pools serve one model; an adapter is on one pod of two; a pod that does not tell has what
 * all others have. */
static void models_of_pools(void **state)
{
	struct draft draft = {
	    .pools = {"ns/a: p1@0 p2@1", "ns/b: p3@2", "ns/c: p4@3"},
	    .rules = {{BACKENDS({0, 1}), .nbackends = 1, .route = V("ns/r")},
		      {MODEL("only-a-rule"), BACKENDS({1, 1}), .nbackends = 1, .route = V("ns/s")}},
	    .nrules = 2,
	    .adapters = {{V("ski"), V("llama")}, {V("nowhere"), V("base")}},
	    .nadapters = 2,
	};

	(void)state;
	t.servers[0].models = "[{\"id\":\"llama\"},{\"id\":\"ski\",\"parent\":\"other\"}]";
	t.servers[3].models = NULL;
	start("kubernetes: {}");
	want(&draft);
	wait_for(now()->ready);
	assert_non_null(now()->rules);
	assert_int_equal(route_table_count(now()->routes), 0);

	/* All of a has llama: the whole of it. One has the adapter. */
	assert_int_equal(known_at("llama", "ns/a")->n, 2);
	assert_int_equal(known_at("ski", "ns/a")->n, 1);
	assert_string_equal(known_at("ski", "ns/a")->endpoints[0].name, "p1");
	assert_ptr_equal(known_at("ski", "ns/a")->name, pool("ns/a")->name);
	assert_non_null(known_at("llama", "ns/b"));
	assert_null(known_at("ski", "ns/b"));
	/* What was written down comes first. */
	assert_int_equal(known("ski")->pool, SNAPSHOT_NO_POOL);
	assert_true(view_eq(known("ski")->base, view_str("llama")));
	assert_true(view_eq(known("nowhere")->base, view_str("base")));
	assert_true(view_eq(known("only-a-rule")->base, view_str("only-a-rule")));
	assert_null(known("nobody"));

	/* p2 cannot tell any more what it has; p1 tells of it. */
	t.servers[1].models = NULL;
	t.servers[2].models = NULL;
}

/* Pools by the models that their pods tell; what ConfigMaps say of adapters beside it. */
static void by_models(void **state)
{
	struct draft draft = {
	    .pools = {"ns/a: p1@0 p2@1", "ns/b: p3@2"},
	    .rules = {{BACKENDS({0, 1}), .nbackends = 1, .route = V("ns/r")}},
	    .nrules = 1,
	    .adapters = {{V("ski"), V("phi")}, {V("told"), V("phi")}, {V("lost"), V("nobody")}},
	    .nadapters = 3,
	    .by_models = true,
	};
	struct route_target target;

	(void)state;
	t.servers[2].models = "[{\"id\":\"phi\"},{\"id\":\"told\",\"parent\":\"wrong\"}]";
	start("kubernetes: {routing: models}");
	assert_false(now()->awaited);
	want(&draft);
	wait_for(now()->ready);
	assert_null(now()->rules);
	assert_true(route_find(now()->routes, view_str("llama"), 0, &target));
	assert_string_equal(now()->pools[target.pool].name, "ns/a");
	assert_true(route_find(now()->routes, view_str("ski"), 0, &target));
	assert_string_equal(now()->pools[target.pool].name, "ns/b");
	assert_true(view_eq(target.base, view_str("phi")));
	assert_true(route_find(now()->routes, view_str("told"), 0, &target));
	assert_true(view_eq(target.base, view_str("phi")));
	assert_false(route_find(now()->routes, view_str("lost"), 0, &target));
}

/* Rules count the plan's pools; the snapshot has those of the file before them. */
static void beside_the_file(void **state)
{
	static const char file[] = "kubernetes: {}\n"
				   "limits: {pools: 3}\n"
				   "pools:\n"
				   "  f1: {endpoints: ['127.0.0.1:1'], models: [filed]}\n"
				   "  f2: {endpoints: ['127.0.0.1:2'], models: [ski]}\n";
	struct draft draft = {
	    .pools = {"ns/a: p1@0", "ns/b: p3@2"},
	    .rules = {{MODEL("llama"), BACKENDS({0, 3}, {1, 5}, {-1, 7}), .nbackends = 3,
		       .route = V("ns/r")}},
	    .nrules = 1,
	    .adapters = {{V("ski"), V("llama")}},
	    .nadapters = 1,
	};
	struct config *old;
	const struct rule_def *rule;
	struct route_target target;
	uint32_t slot;

	(void)state;
	start(file);
	want(&draft);
	wait_for(now()->rules);
	assert_int_equal(now()->nwhole, 3);
	assert_string_equal(now()->pools[2].name, "ns/a");
	rule = rules_at(now()->rules, 0);
	assert_int_equal(rule->nbackends, 3);
	assert_int_equal(rule->backends[0].pool, 2);
	/* limits.pools left b out: it is nowhere. */
	assert_int_equal(rule->backends[1].pool, -1);
	assert_int_equal(rule->backends[1].weight, 5);
	assert_int_equal(rule->backends[2].pool, -1);
	assert_true(route_find(now()->routes, view_str("ski"), 0, &target));
	assert_true(view_eq(target.base, view_str("llama")));

	/* A reload keeps the plan, and its pods their slots. */
	slot = pod("ns/a", "p1")->slot;
	old = t.conf;
	t.conf = parse("kubernetes: {}\n"
		       "limits: {pools: 3}\n"
		       "pools:\n  f3: {endpoints: ['127.0.0.1:1'], models: [filed]}\n");
	assert_int_equal(discover_reload(t.d, t.conf), 0);
	config_free(old);
	wait_for(pool("f3") && pool("ns/b"));
	assert_int_equal(pod("ns/a", "p1")->slot, slot);
	assert_int_equal(rules_at(now()->rules, 0)->backends[0].pool, 1);
	assert_int_equal(rules_at(now()->rules, 0)->backends[1].pool, 2);

	/* Without the section the plan is nobody's. */
	old = t.conf;
	t.conf = parse("pools:\n  f3: {endpoints: ['127.0.0.1:1'], models: [filed]}\n");
	assert_int_equal(discover_reload(t.d, t.conf), 0);
	config_free(old);
	wait_for(!pool("ns/a"));
	assert_null(now()->rules);
}

/* Pods that take the connection and say nothing: rules lead to them all the same. */
static void pods_that_say_nothing(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0"}};
	int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);

	(void)state;
	a.sin_addr.s_addr = htonl(0x7f000001);
	assert_int_equal(bind(mute, (void *)&a, sizeof(a)), 0);
	assert_int_equal(listen(mute, 16), 0);
	assert_int_equal(getsockname(mute, (void *)&a, &len), 0);
	t.servers[0].port = ntohs(a.sin_port);
	start("kubernetes: {}\nscrape: {timeout: 60s}\nlimits: {endpoints: 64}");
	want(&draft);
	wait_for(pool("ns/a"));
	assert_false(now()->ready);
	wait_for(now()->ready);
	close(mute);
}

static bool has_backend(struct view backend, void *arg)
{
	(void)arg;
	return !t.absent || !view_eq(backend, view_str(t.absent));
}

/* HAProxy does not have the backend yet: nobody is named, and the answer is "not now". */
static void backend_to_come(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0", "ns/b: p3@2"}};

	(void)state;
	start("kubernetes: {}");
	t.absent = "b";
	discover_backends(t.d, has_backend, NULL);
	want(&draft);
	wait_for(pool("ns/b"));
	assert_int_equal(pool("ns/a")->n, 1);
	assert_int_equal(pool("ns/b")->n, 0);
	assert_true(pool("ns/b")->known);
	t.absent = NULL;
	discover_refresh(t.d);
	wait_for(pool("ns/b")->n == 1);
}

static void check_map(const char *want_lines)
{
	struct map *m = map_new(now());

	assert_non_null(m);
	assert_string_equal(m->text + m->head, want_lines);
	map_free(m);
}

/* What of the rules a map can say. */
static void fall_back_map(void **state)
{
	struct draft draft = {
	    .pools = {"ns/a: p1@0", "ns/b: p2@1", "ns/c: p3@2"},
	    .rules =
		{
		    {MODEL("llama"), BACKENDS({0, 1}, {1, 9}), .nbackends = 2, .route = V("r/1")},
		    {MODEL("hosted"), BACKENDS({0, 1}), .nbackends = 1, .host = V("h.example"),
		     .route = V("r/2")},
		    {MODEL("pathed"), BACKENDS({0, 1}), .nbackends = 1, .path = V("/v1"),
		     .route = V("r/3")},
		    {.headers =
			 (const struct rule_header[]){{V("x-gateway-base-model-name"), V("phi")}},
		     .nheaders = 1,
		     BACKENDS({2, 1}),
		     .nbackends = 1,
		     .route = V("r/4")},
		    {MODEL("lost"), BACKENDS({-1, 1}), .nbackends = 1, .route = V("r/5")},
		    {MODEL("filed"), BACKENDS({1, 1}), .nbackends = 1, .route = V("r/6")},
		},
	    .nrules = 6,
	    .adapters = {{V("ski"), V("phi")}},
	    .nadapters = 1,
	};
	struct draft closed = draft;

	(void)state;
	start("kubernetes: {}\n"
	      "pools: {f: {endpoints: ['127.0.0.1:1'], models: [filed, other]}}\n");
	want(&draft);
	wait_for(now()->ready);
	check_map("filed b\nllama b\nother f\nski c\n");
	/* Only the agent may choose servers: nothing of it for HAProxy alone. */
	closed.fail_close = true;
	want(&closed);
	wait_for(pool("ns/a")->agent_only);
	check_map("other f\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(pods_come_drain_and_go, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(by_address, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(replaced_as_a_whole, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(removed_by_a_reload, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(models_of_pools, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(by_models, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(beside_the_file, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(pods_that_say_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(backend_to_come, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(fall_back_map, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
