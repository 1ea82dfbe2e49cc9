/*
 * InferencePools, the pods in them, and the ConfigMaps that name adapters: each defect of
 * Body-Based Routing's own reading of these is a test that shows it is not here.
 */
#include "unit/discover/kube_world.h"

static struct world *start(void)
{
	struct world *w = world_new();

	gateway(w);
	put(w, KUBE_POOL, "default/p", 1, 1, POOL_SPEC("p"));
	return w;
}

static void pod_rest(struct world *w, const char *name, const char *meta, const char *status)
{
	char text[2048];

	snprintf(
	    text, sizeof(text),
	    "{'metadata':{'namespace':'default','name':'%s','uid':'%s','labels':{'app':'p'}%s},"
	    "'status':{%s}}",
	    name, name, meta, status);
	world_take(w, KUBE_POD, world_json(text));
}

#define READY   "'conditions':[{'type':'Ready','status':'True'}]"
#define RUNNING "'phase':'Running'," READY

static void membership(void **state)
{
	static const struct {
		const char *what, *meta, *status, *members;
	} cases[] = {
	    {"ready", "", RUNNING ",'podIP':'10.0.0.1'", " x=10.0.0.1:8000"},
	    {"two families: the first", "",
	     RUNNING ",'podIP':'fd00::1','podIPs':[{'ip':'fd00::1'},{'ip':'10.0.0.1'}]",
	     " x=fd00::1:8000"},
	    {"no address yet", "", RUNNING, ""},
	    {"an empty list of addresses", "", RUNNING ",'podIP':'10.0.0.1','podIPs':[]",
	     " x=10.0.0.1:8000"},
	    {"pending", "", "'phase':'Pending'," READY ",'podIP':'10.0.0.1'", ""},
	    {"over", "", "'phase':'Succeeded'," READY ",'podIP':'10.0.0.1'", ""},
	    {"not ready", "",
	     "'phase':'Running','conditions':[{'type':'Ready','status':'False'}],"
	     "'podIP':'10.0.0.1'",
	     ""},
	    {"its containers are, the pod is not: a gate is shut", "",
	     "'phase':'Running','conditions':[{'type':'ContainersReady','status':'True'},"
	     "{'type':'Ready','status':'False'}],'podIP':'10.0.0.1'",
	     ""},
	    {"no conditions", "", "'phase':'Running','podIP':'10.0.0.1'", ""},
	    {"being deleted, still ready: it may have streams",
	     ",'deletionTimestamp':'2026-01-01T00:00:00Z'", RUNNING ",'podIP':'10.0.0.1'",
	     " x=10.0.0.1:8000!"},
	    {"being deleted, never seen ready", ",'deletionTimestamp':'2026-01-01T00:00:00Z'",
	     "'phase':'Running','podIP':'10.0.0.1'", ""},
	    {"another rank is active",
	     ",'annotations':{'inference.networking.k8s.io/active-ports':'8001, 8002'}",
	     RUNNING ",'podIP':'10.0.0.1'", ""},
	    {"this one is",
	     ",'annotations':{'inference.networking.k8s.io/active-ports':'x,8000 ,'}",
	     RUNNING ",'podIP':'10.0.0.1'", " x=10.0.0.1:8000"},
	    {"an address that is none", "", RUNNING ",'podIP':'10.0.0'", ""},
	    {"a phase that is no string", "", "'phase':7," READY ",'podIP':'10.0.0.1'", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = start();
		char want[256];

		pod_rest(w, "x", cases[i].meta, cases[i].status);
		resolve(w);
		snprintf(want, sizeof(want), "default/p(p):%s", cases[i].members);
		if (strcmp(pools(w), want) != 0)
			fail_msg("%s: %s, not %s", cases[i].what, pools(w), want);
		world_free(w);
	}
}

static void selectors(void **state)
{
	struct world *w = world_new();

	(void)state;
	put(w, KUBE_POOL, "default/two", 1, 1,
	    "'spec':{'selector':{'matchLabels':{'role':'decode','app':'x'}},"
	    "'targetPorts':[{'number':8000}]}");
	pod(w, "a", "'app':'x','role':'decode','z':'1'", "10.0.0.1", "True");
	pod(w, "b", "'app':'x'", "10.0.0.2", "True");
	pod(w, "c", "'app':'x','role':'prefill'", "10.0.0.3", "True");
	pod(w, "d", "'app':'decode','role':'x'", "10.0.0.4", "True");
	pod(w, "e", "", "10.0.0.5", "True");
	pod(w, "other/f", "'app':'x','role':'decode'", "10.0.0.6", "True");
	resolve(w);
	assert_string_equal(pools(w), "default/two(two): a=10.0.0.1:8000");

	/* A selector that takes nothing: accepted all the same, told as a problem. */
	gateway(w);
	put(w, KUBE_POOL, "default/none", 1, 1, POOL_SPEC("typo"));
	put(w, KUBE_ROUTE, "default/r", 1, 2,
	    "'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{'backendRefs':"
	    "[" POOL_REF("none") "]}]}");
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/none"),
			    "default/inference-gateway Accepted ResolvedRefs");
	assert_string_equal(problem(w, KUBE_POOL, "none"),
			    "the selector takes no pod that is ready");
	assert_int_equal(w->r->counts.pools_empty, 1);
	/* Problems are asked for at any time: they are good whatever becomes of their object. */
	gone(w, KUBE_POOL, "default", "none");
	assert_string_equal(problem(w, KUBE_POOL, "none"),
			    "the selector takes no pod that is ready");
	world_free(w);
}

/* Several ports: each is an endpoint; names and their order. */
static void ports(void **state)
{
	struct world *w = world_new();

	(void)state;
	put(w, KUBE_POOL, "a/p", 1, 1,
	    "'spec':{'selector':{'matchLabels':{'app':'p'}},'appProtocol':'kubernetes.io/h2c',"
	    "'targetPorts':[{'number':8000},{'number':80},{'number':8000}],"
	    "'endpointPickerRef':{'name':'x','failureMode':'FailOpen'}}");
	put(w, KUBE_POOL, "a-b/p", 1, 1, POOL_SPEC("p"));
	pod(w, "a/x", "'app':'p'", "10.0.0.1", "True");
	pod(w, "a/x-1", "'app':'p'", "10.0.0.2", "True");
	resolve(w);
	/* "a-b/p" sorts before "a/p". */
	assert_string_equal(pools(w), "a-b/p(a-b_p):; a/p(a_p): x-1-80=10.0.0.2:80 "
				      "x-1-8000=10.0.0.2:8000 x-80=10.0.0.1:80 "
				      "x-8000=10.0.0.1:8000");
	assert_true(w->plan->pools[1].h2c && w->plan->pools[1].fail_open);
	assert_false(w->plan->pools[0].h2c || w->plan->pools[0].fail_open);
	world_free(w);
}

static void draining(void **state)
{
	struct world *w = start();

	(void)state;
	pod(w, "x", "'app':'p'", "10.0.0.1", "True");
	pod(w, "y", "'app':'p'", "10.0.0.2", "True");
	resolve(w);
	/* No longer ready, no longer selected: both keep their streams. */
	pod(w, "x", "'app':'p'", "10.0.0.1", "False");
	pod(w, "y", "'app':'q'", "10.0.0.2", "True");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p): x=10.0.0.1:8000! y=10.0.0.2:8000!");
	/* It lasts while nothing changes, and ends as it began. */
	resolve(w);
	assert_string_equal(pools(w), "default/p(p): x=10.0.0.1:8000! y=10.0.0.2:8000!");
	pod(w, "x", "'app':'p'", "10.0.0.1", "True");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p): x=10.0.0.1:8000 y=10.0.0.2:8000!");
	/* Another machine under the name, and a pod that is gone: nothing to wait for. */
	pod(w, "x", "'app':'p'", "10.0.0.9", "False");
	gone(w, KUBE_POD, "default", "y");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p):");
	/* Its containers have ended. */
	pod(w, "x", "'app':'p'", "10.0.0.9", "True");
	resolve(w);
	pod_rest(w, "x", "", "'phase':'Failed','podIP':'10.0.0.9'");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p):");
	/* A rank that is not served any more; then the pool's names change with its ports, and
	 * what is served under a new name does not drain under the old. */
	pod(w, "x", "'app':'p'", "10.0.0.9", "True");
	resolve(w);
	put(w, KUBE_POOL, "default/p", 2, 1,
	    "'spec':{'selector':{'matchLabels':{'app':'p'}},'targetPorts':[{'number':8000},"
	    "{'number':8001}]}");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p): x-8000=10.0.0.9:8000 x-8001=10.0.0.9:8001");
	pod_rest(w, "x", ",'annotations':{'inference.networking.k8s.io/active-ports':'8001'}",
		 RUNNING ",'podIP':'10.0.0.9'");
	resolve(w);
	assert_string_equal(pools(w), "default/p(p): x-8000=10.0.0.9:8000! x-8001=10.0.0.9:8001");
	world_free(w);
}

static void options(void **state)
{
	static const struct {
		const char *notes, *remarks;
	} wrong[] = {
	    {"'spoa-inference/policy':'best'",
	     "annotation spoa-inference/policy: one of least-loaded, round-robin, random-of-two, "
	     "shortest-wait"},
	    {"'spoa-inference/max-inflight':'-1'",
	     "annotation spoa-inference/max-inflight: a number of 0 to 1000000"},
	    {"'spoa-inference/retry-after':'1e3','spoa-inference/when-full':''",
	     "annotation spoa-inference/when-full: one of queue, reject; "
	     "annotation spoa-inference/retry-after: a number of 1 to 3600"},
	    {"'spoa-inference/metrics-path':'metrics'",
	     "annotation spoa-inference/metrics-path: a path of a URL"},
	    {"'spoa-inference/models':'a,\\u0007'",
	     "annotation spoa-inference/models: a name that is none of a model"},
	    {"'spoa-inference/policy':7", "annotation spoa-inference/policy: not a string"},
	};
	struct world *w = start();
	const struct plan_pool *p;

	(void)state;
	world_take(
	    w, KUBE_POOL,
	    world_json(
		"{'metadata':{'namespace':'default','name':'p','annotations':{"
		"'spoa-inference/policy':'shortest-wait',"
		"'spoa-inference/when-full':'reject',"
		"'spoa-inference/max-inflight':'12',"
		"'spoa-inference/retry-after':'7',"
		"'spoa-inference/engine':'vllm',"
		"'spoa-inference/metrics-path':'/m',"
		"'spoa-inference/scheme':'https',"
		"'spoa-inference/models':' a , b/c ,','other/policy':'x'}}," POOL_SPEC("p") "}"));
	resolve(w);
	p = &w->plan->pools[0];
	assert_true(p->options.has_policy && p->options.policy == 3);
	assert_true(p->options.has_when_full && p->options.when_full == 1);
	assert_true(p->options.has_max_inflight && p->options.max_inflight == 12);
	assert_true(p->options.has_retry_after && p->options.retry_after == 7);
	assert_true(p->options.has_engine && p->options.engine == 1);
	assert_true(p->options.has_scheme && p->options.scheme == 2);
	assert_string_equal(p->options.metrics_path.ptr, "/m");
	assert_int_equal(p->nmodels, 2);
	assert_string_equal(p->models[0].ptr, "a");
	assert_string_equal(p->models[1].ptr, "b/c");
	assert_string_equal(problem(w, KUBE_POOL, "p"), "the selector takes no pod that is ready");

	put(w, KUBE_ROUTE, "default/r", 1, 2,
	    "'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{'backendRefs':"
	    "[" POOL_REF("p") "]}]}");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char text[1024];

		snprintf(
		    text, sizeof(text),
		    "{'metadata':{'namespace':'default','name':'p','annotations':{%s}}," POOL_SPEC(
			"p") "}",
		    wrong[i].notes);
		assert_int_equal(world_take(w, KUBE_POOL, world_json(text)), KUBE_SPEC);
		resolve(w);
		assert_string_equal(said(w, KUBE_POOL, "default/p"),
				    "default/inference-gateway Accepted ResolvedRefs");
		assert_string_equal(message(w, KUBE_POOL, "default/p", "Accepted"),
				    wrong[i].remarks);
		assert_string_equal(problem(w, KUBE_POOL, "p"), wrong[i].remarks);
		p = &w->plan->pools[0];
		assert_false(p->options.has_policy || p->options.has_when_full ||
			     p->options.has_max_inflight || p->options.has_retry_after ||
			     p->options.metrics_path.ptr);
	}
	world_free(w);
}

/* What cannot be served as written; the version before serves on. */
static void wrong_pools(void **state)
{
	static const struct {
		const char *spec, *message;
	} cases[] = {
	    {"'spec':{'targetPorts':[{'number':8000}]}",
	     "spec.selector.matchLabels: at least one label"},
	    {"'spec':{'selector':{'matchLabels':{'app':'p'}}}", "spec.targetPorts: 1 to 8 ports"},
	    {"'spec':{'selector':{'matchLabels':{'app':'p'}},'targetPorts':[{'number':1},"
	     "{'number':2},{'number':3},{'number':4},{'number':5},{'number':6},{'number':7},"
	     "{'number':8},{'number':9}]}",
	     "spec.targetPorts: 1 to 8 ports"},
	    {"'spec':{'selector':{'matchLabels':{'app':'p'}},'targetPorts':[{'number':8000}],"
	     "'appProtocol':'grpc'}",
	     "spec.appProtocol: neither http nor kubernetes.io/h2c"},
	    {"'spec':{'selector':{'matchLabels':{'app':7}},'targetPorts':[{'number':8000}]}",
	     "spec.selector.matchLabels.app: not a string"},
	    {"'spec':{'selector':{'matchLabels':{'app':'p'}},'targetPorts':[{'number':70000}]}",
	     "spec.targetPorts[0].number: not an integer in its range"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = start();
		const char *good = "default/p(p): x=10.0.0.1:8000";

		pod(w, "x", "'app':'p'", "10.0.0.1", "True");
		put(w, KUBE_ROUTE, "default/r", 1, 2,
		    "'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{"
		    "'backendRefs':[" POOL_REF("p") "]}]}");
		put(w, KUBE_POOL, "default/p", 2, 1, cases[i].spec);
		resolve(w);
		assert_string_equal(pools(w), good);
		assert_string_equal(rules(w), "* / > default/p*1 default/r");
		assert_string_equal(said(w, KUBE_POOL, "default/p"),
				    "default/inference-gateway Accepted=False/UnsupportedValue "
				    "ResolvedRefs");
		assert_string_equal(message(w, KUBE_POOL, "default/p", "Accepted"),
				    cases[i].message);
		/* One that never could be served: the reference is resolved, and leads nowhere. */
		put(w, KUBE_POOL, "default/p", 1, 7, cases[i].spec);
		resolve(w);
		assert_string_equal(pools(w), "");
		assert_string_equal(rules(w), "* / > -*1 default/r");
		assert_string_equal(said(w, KUBE_ROUTE, "default/r"),
				    "inference-gateway Accepted ResolvedRefs");
		world_free(w);
	}
}

/* Whose pools are whose; InferencePoolResolvedRefsCondition. */
static void parents(void **state)
{
	struct world *w = start();
	const char *route = "'spec':{'parentRefs':[{'name':'%s','namespace':'default'}],'rules':[{"
			    "'backendRefs':[" POOL_REF("p") "]%s}]}";
	char spec[512];

	(void)state;
	put(w, KUBE_GATEWAY, "default/second", 1, 0, GATEWAY_SPEC);
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"), "nothing");
	snprintf(spec, sizeof(spec), route, "inference-gateway", "");
	put(w, KUBE_ROUTE, "default/one", 1, 2, spec);
	put(w, KUBE_ROUTE, "default/again", 1, 2, spec);
	snprintf(spec, sizeof(spec), route, "second", "");
	put(w, KUBE_ROUTE, "default/two", 1, 2, spec);
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"),
			    "default/inference-gateway Accepted ResolvedRefs; default/second "
			    "Accepted ResolvedRefs");
	write_all(w);
	gone(w, KUBE_ROUTE, "default", "one");
	gone(w, KUBE_ROUTE, "default", "again");
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"),
			    "default/second Accepted ResolvedRefs");
	/* A route that is not accepted refers to it, too. */
	snprintf(spec, sizeof(spec), route, "inference-gateway", ",'retry':{}");
	put(w, KUBE_ROUTE, "default/bad", 1, 2, spec);
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"),
			    "default/inference-gateway Accepted=False/HTTPRouteNotAccepted "
			    "ResolvedRefs; default/second Accepted ResolvedRefs");
	gone(w, KUBE_ROUTE, "default", "bad");
	gone(w, KUBE_ROUTE, "default", "two");
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"), "");
	write_all(w);
	assert_int_equal(
	    cJSON_GetArraySize(cJSON_GetObjectItem(
		cJSON_GetObjectItem(world_find(w, KUBE_POOL, "default", "p")->json, "status"),
		"parents")),
	    0);
	resolve(w);
	assert_string_equal(said(w, KUBE_POOL, "default/p"), "nothing");
	assert_string_equal(pools(w), "default/p(p):");
	/* One that only another controller's Gateway uses is left to it; one of ours too is not. */
	put(w, KUBE_POOL, "default/p", 2, 1,
	    POOL_SPEC("p") ",'status':{'parents':[{'controllerName':'example.com/x',"
			   "'parentRef':{'name':'theirs'}}]}");
	resolve(w);
	assert_string_equal(pools(w), "");
	snprintf(spec, sizeof(spec), route, "second", "");
	put(w, KUBE_ROUTE, "default/two", 1, 2, spec);
	resolve(w);
	assert_string_equal(pools(w), "default/p(p):");
	world_free(w);
}

/* --- ConfigMaps --- */

static void map(struct world *w, const char *name, int created, const char *base,
		const char *adapters_yaml)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "{'metadata':{'namespace':'default','name':'%s','uid':'%s','creationTimestamp':"
		 "'2026-01-01T00:00:%02dZ','labels':{'inference.networking.k8s.io/bbr-managed':"
		 "'true'}},'data':{'baseModel':'%s','adapters':'%s'}}",
		 name, name, created, base, adapters_yaml);
	world_take(w, KUBE_CONFIGMAP, world_json(text));
}

static void forms(void **state)
{
	static const struct {
		const char *base, *yaml, *adapters;
	} cases[] = {
	    {"b", "- x\\n- y\\n", "b=b x=b y=b"},
	    {" b\\n", "  - ' '", "b=b"},
	    {"b", "", "b=b"},
	    {"b", " \\n", "b=b"},
	    {"b", "[x, y z, ~, \\\"\\\"]", "b=b x=b y z=b"},
	    {"b", "- x\\n- x\\n- b\\n", "b=b x=b"},
	    {"b", "- org/Model:1.0\\n# more\\n- \\\"  spaced  \\\"\\n",
	     "b=b org/Model:1.0=b spaced=b"},
	    {"", "- x\\n", ""},
	    {"  ", "- x\\n", ""},
	    {"b", "x: y", ""},
	    {"b", "x", ""},
	    {"b", "- x: y", ""},
	    {"b", "- [", ""},
	    {"b", "- \\\"\\\\u0007\\\"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = world_new();
		char yaml[256];
		size_t n = 0;

		/* world_json() takes ' for ". */
		for (const char *c = cases[i].yaml; *c; c++)
			if (*c != '\'')
				yaml[n++] = *c;
		yaml[n] = '\0';
		map(w, "m", 1, cases[i].base, yaml);
		resolve(w);
		if (strcmp(adapters(w), cases[i].adapters) != 0)
			fail_msg("%s: %s, not %s", cases[i].yaml, adapters(w), cases[i].adapters);
		if (!cases[i].adapters[0])
			assert_int_equal(strncmp(problem(w, KUBE_CONFIGMAP, "m"), "data.", 5), 0);
		world_free(w);
	}
}

static void configmaps(void **state)
{
	struct world *w = world_new();

	(void)state;
	map(w, "one", 1, "base", "- a\\n- b\\n");
	map(w, "two", 2, "base", "- c\\n");
	resolve(w);
	assert_string_equal(adapters(w), "a=base b=base base=base c=base");

	/* Deleting one deletes its mapping, and that alone. */
	assert_int_equal(gone(w, KUBE_CONFIGMAP, "default", "one"), KUBE_SPEC);
	resolve(w);
	assert_string_equal(adapters(w), "base=base c=base");

	/* Another base model: the new name is known, the old one no more. */
	map(w, "two", 2, "other", "- c\\n");
	resolve(w);
	assert_string_equal(adapters(w), "c=other other=other");

	/* One adapter in two: the older has it; taken out of one it stays in the other. */
	map(w, "three", 3, "third", "- c\\n- d\\n");
	resolve(w);
	assert_string_equal(adapters(w), "c=other d=third other=other third=third");
	assert_string_equal(
	    problem(w, KUBE_CONFIGMAP, "three"),
	    "adapter c: ConfigMap default/two, which is older, has it under another "
	    "base model");
	map(w, "two", 2, "other", "");
	resolve(w);
	assert_string_equal(adapters(w), "c=third d=third other=other third=third");
	assert_string_equal(problem(w, KUBE_CONFIGMAP, "three"), "");

	/* The label off: as if it were gone. On another one: nothing to do. */
	assert_int_equal(put(w, KUBE_CONFIGMAP, "default/three", 0, 3,
			     "'data':{'baseModel':'third','adapters':'- c'}"),
			 KUBE_SPEC);
	resolve(w);
	assert_string_equal(adapters(w), "other=other");
	assert_int_equal(put(w, KUBE_CONFIGMAP, "default/kube-root-ca", 0, 3, "'data':{'a':'b'}"),
			 KUBE_SAME);

	/* A base model that another ConfigMap calls an adapter is one. */
	map(w, "two", 2, "other", "");
	map(w, "four", 4, "top", "- other\\n");
	resolve(w);
	assert_string_equal(adapters(w), "other=top top=top");
	gone(w, KUBE_CONFIGMAP, "default", "four");

	/* One that cannot be read keeps what it said. */
	map(w, "two", 2, "other", "- e\\n");
	map(w, "two", 2, "other", "- [\\n");
	resolve(w);
	assert_string_equal(adapters(w), "e=other other=other");
	world_free(w);
}

/* The labels of the three generations. */
static void labels(void **state)
{
	static const struct {
		const char *label;
		bool counts;
	} cases[] = {
	    {"'inference.networking.k8s.io/bbr-managed':'true'", true},
	    {"'inference-gateway.k8s.io/managed':'true'", true},
	    {"'inference.llm-d.ai/ipp-managed':'true'", true},
	    {"'inference.networking.k8s.io/bbr-managed':'false'", false},
	    {"'inference.networking.k8s.io/bbr-managed':true", false},
	    {"'managed':'true'", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = world_new();
		char text[512];

		snprintf(text, sizeof(text),
			 "{'metadata':{'namespace':'n','name':'m','labels':{%s}},"
			 "'data':{'baseModel':'b'}}",
			 cases[i].label);
		world_take(w, KUBE_CONFIGMAP, world_json(text));
		resolve(w);
		assert_string_equal(adapters(w), cases[i].counts ? "b=b" : "");
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(membership), cmocka_unit_test(selectors),
	    cmocka_unit_test(ports),      cmocka_unit_test(draining),
	    cmocka_unit_test(options),    cmocka_unit_test(wrong_pools),
	    cmocka_unit_test(parents),    cmocka_unit_test(forms),
	    cmocka_unit_test(configmaps), cmocka_unit_test(labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
