/*
 * The user's guide, as far as it is objects and not machines: two pools, the two HTTPRoutes as they
 * are written there, then the later form with adapters and base models.
 */
#include "unit/discover/kube_world.h"

#include <time.h>

/* As the API server hands it out: defaults filled in. */
#define GUIDE_ROUTE(model, pool)                                                                   \
	"'spec':{'parentRefs':[{'group':'gateway.networking.k8s.io','kind':'Gateway',"             \
	"'name':'inference-gateway'}],'rules':[{'backendRefs':["                                   \
	"{'group':'inference.networking.k8s.io','kind':'InferencePool','name':'" pool              \
	"','weight':1}],"                                                                          \
	"'matches':[{'path':{'type':'PathPrefix','value':'/'},'headers':["                         \
	"{'type':'Exact','name':'X-Gateway-Model-Name','value':'" model                            \
	"'}]}],'timeouts':{'request':'300s'}}]}"

#define LLM_ROUTE                                                                                  \
	"'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{'backendRefs':[" POOL_REF(  \
	    "vllm-llama3-8b-instruct") "]}]}"

static void start(struct world *w)
{
	gateway(w);
	put(w, KUBE_POOL, "default/vllm-llama3-8b-instruct", 1, 1, POOL_SPEC("llama"));
	put(w, KUBE_ROUTE, "default/llm-route", 1, 2, LLM_ROUTE);
	pod(w, "llama-0", "'app':'llama'", "10.0.0.1", "True");
	pod(w, "llama-1", "'app':'llama'", "10.0.0.2", "True");
}

static void guide(void **state)
{
	struct world *w = world_new();

	(void)state;
	start(w);
	resolve(w);
	assert_string_equal(said(w, KUBE_CLASS, "inference-haproxy"), "Accepted");
	assert_string_equal(said(w, KUBE_GATEWAY, "default/inference-gateway"),
			    "Accepted Programmed IPAddress:203.0.113.7; http(1) Accepted "
			    "Programmed ResolvedRefs");
	assert_string_equal(rules(w), "* / > default/vllm-llama3-8b-instruct*1 default/llm-route");

	/* The second pool: known and warm before a route leads to it. */
	put(w, KUBE_POOL, "default/vllm-phi4-mini-instruct", 1, 3, POOL_SPEC("phi4-mini"));
	pod(w, "phi4-0", "'app':'phi4-mini','x':'y'", "10.0.0.3", "True");
	resolve(w);
	assert_string_equal(pools(w), "default/vllm-llama3-8b-instruct(vllm-llama3-8b-instruct): "
				      "llama-0=10.0.0.1:8000 llama-1=10.0.0.2:8000; "
				      "default/vllm-phi4-mini-instruct(vllm-phi4-mini-instruct): "
				      "phi4-0=10.0.0.3:8000");

	assert_int_equal(gone(w, KUBE_ROUTE, "default", "llm-route"), KUBE_SPEC);
	put(w, KUBE_ROUTE, "default/llm-llama-route", 1, 4,
	    GUIDE_ROUTE("meta-llama/Llama-3.1-8B-Instruct", "vllm-llama3-8b-instruct"));
	put(w, KUBE_ROUTE, "default/llm-phi4-route", 1, 4,
	    GUIDE_ROUTE("microsoft/Phi-4-mini-instruct", "vllm-phi4-mini-instruct"));
	resolve(w);
	assert_string_equal(said(w, KUBE_ROUTE, "default/llm-llama-route"),
			    "inference-gateway Accepted ResolvedRefs");
	assert_string_equal(said(w, KUBE_ROUTE, "default/llm-phi4-route"),
			    "inference-gateway Accepted ResolvedRefs");
	assert_string_equal(said(w, KUBE_POOL, "default/vllm-phi4-mini-instruct"),
			    "default/inference-gateway Accepted ResolvedRefs");
	assert_string_equal(said(w, KUBE_POOL, "default/vllm-llama3-8b-instruct"),
			    "default/inference-gateway Accepted ResolvedRefs");
	assert_string_equal(rules(w),
			    "* / X-Gateway-Model-Name=meta-llama/Llama-3.1-8B-Instruct > "
			    "default/vllm-llama3-8b-instruct*1 default/llm-llama-route 300000ms\n"
			    "* / X-Gateway-Model-Name=microsoft/Phi-4-mini-instruct > "
			    "default/vllm-phi4-mini-instruct*1 default/llm-phi4-route 300000ms");
	assert_true(write_all(w) > 0);
	assert_int_equal(write_all(w), 0);
	/* As `kubectl get gateway/inference-gateway -o jsonpath={.status.addresses[0].value}`. */
	assert_string_equal(
	    cJSON_GetObjectItem(
		cJSON_GetArrayItem(
		    cJSON_GetObjectItem(
			cJSON_GetObjectItem(
			    world_find(w, KUBE_GATEWAY, "default", "inference-gateway")->json,
			    "status"),
			"addresses"),
		    0),
		"value")
		->valuestring,
	    "203.0.113.7");
	world_free(w);
}

static void later_form(void **state)
{
	struct world *w = world_new();

	(void)state;
	gateway(w);
	put(w, KUBE_POOL, "default/vllm-deepseek-r1", 1, 1, POOL_SPEC("vllm-deepseek-r1"));
	put(w, KUBE_CONFIGMAP, "default/deepseek-adapters-allowlist", 0, 1,
	    "'data':{'baseModel':'deepseek/DeepSeek-r1','adapters':'- ski-resorts\\n- "
	    "movie-critique\\n'}");
	resolve(w);
	/* Without the label it is somebody's ConfigMap. */
	assert_string_equal(adapters(w), "");
	world_take(w, KUBE_CONFIGMAP,
		   world_json("{'metadata':{'namespace':'default',"
			      "'name':'deepseek-adapters-allowlist','labels':{"
			      "'inference.networking.k8s.io/bbr-managed':'true'}},"
			      "'data':{'baseModel':'deepseek/DeepSeek-r1',"
			      "'adapters':'- ski-resorts\\n- movie-critique\\n'}}"));
	put(w, KUBE_ROUTE, "default/vllm-deepseek-r1", 1, 2,
	    "'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{'backendRefs':"
	    "[" POOL_REF(
		"vllm-deepseek-r1") "],'matches':[{'path':{'type':'PathPrefix','value':'/'},"
				    "'headers':[{'type':'Exact',"
				    "'name':'X-Gateway-Base-Model-Name',"
				    "'value':'deepseek/DeepSeek-r1'}]}],"
				    "'timeouts':{'request':'300s'}}]}");
	resolve(w);
	assert_string_equal(adapters(w), "deepseek/DeepSeek-r1=deepseek/DeepSeek-r1 "
					 "movie-critique=deepseek/DeepSeek-r1 "
					 "ski-resorts=deepseek/DeepSeek-r1");
	assert_string_equal(rules(w),
			    "* / X-Gateway-Base-Model-Name=deepseek/DeepSeek-r1 > "
			    "default/vllm-deepseek-r1*1 default/vllm-deepseek-r1 300000ms");
	assert_string_equal(said(w, KUBE_ROUTE, "default/vllm-deepseek-r1"),
			    "inference-gateway Accepted ResolvedRefs");
	world_free(w);
}

/* Beside somebody else's ingress: no Gateway, no route; each pool serves what its pods tell. */
static void by_models(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->set.by_models = true;
	put(w, KUBE_POOL, "other/b", 1, 1, POOL_SPEC("b"));
	put(w, KUBE_POOL, "default/a", 1, 1,
	    POOL_SPEC("a") ",'status':{'parents':[{'controllerName':'istio.io/gateway',"
			   "'parentRef':{'name':'x'},'conditions':[]}]}");
	pod(w, "other/b-0", "'app':'b'", "10.1.0.1", "True");
	resolve(w);
	assert_true(w->plan->route_by_models);
	assert_string_equal(pools(w), "default/a(a):; other/b(other_b): b-0=10.1.0.1:8000");
	assert_int_equal(w->r->nwanted, 0);
	assert_int_equal(w->plan->nrules, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(guide),
	    cmocka_unit_test(later_form),
	    cmocka_unit_test(by_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
