/*
 * Listeners as requests meet them: objects in, a request's port and host, and the route that has
 * it. Isolation by port and by host name (GatewayHTTPListenerIsolation,
 * HTTPRouteListenerPortMatching of the Gateway API's conformance tests).
 */
#include "unit/discover/kube_world.h"

#include "route/rule.h"

#define LISTENER(name, port, host)                                                                 \
	"{'name':'" name "','port':" port ",'protocol':'HTTP','hostname':'" host "',"              \
	"'allowedRoutes':{'namespaces':{'from':'All'}}}"
#define ANY(name, port)                                                                            \
	"{'name':'" name "','port':" port ",'protocol':'HTTP',"                                    \
	"'allowedRoutes':{'namespaces':{'from':'All'}}}"

static void listeners(struct world *w, const char *name, const char *list)
{
	char spec[8192];

	snprintf(spec, sizeof(spec),
		 "'spec':{'gatewayClassName':'inference-haproxy','listeners':[%s]}", list);
	put(w, KUBE_GATEWAY, name, 1, 0, spec);
}

/* A route of that name with those parents and host names ("'a.b','c.d'"), to a pool of its own. */
static void routed(struct world *w, const char *name, int created, const char *parents,
		   const char *hosts)
{
	char spec[2048], full[64];

	snprintf(full, sizeof(full), "default/%s", name);
	snprintf(spec, sizeof(spec),
		 "'spec':{'parentRefs':[%s],'hostnames':[%s],'rules':[{'backendRefs':[" POOL_REF(
		     "%s") "]}]}",
		 parents, hosts, name);
	put(w, KUBE_ROUTE, full, 1, created, spec);
	put(w, KUBE_POOL, full, 1, created, POOL_SPEC("x"));
}

static void service(struct world *w, const char *ports)
{
	char spec[1024];

	w->set.service_namespace = VIEW_LIT("infra");
	w->set.service = VIEW_LIT("haproxy");
	snprintf(spec, sizeof(spec), "'spec':{'clusterIP':'10.0.0.7','ports':[%s]}", ports);
	put(w, KUBE_SERVICE, "infra/haproxy", 1, 0, spec);
}

static struct rules *made(struct world *w)
{
	struct rules *r;

	resolve(w);
	r = rules_new(w->plan->rules, w->plan->nrules);
	assert_non_null(r);
	assert_int_equal(rules_listen(r, &w->plan->listeners), 0);
	return r;
}

/* The route's name; "-": none. */
static const char *goes(const struct rules *r, uint32_t port, const char *host)
{
	static char name[64];
	const struct rule_request req = {.host = view_str(host),
					 .path = VIEW_LIT("/v1/x"),
					 .method = VIEW_LIT("POST"),
					 .port = port};
	struct rule_target t;

	if (!rules_find(r, &req, 0, &t))
		return "-";
	snprintf(name, sizeof(name), "%.*s", (int)t.route.len, t.route.ptr);
	return strchr(name, '/') + 1;
}

struct request {
	uint32_t port;
	const char *host, *route;
};

static void check(struct rules *r, const struct request *requests, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *to = goes(r, requests[i].port, requests[i].host);

		if (strcmp(to, requests[i].route) != 0)
			fail_msg("%u %s: %s, not %s", requests[i].port, requests[i].host, to,
				 requests[i].route);
	}
	rules_free(r);
}
#define CHECK(r, requests) check(r, requests, sizeof(requests) / sizeof((requests)[0]))

static struct world *start(void)
{
	struct world *w = world_new();
	static const struct kube_port_name names[] = {{{"http", 4}, 8080}, {{"https", 5}, 8443}};

	gateway(w);
	w->set.ports = names;
	w->set.nports = 2;
	return w;
}

#define TO(section) "{'name':'inference-gateway','sectionName':'" section "'}"

/* parentRefs by section, by port, by both, twice, and by none. */
static void test_ports(void **state)
{
	static const struct request requests[] = {
	    {80, "a.example.com", "one"},
	    {81, "a.example.com", "two"},
	    {80, "port.example.com", "one"},
	    {81, "port.example.com", "by-port"},
	    {80, "both.example.com", "one"},
	    {81, "both.example.com", "by-both"},
	    {80, "twice.example.com", "twice"},
	    {81, "twice.example.com", "twice"},
	    {80, "all.example.com", "all"},
	    {81, "all.example.com", "all"},
	    {80, "never.example.com", "one"},
	    {81, "never.example.com", "two"},
	    /* A port that nobody listens at says nothing: then all are asked. */
	    {8080, "port.example.com", "by-port"},
	    {0, "both.example.com", "by-both"},
	};
	struct world *w = start();

	(void)state;
	listeners(w, "default/inference-gateway", ANY("a", "80") "," ANY("b", "81"));
	routed(w, "one", 1, TO("a"), "");
	routed(w, "two", 2, TO("b"), "");
	routed(w, "by-port", 3, "{'name':'inference-gateway','port':81}", "'port.example.com'");
	routed(w, "by-both", 3, "{'name':'inference-gateway','port':81,'sectionName':'b'}",
	       "'both.example.com'");
	routed(w, "twice", 3, TO("a") "," TO("b"), "'twice.example.com'");
	routed(w, "all", 3, "{'name':'inference-gateway'}", "'all.example.com'");
	routed(w, "never", 3, "{'name':'inference-gateway','port':80,'sectionName':'b'}",
	       "'never.example.com'");
	CHECK(made(w), requests);
	assert_string_equal(said(w, KUBE_ROUTE, "default/never"),
			    "inference-gateway#b:80 Accepted=False/NoMatchingParent ResolvedRefs");
	/* Two ports with one host are one entry of a route: its rules do not double. */
	assert_int_equal(w->plan->nrules, 6);
	world_free(w);
}

/* The conformance test's four listeners, and a listener that has no route at all. */
static void test_hosts(void **state)
{
	static const struct request requests[] = {
	    {80, "bar.com", "empty"},
	    {80, "abc.foo.example.com", "foo-wild"},
	    {80, "bar.example.com", "wild"},
	    {80, "a.bar.example.com", "wild"},
	    {80, "abc.foo.example.com:80", "foo-wild"},
	    {80, "ABC.foo.Example.COM", "foo-wild"},
	    {80, "abc2.foo.example.com", "foo-wild"},
	    {80, "exact.foo.example.com", "exact"},
	    {80, "nobody.example.com", "-"},
	    {80, "example.com", "empty"},
	    {80, "foo.example.com", "wild"},
	    {80, "", "empty"},
	    /* One port: a request that does not tell its own is treated the same. */
	    {0, "exact.foo.example.com", "exact"},
	    {7777, "nobody.example.com", "-"},
	};
	static const char list[] =
	    ANY("empty", "80") "," LISTENER("wild", "80", "*.example.com") "," LISTENER(
		"foo-wild", "80",
		"*.foo.example.com") "," LISTENER("exact", "80",
						  "exact.foo.example.com") "," LISTENER("nobody",
											"80",
											"nobody."
											"example."
											"com");
	struct world *w = start();

	(void)state;
	listeners(w, "default/inference-gateway", list);
	routed(w, "empty", 1, TO("empty"), "");
	routed(w, "wild", 2, TO("wild"), "");
	routed(w, "foo-wild", 3, TO("foo-wild"), "");
	routed(w, "exact", 4, TO("exact"), "");
	CHECK(made(w), requests);
	/* By host names of its own a route does not get across either. */
	routed(w, "empty", 1, TO("empty"), "'exact.foo.example.com','other.com','*.example.com'");
	CHECK(made(w), ((const struct request[]){{80, "exact.foo.example.com", "exact"},
						 {80, "other.com", "empty"},
						 {80, "x.example.com", "wild"},
						 {80, "bar.com", "-"}}));
	world_free(w);
}

/* Hosts are isolated within a port, not across, and Gateways count as one. */
static void test_both(void **state)
{
	static const struct request requests[] = {
	    {80, "a.example.com", "wide"}, {81, "a.example.com", "narrow"},
	    {81, "b.example.com", "-"},    {80, "b.example.com", "wide"},
	    {80, "x.org", "theirs"},       {81, "x.org", "-"},
	};
	struct world *w = start();

	(void)state;
	listeners(w, "default/inference-gateway",
		  LISTENER("w", "80", "*.example.com") "," LISTENER("n", "81", "a.example.com"));
	listeners(w, "infra/second", ANY("all", "80"));
	routed(w, "wide", 1, TO("w"), "");
	routed(w, "narrow", 2, TO("n"), "");
	routed(w, "theirs", 3, "{'name':'second','namespace':'infra'}", "");
	CHECK(made(w), requests);
	world_free(w);
}

/* The Service leads from a listener's port to HAProxy's. */
static void test_service(void **state)
{
	static const struct {
		const char *what, *ports;
		struct request requests[6];
	} cases[] = {
	    {"by name",
	     "{'port':80,'targetPort':'http'},{'port':81,'targetPort':'https'}",
	     {{8080, "h", "one"}, {8443, "h", "two"}, {80, "h", "one"}, {81, "h", "two"}}},
	    {"by number, and the node's",
	     "{'port':80,'targetPort':9000,'nodePort':30080},{'port':81,'targetPort':9001,"
	     "'nodePort':30081}",
	     {{9000, "h", "one"},
	      {9001, "h", "two"},
	      {30080, "h", "one"},
	      {30081, "h", "two"},
	      {81, "h", "two"}}},
	    {"the same number",
	     "{'port':80},{'port':81,'targetPort':0}",
	     {{80, "h", "one"}, {81, "h", "two"}}},
	    {"crossed: a target goes before a port",
	     "{'port':80,'targetPort':81},{'port':81,'targetPort':80}",
	     {{81, "h", "one"}, {80, "h", "two"}}},
	    {"one target for both: the older route",
	     "{'port':80,'targetPort':8080},{'port':81,'targetPort':8080}",
	     {{8080, "h", "one"}, {80, "h", "one"}, {81, "h", "one"}}},
	    {"a name that is not known: its port is, as others tell it",
	     "{'port':80,'targetPort':'http'},{'port':81,'targetPort':'mine'}",
	     {{8080, "h", "one"}, {81, "h", "two"}, {9999, "h", "one"}}},
	    {"a port without a listener is for nobody",
	     "{'port':80,'targetPort':8080},{'port':81,'targetPort':8081},{'port':90,"
	     "'targetPort':8090}",
	     {{8080, "h", "one"}, {8081, "h", "two"}, {8090, "h", "-"}, {90, "h", "-"}}},
	    {"UDP is none of them",
	     "{'port':80,'targetPort':8080,'protocol':'UDP'},{'port':80,'targetPort':8080},"
	     "{'port':81,'targetPort':8081}",
	     {{8080, "h", "one"}, {8081, "h", "two"}}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = start();
		size_t n = 0;

		print_message("  %s\n", cases[i].what);
		service(w, cases[i].ports);
		listeners(w, "default/inference-gateway", ANY("a", "80") "," ANY("b", "81"));
		routed(w, "one", 1, TO("a"), "");
		routed(w, "two", 2, TO("b"), "");
		while (n < 6 && cases[i].requests[n].host)
			n++;
		check(made(w), cases[i].requests, n);
		world_free(w);
	}
}

/* What is not programmed has no requests: others serve them. */
static void test_not_programmed(void **state)
{
	struct world *w = start();

	(void)state;
	listeners(w, "default/inference-gateway",
		  ANY("all", "80") ",{'name':'tls','port':80,'protocol':'TLS','hostname':"
				   "'a.example.com'}," LISTENER("gone", "8080", "a.example.com"));
	service(w, "{'port':80,'targetPort':8080}");
	routed(w, "all", 1, TO("all"), "");
	routed(w, "gone", 1, TO("gone"), "");
	CHECK(made(w), ((const struct request[]){{8080, "a.example.com", "all"},
						 {80, "a.example.com", "all"}}));
	world_free(w);
}

/* More ports than bits: the last ones share theirs, and all go on serving. */
static void test_many(void **state)
{
	struct world *w = start();
	char list[8192] = "";
	struct rules *r;

	(void)state;
	for (unsigned i = 0; i < 70; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used,
			 "%s{'name':'l%u','port':%u,'protocol':'HTTP'}", used ? "," : "", i,
			 1000 + i);
		if (i != 34 && i != 69)
			continue;
		listeners(w, i == 34 ? "default/inference-gateway" : "default/second", list);
		list[0] = '\0';
	}
	routed(w, "first", 2, TO("l0"), "");
	routed(w, "last", 1, "{'name':'second','sectionName':'l69'}", "");
	r = made(w);
	assert_true(rules_want_port(r));
	assert_string_equal(goes(r, 1000, "h"), "first");
	assert_string_equal(goes(r, 1069, "h"), "last");
	assert_string_equal(goes(r, 1068, "h"), "last");
	assert_string_equal(goes(r, 1062, "h"), "-");
	assert_string_equal(goes(r, 1001, "h"), "-");
	rules_free(r);
	world_free(w);
}

/* HAProxy is asked for the port where it makes a difference. */
static void test_wanted(void **state)
{
	struct world *w = start();
	struct rules *r;

	(void)state;
	listeners(w, "default/inference-gateway", ANY("a", "80"));
	routed(w, "one", 1, TO("a"), "");
	r = made(w);
	assert_false(rules_want_port(r));
	rules_free(r);
	/* A second port of the Service, with nobody listening. */
	service(w, "{'port':80,'targetPort':'http'},{'port':443,'targetPort':'https'}");
	r = made(w);
	assert_true(rules_want_port(r));
	assert_string_equal(goes(r, 8443, "h"), "-");
	rules_free(r);
	service(w, "{'port':80,'targetPort':'http'}");
	r = made(w);
	assert_false(rules_want_port(r));
	assert_string_equal(goes(r, 8443, "h"), "one");
	rules_free(r);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ports),  cmocka_unit_test(test_hosts),
	    cmocka_unit_test(test_both),   cmocka_unit_test(test_service),
	    cmocka_unit_test(test_many),   cmocka_unit_test(test_not_programmed),
	    cmocka_unit_test(test_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
