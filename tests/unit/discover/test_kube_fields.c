/*
 * Nothing that people may write is passed over in silence: every field of HTTPRoute, Gateway,
 * GatewayClass and InferencePool that is not honoured is named by a condition, be it as the reason
 * why something is not served, or as a remark where that has no effect on what is.
 */
#include "unit/discover/kube_world.h"

#define ROUTE(rest) "'spec':{'parentRefs':[{'name':'inference-gateway'}]," rest "}"
#define RULE(rest)  ROUTE("'rules':[{'backendRefs':[" POOL_REF("p") "]," rest "}]")
#define MATCH(rest) RULE("'matches':[{" rest "}]")
#define BACKEND(rest)                                                                              \
	ROUTE("'rules':[{'backendRefs':[{'group':'inference.networking.k8s.io','kind':"            \
	      "'InferencePool','name':'p'," rest "}]}]")
#define FILTER(rest) RULE("'filters':[{" rest "}]")
#define GATEWAY(rest)                                                                              \
	"'spec':{'gatewayClassName':'inference-haproxy',"                                          \
	"'listeners':[{'name':'http','port':80,'protocol':'HTTP'}]," rest "}"
#define LISTENER(rest)                                                                             \
	"'spec':{'gatewayClassName':'inference-haproxy',"                                          \
	"'listeners':[{'name':'http','port':80,'protocol':'HTTP'," rest "}]}"
#define SECURE(rest)                                                                               \
	"'spec':{'gatewayClassName':'inference-haproxy','listeners':[{'name':'http','port':443,"   \
	"'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'site'}]" rest "}}]}"
#define POOL(rest) "'spec':{" rest "'targetPorts':[{'number':8000}]}"
#define SELECTED   "'selector':{'matchLabels':{'app':'p'}},"

/* What becomes of it. */
enum fate {
	HONOURED, /* nothing is said */
	REFUSED,  /* Accepted=False, by this text */
	REMARKED, /* Accepted=True, by this text */
	OTHERWISE /* it is said in a condition of another type */
};

static const struct row {
	enum kube_kind kind;
	const char *spec;
	enum fate fate;
	const char *text; /* in the message */
} rows[] = {
    /* --- HTTPRoute --- */
    {KUBE_ROUTE, ROUTE("'hostnames':['a.example.com']"), HONOURED, ""},
    {KUBE_ROUTE, ROUTE("'hostnames':['a_b']"), REFUSED, "spec.hostnames[0]"},
    {KUBE_ROUTE, ROUTE("'useDefaultGateways':'None'"), HONOURED, ""},
    {KUBE_ROUTE, ROUTE("'useDefaultGateways':'All'"), REMARKED, "spec.useDefaultGateways"},
    {KUBE_ROUTE, ROUTE("'later':{}"), REFUSED, "spec.later"},
    {KUBE_ROUTE, ROUTE("'later':null"), HONOURED, ""},
    {KUBE_ROUTE, "'spec':{'parentRefs':[{'name':'inference-gateway','later':1}]}", REFUSED,
     "spec.parentRefs: later"},
    {KUBE_ROUTE,
     "'spec':{'parentRefs':[{'group':'gateway.networking.k8s.io','kind':'Gateway','namespace':"
     "'default','name':'inference-gateway','sectionName':'http','port':80}]}",
     HONOURED, ""},
    {KUBE_ROUTE, RULE("'name':'mine'"), HONOURED, ""},
    {KUBE_ROUTE, RULE("'timeouts':{'request':'1s','backendRequest':'1s'}"), HONOURED, ""},
    {KUBE_ROUTE, RULE("'timeouts':{'later':'1s'}"), REFUSED, "spec.rules[0].timeouts.later"},
    {KUBE_ROUTE, RULE("'timeouts':{'request':'soon'}"), REFUSED, "timeouts.request"},
    {KUBE_ROUTE, RULE("'retry':{'attempts':1}"), REFUSED, "spec.rules[0].retry"},
    {KUBE_ROUTE, RULE("'sessionPersistence':{'sessionName':'x'}"), REFUSED,
     "spec.rules[0].sessionPersistence"},
    {KUBE_ROUTE, RULE("'later':[]"), REFUSED, "spec.rules[0].later"},
    {KUBE_ROUTE, MATCH("'path':{'type':'Exact','value':'/x'}"), HONOURED, ""},
    {KUBE_ROUTE, MATCH("'path':{'type':'PathPrefix','value':'/x'}"), HONOURED, ""},
    {KUBE_ROUTE, MATCH("'path':{'type':'RegularExpression','value':'/.'}"), REFUSED, "path.type"},
    {KUBE_ROUTE, MATCH("'path':{'type':'Exact','value':'/x','later':1}"), REFUSED, "path.later"},
    {KUBE_ROUTE, MATCH("'headers':[{'type':'Exact','name':'a','value':'b'}]"), HONOURED, ""},
    {KUBE_ROUTE, MATCH("'headers':[{'type':'RegularExpression','name':'a','value':'b'}]"), REFUSED,
     "headers[0].type"},
    {KUBE_ROUTE, MATCH("'headers':[{'name':'a','value':'b','invert':true}]"), REFUSED,
     "headers[0].invert"},
    {KUBE_ROUTE, MATCH("'queryParams':[{'name':'a','value':'b'}]"), REFUSED, "queryParams"},
    {KUBE_ROUTE, MATCH("'queryParams':[]"), HONOURED, ""},
    {KUBE_ROUTE, MATCH("'method':'GET'"), HONOURED, ""},
    {KUBE_ROUTE, MATCH("'later':{}"), REFUSED, "spec.rules[0].matches[0].later"},
    {KUBE_ROUTE, BACKEND("'weight':3,'namespace':'default'"), HONOURED, ""},
    {KUBE_ROUTE, BACKEND("'port':8000"), REMARKED, "spec.rules[0].backendRefs[0].port"},
    {KUBE_ROUTE, BACKEND("'filters':[{'type':'RequestHeaderModifier'}]"), REFUSED,
     "backendRefs[0].filters"},
    {KUBE_ROUTE, BACKEND("'later':1"), REFUSED, "spec.rules[0].backendRefs[0].later"},
    {KUBE_ROUTE, ROUTE("'rules':[{'backendRefs':[{'name':'p','port':80}]}]"), OTHERWISE,
     "ResolvedRefs"},
    {KUBE_ROUTE,
     FILTER("'type':'RequestHeaderModifier','requestHeaderModifier':{'set':[{'name':'a','value':"
	    "'b'}],'add':[{'name':'c','value':'d'}],'remove':['e']}"),
     HONOURED, ""},
    {KUBE_ROUTE, FILTER("'type':'RequestHeaderModifier','requestHeaderModifier':{'later':[]}"),
     REFUSED, "requestHeaderModifier.later"},
    {KUBE_ROUTE,
     FILTER("'type':'RequestHeaderModifier','requestHeaderModifier':{'set':[{'name':"
	    "'Content-Length','value':'1'}]}"),
     REFUSED, "requestHeaderModifier.set[0].name: HAProxy says itself"},
    {KUBE_ROUTE,
     FILTER("'type':'RequestHeaderModifier','requestHeaderModifier':{'remove':["
	    "'transfer-encoding']}"),
     REFUSED, "requestHeaderModifier.remove[0]"},
    {KUBE_ROUTE, FILTER("'type':'ResponseHeaderModifier','responseHeaderModifier':{}"), REFUSED,
     "filters[0].type: ResponseHeaderModifier"},
    {KUBE_ROUTE, FILTER("'type':'RequestMirror','requestMirror':{}"), REFUSED, "RequestMirror"},
    {KUBE_ROUTE, FILTER("'type':'RequestRedirect','requestRedirect':{}"), REFUSED,
     "RequestRedirect"},
    {KUBE_ROUTE, FILTER("'type':'URLRewrite','urlRewrite':{}"), REFUSED, "URLRewrite"},
    {KUBE_ROUTE, FILTER("'type':'CORS','cors':{}"), REFUSED, "CORS"},
    {KUBE_ROUTE, FILTER("'type':'ExternalAuth','externalAuth':{}"), REFUSED, "ExternalAuth"},
    {KUBE_ROUTE, FILTER("'type':'ExtensionRef','extensionRef':{}"), REFUSED, "ExtensionRef"},
    {KUBE_ROUTE,
     FILTER("'type':'RequestHeaderModifier','requestHeaderModifier':{},'urlRewrite':{}"), REFUSED,
     "filters[0].urlRewrite"},

    /* --- Gateway --- */
    {KUBE_GATEWAY, GATEWAY("'addresses':[{'type':'IPAddress','value':'203.0.113.7'}]"), HONOURED,
     ""},
    {KUBE_GATEWAY, GATEWAY("'addresses':[{'type':'IPAddress','value':'203.0.113.8'}]"), OTHERWISE,
     "Programmed"},
    {KUBE_GATEWAY, GATEWAY("'addresses':[{'type':'example.com/x','value':'y'}]"), REFUSED,
     "spec.addresses[0].type"},
    {KUBE_GATEWAY, GATEWAY("'infrastructure':{}"), HONOURED, ""},
    {KUBE_GATEWAY, GATEWAY("'infrastructure':{'labels':{'a':'b'}}"), REMARKED,
     "spec.infrastructure"},
    {KUBE_GATEWAY, GATEWAY("'infrastructure':{'annotations':{'a':'b'}}"), REMARKED,
     "spec.infrastructure"},
    {KUBE_GATEWAY, GATEWAY("'infrastructure':{'parametersRef':{'name':'x'}}"), REFUSED,
     "spec.infrastructure.parametersRef"},
    {KUBE_GATEWAY, GATEWAY("'backendTLS':{'clientCertificateRef':{'name':'x'}}"), REFUSED,
     "spec.backendTLS"},
    {KUBE_GATEWAY, GATEWAY("'tls':{'backend':{}}"), REFUSED, "spec.tls.backend"},
    {KUBE_GATEWAY, GATEWAY("'tls':{'frontend':{}}"), HONOURED, ""}, /* of HTTPS listeners */
    {KUBE_GATEWAY, GATEWAY("'defaultScope':'None'"), HONOURED, ""},
    {KUBE_GATEWAY, GATEWAY("'defaultScope':'All'"), REMARKED, "spec.defaultScope"},
    {KUBE_GATEWAY, GATEWAY("'allowedListeners':{'namespaces':{'from':'None'}}"), HONOURED, ""},
    {KUBE_GATEWAY, GATEWAY("'allowedListeners':{'namespaces':{'from':'All'}}"), REMARKED,
     "spec.allowedListeners"},
    {KUBE_GATEWAY, GATEWAY("'later':{}"), REMARKED, "spec.later"},
    {KUBE_GATEWAY, LISTENER("'hostname':'*.example.com'"), HONOURED, ""},
    {KUBE_GATEWAY,
     LISTENER("'allowedRoutes':{'namespaces':{'from':'Selector','selector':{'matchLabels':{'a':"
	      "'b'}}},'kinds':[{'kind':'HTTPRoute'}]}"),
     HONOURED, ""},
    {KUBE_GATEWAY,
     LISTENER("'allowedRoutes':{'kinds':[{'kind':'GRPCRoute'},{'kind':"
	      "'HTTPRoute'}]}"),
     OTHERWISE, "http ResolvedRefs"},
    {KUBE_GATEWAY, LISTENER("'allowedRoutes':{'later':1}"), OTHERWISE, "http Accepted"},
    {KUBE_GATEWAY, LISTENER("'allowedRoutes':{'namespaces':{'later':1}}"), OTHERWISE,
     "http Accepted"},
    {KUBE_GATEWAY,
     LISTENER("'allowedRoutes':{'namespaces':{'from':'Selector','selector':{'later':{}}}}"),
     OTHERWISE, "http Accepted"},
    {KUBE_GATEWAY, LISTENER("'later':1"), OTHERWISE, "http Accepted"},
    {KUBE_GATEWAY, SECURE(""), HONOURED, ""},
    {KUBE_GATEWAY, SECURE(",'mode':'Terminate'"), HONOURED, ""},
    {KUBE_GATEWAY, SECURE(",'options':{'a/b':'c'}"), OTHERWISE, "http Accepted"},
    {KUBE_GATEWAY, SECURE(",'frontendValidation':{}"), OTHERWISE, "http Accepted"},
    {KUBE_GATEWAY, SECURE(",'later':{}"), OTHERWISE, "http Accepted"},

    /* --- GatewayClass --- */
    {KUBE_CLASS, "'spec':{'controllerName':'" CONTROLLER "','description':'mine'}", HONOURED, ""},
    {KUBE_CLASS, "'spec':{'controllerName':'" CONTROLLER "','parametersRef':{'name':'x'}}", REFUSED,
     "spec.parametersRef"},

    /* --- InferencePool --- */
    {KUBE_POOL, POOL(SELECTED "'appProtocol':'http',"), HONOURED, ""},
    {KUBE_POOL, POOL(SELECTED "'appProtocol':'kubernetes.io/h2c',"), HONOURED, ""},
    {KUBE_POOL, POOL(SELECTED "'appProtocol':'grpc',"), REFUSED, "spec.appProtocol"},
    {KUBE_POOL,
     POOL(SELECTED "'endpointPickerRef':{'name':'x','port':{'number':1},'failureMode':"
		   "'FailOpen'},"),
     HONOURED, ""},
    {KUBE_POOL, POOL(SELECTED "'later':1,"), REFUSED, "spec.later"},
    {KUBE_POOL, POOL("'selector':{'matchLabels':{'app':'p'},'matchExpressions':[]},"), REFUSED,
     "spec.selector: matchExpressions"},
    {KUBE_POOL, POOL("'selector':{'matchLabels':{}},"), REFUSED, "spec.selector.matchLabels"},
};

static const char *const names[KUBE_KINDS] = {
    [KUBE_ROUTE] = "default/r",
    [KUBE_GATEWAY] = "default/inference-gateway",
    [KUBE_CLASS] = "inference-haproxy",
    [KUBE_POOL] = "default/p",
};

/* The first message that is said, of whatever condition: "TYPE MESSAGE", "LISTENER TYPE MESSAGE".
 */
static const char *told(struct world *w, const struct kube_wanted *x)
{
	const struct kube_conditions *lists[8] = {&x->status.conditions};
	size_t n = 1;

	for (size_t i = 0; i < x->status.nparents; i++)
		lists[n++] = &x->status.parents[i].conditions;
	w->text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < lists[i]->n; k++)
			if (lists[i]->items[k].message.len && !w->text[0])
				add(w, "%s %s", lists[i]->items[k].type.ptr,
				    lists[i]->items[k].message.ptr);
	for (size_t i = 0; i < x->status.nlisteners; i++)
		for (size_t k = 0; k < x->status.listeners[i].conditions.n; k++) {
			const struct kube_condition *c =
			    &x->status.listeners[i].conditions.items[k];

			if (c->message.len && !strstr(w->text, "http "))
				add(w, "%s%s %s %s", w->text[0] ? "; " : "",
				    x->status.listeners[i].name.ptr, c->type.ptr, c->message.ptr);
		}
	return w->text;
}

static void check(const struct row *row)
{
	struct world *w = world_new();
	const struct kube_wanted *x;
	const char *text;

	world_secrets[0] = VIEW_LIT("default/site");
	gateway(w);
	put(w, KUBE_POOL, "default/p", 1, 1, POOL_SPEC("p"));
	put(w, KUBE_ROUTE, "default/r", 1, 2, RULE("'name':'x'"));
	put(w, row->kind, names[row->kind], 2, row->kind == KUBE_ROUTE ? 2 : row->kind == KUBE_POOL,
	    row->spec);
	if (w->error)
		fail_msg("%s: %s", row->spec, w->error);
	resolve(w);
	x = wanted(w, row->kind, names[row->kind]);
	if (!x)
		fail_msg("%s: nothing", row->spec);
	if (row->fate == REFUSED || row->fate == REMARKED) {
		const char *both = said(w, row->kind, names[row->kind]);
		bool accepted = !strstr(both, "Accepted=False");

		if (accepted != (row->fate == REMARKED))
			fail_msg("%s: %s", row->spec, both);
		text = message(w, row->kind, names[row->kind], "Accepted");
		if (!strstr(text, row->text))
			fail_msg("%s: \"%s\"", row->spec, text);
	} else {
		text = told(w, x);
		if (row->fate == HONOURED ? *text != '\0' : !strstr(text, row->text))
			fail_msg("%s: \"%s\"", row->spec, text);
	}
	world_free(w);
}

static void fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&rows[i]);
}

/* A name that HAProxy has itself: said of the pool and of its routes; elsewhere it is a name. */
static void reserved(void **state)
{
	struct world *w = world_new();
	size_t problems = 0;

	(void)state;
	gateway(w);
	put(w, KUBE_POOL, "default/inference", 1, 1, POOL_SPEC("p"));
	put(w, KUBE_POOL, "default/p", 1, 1, POOL_SPEC("p"));
	put(w, KUBE_POOL, "apps/inference", 1, 1, POOL_SPEC("p"));
	put(w, KUBE_ROUTE, "default/r", 1, 2,
	    ROUTE("'rules':[{'backendRefs':[" POOL_REF("p") "," POOL_REF("inference") "]}]"));
	resolve(w);
	assert_string_equal(pools(w), "apps/inference(apps_inference):; default/p(p):");
	assert_string_equal(rules(w), "* / > default/p*1 -*1 default/r");
	assert_string_equal(said(w, KUBE_ROUTE, "default/r"),
			    "inference-gateway Accepted ResolvedRefs=False/UnsupportedValue");
	assert_string_equal(
	    message(w, KUBE_ROUTE, "default/r", "ResolvedRefs"),
	    "spec.rules[0].backendRefs[1]: InferencePool default/inference: HAProxy "
	    "has a section inference of its own: give the pool another name, or make "
	    "it in another namespace than default");
	assert_string_equal(
	    said(w, KUBE_POOL, "default/inference"),
	    "default/inference-gateway Accepted=False/NotSupportedByParent ResolvedRefs");
	for (size_t i = 0; i < w->r->nproblems; i++)
		problems += strstr(w->r->problems[i].text.ptr, "HAProxy has a section") != NULL;
	assert_int_equal(problems, 2); /* the pool's and the route's */
	/* Beside somebody else's HAProxy there are no backends of ours. */
	w->set.header_rules = false;
	resolve(w);
	assert_string_equal(rules(w), "* / > default/p*1 default/inference*1 default/r");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fields),
	    cmocka_unit_test(reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
