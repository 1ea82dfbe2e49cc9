/*
 * HTTPRoutes by the rules of the Gateway API: where they are attached, what their references lead
 * to, which rules are dropped, what is said of it. Rows beside the API's conformance tests name
 * them.
 */
#include "unit/discover/kube_world.h"

/* Two Gateways of ours with listeners of several kinds, one of somebody else, two pools. */
static struct world *start(void)
{
	struct world *w = world_new();

	gateway(w);
	put(w, KUBE_CLASS, "other", 1, 0, "'spec':{'controllerName':'example.com/other'}");
	put(w, KUBE_NAMESPACE, "apps", 0, 0, "");
	world_take(w, KUBE_NAMESPACE,
		   world_json("{'metadata':{'name':'apps','labels':{'team':'ml','tier':'1'}}}"));
	world_take(w, KUBE_NAMESPACE,
		   world_json("{'metadata':{'name':'web','labels':{'team':'web'}}}"));
	put(w, KUBE_GATEWAY, "default/others", 1, 0,
	    "'spec':{'gatewayClassName':'other','listeners':[{'name':'http','port':80,"
	    "'protocol':'HTTP'}]}");
	put(w, KUBE_GATEWAY, "infra/wide", 1, 0,
	    "'spec':{'gatewayClassName':'inference-haproxy','listeners':["
	    "{'name':'all','port':80,'protocol':'HTTP','hostname':'*.example.com',"
	    "'allowedRoutes':{'namespaces':{'from':'All'}}},"
	    "{'name':'ml','port':8080,'protocol':'HTTP','hostname':'ml.example.org',"
	    "'allowedRoutes':{'namespaces':{'from':'Selector','selector':{'matchLabels':"
	    "{'team':'ml'},'matchExpressions':[{'key':'tier','operator':'In','values':['1','2']},"
	    "{'key':'old','operator':'DoesNotExist'}]}}}},"
	    "{'name':'tls','port':9443,'protocol':'TLS'}]}");
	put(w, KUBE_POOL, "default/a", 1, 1, POOL_SPEC("a"));
	put(w, KUBE_POOL, "default/b", 1, 1, POOL_SPEC("b"));
	put(w, KUBE_POOL, "models/far", 1, 1, POOL_SPEC("far"));
	return w;
}

#define TO_A    "'backendRefs':[" POOL_REF("a") "]"
#define PARENT  "'parentRefs':[{'name':'inference-gateway'}]"
#define RULE(x) "'spec':{" PARENT ",'rules':[{" x "}]}"

struct row {
	const char *what, *name, *spec;
	const char *status, *rules;
};

static const struct row rows[] = {
    {"the default match", "default/r", RULE(TO_A), "inference-gateway Accepted ResolvedRefs",
     "* / > default/a*1 default/r"},
    {"no rules at all: everything, and nowhere", "default/r", "'spec':{" PARENT "}",
     "inference-gateway Accepted ResolvedRefs", "* / > default/r"},
    {"an empty list of matches", "default/r", RULE("'matches':[]," TO_A),
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r"},
    {"no spec", "default/r", "'spec':null", "nothing", ""},
    {"no backends", "default/r", RULE("'matches':[{'path':{'value':'/x'}}]"),
     "inference-gateway Accepted ResolvedRefs", "* /x > default/r"},

    /* --- matches --- */
    {"several matches are several rules, in order", "default/r",
     RULE("'matches':[{'path':{'type':'Exact','value':'/v1/models'},'method':'GET'},"
	  "{'headers':[{'name':'X-A','value':'1'},{'name':'x-a','value':'2'},"
	  "{'name':'X-B','value':'3'}]}]," TO_A),
     "inference-gateway Accepted ResolvedRefs",
     "* GET =/v1/models > default/a*1 default/r\n* / X-A=1 X-B=3 > default/a*1 default/r"},
    {"several rules", "default/r",
     "'spec':{" PARENT ",'rules':[{'matches':[{'path':{'value':'/a'}}]," TO_A
     "},{'backendRefs':[" POOL_REF("b") "]}]}",
     "inference-gateway Accepted ResolvedRefs",
     "* /a > default/a*1 default/r\n* / > default/b*1 default/r"},

    /* --- weights: GatewayWeightedAcrossTwoInferencePools --- */
    {"weights, one of them nothing", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'a','weight':70},{'group':'inference.networking.k8s.io',"
	  "'kind':'InferencePool','name':'b','weight':0}]"),
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*70 default/b*0 default/r"},
    /* InferencePoolHTTPRoutePortValidation */
    {"a port of the reference does not count", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'a','port':1}]"),
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r"},

    /* --- references --- */
    /* HTTPRouteInvalidInferencePoolRef */
    {"no such pool", "default/r", RULE("'backendRefs':[" POOL_REF("nope") "]"),
     "inference-gateway Accepted ResolvedRefs=False/BackendNotFound", "* / > -*1 default/r"},
    {"a share of the requests leads nowhere", "default/r",
     RULE("'backendRefs':[" POOL_REF("a") "," POOL_REF("nope") "]"),
     "inference-gateway Accepted ResolvedRefs=False/BackendNotFound",
     "* / > default/a*1 -*1 default/r"},
    {"a Service", "default/r", RULE("'backendRefs':[{'name':'a','port':80}]"),
     "inference-gateway Accepted ResolvedRefs=False/InvalidKind", "* / > -*1 default/r"},
    {"InferencePool of the group before v1", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.x-k8s.io','kind':'InferencePool',"
	  "'name':'a'}]"),
     "inference-gateway Accepted ResolvedRefs=False/InvalidKind", "* / > -*1 default/r"},
    {"another namespace without a grant", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'far','namespace':'models'}]"),
     "inference-gateway Accepted ResolvedRefs=False/RefNotPermitted", "* / > -*1 default/r"},
    {"whether it is there is not told without a grant", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'nope','namespace':'models'}]"),
     "inference-gateway Accepted ResolvedRefs=False/RefNotPermitted", "* / > -*1 default/r"},

    /* --- parents --- */
    {"somebody else's Gateway", "default/r",
     "'spec':{'parentRefs':[{'name':'others'}],'rules':[{" TO_A "}]}", "nothing", ""},
    {"no such Gateway", "default/r", "'spec':{'parentRefs':[{'name':'nope'}],'rules':[{" TO_A "}]}",
     "nothing", ""},
    {"a Service as parent", "default/r",
     "'spec':{'parentRefs':[{'group':'','kind':'Service','name':'inference-gateway'}],"
     "'rules':[{" TO_A "}]}",
     "nothing", ""},
    {"ours and somebody else's: ours is spoken of", "default/r",
     "'spec':{'parentRefs':[{'name':'others'},{'name':'inference-gateway'}],'rules':[{" TO_A "}]}",
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r"},
    {"by section", "default/r",
     "'spec':{'parentRefs':[{'name':'inference-gateway','sectionName':'http'}],'rules':[{" TO_A
     "}]}",
     "inference-gateway#http Accepted ResolvedRefs", "* / > default/a*1 default/r"},
    /* HTTPRouteInvalidParentRefNotMatchingSectionName */
    {"no such section", "default/r",
     "'spec':{'parentRefs':[{'name':'inference-gateway','sectionName':'https'}],'rules':[{" TO_A
     "}]}",
     "inference-gateway#https Accepted=False/NoMatchingParent ResolvedRefs", ""},
    /* HTTPRouteInvalidParentRefNotMatchingListenerPort */
    {"no such port", "default/r",
     "'spec':{'parentRefs':[{'name':'inference-gateway','port':81}],'rules':[{" TO_A "}]}",
     "inference-gateway:81 Accepted=False/NoMatchingParent ResolvedRefs", ""},
    /* HTTPRouteInvalidParentRefSectionNameNotMatchingPort */
    {"a section and another's port", "apps/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra','sectionName':'all',"
     "'port':8080}],'rules':[{}]}",
     "infra/wide#all:8080 Accepted=False/NoMatchingParent ResolvedRefs", ""},
    {"the same parent twice", "default/r",
     "'spec':{'parentRefs':[{'name':'inference-gateway'},{'name':'inference-gateway',"
     "'namespace':'default'}],'rules':[{" TO_A "}]}",
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r"},
    /* HTTPRouteInvalidCrossNamespaceParentRef */
    {"a listener for its own namespace", "web/r",
     "'spec':{'parentRefs':[{'name':'inference-gateway','namespace':'default'}],"
     "'rules':[{" TO_A "}]}",
     "default/inference-gateway Accepted=False/NotAllowedByListeners "
     "ResolvedRefs=False/BackendNotFound",
     ""},
    {"a namespace that a selector takes, one that it does not", "apps/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra','sectionName':'ml'}],"
     "'rules':[{}]}",
     "infra/wide#ml Accepted ResolvedRefs", "ml.example.org / > apps/r"},
    {"the other", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra','sectionName':'ml'}],"
     "'rules':[{}]}",
     "infra/wide#ml Accepted=False/NotAllowedByListeners ResolvedRefs", ""},
    {"a namespace that nobody knows", "lost/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra','sectionName':'ml'}],"
     "'rules':[{}]}",
     "infra/wide#ml Accepted=False/NotAllowedByListeners ResolvedRefs", ""},
    /* HTTPRouteDisallowedKind */
    {"a listener for other kinds", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra','sectionName':'tls'}],"
     "'rules':[{}]}",
     "infra/wide#tls Accepted=False/NotAllowedByListeners ResolvedRefs", ""},

    /* --- host names --- */
    {"the listener's, when the route has none", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra'}],'rules':[{}]}",
     "infra/wide Accepted ResolvedRefs", "*.example.com / > web/r"},
    {"of each listener that takes it", "apps/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra'}],'rules':[{}]}",
     "infra/wide Accepted ResolvedRefs", "*.example.com / > apps/r\nml.example.org / > apps/r"},
    /* HTTPRouteHostnameIntersection */
    {"the narrower of the two; what has nothing in common is left out", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra'}],'hostnames':["
     "'API.example.com','a.b.example.com','*.x.example.com','*.com','example.com',"
     "'ml.example.org','api.example.com'],'rules':[{}]}",
     "infra/wide Accepted ResolvedRefs",
     "api.example.com / > web/r\na.b.example.com / > web/r\n*.x.example.com / > web/r\n"
     "*.example.com / > web/r"},
    {"nothing in common", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra'}],'hostnames':["
     "'example.com','*.example.net','badexample.com'],'rules':[{}]}",
     "infra/wide Accepted=False/NoMatchingListenerHostname ResolvedRefs", ""},
    {"a host name that is none", "default/r",
     "'spec':{" PARENT ",'hostnames':['10.0.0.1'],'rules':[{" TO_A "}]}",
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},

    /* --- timeouts --- */
    {"the smaller one", "default/r",
     RULE("'timeouts':{'request':'1m30s','backendRequest':'1500ms'}," TO_A),
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r 1500ms"},
    {"none is HAProxy's longest", "default/r", RULE("'timeouts':{'request':'0s'}," TO_A),
     "inference-gateway Accepted ResolvedRefs", "* / > default/a*1 default/r 1728000000ms"},
    {"no duration", "default/r", RULE("'timeouts':{'request':'1.5s'}," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},

    /* --- what is not supported --- */
    {"a path by regular expression", "default/r",
     RULE("'matches':[{'path':{'type':'RegularExpression','value':'/.*'}}]," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a header by regular expression", "default/r",
     RULE("'matches':[{'headers':[{'type':'RegularExpression','name':'a','value':'.*'}]}]," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"query parameters", "default/r",
     RULE("'matches':[{'queryParams':[{'name':'a','value':'b'}]}]," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a redirect", "default/r", RULE("'filters':[{'type':'RequestRedirect','requestRedirect':{}}]"),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a filter without a type", "default/r", RULE("'filters':[{}]," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a filter of one backend", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'a','filters':[{'type':'RequestHeaderModifier'}]}]"),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"retries", "default/r", RULE("'retry':{'attempts':2}," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a method that is none", "default/r", RULE("'matches':[{'method':'get'}]," TO_A),
     "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs", ""},
    {"a modifier twice", "default/r",
     RULE("'filters':[{'type':'RequestHeaderModifier','requestHeaderModifier':{'remove':['a']}},"
	  "{'type':'RequestHeaderModifier','requestHeaderModifier':{'remove':['b']}}]," TO_A),
     "inference-gateway Accepted=False/IncompatibleFilters ResolvedRefs", ""},
    {"one rule of two", "default/r",
     "'spec':{" PARENT ",'rules':[{'filters':[{'type':'URLRewrite'}]," TO_A
     "},{'matches':[{'path':{'value':'/b'}}]," TO_A "}]}",
     "inference-gateway Accepted ResolvedRefs PartiallyInvalid=True/UnsupportedValue",
     "* /b > default/a*1 default/r"},
    /* PartiallyInvalid is not to be set of a route that is not accepted. */
    {"one rule of two, not attached", "web/r",
     "'spec':{'parentRefs':[{'name':'wide','namespace':'infra'}],'hostnames':['a.b'],'rules':["
     "{'filters':[{'type':'URLRewrite'}]},{}]}",
     "infra/wide Accepted=False/NoMatchingListenerHostname ResolvedRefs", ""},

    /* --- shapes --- */
    {"rules that are no list", "default/r", "'spec':{" PARENT ",'rules':{}}", "nothing", ""},
    {"a rule that is no object", "default/r", "'spec':{" PARENT ",'rules':[7]}", "nothing", ""},
    {"a weight out of range", "default/r",
     RULE("'backendRefs':[{'group':'inference.networking.k8s.io','kind':'InferencePool',"
	  "'name':'a','weight':-1}]"),
     "nothing", ""},
};

static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = start();
		const char *got;

		put(w, KUBE_ROUTE, rows[i].name, 3, 5, rows[i].spec);
		resolve(w);
		got = said(w, KUBE_ROUTE, rows[i].name);
		if (strcmp(got, rows[i].status) != 0)
			fail_msg("%s: status\n %s\nnot\n %s", rows[i].what, got, rows[i].status);
		got = rules(w);
		if (strcmp(got, rows[i].rules) != 0)
			fail_msg("%s: rules\n %s\nnot\n %s", rows[i].what, got, rows[i].rules);
		world_free(w);
	}
}

static void messages(void **state)
{
	static const struct {
		const char *spec, *type, *text;
	} texts[] = {
	    {RULE("'matches':[{},{'path':{'type':'RegularExpression','value':'/.*'}}]," TO_A),
	     "Accepted", "spec.rules[0].matches[1].path.type: RegularExpression is not supported"},
	    {RULE("'filters':[{'type':'RequestMirror'}]," TO_A), "Accepted",
	     "spec.rules[0].filters[0].type: RequestMirror is not supported"},
	    {RULE("'matches':[{'queryParams':[{'name':'a','value':'b'}]}]," TO_A), "Accepted",
	     "spec.rules[0].matches[0].queryParams: not supported"},
	    {"'spec':{" PARENT ",'hostnames':['ok.example','no_good'],'rules':[{" TO_A "}]}",
	     "Accepted", "spec.hostnames[1]: no name of a host"},
	    {RULE("'timeouts':{'backendRequest':'ten'}," TO_A), "Accepted",
	     "spec.rules[0].timeouts.backendRequest: no duration, as in 300s or 1h30m"},
	    {RULE("'backendRefs':[" POOL_REF("a") "," POOL_REF("nope") "]"), "ResolvedRefs",
	     "spec.rules[0].backendRefs[1]: there is no InferencePool default/nope"},
	    {"'spec':{" PARENT ",'rules':[{" TO_A "},{'retry':{}},{'sessionPersistence':{}}]}",
	     "PartiallyInvalid", "Dropped Rule(s) 1, 2: spec.rules[1].retry: not supported"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct world *w = start();

		put(w, KUBE_ROUTE, "default/r", 3, 5, texts[i].spec);
		resolve(w);
		assert_string_equal(message(w, KUBE_ROUTE, "default/r", texts[i].type),
				    texts[i].text);
		world_free(w);
	}
}

static void grants(void **state)
{
	static const struct {
		const char *what, *grant;
		bool permits;
	} cases[] = {
	    {"all pools",
	     "'from':[{'group':'gateway.networking.k8s.io','kind':'HTTPRoute',"
	     "'namespace':'default'}],'to':[{'group':'inference.networking.k8s.io',"
	     "'kind':'InferencePool'}]",
	     true},
	    {"this pool",
	     "'from':[{'group':'gateway.networking.k8s.io','kind':'HTTPRoute',"
	     "'namespace':'default'}],'to':[{'group':'inference.networking.k8s.io',"
	     "'kind':'InferencePool','name':'far'}]",
	     true},
	    {"another pool",
	     "'from':[{'group':'gateway.networking.k8s.io','kind':'HTTPRoute',"
	     "'namespace':'default'}],'to':[{"
	     "'group':'inference.networking.k8s.io','kind':'InferencePool',"
	     "'name':'near'}]",
	     false},
	    {"another namespace",
	     "'from':[{'group':'gateway.networking.k8s.io',"
	     "'kind':'HTTPRoute','namespace':'web'}],'to':[{"
	     "'group':'inference.networking.k8s.io',"
	     "'kind':'InferencePool'}]",
	     false},
	    {"another kind from",
	     "'from':[{'group':'gateway.networking.k8s.io',"
	     "'kind':'GRPCRoute','namespace':'default'}],'to':[{"
	     "'group':'inference.networking.k8s.io',"
	     "'kind':'InferencePool'}]",
	     false},
	    {"another kind to",
	     "'from':[{'group':'gateway.networking.k8s.io',"
	     "'kind':'HTTPRoute','namespace':'default'}],'to':[{'group':'',"
	     "'kind':'Service'}]",
	     false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = start();
		char spec[1024];

		put(w, KUBE_ROUTE, "default/r", 1, 5,
		    RULE("'backendRefs':[{'group':'inference.networking.k8s.io',"
			 "'kind':'InferencePool','name':'far','namespace':'models'}]"));
		snprintf(spec, sizeof(spec), "'spec':{%s}", cases[i].grant);
		/* In the pool's namespace; one in the route's own says nothing. */
		put(w, KUBE_GRANT, "default/g", 1, 5, spec);
		resolve(w);
		assert_string_equal(rules(w), "* / > -*1 default/r");
		put(w, KUBE_GRANT, "models/g", 1, 5, spec);
		resolve(w);
		if (strcmp(rules(w), cases[i].permits ? "* / > models/far*1 default/r"
						      : "* / > -*1 default/r") != 0)
			fail_msg("%s: %s", cases[i].what, rules(w));
		/* A grant that is taken back permits nothing any more. */
		assert_int_equal(gone(w, KUBE_GRANT, "models", "g"), KUBE_SPEC);
		resolve(w);
		assert_string_equal(rules(w), "* / > -*1 default/r");
		world_free(w);
	}
}

/* Who is named first in a plan is decided by route/rule.c from age and name: both must be there. */
static void contradictions(void **state)
{
	struct world *w = start();
	struct rules *table;
	struct rule_target t;
	const struct rule_request req = {.host = VIEW_LIT("x"), .path = VIEW_LIT("/")};

	(void)state;
	put(w, KUBE_ROUTE, "default/z-old", 1, 5, RULE(TO_A));
	put(w, KUBE_ROUTE, "default/a-young", 1, 6, RULE("'backendRefs':[" POOL_REF("b") "]"));
	put(w, KUBE_ROUTE, "default/a-same", 1, 5, RULE("'backendRefs':[" POOL_REF("b") "]"));
	resolve(w);
	table = rules_new(w->plan->rules, w->plan->nrules);
	assert_true(rules_find(table, &req, 0, &t));
	assert_true(view_eq(t.route, VIEW_LIT("default/a-same")));
	rules_free(table);
	gone(w, KUBE_ROUTE, "default", "a-same");
	resolve(w);
	table = rules_new(w->plan->rules, w->plan->nrules);
	assert_true(rules_find(table, &req, 0, &t));
	assert_true(view_eq(t.route, VIEW_LIT("default/z-old")));
	rules_free(table);
	world_free(w);
}

/* Header changes are told apart by rule, and precedence within the route is as written. */
static void header_rules(void **state)
{
	struct world *w = start();
	struct rules *table;
	struct rule_target t;
	const struct rule_request req = {.host = VIEW_LIT("x"), .path = VIEW_LIT("/")};
	const struct plan_header *h;
	struct kube_store_conf conf = {.controller = VIEW_LIT(CONTROLLER)};

	(void)state;
	put(w, KUBE_ROUTE, "default/r", 1, 5,
	    "'spec':{" PARENT ",'rules':[{" TO_A "},{'filters':[{'type':'RequestHeaderModifier',"
	    "'requestHeaderModifier':{'set':[{'name':'X-S','value':'a b'}],"
	    "'add':[{'name':'X-A','value':''}],'remove':['X-R']}}]," TO_A "}]}");
	resolve(w);
	assert_string_equal(rules(w),
			    "* / > default/a*1 default/r+00\n* / > default/a*1 default/r+01");
	assert_int_equal(w->plan->nheaders, 3);
	h = w->plan->headers;
	assert_string_equal(h[0].route.ptr, "default/r+01");
	assert_int_equal(h[0].action, PLAN_HEADER_SET);
	assert_string_equal(h[0].value.ptr, "a b");
	assert_int_equal(h[1].action, PLAN_HEADER_ADD);
	assert_string_equal(h[1].name.ptr, "X-A");
	assert_int_equal(h[2].action, PLAN_HEADER_REMOVE);
	assert_string_equal(h[2].name.ptr, "X-R");
	table = rules_new(w->plan->rules, w->plan->nrules);
	assert_true(rules_find(table, &req, 0, &t));
	assert_true(view_eq(t.route, VIEW_LIT("default/r+00")));
	rules_free(table);
	/* One rule needs no number. */
	put(w, KUBE_ROUTE, "default/r", 2, 5,
	    RULE("'filters':[{'type':'RequestHeaderModifier','requestHeaderModifier':{"
		 "'remove':['X-R']}}]," TO_A));
	resolve(w);
	assert_string_equal(rules(w), "* / > default/a*1 default/r");
	/* What would be an order to HAProxy is no value. */
	put(w, KUBE_ROUTE, "default/r", 3, 5,
	    RULE("'filters':[{'type':'RequestHeaderModifier','requestHeaderModifier':{'set':["
		 "{'name':'X','value':'a\\nuse_backend x'}]}}]," TO_A));
	resolve(w);
	assert_string_equal(said(w, KUBE_ROUTE, "default/r"),
			    "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs");
	world_free(w);

	/* Beside somebody else's HAProxy there is no place for them. */
	w = world_new();
	kube_store_free(w->s);
	w->s = kube_store_new(&conf);
	w->set.header_rules = false;
	gateway(w);
	put(w, KUBE_ROUTE, "default/r", 1, 5,
	    RULE("'filters':[{'type':'RequestHeaderModifier','requestHeaderModifier':{"
		 "'remove':['X-R']}}]"));
	resolve(w);
	assert_string_equal(said(w, KUBE_ROUTE, "default/r"),
			    "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs");
	assert_string_equal(message(w, KUBE_ROUTE, "default/r", "Accepted"),
			    "spec.rules[0].filters[0].type: RequestHeaderModifier needs the "
			    "gateway's own HAProxy");
	world_free(w);
}

/* A route with an error keeps what worked serving; the status speaks of the new version. */
static void last_good(void **state)
{
	struct world *w = start();
	const char *good = "* / > default/a*1 default/r";

	(void)state;
	put(w, KUBE_ROUTE, "default/r", 1, 5, RULE(TO_A));
	resolve(w);
	assert_string_equal(rules(w), good);
	put(w, KUBE_ROUTE, "default/r", 2, 5, RULE("'filters':[{'type':'URLRewrite'}]," TO_A));
	resolve(w);
	assert_string_equal(rules(w), good);
	assert_string_equal(said(w, KUBE_ROUTE, "default/r"),
			    "inference-gateway Accepted=False/UnsupportedValue ResolvedRefs");
	assert_int_equal(
	    wanted(w, KUBE_ROUTE, "default/r")->status.parents[0].conditions.items[0].generation,
	    2);
	/* Its words are the same as those of a replica that never saw the good one. */
	assert_string_equal(message(w, KUBE_ROUTE, "default/r", "Accepted"),
			    "spec.rules[0].filters[0].type: URLRewrite is not supported");
	/* Not even readable, and bad again. */
	put(w, KUBE_ROUTE, "default/r", 3, 5, "'spec':{'rules':'x'}");
	assert_string_equal(w->error, "spec.rules: not a list");
	resolve(w);
	assert_string_equal(rules(w), good);
	put(w, KUBE_ROUTE, "default/r", 4, 5, RULE("'retry':{}," TO_A));
	resolve(w);
	assert_string_equal(rules(w), good);
	/* A good one takes its place. */
	put(w, KUBE_ROUTE, "default/r", 5, 5, RULE("'backendRefs':[" POOL_REF("b") "]"));
	resolve(w);
	assert_string_equal(rules(w), "* / > default/b*1 default/r");
	/* An object of the same name that is another one inherits nothing. */
	put(w, KUBE_ROUTE, "default/r", 1, 9, RULE("'retry':{}," TO_A));
	resolve(w);
	assert_string_equal(rules(w), "");
	world_free(w);
}

static void too_many(void **state)
{
	struct world *w = start();

	(void)state;
	w->set.max_rules = 2;
	put(w, KUBE_ROUTE, "default/young", 1, 7, RULE(TO_A));
	put(w, KUBE_ROUTE, "default/old", 1, 5, RULE("'matches':[{},{'method':'GET'}]," TO_A));
	resolve(w);
	assert_string_equal(said(w, KUBE_ROUTE, "default/old"),
			    "inference-gateway Accepted ResolvedRefs");
	assert_string_equal(said(w, KUBE_ROUTE, "default/young"),
			    "inference-gateway Accepted=False/TooManyRules ResolvedRefs");
	assert_int_equal(w->plan->nrules, 2);
	world_free(w);
}

/* 64 names that are at home at each of 70 listeners. */
static void too_many_hosts(void **state)
{
	struct world *w = start();
	char listeners[16384], route[16384], suffix[160] = "d";
	size_t n = 0, m;
	int told = 0;

	(void)state;
	for (int i = 0; i < 70; i++) {
		n += (size_t)snprintf(
		    listeners + n, sizeof(listeners) - n,
		    "%s{'name':'l%d','port':80,'protocol':'HTTP','hostname':'*.%s'}",
		    i ? ","
		      : "'spec':{'gatewayClassName':'inference-haproxy',"
			"'listeners':[",
		    i, suffix);
		memmove(suffix + 2, suffix, strlen(suffix) + 1);
		memcpy(suffix, "x.", 2);
	}
	snprintf(listeners + n, sizeof(listeners) - n, "]}");
	m = (size_t)snprintf(route, sizeof(route),
			     "'spec':{'parentRefs':[{'name':'deep'}],"
			     "'rules':[{" TO_A "}],'hostnames':[");
	for (int i = 0; i < 64; i++)
		m += (size_t)snprintf(route + m, sizeof(route) - m, "%s'h%d.%s'", i ? "," : "", i,
				      suffix);
	snprintf(route + m, sizeof(route) - m, "]}");
	put(w, KUBE_GATEWAY, "default/deep", 1, 0, listeners);
	put(w, KUBE_ROUTE, "default/wide", 1, 5, route);
	resolve(w);
	assert_string_equal(said(w, KUBE_ROUTE, "default/wide"), "deep Accepted ResolvedRefs");
	assert_int_equal(w->plan->nrules, 4096);
	for (size_t i = 0; i < w->r->nproblems; i++)
		told += strstr(w->r->problems[i].text.ptr, "more than 4096") != NULL;
	assert_int_equal(told, 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table),        cmocka_unit_test(messages),
	    cmocka_unit_test(grants),       cmocka_unit_test(contradictions),
	    cmocka_unit_test(header_rules), cmocka_unit_test(last_good),
	    cmocka_unit_test(too_many),     cmocka_unit_test(too_many_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
