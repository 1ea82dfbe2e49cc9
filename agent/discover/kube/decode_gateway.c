/*
 * Gateways and their listeners. What a listener asks for that is not done here is noted beside it
 * by its path (wrong), never passed over: client certificates that are asked for and not checked
 * would be a door left open, and so may be a field that is not known here. What changes nothing
 * about who is served is remarked: infrastructure labels and annotations are for those who create
 * infrastructure for a Gateway; nothing is created here.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <ctype.h>
#include "discover/kube/hostname.h"

#define LISTENERS_MAX   256
#define REFERENCES_MAX  256
#define EXPRESSIONS_MAX 1024

static void note_wrong(struct view *wrong, struct view text)
{
	if (!wrong->ptr)
		*wrong = text;
}

/* A member that a listener's part may not have: it may be there to keep somebody out. */
static void only(const cJSON *part, const char *const *known, struct kube_listener *l,
		 struct kube_reader *r)
{
	const char *other = kube_reader_unknown(part, known);

	if (other)
		note_wrong(&l->wrong, kube_reader_text(r, other, "not supported"));
}

#define KNOWN(...) ((const char *const[]){__VA_ARGS__, NULL})

struct view kube_decode_hostname(struct kube_reader *r, struct view text)
{
	struct view copy = kube_pack_dup(r->pack, text);

	for (size_t i = 0; i < copy.len; i++)
		((char *)copy.ptr)[i] = (char)tolower((unsigned char)copy.ptr[i]);
	return copy;
}

bool kube_decode_ref(struct kube_reader *r, const cJSON *item, const char *group, const char *kind,
		     struct view namespace, struct kube_ref *ret)
{
	bool given;

	ret->group = kube_reader_string_or(r, item, "group", group);
	ret->kind = kube_reader_string_or(r, item, "kind", kind);
	ret->name = kube_reader_string_or(r, item, "name", "");
	ret->namespace = kube_reader_string(r, item, "namespace");
	given = ret->namespace.len > 0;
	if (!given)
		ret->namespace = namespace;
	return given;
}

/* --- label selectors --- */

static void read_expression(const cJSON *item, struct kube_expression *e, struct kube_reader *r,
			    struct view *wrong)
{
	static const struct {
		const char *name;
		enum kube_operator op;
	} operators[] = {
	    {"In", KUBE_IN},
	    {"NotIn", KUBE_NOT_IN},
	    {"Exists", KUBE_EXISTS},
	    {"DoesNotExist", KUBE_ABSENT},
	};
	struct view name = kube_reader_peek(r, item, "operator");
	bool known = false;

	e->key = kube_reader_string_or(r, item, "key", "");
	e->values = kube_reader_strings(r, item, "values", EXPRESSIONS_MAX, &e->nvalues);
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (view_eq(name, view_str(operators[i].name))) {
			e->op = operators[i].op;
			known = true;
		}
	if (!known)
		note_wrong(wrong, kube_reader_text(r, "operator", "no such operator"));
}

static void read_selector(const cJSON *selector, struct kube_listener *l, struct kube_reader *r)
{
	size_t n, i, before;
	const cJSON *list, *item;
	struct kube_labels labels;
	struct kube_expression *e;
	struct view *values;

	only(selector, KNOWN("matchLabels", "matchExpressions"), l, r);
	kube_decode_labels(r, selector, "matchLabels", &labels);
	list = kube_reader_list(r, selector, "matchExpressions", EXPRESSIONS_MAX, &n);
	e = kube_reader_array(r, labels.n + n, sizeof(*e));
	values = kube_reader_array(r, labels.n, sizeof(*values));
	if (!e || (labels.n && !values))
		return;
	for (i = 0; i < labels.n; i++) {
		values[i] = labels.items[i].value;
		e[i] = (struct kube_expression){KUBE_IN, labels.items[i].key, &values[i], 1};
	}
	before = kube_reader_enter(r, "matchExpressions");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i - labels.n);

		read_expression(item, &e[i++], r, &l->wrong);
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	l->selector = e;
	l->nselector = i;
}

/* --- allowedRoutes --- */

static void read_from(const cJSON *namespaces, struct kube_listener *l, struct kube_reader *r)
{
	struct view from = kube_reader_peek(r, namespaces, "from");
	size_t before;

	only(namespaces, KNOWN("from", "selector"), l, r);
	l->from = KUBE_FROM_SAME;
	if (!from.ptr || view_eq(from, VIEW_LIT("Same")))
		return;
	if (view_eq(from, VIEW_LIT("All"))) {
		l->from = KUBE_FROM_ALL;
	} else if (view_eq(from, VIEW_LIT("Selector"))) {
		const cJSON *selector = kube_reader_map(r, namespaces, "selector");

		l->from = KUBE_FROM_SELECTOR;
		before = kube_reader_enter(r, "selector");
		if (selector)
			read_selector(selector, l, r);
		else
			note_wrong(&l->wrong, kube_reader_text(r, NULL, "missing"));
		kube_reader_leave(r, before);
		if (!selector)
			l->from = KUBE_FROM_NONE;
	} else {
		l->from = KUBE_FROM_NONE;
		if (!view_eq(from, VIEW_LIT("None")))
			note_wrong(&l->wrong,
				   kube_reader_text(r, "from", "Same, All, Selector or None"));
	}
}

static void read_kinds(const cJSON *allowed, struct kube_listener *l, struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, allowed, "kinds", REFERENCES_MAX, &n), *item;

	l->kinds_given = n > 0;
	l->takes_routes = n == 0;
	before = kube_reader_enter(r, "kinds");
	cJSON_ArrayForEach(item, list)
	{
		struct view group = kube_reader_peek(r, item, "group");
		struct view kind = kube_reader_peek(r, item, "kind");
		size_t inner = kube_reader_enter_item(r, i++);

		if ((!group.ptr || view_eq(group, VIEW_LIT(KUBE_GATEWAY_GROUP))) &&
		    view_eq(kind, VIEW_LIT("HTTPRoute")))
			l->takes_routes = true;
		else
			note_wrong(&l->kinds,
				   kube_reader_text(r, NULL, "%.60s is not served here",
						    kind.ptr ? kind.ptr : "a kind without a name"));
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
}

/* --- tls --- */

static void read_certificates(const cJSON *tls, struct view namespace, struct kube_listener *l,
			      struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, tls, "certificateRefs", REFERENCES_MAX, &n);
	const cJSON *item;
	struct kube_ref *refs = kube_reader_array(r, n, sizeof(*refs));

	if (!refs)
		return;
	cJSON_ArrayForEach(item, list)
	    kube_decode_ref(r, item, "", "Secret", namespace, &refs[i++]);
	l->certificates = refs;
	l->ncertificates = i;
}

static void read_tls(const cJSON *tls, struct view namespace, struct kube_listener *l,
		     struct kube_reader *r)
{
	struct view mode = kube_reader_peek(r, tls, "mode");
	const cJSON *options = kube_reader_map(r, tls, "options");

	l->passthrough = view_eq(mode, VIEW_LIT("Passthrough"));
	if (mode.ptr && !view_eq(mode, VIEW_LIT("Terminate")))
		note_wrong(&l->wrong, kube_reader_text(r, "mode", "only Terminate is supported"));
	if (options && options->child)
		note_wrong(&l->wrong, kube_reader_text(r, "options", "no option is supported"));
	if (kube_reader_any(tls, "frontendValidation"))
		note_wrong(&l->wrong, kube_reader_text(r, "frontendValidation",
						       "client certificates are not supported"));
	only(tls, KNOWN("mode", "certificateRefs", "options", "frontendValidation"), l, r);
	read_certificates(tls, namespace, l, r);
}

/* --- listeners --- */

static void read_listener(const cJSON *item, struct view namespace, struct kube_listener *l,
			  struct kube_reader *r)
{
	const cJSON *allowed = kube_reader_map(r, item, "allowedRoutes");
	const cJSON *tls = kube_reader_map(r, item, "tls");
	struct view hostname = kube_reader_peek(r, item, "hostname");
	size_t before;

	l->name = kube_reader_string_or(r, item, "name", "");
	l->protocol = kube_reader_string_or(r, item, "protocol", "");
	l->port = (uint16_t)kube_reader_integer(r, item, "port", 1, 65535, 0);
	if (!l->port)
		note_wrong(&l->wrong, kube_reader_text(r, "port", "missing"));
	if (hostname.len) {
		l->hostname = kube_decode_hostname(r, hostname);
		if (!kube_hostname_valid(l->hostname))
			note_wrong(&l->wrong, kube_reader_text(r, "hostname", "no name of a host"));
	}
	only(item, KNOWN("name", "hostname", "port", "protocol", "tls", "allowedRoutes"), l, r);
	before = kube_reader_enter(r, "allowedRoutes");
	only(allowed, KNOWN("namespaces", "kinds"), l, r);
	read_kinds(allowed, l, r);
	kube_reader_enter(r, "namespaces");
	read_from(kube_reader_map(r, allowed, "namespaces"), l, r);
	kube_reader_leave(r, before);
	before = kube_reader_enter(r, "tls");
	if (tls)
		read_tls(tls, namespace, l, r);
	kube_reader_leave(r, before);
}

static void read_listeners(const cJSON *spec, struct view namespace, struct kube_gateway *g,
			   struct kube_reader *r)
{
	size_t n, i = 0, before = kube_reader_enter(r, "listeners");
	const cJSON *list, *item;
	struct kube_listener *listeners;

	kube_reader_leave(r, before);
	list = kube_reader_list(r, spec, "listeners", LISTENERS_MAX, &n);
	listeners = kube_reader_array(r, n, sizeof(*listeners));
	if (!listeners)
		return;
	before = kube_reader_enter(r, "listeners");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i);

		if (!cJSON_IsObject(item))
			kube_reader_fail(r, NULL, "not an object");
		read_listener(item, namespace, &listeners[i], r);
		/* Listeners are a map by name: what is said of one would be said of the other. */
		for (size_t k = 0; k < i; k++)
			if (view_eq(listeners[k].name, listeners[i].name))
				kube_reader_fail(r, "name", "another listener has it");
		i++;
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	g->listeners = listeners;
	g->nlisteners = i;
}

static void read_addresses(const cJSON *spec, struct kube_gateway *g, struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, spec, "addresses", 64, &n), *item;
	struct kube_address *addresses = kube_reader_array(r, n, sizeof(*addresses));

	if (!addresses)
		return;
	cJSON_ArrayForEach(item, list)
	{
		addresses[i].type = kube_reader_string_or(r, item, "type", "IPAddress");
		addresses[i++].value = kube_reader_string_or(r, item, "value", "");
	}
	g->addresses = addresses;
	g->naddresses = i;
}

/* What is asked for and not done here, and changes nothing about the listeners. */
static void read_remarks(const cJSON *spec, struct kube_gateway *g, struct kube_reader *r)
{
	const cJSON *infrastructure = kube_reader_map(r, spec, "infrastructure");
	const cJSON *listeners = kube_reader_map(r, spec, "allowedListeners");
	struct view from = kube_reader_peek(r, kube_reader_map(r, listeners, "namespaces"), "from");
	struct view scope = kube_reader_peek(r, spec, "defaultScope");
	const char *other = kube_reader_unknown(
	    spec, KNOWN("gatewayClassName", "listeners", "addresses", "infrastructure", "tls",
			"backendTLS", "allowedListeners", "defaultScope"));

	if (other)
		note_wrong(&g->remarks, kube_reader_text(r, other, "not supported"));
	if (scope.len && !view_eq(scope, VIEW_LIT("None")))
		note_wrong(&g->remarks,
			   kube_reader_text(r, "defaultScope",
					    "not supported, routes name their Gateways"));
	if (from.len && !view_eq(from, VIEW_LIT("None")))
		note_wrong(&g->remarks,
			   kube_reader_text(r, "allowedListeners",
					    "not supported, all listeners stand in the Gateway"));
	if (kube_reader_any(infrastructure, "labels") ||
	    kube_reader_any(infrastructure, "annotations"))
		note_wrong(&g->remarks,
			   kube_reader_text(r, "infrastructure",
					    "nothing is created for a Gateway here, so there is "
					    "nothing to label or annotate"));
}

void kube_decode_gateway(const cJSON *o, struct view namespace, struct kube_gateway *ret,
			 struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	const cJSON *infrastructure = kube_reader_map(r, spec, "infrastructure");
	const cJSON *tls = kube_reader_map(r, spec, "tls");
	size_t before = kube_reader_enter(r, "spec");

	ret->class = kube_reader_string_or(r, spec, "gatewayClassName", "");
	ret->parameters = kube_reader_any(infrastructure, "parametersRef") != NULL;
	if (kube_reader_any(tls, "backend"))
		ret->wrong = kube_reader_text(r, "tls.backend",
					      "client certificates towards servers are not "
					      "supported");
	if (kube_reader_any(spec, "backendTLS"))
		note_wrong(&ret->wrong, kube_reader_text(r, "backendTLS",
							 "client certificates towards servers "
							 "are not supported"));
	read_remarks(spec, ret, r);
	if (kube_reader_any(tls, "frontend"))
		ret->wrong_tls =
		    kube_reader_text(r, "tls.frontend", "client certificates are not supported");
	read_listeners(spec, namespace, ret, r);
	read_addresses(spec, ret, r);
	kube_reader_leave(r, before);
}
