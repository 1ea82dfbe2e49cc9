/* Which model leads where when a plan says so: rules, adapters, the file beside it, and the map
 * that HAProxy falls back to. */
#include "discover/plan.h"

#include "discover/map.h"
#include "unit/discover/planned.h"

static const struct route_def *known(const char *model)
{
	return route_table_get(planned_now()->models, view_str(model));
}

static const struct pool *known_at(const char *model, const char *pool_name)
{
	for (const struct route_def *d = known(model); d;
	     d = route_table_next(planned_now()->models, d))
		if (d->pool != SNAPSHOT_NO_POOL &&
		    strcmp(planned_now()->pools[d->pool].name, pool_name) == 0)
			return &planned_now()->pools[d->pool];
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
	planned.servers[0].models = "[{\"id\":\"llama\"},{\"id\":\"ski\",\"parent\":\"other\"}]";
	planned.servers[3].models = NULL;
	planned_start("kubernetes: {}");
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_now()->ready);
	assert_non_null(planned_now()->rules);
	assert_int_equal(route_table_count(planned_now()->routes), 0);
	/* It may be ready before all have told, when that takes long. */
	TURN_UNTIL(planned.base, known_at("llama", "ns/a") && known_at("llama", "ns/a")->n == 2 &&
				     known_at("ski", "ns/a") && known_at("llama", "ns/b"));

	/* All of a has llama: the whole of it. One has the adapter. */
	assert_int_equal(known_at("llama", "ns/a")->n, 2);
	assert_int_equal(known_at("ski", "ns/a")->n, 1);
	assert_string_equal(known_at("ski", "ns/a")->endpoints[0].name, "p1");
	assert_ptr_equal(known_at("ski", "ns/a")->name, planned_pool("ns/a")->name);
	assert_non_null(known_at("llama", "ns/b"));
	assert_null(known_at("ski", "ns/b"));
	/* What was written down comes first. */
	assert_int_equal(known("ski")->pool, SNAPSHOT_NO_POOL);
	assert_true(view_eq(known("ski")->base, view_str("llama")));
	assert_true(view_eq(known("nowhere")->base, view_str("base")));
	assert_true(view_eq(known("only-a-rule")->base, view_str("only-a-rule")));
	assert_null(known("nobody"));

	/* p2 cannot tell any more what it has; p1 tells of it. */
	planned.servers[1].models = NULL;
	planned.servers[2].models = NULL;
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
	planned.servers[2].models = "[{\"id\":\"phi\"},{\"id\":\"told\",\"parent\":\"wrong\"}]";
	planned_start("kubernetes: {routing: models}");
	assert_false(planned_now()->awaited);
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_now()->ready);
	assert_null(planned_now()->rules);
	assert_true(route_find(planned_now()->routes, view_str("llama"), 0, &target));
	assert_string_equal(planned_now()->pools[target.pool].name, "ns/a");
	assert_true(route_find(planned_now()->routes, view_str("ski"), 0, &target));
	assert_string_equal(planned_now()->pools[target.pool].name, "ns/b");
	assert_true(view_eq(target.base, view_str("phi")));
	assert_true(route_find(planned_now()->routes, view_str("told"), 0, &target));
	assert_true(view_eq(target.base, view_str("phi")));
	assert_false(route_find(planned_now()->routes, view_str("lost"), 0, &target));
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
	planned_start(file);
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_now()->rules);
	assert_int_equal(planned_now()->nwhole, 3);
	assert_string_equal(planned_now()->pools[2].name, "ns/a");
	rule = rules_at(planned_now()->rules, 0);
	assert_int_equal(rule->nbackends, 3);
	assert_int_equal(rule->backends[0].pool, 2);
	/* limits.pools left b out: it is nowhere. */
	assert_int_equal(rule->backends[1].pool, -1);
	assert_int_equal(rule->backends[1].weight, 5);
	assert_int_equal(rule->backends[2].pool, -1);
	assert_true(route_find(planned_now()->routes, view_str("ski"), 0, &target));
	assert_true(view_eq(target.base, view_str("llama")));

	/* A reload keeps the plan, and its pods their slots. */
	slot = planned_pod("ns/a", "p1")->slot;
	old = planned.conf;
	planned.conf = conf_of("kubernetes: {}\n"
			       "limits: {pools: 3}\n"
			       "pools:\n  f3: {endpoints: ['127.0.0.1:1'], models: [filed]}\n");
	assert_int_equal(discover_reload(planned.d, planned.conf), 0);
	config_free(old);
	TURN_UNTIL(planned.base, planned_pool("f3") && planned_pool("ns/b"));
	assert_int_equal(planned_pod("ns/a", "p1")->slot, slot);
	assert_int_equal(rules_at(planned_now()->rules, 0)->backends[0].pool, 1);
	assert_int_equal(rules_at(planned_now()->rules, 0)->backends[1].pool, 2);

	/* Without the section the plan is nobody's. */
	old = planned.conf;
	planned.conf = conf_of("pools:\n  f3: {endpoints: ['127.0.0.1:1'], models: [filed]}\n");
	assert_int_equal(discover_reload(planned.d, planned.conf), 0);
	config_free(old);
	TURN_UNTIL(planned.base, !planned_pool("ns/a"));
	assert_null(planned_now()->rules);
}

static void check_map(const char *want_lines)
{
	struct map *m = map_new(planned_now());

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
	planned_start("kubernetes: {}\n"
		      "pools: {f: {endpoints: ['127.0.0.1:1'], models: [filed, other]}}\n");
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_now()->ready);
	check_map("filed b\nllama b\nother f\nski c\n");
	/* Only the agent may choose servers: nothing of it for HAProxy alone. */
	closed.fail_close = true;
	planned_want(&closed);
	TURN_UNTIL(planned.base, planned_pool("ns/a")->agent_only);
	check_map("other f\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(models_of_pools, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(by_models, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(beside_the_file, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(fall_back_map, planned_set_up, planned_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
