/* GatewayClasses, Gateways and their listeners; rows beside conformance tests name them. */
#include "unit/discover/kube_world.h"

#define SPEC(listeners)                                                                            \
	"'spec':{'gatewayClassName':'inference-haproxy','listeners':[" listeners "]}"
#define HTTP "{'name':'http','port':80,'protocol':'HTTP'}"
#define OK   "Accepted Programmed IPAddress:203.0.113.7; "

struct row {
	const char *what, *spec, *status;
};

static const struct row rows[] = {
    {"one listener", SPEC(HTTP), OK "http(0) Accepted Programmed ResolvedRefs"},
    {"no listeners", SPEC(""),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7"},
    {"another's class", "'spec':{'gatewayClassName':'nope','listeners':[" HTTP "]}", "nothing"},
    {"listeners that are no list", "'spec':{'gatewayClassName':'inference-haproxy','listeners':7}",
     "nothing"},

    /* GatewayListenerUnsupportedProtocol */
    {"a protocol that is not served", SPEC("{'name':'x','port':80,'protocol':'TCP'}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; "
     "x(0,none) Accepted=False/UnsupportedProtocol Programmed=False/Invalid ResolvedRefs"},
    {"one of two", SPEC(HTTP ",{'name':'x','port':81,'protocol':'example.com/mine'}"),
     "Accepted=True/ListenersNotValid Programmed IPAddress:203.0.113.7; "
     "http(0) Accepted Programmed ResolvedRefs; "
     "x(0,none) Accepted=False/UnsupportedProtocol Programmed=False/Invalid ResolvedRefs"},

    /* GatewayInvalidRouteKind */
    {"only kinds that are not served",
     SPEC("{'name':'http','port':80,'protocol':'HTTP','allowedRoutes':{'kinds':[{"
	  "'kind':'GRPCRoute'}]}}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; http(0,none) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/InvalidRouteKinds"},
    {"one of them served",
     SPEC("{'name':'http','port':80,'protocol':'HTTP','allowedRoutes':{'kinds':[{"
	  "'kind':'GRPCRoute'},{'group':'gateway.networking.k8s.io','kind':'HTTPRoute'}]}}"),
     OK "http(0) Accepted Programmed ResolvedRefs=False/InvalidRouteKinds"},
    {"HTTPRoute of another group",
     SPEC("{'name':'http','port':80,'protocol':'HTTP','allowedRoutes':{'kinds':[{"
	  "'group':'x','kind':'HTTPRoute'}]}}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; http(0,none) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/InvalidRouteKinds"},

    /* GatewayInvalidTLSConfiguration */
    {"a certificate that HAProxy holds",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'site'}]}}"),
     OK "s(0) Accepted Programmed ResolvedRefs"},
    {"one that it does not",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'x'}]}}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; s(0) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/InvalidCertificateRef"},
    {"of another kind",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'kind':'X',"
	  "'name':'site'}]}}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; s(0) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/InvalidCertificateRef"},
    {"none", SPEC("{'name':'s','port':443,'protocol':'HTTPS'}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; s(0) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/InvalidCertificateRef"},
    /* GatewaySecretMissingReferenceGrant */
    {"of another namespace without a grant",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'site',"
	  "'namespace':'certs'}]}}"),
     "Accepted Programmed=False/Invalid IPAddress:203.0.113.7; s(0) Accepted "
     "Programmed=False/Invalid ResolvedRefs=False/RefNotPermitted"},
    {"passed through",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'mode':'Passthrough'}}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; s(0) "
     "Accepted=False/UnsupportedValue Programmed=False/Invalid "
     "ResolvedRefs=False/InvalidCertificateRef"},
    {"client certificates are not passed over",
     SPEC("{'name':'s','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{'name':'site'}],"
	  "'frontendValidation':{'caCertificateRefs':[]}}}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; s(0) "
     "Accepted=False/UnsupportedValue Programmed=False/Invalid ResolvedRefs"},
    {"nor those of the Gateway",
     "'spec':{'gatewayClassName':'inference-haproxy','tls':{'frontend':{'default':{}}},"
     "'listeners':[" HTTP ",{'name':'s','port':443,'protocol':'HTTPS','tls':{"
     "'certificateRefs':[{'name':'site'}]}}]}",
     "Accepted=True/ListenersNotValid Programmed IPAddress:203.0.113.7; http(0) Accepted "
     "Programmed ResolvedRefs; s(0) Accepted=False/UnsupportedValue Programmed=False/Invalid "
     "ResolvedRefs"},

    /* --- listeners that cannot be told apart: none of them wins --- */
    {"the same port and host name",
     SPEC("{'name':'a','port':80,'protocol':'HTTP'},{'name':'b','port':80,'protocol':'HTTP'},"
	  "{'name':'c','port':80,'protocol':'HTTP','hostname':'c.example'}"),
     "Accepted=True/ListenersNotValid Programmed IPAddress:203.0.113.7; "
     "a(0) Accepted=False/HostnameConflict Programmed=False/Invalid ResolvedRefs "
     "Conflicted=True/HostnameConflict; "
     "b(0) Accepted=False/HostnameConflict Programmed=False/Invalid ResolvedRefs "
     "Conflicted=True/HostnameConflict; c(0) Accepted Programmed ResolvedRefs"},
    {"two protocols on one port",
     SPEC("{'name':'a','port':80,'protocol':'HTTP'},{'name':'b','port':80,'protocol':'HTTPS',"
	  "'hostname':'b.example','tls':{'certificateRefs':[{'name':'site'}]}}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; "
     "a(0) Accepted=False/ProtocolConflict Programmed=False/Invalid ResolvedRefs "
     "Conflicted=True/ProtocolConflict; "
     "b(0) Accepted=False/ProtocolConflict Programmed=False/Invalid ResolvedRefs "
     "Conflicted=True/ProtocolConflict"},

    /* --- values --- */
    {"a host name that is none", SPEC("{'name':'a','port':80,'protocol':'HTTP','hostname':'*'}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; "
     "a(0) Accepted=False/UnsupportedValue Programmed=False/Invalid ResolvedRefs"},
    {"a selector that is missing",
     SPEC("{'name':'a','port':80,'protocol':'HTTP','allowedRoutes':{'namespaces':{"
	  "'from':'Selector'}}}"),
     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:203.0.113.7; "
     "a(0) Accepted=False/UnsupportedValue Programmed=False/Invalid ResolvedRefs"},
    /* GatewayInvalidParametersRef */
    {"parameters",
     "'spec':{'gatewayClassName':'inference-haproxy','infrastructure':{'parametersRef':{}},"
     "'listeners':[" HTTP "]}",
     "Accepted=False/InvalidParameters Programmed=False/Invalid IPAddress:203.0.113.7; "
     "http(0) Accepted Programmed=False/Invalid ResolvedRefs"},
    {"infrastructure's labels are passed over",
     "'spec':{'gatewayClassName':'inference-haproxy','infrastructure':{'labels':{'a':'b'}},"
     "'listeners':[" HTTP "]}",
     OK "http(0) Accepted Programmed ResolvedRefs"},

    /* --- addresses: GatewayStaticAddresses --- */
    {"an address that we have",
     "'spec':{'gatewayClassName':'inference-haproxy','addresses':[{'value':'203.0.113.7'}],"
     "'listeners':[" HTTP "]}",
     OK "http(0) Accepted Programmed ResolvedRefs"},
    {"any",
     "'spec':{'gatewayClassName':'inference-haproxy','addresses':[{'type':'IPAddress'}],"
     "'listeners':[" HTTP "]}",
     OK "http(0) Accepted Programmed ResolvedRefs"},
    {"one that we do not have",
     "'spec':{'gatewayClassName':'inference-haproxy','addresses':[{'value':'203.0.113.8'}],"
     "'listeners':[" HTTP "]}",
     "Accepted Programmed=False/AddressNotUsable; http(0) Accepted Programmed ResolvedRefs"},
    {"of a type that is not supported",
     "'spec':{'gatewayClassName':'inference-haproxy','addresses':[{'type':'NamedAddress',"
     "'value':'x'}],'listeners':[" HTTP "]}",
     "Accepted=False/UnsupportedAddress Programmed=False/Invalid; http(0) Accepted "
     "Programmed=False/Invalid ResolvedRefs"},
};

static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = world_new();
		const char *got;

		gateway(w);
		put(w, KUBE_GATEWAY, "infra/g", 2, 3, rows[i].spec);
		resolve(w);
		got = said(w, KUBE_GATEWAY, "infra/g");
		if (strcmp(got, rows[i].status) != 0)
			fail_msg("%s:\n %s\nnot\n %s", rows[i].what, got, rows[i].status);
		world_free(w);
	}
}

static void classes(void **state)
{
	struct world *w = world_new();

	(void)state;
	put(w, KUBE_CLASS, "mine", 4, 0, "'spec':{'controllerName':'" CONTROLLER "'}");
	put(w, KUBE_CLASS, "too", 1, 0,
	    "'spec':{'controllerName':'" CONTROLLER "','parametersRef':{'name':'x'}}");
	put(w, KUBE_CLASS, "theirs", 1, 0, "'spec':{'controllerName':'example.com/other'}");
	put(w, KUBE_CLASS, "odd", 1, 0, "'spec':7");
	resolve(w);
	assert_string_equal(said(w, KUBE_CLASS, "mine"), "Accepted");
	assert_int_equal(wanted(w, KUBE_CLASS, "mine")->status.conditions.items[0].generation, 4);
	assert_string_equal(said(w, KUBE_CLASS, "too"), "Accepted=False/InvalidParameters");
	assert_string_equal(said(w, KUBE_CLASS, "theirs"), "nothing");
	assert_string_equal(problem(w, KUBE_CLASS, "odd"), "spec: not an object");
	/* The API server allows no two listeners of one name; if it did, they would be rewritten
	 * one as the other for ever. */
	put(w, KUBE_GATEWAY, "default/twins", 1, 0,
	    SPEC("{'name':'a','port':80,'protocol':'HTTP'},{'name':'a','port':81,"
		 "'protocol':'UDP'}"));
	assert_string_equal(w->error, "spec.listeners[1].name: another listener has it");
	world_free(w);
}

/* kubernetes.service: its addresses are the Gateway's, its ports those that listeners can have. */
static void service(void **state)
{
	static const struct {
		const char *what, *rest, *status;
	} cases[] = {
	    {"a load balancer with an address",
	     "'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.9','ports':[{'port':80}]},"
	     "'status':{'loadBalancer':{'ingress':[{'ip':'198.51.100.1'},{'hostname':'lb.example'}"
	     "]}}",
	     "Accepted Programmed IPAddress:198.51.100.1 Hostname:lb.example; http(0) Accepted "
	     "Programmed ResolvedRefs"},
	    {"one that has none yet",
	     "'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.9','ports':[{'port':80}]}",
	     "Accepted Programmed=False/AddressNotAssigned; http(0) Accepted Programmed "
	     "ResolvedRefs"},
	    {"of the cluster, both families",
	     "'spec':{'clusterIP':'10.96.0.9','clusterIPs':['10.96.0.9','fd00::9'],"
	     "'ports':[{'port':80}]}",
	     "Accepted Programmed IPAddress:10.96.0.9 IPAddress:fd00::9; http(0) Accepted "
	     "Programmed ResolvedRefs"},
	    {"external addresses come first",
	     "'spec':{'type':'NodePort','clusterIP':'10.96.0.9','externalIPs':['192.0.2.1'],"
	     "'ports':[{'port':80}]}",
	     "Accepted Programmed IPAddress:192.0.2.1; http(0) Accepted Programmed ResolvedRefs"},
	    {"without an address of the cluster",
	     "'spec':{'clusterIP':'None','clusterIPs':['None'],'ports':[{'port':80}]}",
	     "Accepted Programmed=False/AddressNotAssigned; http(0) Accepted Programmed "
	     "ResolvedRefs"},
	    {"another port",
	     "'spec':{'clusterIP':'10.96.0.9','ports':[{'port':8080},{'port':80,'protocol':'UDP'}"
	     "]}",
	     "Accepted=False/ListenersNotValid Programmed=False/Invalid IPAddress:10.96.0.9; "
	     "http(0) Accepted=False/PortUnavailable Programmed=False/Invalid ResolvedRefs"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = world_new();
		const char *got;

		w->set.service_namespace = VIEW_LIT("infra");
		w->set.service = VIEW_LIT("haproxy");
		gateway(w);
		resolve(w);
		assert_string_equal(said(w, KUBE_GATEWAY, "default/inference-gateway"),
				    "Accepted Programmed=False/AddressNotAssigned; http(0) "
				    "Accepted Programmed ResolvedRefs");
		assert_string_equal(
		    message(w, KUBE_GATEWAY, "default/inference-gateway", "Programmed"),
		    "Service infra/haproxy of kubernetes.service is not there");
		put(w, KUBE_SERVICE, "infra/haproxy", 0, 0, cases[i].rest);
		resolve(w);
		got = said(w, KUBE_GATEWAY, "default/inference-gateway");
		if (strcmp(got, cases[i].status) != 0)
			fail_msg("%s:\n %s\nnot\n %s", cases[i].what, got, cases[i].status);
		world_free(w);
	}
}

/* Several Gateways are one HAProxy: what can be merged is, a port's protocol is the older's. */
static void merged(void **state)
{
	struct world *w = world_new();

	(void)state;
	gateway(w);
	put(w, KUBE_GATEWAY, "infra/second", 1, 9, SPEC(HTTP));
	put(w, KUBE_GATEWAY, "infra/tls", 1, 5,
	    SPEC("{'name':'s','port':80,'protocol':'HTTPS','hostname':'s.example','tls':{"
		 "'certificateRefs':[{'name':'site'}]}}"));
	resolve(w);
	assert_string_equal(said(w, KUBE_GATEWAY, "infra/second"),
			    OK "http(0) Accepted Programmed ResolvedRefs");
	assert_string_equal(said(w, KUBE_GATEWAY, "infra/tls"),
			    "Accepted=False/ListenersNotValid Programmed=False/Invalid "
			    "IPAddress:203.0.113.7; s(0) Accepted=False/ProtocolConflict "
			    "Programmed=False/Invalid ResolvedRefs "
			    "Conflicted=True/ProtocolConflict");
	/* The older one gone, and the one after it: the port is free. */
	gone(w, KUBE_GATEWAY, "default", "inference-gateway");
	resolve(w);
	assert_string_equal(said(w, KUBE_GATEWAY, "infra/tls"),
			    OK "s(0) Accepted Programmed ResolvedRefs");
	assert_string_equal(said(w, KUBE_GATEWAY, "infra/second"),
			    "Accepted=False/ListenersNotValid Programmed=False/Invalid "
			    "IPAddress:203.0.113.7; http(0) Accepted=False/ProtocolConflict "
			    "Programmed=False/Invalid ResolvedRefs "
			    "Conflicted=True/ProtocolConflict");
	world_free(w);
}

/* GatewayWithAttachedRoutes: by allowedRoutes and parentRefs alone, and only accepted ones. */
static void attached(void **state)
{
	struct world *w = world_new();

	(void)state;
	gateway(w);
	put(w, KUBE_GATEWAY, "default/g", 1, 3,
	    SPEC("{'name':'a','port':80,'protocol':'HTTP','hostname':'foo.example'},"
		 "{'name':'b','port':443,'protocol':'HTTPS','tls':{'certificateRefs':[{"
		 "'name':'nope'}]}}"));
	put(w, KUBE_ROUTE, "default/both", 1, 4, "'spec':{'parentRefs':[{'name':'g'}]}");
	put(w, KUBE_ROUTE, "default/b-only", 1, 4,
	    "'spec':{'parentRefs':[{'name':'g','sectionName':'b'},{'name':'g',"
	    "'sectionName':'b','port':443}],'rules':[{'backendRefs':[{'name':'x'}]}]}");
	put(w, KUBE_ROUTE, "default/elsewhere", 1, 4,
	    "'spec':{'parentRefs':[{'name':'g','sectionName':'a'}],'hostnames':['x.example']}");
	put(w, KUBE_ROUTE, "default/bad", 1, 4,
	    "'spec':{'parentRefs':[{'name':'g'}],'rules':[{'retry':{}}]}");
	resolve(w);
	assert_string_equal(said(w, KUBE_GATEWAY, "default/g"),
			    OK "a(1) Accepted Programmed ResolvedRefs; b(2) Accepted "
			       "Programmed=False/Invalid "
			       "ResolvedRefs=False/InvalidCertificateRef");
	/* Attached to what HAProxy does not hold the certificate of is not served. */
	assert_string_equal(rules(w), "foo.example / > default/both");
	assert_string_equal(said(w, KUBE_ROUTE, "default/b-only"),
			    "g#b Accepted ResolvedRefs=False/InvalidKind; g#b:443 Accepted "
			    "ResolvedRefs=False/InvalidKind");
	assert_int_equal(w->r->counts.routes, 4);
	assert_int_equal(w->r->counts.routes_accepted, 2);
	world_free(w);
}

/* A Gateway that cannot be read any more is served as it was; what was said of it, and of its
 * routes, stays: a replica that starts now could not say the same. */
static void unreadable(void **state)
{
	static const struct {
		enum kube_kind kind;
		const char *name, *spec, *why;
	} cases[] = {
	    {KUBE_GATEWAY, "default/inference-gateway",
	     "'spec':{'gatewayClassName':'inference-haproxy','listeners':[{'port':'80'}]}",
	     "spec.listeners[0].port: not a number"},
	    {KUBE_CLASS, "inference-haproxy", "'spec':7", "spec: not an object"},
	    {KUBE_ROUTE, "default/r", "'spec':{'rules':7}", "spec.rules: not a list"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int prunes = 0; prunes < 2; prunes++) {
			struct world *w = world_new();

			w->prunes = prunes;
			gateway(w);
			put(w, KUBE_POOL, "default/p", 1, 3, POOL_SPEC("p"));
			put(w, KUBE_ROUTE, "default/r", 1, 4,
			    "'spec':{'parentRefs':[{'name':'inference-gateway'}],'rules':[{"
			    "'backendRefs':[" POOL_REF("p") "]}]}");
			write_all(w);
			put(w, cases[i].kind, cases[i].name, 2, cases[i].kind == KUBE_ROUTE ? 4 : 0,
			    cases[i].spec);
			assert_string_equal(w->error, cases[i].why);
			resolve(w);
			assert_string_equal(said(w, cases[i].kind, cases[i].name), "nothing");
			assert_string_equal(problem(w, cases[i].kind,
						    strchr(cases[i].name, '/')
							? strchr(cases[i].name, '/') + 1
							: cases[i].name),
					    cases[i].why);
			assert_string_equal(rules(w), "* / > default/p*1 default/r");
			if (cases[i].kind != KUBE_ROUTE)
				assert_int_equal(write_all(w), 0);
			world_free(w);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table),  cmocka_unit_test(classes),  cmocka_unit_test(service),
	    cmocka_unit_test(merged), cmocka_unit_test(attached), cmocka_unit_test(unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
