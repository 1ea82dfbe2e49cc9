/*
 * Statuses: what is written, what is left alone, and that two replicas with the same objects never
 * answer each other.
 */
#include "unit/discover/kube_world.h"

static const cJSON *at(const cJSON *o, const char *path)
{
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key = strtok_r(copy, "/", &save); key; key = strtok_r(NULL, "/", &save))
		o = cJSON_IsArray(o) ? cJSON_GetArrayItem(o, atoi(key))
				     : cJSON_GetObjectItemCaseSensitive(o, key);
	return o;
}

static const char *text_at(struct world *w, enum kube_kind kind, const char *ns, const char *name,
			   const char *path)
{
	const cJSON *item = at(world_find(w, kind, ns, name)->json, path);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static int number_at(struct world *w, enum kube_kind kind, const char *ns, const char *name,
		     const char *path)
{
	const cJSON *item = at(world_find(w, kind, ns, name)->json, path);

	return cJSON_IsNumber(item) ? item->valueint : -1;
}

#define ROUTE_SPEC                                                                                 \
	"'spec':{'parentRefs':[{'group':'gateway.networking.k8s.io','kind':'Gateway',"             \
	"'name':'inference-gateway'}],'rules':[{'backendRefs':[" POOL_REF("p") "]}]}"

static struct world *start(void)
{
	struct world *w = world_new();

	gateway(w);
	put(w, KUBE_POOL, "default/p", 1, 1, POOL_SPEC("p"));
	put(w, KUBE_ROUTE, "default/r", 1, 2, ROUTE_SPEC);
	return w;
}

static void first_writing(void **state)
{
	struct world *w = start();
	char *patch = NULL;
	cJSON *json;

	(void)state;
	resolve(w);
	assert_int_equal(diff(w, wanted(w, KUBE_ROUTE, "default/r"), &patch), KUBE_DIFF_PATCH);
	json = world_json(
	    "{'metadata':{'resourceVersion':'4'},'status':{'parents':[{'parentRef':{"
	    "'group':'gateway.networking.k8s.io','kind':'Gateway','name':'inference-gateway'},"
	    "'controllerName':'" CONTROLLER "','conditions':["
	    "{'type':'Accepted','status':'True','reason':'Accepted','message':'',"
	    "'observedGeneration':1,'lastTransitionTime':'" NOW "'},"
	    "{'type':'ResolvedRefs','status':'True','reason':'ResolvedRefs','message':'',"
	    "'observedGeneration':1,'lastTransitionTime':'" NOW "'}]}]}}");
	{
		char *want = cJSON_PrintUnformatted(json);

		assert_string_equal(patch, want);
		cJSON_free(want);
	}
	cJSON_Delete(json);
	free(patch);
	assert_int_equal(write_all(w), 4);
	assert_int_equal(write_all(w), 0);
	assert_string_equal(
	    text_at(w, KUBE_POOL, "default", "p", "status/parents/0/parentRef/name"),
	    "inference-gateway");
	assert_int_equal(number_at(w, KUBE_GATEWAY, "default", "inference-gateway",
				   "status/listeners/0/attachedRoutes"),
			 1);
	assert_string_equal(text_at(w, KUBE_GATEWAY, "default", "inference-gateway",
				    "status/listeners/0/supportedKinds/0/kind"),
			    "HTTPRoute");
	world_free(w);
}

/* A condition keeps its time while its status stays; a new generation is written all the same. */
static void times(void **state)
{
	struct world *w = start();
	const char *then = "2026-02-03T04:05:06Z";
	char status[1024];

	(void)state;
	snprintf(status, sizeof(status),
		 ROUTE_SPEC ",'status':{'parents':[{'parentRef':{'name':'inference-gateway'},"
			    "'controllerName':'" CONTROLLER "','conditions':["
			    "{'type':'ResolvedRefs','status':'False','reason':'BackendNotFound',"
			    "'message':'x','observedGeneration':1,'lastTransitionTime':'%s'},"
			    "{'type':'example.com/Mine','status':'True','reason':'R','message':'m',"
			    "'lastTransitionTime':'%s'},"
			    "{'type':'PartiallyInvalid','status':'True',"
			    "'reason':'UnsupportedValue','message':'Dropped Rule(s) 1',"
			    "'observedGeneration':1,'lastTransitionTime':'%s'},"
			    "{'type':'Accepted','status':'True','reason':'Accepted','message':'',"
			    "'observedGeneration':1,'lastTransitionTime':'%s'}]}]}",
		 then, then, then, then);
	put(w, KUBE_ROUTE, "default/r", 2, 2, status);
	write_all(w);
#define C "status/parents/0/conditions/"
	/* In their order: ours changed, theirs as it was, what is over taken away. */
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "0/type"), "ResolvedRefs");
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "0/status"), "True");
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "0/lastTransitionTime"), NOW);
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "1/type"), "example.com/Mine");
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "1/lastTransitionTime"), then);
	assert_int_equal(number_at(w, KUBE_ROUTE, "default", "r", C "1/observedGeneration"), -1);
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "2/type"), "Accepted");
	assert_string_equal(text_at(w, KUBE_ROUTE, "default", "r", C "2/lastTransitionTime"), then);
	assert_int_equal(number_at(w, KUBE_ROUTE, "default", "r", C "2/observedGeneration"), 2);
	assert_null(at(world_find(w, KUBE_ROUTE, "default", "r")->json, C "3"));
#undef C
	world_free(w);
}

/* Entries of other controllers, byte for byte and in their places. */
static void others(void **state)
{
	struct world *w = start();
	const char *theirs = "{'controllerName':'example.com/x','parentRef':{'name':'theirs',"
			     "'new-field':[1,2.5,null]},'conditions':[],'more':{'a':'\\u00e9'}}";
	char rest[1024];
	cJSON *want = world_json(theirs);

	(void)state;
	snprintf(rest, sizeof(rest), ROUTE_SPEC ",'status':{'parents':[%s,7,%s]}", theirs,
		 "{'controllerName':'" CONTROLLER "','parentRef':{'name':'left'},'conditions':[]}");
	put(w, KUBE_ROUTE, "default/r", 2, 2, rest);
	assert_int_equal(write_all(w), 4);
	assert_true(cJSON_Compare(
	    at(world_find(w, KUBE_ROUTE, "default", "r")->json, "status/parents/0"), want, true));
	assert_string_equal(
	    text_at(w, KUBE_ROUTE, "default", "r", "status/parents/2/parentRef/name"),
	    "inference-gateway");
	assert_null(at(world_find(w, KUBE_ROUTE, "default", "r")->json, "status/parents/3"));
	cJSON_Delete(want);

	/* The reference is taken away: our entry goes, theirs stays. */
	put(w, KUBE_ROUTE, "default/r", 3, 2, "'spec':{'parentRefs':[{'name':'theirs'}]}");
	write_all(w);
	assert_string_equal(
	    text_at(w, KUBE_ROUTE, "default", "r", "status/parents/0/parentRef/name"), "theirs");
	assert_null(at(world_find(w, KUBE_ROUTE, "default", "r")->json, "status/parents/2"));
	world_free(w);
}

/* The same when a Gateway goes, or is no longer of our class. */
static void gateway_gone(void **state)
{
	(void)state;
	for (int pruned = 0; pruned < 2; pruned++)
		for (int deleted = 0; deleted < 2; deleted++) {
			struct world *w = start();

			w->prunes = pruned;
			write_all(w);
			if (deleted)
				gone(w, KUBE_GATEWAY, "default", "inference-gateway");
			else
				put(w, KUBE_GATEWAY, "default/inference-gateway", 2, 0,
				    "'spec':{'gatewayClassName':'other'}");
			write_all(w);
			assert_null(at(world_find(w, KUBE_ROUTE, "default", "r")->json,
				       "status/parents/0"));
			/* Where nobody's name stands in it, an entry of another class's Gateway
			 * may be that controller's by now. */
			if (!pruned || deleted)
				assert_null(at(world_find(w, KUBE_POOL, "default", "p")->json,
					       "status/parents/0"));
			/* Its status is not ours to touch any more. */
			assert_null(wanted(w, KUBE_GATEWAY, "default/inference-gateway"));
			world_free(w);
		}
}

/* Definitions of InferencePool without controllerName drop it: no reason to write for ever. */
static void pruned(void **state)
{
	struct world *w = start();

	(void)state;
	w->prunes = true;
	assert_int_equal(write_all(w), 4);
	assert_int_equal(write_all(w), 0);
	assert_string_equal(
	    text_at(w, KUBE_POOL, "default", "p", "status/parents/0/controllerName"), "");
	/* What definitions fill in gives way to the first entry, and is no entry of anybody's. */
	put(w, KUBE_POOL, "default/p", 1, 1,
	    POOL_SPEC("p") ",'status':{'parents':[{'parentRef':{'kind':'Status','name':'default'},"
			   "'conditions':[{'type':'Accepted','status':'Unknown'}]}]}");
	assert_int_equal(write_all(w), 1);
	assert_string_equal(
	    text_at(w, KUBE_POOL, "default", "p", "status/parents/0/parentRef/name"),
	    "inference-gateway");
	assert_null(at(world_find(w, KUBE_POOL, "default", "p")->json, "status/parents/1"));
	world_free(w);
}

/* The other replica has seen a newer version than we have: what it wrote is not ours to undo. */
static void stale(void **state)
{
	static const struct {
		enum kube_kind kind;
		const char *name, *rest;
	} cases[] = {
	    {KUBE_ROUTE, "default/r",
	     ROUTE_SPEC ",'status':{'parents':[{'parentRef':{'name':'inference-gateway'},"
			"'controllerName':'" CONTROLLER "','conditions':[{'type':'Accepted',"
			"'status':'False','observedGeneration':9}]}]}"},
	    {KUBE_ROUTE, "default/r",
	     ROUTE_SPEC ",'status':{'parents':[{'parentRef':{'name':'other'},"
			"'controllerName':'" CONTROLLER "','conditions':[{'type':'Accepted',"
			"'status':'False','observedGeneration':9}]}]}"},
	    {KUBE_POOL, "default/p",
	     POOL_SPEC("p") ",'status':{'parents':[{'parentRef':{'name':'inference-gateway'},"
			    "'conditions':[{'type':'Accepted','status':'False',"
			    "'observedGeneration':9}]}]}"},
	    {KUBE_GATEWAY, "default/inference-gateway",
	     GATEWAY_SPEC ",'status':{'conditions':[{'type':'Programmed','status':'False',"
			  "'observedGeneration':9}]}"},
	    {KUBE_GATEWAY, "default/inference-gateway",
	     GATEWAY_SPEC ",'status':{'listeners':[{'name':'http','conditions':[{"
			  "'type':'Programmed','status':'False','observedGeneration':9}]}]}"},
	    {KUBE_CLASS, "inference-haproxy",
	     "'spec':{'controllerName':'" CONTROLLER "'},'status':{'conditions':[{"
	     "'type':'Accepted','status':'False','observedGeneration':9}]}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = start();
		const struct kube_wanted *x;
		char *patch = NULL;

		put(w, cases[i].kind, cases[i].name, 8, 0, cases[i].rest);
		resolve(w);
		x = wanted(w, cases[i].kind, cases[i].name);
		assert_non_null(x);
		assert_int_equal(diff(w, x, &patch), KUBE_DIFF_STALE);
		put(w, cases[i].kind, cases[i].name, 9, 0, cases[i].rest);
		resolve(w);
		assert_int_equal(diff(w, wanted(w, cases[i].kind, cases[i].name), &patch),
				 KUBE_DIFF_PATCH);
		free(patch);
		world_free(w);
	}
}

/* Somebody wrote in between: the server says so, and after the watch it is compared again. */
static void conflict(void **state)
{
	struct world *w = start();
	char *patch = NULL;
	const struct kube_wanted *x;

	(void)state;
	resolve(w);
	x = wanted(w, KUBE_ROUTE, "default/r");
	assert_int_equal(diff(w, x, &patch), KUBE_DIFF_PATCH);
	put(w, KUBE_ROUTE, "default/r", 1, 2, ROUTE_SPEC);
	assert_int_equal(world_patch(w, x, patch), 409);
	free(patch);
	/* Nothing of the object is another, but its version is: the next patch has it. */
	resolve(w);
	x = wanted(w, KUBE_ROUTE, "default/r");
	assert_int_equal(diff(w, x, &patch), KUBE_DIFF_PATCH);
	assert_int_equal(world_patch(w, x, patch), 200);
	free(patch);
	world_free(w);
}

/* --- two replicas --- */

static unsigned seed;

static unsigned pick(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

static void random_object(struct world *w)
{
	static const char *const namespaces[] = {"default", "infra", "apps"};
	static const char *const hosts[] = {"", "'hostnames':['a.example'],",
					    "'hostnames':['*.example','b.other'],",
					    "'hostnames':['no_name'],"};
	static const char *const rules[] = {
	    "{}", "{'retry':{}}", "{'matches':[{'path':{'type':'Exact','value':'/x'}}]}",
	    "{'filters':[{'type':'URLRewrite'}]}", "{'backendRefs':[{'name':'svc'}]}"};
	static const char *const listeners[] = {
	    "{'name':'a','port':80,'protocol':'HTTP'}",
	    "{'name':'b','port':80,'protocol':'HTTP','hostname':'*.example','allowedRoutes':{"
	    "'namespaces':{'from':'All'}}}",
	    "{'name':'c','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'site'}]}"
	    "}",
	    "{'name':'d','port':81,'protocol':'TCP'}"};
	char name[64], rest[2048];
	const char *ns = namespaces[pick(3)];
	int generation = 1 + (int)pick(5), age = (int)pick(3);

	switch (pick(6)) {
	case 0:
		snprintf(name, sizeof(name), "%s/g%u", ns, pick(3));
		snprintf(rest, sizeof(rest), "'spec':{'gatewayClassName':'%s','listeners':[%s,%s]}",
			 pick(5) ? "inference-haproxy" : "other", listeners[pick(4)],
			 listeners[pick(4)]);
		put(w, KUBE_GATEWAY, name, generation, age, rest);
		break;
	case 1:
	case 2:
		snprintf(name, sizeof(name), "%s/r%u", ns, pick(4));
		snprintf(rest, sizeof(rest),
			 "'spec':{%s'parentRefs':[{'name':'g%u','namespace':'%s'},{'name':'g%u'}],"
			 "'rules':[{'backendRefs':[{'group':'inference.networking.k8s.io',"
			 "'kind':'InferencePool','name':'p%u','namespace':'%s'}]},%s]}",
			 hosts[pick(4)], pick(3), namespaces[pick(3)], pick(3), pick(3),
			 namespaces[pick(3)], rules[pick(5)]);
		put(w, KUBE_ROUTE, name, generation, age, rest);
		break;
	case 3:
		snprintf(name, sizeof(name), "%s/p%u", ns, pick(3));
		put(w, KUBE_POOL, name, generation, age,
		    pick(4) ? POOL_SPEC("p") : "'spec':{'targetPorts':[]}");
		break;
	case 4:
		snprintf(name, sizeof(name), "%s/x%u", ns, pick(5));
		pod(w, name, "'app':'p'", "10.0.0.1", pick(2) ? "True" : "False");
		break;
	default:
		snprintf(name, sizeof(name), "%s/grant", ns);
		put(w, KUBE_GRANT, name, 1, age,
		    "'spec':{'from':[{'group':'gateway.networking.k8s.io','kind':'HTTPRoute',"
		    "'namespace':'default'}],'to':[{'group':'inference.networking.k8s.io',"
		    "'kind':'InferencePool'}]}");
		break;
	}
}

/* A replica that starts now: the same objects, from the last to the first. */
static struct world *replica(const struct world *from)
{
	struct world *w = world_new();

	w->prunes = from->prunes;
	for (size_t i = from->n; i-- > 0;) {
		enum kube_change change;
		const char *error;

		w->objects[w->n].kind = from->objects[i].kind;
		w->objects[w->n].json = cJSON_Duplicate(from->objects[i].json, true);
		assert_int_equal(kube_store_upsert(w->s, w->objects[w->n].kind,
						   w->objects[w->n].json, &change, &error),
				 0);
		w->n++;
	}
	return w;
}

static void compare_wanted(struct world *a, struct world *b)
{
	assert_int_equal(a->r->nwanted, b->r->nwanted);
	for (size_t i = 0; i < a->r->nwanted; i++) {
		const struct kube_wanted *x = &a->r->wanted[i];
		char name[300];

		snprintf(name, sizeof(name), "%s%s%s", x->namespace.ptr,
			 x->namespace.len ? "/" : "", x->name.ptr);
		assert_string_equal(said(a, x->kind, name), said(b, x->kind, name));
	}
}

static void two_replicas(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct world *one = world_new(), *two;
		char *patch = NULL;

		seed = round + 1;
		one->prunes = round % 2;
		gateway(one);
		for (unsigned i = 0; i < 40; i++) {
			random_object(one);
			if (i % 8 != 7)
				continue;
			/* One writes all there is to write; whoever reads that has nothing to add,
			 * whenever it started and whatever it has seen before. */
			write_all(one);
			two = replica(one);
			resolve(two);
			compare_wanted(one, two);
			for (size_t k = 0; k < two->r->nwanted; k++) {
				int d = diff(two, &two->r->wanted[k], &patch);

				if (d == KUBE_DIFF_PATCH)
					fail_msg("round %u, %u: %s", round, i, patch);
			}
			world_free(two);
		}
		world_free(one);
	}
}

/* Times: for the patch. */
static void clock_text(void **state)
{
	char text[21];

	(void)state;
	kube_status_time(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00Z");
	kube_status_time(1767225600, text);
	assert_string_equal(text, "2026-01-01T00:00:00Z");
	kube_status_time(INT64_MAX, text);
	assert_string_equal(text, "1970-01-01T00:00:00Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_writing), cmocka_unit_test(times),
	    cmocka_unit_test(others),        cmocka_unit_test(gateway_gone),
	    cmocka_unit_test(pruned),        cmocka_unit_test(stale),
	    cmocka_unit_test(conflict),      cmocka_unit_test(two_replicas),
	    cmocka_unit_test(clock_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
