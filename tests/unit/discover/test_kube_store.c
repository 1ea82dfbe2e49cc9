/* The store, and what decoders make of objects that are not as they should be. */
#include "discover/kube/store.h"

#include <errno.h>
#include "unit/discover/kube_world.h"

#include "discover/kube/duration.h"
#include "discover/kube/hostname.h"
#include "discover/kube/reader.h"
#include "failmalloc.h"

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} cases[] = {
	    {"300s", 300000},
	    {"1h30m", 5400000},
	    {"500ms", 500},
	    {"0s", 0},
	    {"1h1m1s1ms", 3661001},
	    {"99999h", 359996400000},
	    {"10m10s", 610000},
	    {"", -1},
	    {"s", -1},
	    {"300", -1},
	    {"1.5s", -1},
	    {"-1s", -1},
	    {"1d", -1},
	    {"100000s", -1},
	    {"1s1s1s1s1s", -1},
	    {"1s ", -1},
	    {" 1s", -1},
	    {"1us", -1},
	    {"1m1", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = 0;
		bool good = kube_duration_parse(view_str(cases[i].text), &ms);

		if (good != (cases[i].ms >= 0) || (good && ms != (uint64_t)cases[i].ms))
			fail_msg("%s: %d %lu", cases[i].text, good, (unsigned long)ms);
	}
}

static void hostnames(void **state)
{
	static const struct {
		const char *a, *b, *both; /* NULL: nothing */
	} pairs[] = {
	    {"", "", ""},
	    {"a.example", "", "a.example"},
	    {"a.example", "a.example", "a.example"},
	    {"a.example", "b.example", NULL},
	    {"*.example", "a.example", "a.example"},
	    {"*.example", "a.b.example", "a.b.example"},
	    {"*.example", "example", NULL},
	    {"*.example", "badexample", NULL},
	    {"*.example", "*.b.example", "*.b.example"},
	    {"*.a.example", "*.b.example", NULL},
	    {"*.example", "*.example", "*.example"},
	    {"*.example", "*.badexample", NULL},
	};
	static const char *const bad[] = {"",    "*",   "*.",  "a..b",     ".a",   "a.",
					  "-a",  "a-",  "a_b", "10.0.0.1", "*a.b", "a.*",
					  "A.b", "a b", "::1", "*.*.a"};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct view a = view_str(pairs[i].a), b = view_str(pairs[i].b), got;

		for (int turn = 0; turn < 2; turn++) {
			bool any = turn ? kube_hostname_intersect(a, b, &got)
					: kube_hostname_intersect(b, a, &got);

			assert_int_equal(any, pairs[i].both != NULL);
			if (any)
				assert_true(view_eq(got, view_str(pairs[i].both)));
		}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kube_hostname_valid(view_str(bad[i])))
			fail_msg("%s", bad[i]);
	assert_true(kube_hostname_valid(VIEW_LIT("a")));
	assert_true(kube_hostname_valid(VIEW_LIT("*.x-1.example")));
	assert_true(kube_hostname_valid(VIEW_LIT("1.2.3.4.nip.io")));
}

static void times(void **state)
{
	(void)state;
	assert_int_equal(kube_reader_time(VIEW_LIT("1970-01-01T00:00:01Z")), 1);
	assert_int_equal(kube_reader_time(VIEW_LIT("2026-01-01T00:00:00Z")), 1767225600);
	assert_int_equal(kube_reader_time(VIEW_LIT("2026-01-01T00:00:00+01:00")), 0);
	assert_int_equal(kube_reader_time(VIEW_LIT("2026-13-01T00:00:00Z")), 0);
	assert_int_equal(kube_reader_time(VIEW_LIT("2026-01-01T00:00:0xZ")), 0);
	assert_int_equal(kube_reader_time(VIEW_LIT("2026-01-01 00:00:00Z")), 0);
	assert_int_equal(kube_reader_time(VIEW_LIT("-026-01-01T00:00:00Z")), 0);
	assert_int_equal(kube_reader_time(VIEW_LIT("")), 0);
	assert_int_equal(kube_reader_time(VIEW_NULL), 0);
}

#define LONG "1234567890123456789012345678901234567890123456789012345678901234"

static void names(void **state)
{
	static const char *const bad[] = {
	    "{}",
	    "[]",
	    "7",
	    "{'metadata':{'namespace':'n'}}",
	    "{'metadata':{'name':'x'}}",
	    "{'metadata':{'namespace':'n','name':7}}",
	    "{'metadata':{'namespace':'n','name':''}}",
	    "{'metadata':{'namespace':'n','name':'a b'}}",
	    "{'metadata':{'namespace':'n','name':'a\\nb'}}",
	    "{'metadata':{'namespace':'n','name':'-a'}}",
	    "{'metadata':{'namespace':'n','name':'A'}}",
	    "{'metadata':{'namespace':'n/m','name':'a'}}",
	    /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): LONG is a part of it */
	    "{'metadata':{'namespace':'n','name':'a','resourceVersion':'" LONG "'}}",
	};
	struct world *w = world_new();
	enum kube_change change;
	const char *error;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cJSON *json = world_json(bad[i]);

		assert_int_equal(kube_store_upsert(w->s, KUBE_POD, json, &change, &error), -EINVAL);
		cJSON_Delete(json);
	}
	assert_int_equal(kube_store_count(w->s, KUBE_POD), 0);
	world_free(w);
}

/* What is told as a change and what is not. */
static void changes(void **state)
{
	struct world *w = world_new();
	const char *heartbeat =
	    "{'metadata':{'namespace':'default','name':'x','uid':'default/x','labels':{'app':'p'},"
	    "'managedFields':[{'time':'%d'}]},'spec':{'nodeName':'%d'},'status':{'phase':'Running',"
	    "'podIP':'10.0.0.1','podIPs':[{'ip':'10.0.0.1'}],'conditions':["
	    "{'type':'Initialized','status':'True','lastProbeTime':'%d'},"
	    "{'type':'Ready','status':'True','lastTransitionTime':'%d'}],"
	    "'containerStatuses':[{'restartCount':%d}]}}";
	char text[1024];

	(void)state;
	assert_int_equal(pod(w, "x", "'app':'p'", "10.0.0.1", "True"), KUBE_SPEC);
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), heartbeat, i, i, i, i, i);
		assert_int_equal(world_take(w, KUBE_POD, world_json(text)), KUBE_SAME);
	}
	assert_int_equal(pod(w, "x", "'app':'p'", "10.0.0.1", "False"), KUBE_SPEC);
	assert_int_equal(pod(w, "x", "'app':'q'", "10.0.0.1", "False"), KUBE_SPEC);
	assert_int_equal(pod(w, "x", "'app':'q'", "10.0.0.2", "False"), KUBE_SPEC);
	assert_int_equal(pod(w, "x", "'app':'q'", "10.0.0.2", "False"), KUBE_SAME);

	gateway(w);
	assert_int_equal(put(w, KUBE_GATEWAY, "default/inference-gateway", 1, 0, GATEWAY_SPEC),
			 KUBE_SAME);
	/* The version counts for the next patch all the same. */
	assert_int_equal(atoi(kube_store_find(w->s, KUBE_GATEWAY, VIEW_LIT("default"),
					      VIEW_LIT("inference-gateway"))
				  ->version.ptr),
			 w->version);
	assert_int_equal(put(w, KUBE_GATEWAY, "default/inference-gateway", 1, 0,
			     GATEWAY_SPEC ",'status':{'addresses':[]}"),
			 KUBE_STATUS);
	assert_int_equal(put(w, KUBE_GATEWAY, "default/inference-gateway", 2, 0,
			     GATEWAY_SPEC ",'status':{'addresses':[]}"),
			 KUBE_SPEC);
	assert_int_equal(kube_store_remove(w->s, KUBE_POD, "default", "nope"), KUBE_SAME);
	assert_int_equal(kube_store_remove(w->s, KUBE_CLASS, NULL, "inference-haproxy"), KUBE_SPEC);
	world_free(w);
}

/* Whatever order objects come in, they stand in order and are found; a list replaces. */
static void lists(void **state)
{
	struct world *w = world_new();
	size_t n, count;
	const struct kube_entry *const *all;

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		unsigned k = i * 7919 % 500;
		char name[64];

		snprintf(name, sizeof(name), "ns-%u/pod-%u", k % 7, k);
		pod(w, name, "'app':'p'", "10.0.0.1", "True");
	}
	all = kube_store_all(w->s, KUBE_POD, &n);
	assert_int_equal(n, 500);
	for (size_t i = 1; i < n; i++) {
		int order = strcmp(all[i - 1]->namespace.ptr, all[i]->namespace.ptr);

		assert_true(order < 0 ||
			    (order == 0 && strcmp(all[i - 1]->name.ptr, all[i]->name.ptr) < 0));
	}
	for (unsigned k = 0; k < 7; k++) {
		char ns[16];
		size_t first;

		snprintf(ns, sizeof(ns), "ns-%u", k);
		first = kube_store_range(w->s, KUBE_POD, view_str(ns), &count);
		assert_int_equal(count, 500 / 7 + (k < 500 % 7));
		assert_string_equal(all[first]->namespace.ptr, ns);
		assert_string_equal(all[first + count - 1]->namespace.ptr, ns);
	}
	kube_store_range(w->s, KUBE_POD, VIEW_LIT("ns"), &count);
	assert_int_equal(count, 0);
	kube_store_range(w->s, KUBE_POD, VIEW_LIT("zz"), &count);
	assert_int_equal(count, 0);

	/* A list that breaks off changes nothing; a whole one takes away what is not in it. */
	kube_store_begin(w->s, KUBE_POD);
	pod(w, "ns-1/pod-1", "'app':'p'", "10.0.0.1", "True");
	assert_int_equal(kube_store_count(w->s, KUBE_POD), 500);
	kube_store_begin(w->s, KUBE_POD);
	pod(w, "ns-1/pod-1", "'app':'p'", "10.0.0.1", "True");
	pod(w, "ns-2/new", "'app':'p'", "10.0.0.1", "True");
	assert_int_equal(kube_store_sweep(w->s, KUBE_POD), 499);
	assert_int_equal(kube_store_count(w->s, KUBE_POD), 2);
	assert_non_null(kube_store_find(w->s, KUBE_POD, VIEW_LIT("ns-2"), VIEW_LIT("new")));
	assert_null(kube_store_find(w->s, KUBE_POD, VIEW_LIT("ns-2"), VIEW_LIT("pod-2")));
	world_free(w);
}

/* Bytes of a pod as clusters have them stay below what store.h promises, and go when it goes. */
static void memory(void **state)
{
	struct world *w = world_new();
	size_t empty = kube_store_bytes(w->s), full;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		char name[64];

		snprintf(name, sizeof(name), "default/vllm-llama3-8b-instruct-7d9f-%05u", i);
		pod(w, name,
		    "'app':'vllm-llama3-8b-instruct','pod-template-hash':'7d9f8c6b5',"
		    "'app.kubernetes.io/name':'vllm','app.kubernetes.io/instance':'llama',"
		    "'app.kubernetes.io/managed-by':'Helm','helm.sh/chart':'vllm-1.2.3',"
		    "'topology.kubernetes.io/zone':'eu-west-1a','team':'inference'",
		    "10.0.0.1", "True");
	}
	full = kube_store_bytes(w->s);
	if (full - empty >= 1000 * 1280)
		fail_msg("%zu bytes a pod", (full - empty) / 1000);
	for (unsigned i = 0; i < 1000; i++) {
		char name[64];

		snprintf(name, sizeof(name), "vllm-llama3-8b-instruct-7d9f-%05u", i);
		gone(w, KUBE_POD, "default", name);
	}
	assert_true(kube_store_bytes(w->s) - empty <= 1024 * sizeof(void *));
	world_free(w);
}

/* --- every value of every object, replaced by what it should not be --- */

static const struct {
	enum kube_kind kind;
	const char *text;
} whole[] = {
    {KUBE_POD, "{'metadata':{'namespace':'n','name':'o','uid':'u','generation':1,"
	       "'creationTimestamp':'2026-01-01T00:00:00Z','labels':{'a':'b'},"
	       "'annotations':{'inference.networking.k8s.io/active-ports':'80'}},'status':{"
	       "'phase':'Running','podIP':'10.0.0.1','podIPs':[{'ip':'10.0.0.1'}],"
	       "'conditions':[{'type':'Ready','status':'True'}]}}"},
    {KUBE_NAMESPACE, "{'metadata':{'name':'o','labels':{'a':'b'}}}"},
    {KUBE_SERVICE, "{'metadata':{'namespace':'n','name':'o'},'spec':{'type':'LoadBalancer',"
		   "'clusterIP':'10.0.0.1','clusterIPs':['10.0.0.1'],'externalIPs':['1.2.3.4'],"
		   "'ports':[{'port':80,'protocol':'TCP'}]},'status':{'loadBalancer':{'ingress':["
		   "{'ip':'1.2.3.4'},{'hostname':'x'}]}}}"},
    {KUBE_CONFIGMAP, "{'metadata':{'namespace':'n','name':'o','labels':{"
		     "'inference.networking.k8s.io/bbr-managed':'true'}},'data':{'baseModel':'b',"
		     "'adapters':'- a'}}"},
    {KUBE_CLASS, "{'metadata':{'name':'o'},'spec':{'controllerName':'" CONTROLLER
		 "','parametersRef':{}},'status':{'conditions':[{'type':'Accepted',"
		 "'status':'True','reason':'Accepted','message':'',"
		 "'lastTransitionTime':'2026-01-01T00:00:00Z','observedGeneration':1}]}}"},
    {KUBE_GATEWAY,
     "{'metadata':{'namespace':'n','name':'o'},'spec':{'gatewayClassName':'c','addresses':["
     "{'type':'IPAddress','value':'1.2.3.4'}],'infrastructure':{'parametersRef':{}},"
     "'tls':{'backend':{},'frontend':{}},'listeners':[{'name':'l','port':443,"
     "'protocol':'HTTPS','hostname':'a.example','tls':{'mode':'Terminate','options':{'a':'b'},"
     "'certificateRefs':[{'group':'','kind':'Secret','name':'s','namespace':'n'}]},"
     "'allowedRoutes':{'kinds':[{'group':'g','kind':'k'}],'namespaces':{'from':'Selector',"
     "'selector':{'matchLabels':{'a':'b'},'matchExpressions':[{'key':'k','operator':'In',"
     "'values':['v']}]}}}}]},'status':{'addresses':[{'type':'IPAddress','value':'1.2.3.4'}],"
     "'conditions':[],'listeners':[{'name':'l','attachedRoutes':1,'supportedKinds':["
     "{'group':'gateway.networking.k8s.io','kind':'HTTPRoute'}],'conditions':[{"
     "'type':'Accepted','status':'True'}]}]}}"},
    {KUBE_ROUTE,
     "{'metadata':{'namespace':'n','name':'o'},'spec':{'parentRefs':[{'group':'g','kind':'k',"
     "'namespace':'n','name':'o','sectionName':'l','port':80}],'hostnames':['a.example'],"
     "'rules':[{'name':'r','matches':[{'path':{'type':'Exact','value':'/'},'method':'GET',"
     "'headers':[{'type':'Exact','name':'a','value':'b'}],'queryParams':[{'name':'q'}]}],"
     "'filters':[{'type':'RequestHeaderModifier','requestHeaderModifier':{'set':[{'name':'a',"
     "'value':'b'}],'add':[{'name':'a','value':'b'}],'remove':['x']}}],'backendRefs':["
     "{'group':'g','kind':'k','namespace':'n','name':'p','port':80,'weight':1,'filters':[{}]}],"
     "'timeouts':{'request':'1s','backendRequest':'1s'},'retry':{},'sessionPersistence':{}}]},"
     "'status':{'parents':[{'controllerName':'" CONTROLLER "','parentRef':{'group':'g',"
     "'kind':'Gateway','namespace':'n','name':'o','sectionName':'l','port':80},'conditions':[{"
     "'type':'Accepted','status':'True','reason':'r','message':'m','observedGeneration':1,"
     "'lastTransitionTime':'t'}]},{'controllerName':'x','parentRef':{}}]}}"},
    {KUBE_GRANT, "{'metadata':{'namespace':'n','name':'o'},'spec':{'from':[{'group':'g',"
		 "'kind':'k','namespace':'n'}],'to':[{'group':'g','kind':'k','name':'o'}]}}"},
    {KUBE_POOL,
     "{'metadata':{'namespace':'n','name':'o','annotations':{'spoa-inference/models':'a'}},"
     "'spec':{'selector':{'matchLabels':{'a':'b'}},'targetPorts':[{'number':80}],"
     "'appProtocol':'http','endpointPickerRef':{'name':'x','failureMode':'FailOpen'}},"
     "'status':{'parents':[{'parentRef':{'kind':'Status','name':'default'}}]}}"},
};

/* The @at-th value below @o in its place; NULL: there are not so many. */
static cJSON *nth(cJSON *o, size_t *at)
{
	cJSON *child, *found;

	cJSON_ArrayForEach(child, o)
	{
		if ((*at)-- == 0)
			return child;
		found = nth(child, at);
		if (found)
			return found;
	}
	return NULL;
}

static void spoil(cJSON *o, cJSON *value, const char *with)
{
	cJSON *other = world_json(with), moved = *value;

	(void)o;
	/* The value keeps its name and place and gets another content. */
	value->child = other->child;
	value->type = other->type;
	value->valuestring = other->valuestring;
	value->valueint = other->valueint;
	value->valuedouble = other->valuedouble;
	other->child = moved.child;
	other->type = moved.type & ~cJSON_StringIsConst;
	other->valuestring = moved.valuestring;
	cJSON_Delete(other);
}

static void mutations(void **state)
{
	static const char *const others[] = {
	    "null",      "7",  "-1", "1e300", "0.5",      "true",        "''",  "'x'",
	    "'\\u0001'", "[]", "{}", "[[]]",  "{'a':{}}", "[7,null,{}]", "'*'", "{'':''}"};
	struct world *w = world_new();
	char *patch;

	(void)state;
	gateway(w);
	put(w, KUBE_CLASS, "c", 1, 0, "'spec':{'controllerName':'" CONTROLLER "'}");
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
			for (size_t at = 0;; at++) {
				cJSON *json = world_json(whole[i].text), *value;
				size_t left = at;
				enum kube_change change;
				const char *error;

				value = nth(json, &left);
				if (!value) {
					cJSON_Delete(json);
					break;
				}
				spoil(json, value, others[k]);
				if (kube_store_upsert(w->s, whole[i].kind, json, &change, &error) ==
				    0) {
					resolve(w);
					for (size_t x = 0; x < w->r->nwanted; x++)
						if (diff(w, &w->r->wanted[x], &patch) ==
						    KUBE_DIFF_PATCH)
							free(patch);
				}
				cJSON_Delete(json);
			}
	world_free(w);
}

/* --- memory that runs out --- */

static void starving(void **state)
{
	long live;

	(void)state;
	for (size_t i = 1;; i++) {
		struct kube_store_conf conf = {true, VIEW_LIT(CONTROLLER)};
		struct kube_settings set = {.controller = VIEW_LIT(CONTROLLER),
					    .namespace = VIEW_LIT("n"),
					    .header_rules = true,
					    .all_namespaces = true};
		cJSON *json[sizeof(whole) / sizeof(whole[0])];
		struct kube_resolved *r = NULL;
		struct kube_store *s;
		bool failed = false;

		for (size_t k = 0; k < sizeof(whole) / sizeof(whole[0]); k++)
			json[k] = world_json(whole[k].text);
		failmalloc_arm(i);
		s = kube_store_new(&conf);
		failed |= !s;
		for (size_t k = 0; s && k < sizeof(whole) / sizeof(whole[0]); k++) {
			enum kube_change change;
			const char *error;
			int got = kube_store_upsert(s, whole[k].kind, json[k], &change, &error);

			assert_true(got == 0 || got == -ENOMEM);
			failed |= got != 0;
		}
		if (s) {
			int got = kube_resolve(s, &set, NULL, &r);

			assert_true(got == 0 || got == -ENOMEM);
			failed |= got != 0;
		}
		for (size_t k = 0; r && k < r->nwanted; k++) {
			char *patch = NULL;
			int got = kube_status_diff(s, &set, &r->wanted[k], NOW, &patch);

			assert_true(got >= 0 || got == -ENOMEM);
			failed |= got < 0;
			free(patch);
		}
		kube_resolved_free(r);
		kube_store_free(s);
		if (!failmalloc_disarm(&live)) {
			assert_false(failed);
			for (size_t k = 0; k < sizeof(whole) / sizeof(whole[0]); k++)
				cJSON_Delete(json[k]);
			break;
		}
		assert_int_equal(live, 0);
		for (size_t k = 0; k < sizeof(whole) / sizeof(whole[0]); k++)
			cJSON_Delete(json[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(durations), cmocka_unit_test(hostnames), cmocka_unit_test(times),
	    cmocka_unit_test(names),     cmocka_unit_test(changes),   cmocka_unit_test(lists),
	    cmocka_unit_test(memory),    cmocka_unit_test(mutations), cmocka_unit_test(starving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
