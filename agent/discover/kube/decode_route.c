/*
 * HTTPRoutes. A rule that asks for what is not done here gets the first reason why (wrong) and
 * is not served; the others of the route are. What has no effect on routing and cannot mislead (a
 * rule's name) is passed over.
 *
 * Timeouts: the smaller of the two that are given, as there is one try here from which both are
 * counted. 0s asks for none at all; HAProxy's longest stands for that.
 *
 * A field that is not known here, of a newer API, makes wrong what it stands in: it may be there to
 * narrow something.
 *
 * Header values end up in HAProxy's configuration, so control characters are refused.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <string.h>
#include "discover/kube/duration.h"
#include "discover/kube/hostname.h"

#define PARENTS_MAX   64
#define HOSTNAMES_MAX 64
#define RULES_MAX     64
#define MATCHES_MAX   256 /* of a rule */
#define HEADERS_MAX   64  /* of a match, or a filter's list */
#define BACKENDS_MAX  64
#define FILTERS_MAX   64
#define LONGEST_MS    1728000000 /* 20 days: HAProxy's clock has 31 bits of milliseconds */

static void wrong(struct kube_rule *rule, struct view text)
{
	if (!rule->wrong.ptr)
		rule->wrong = text;
}

/* RFC 9110's token. */
static bool is_token(struct view v)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789!#$%&'*+-.^_`|~";

	return v.len > 0 && v.len <= 256 && strspn(v.ptr, letters) == v.len;
}

static bool is_value(struct view v)
{
	for (size_t i = 0; i < v.len; i++)
		if ((unsigned char)v.ptr[i] < 0x20 || v.ptr[i] == 0x7f)
			return false;
	return v.len <= 4096;
}

/* A member that a rule's part may not have. */
static void only(const cJSON *part, const char *const *known, struct kube_rule *rule,
		 struct kube_reader *r)
{
	const char *other = kube_reader_unknown(part, known);

	if (other)
		wrong(rule, kube_reader_text(r, other, "not supported"));
}

#define KNOWN(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- references --- */

static void read_parents(const cJSON *spec, struct view namespace, struct kube_route *route,
			 struct kube_reader *r)
{
	size_t n, i = 0;
	const cJSON *list = kube_reader_list(r, spec, "parentRefs", PARENTS_MAX, &n), *item;
	struct kube_parent_ref *parents = kube_reader_array(r, n, sizeof(*parents));

	if (!parents)
		return;
	cJSON_ArrayForEach(item, list)
	{
		struct kube_parent_ref *p = &parents[i++];
		const char *other = kube_reader_unknown(
		    item, KNOWN("group", "kind", "namespace", "name", "sectionName", "port"));

		if (other && !route->wrong.ptr)
			route->wrong =
			    kube_reader_text(r, "parentRefs", "%.40s is not supported", other);
		p->namespace_given =
		    kube_decode_ref(r, item, KUBE_GATEWAY_GROUP, "Gateway", namespace, &p->ref);
		p->section = kube_reader_string(r, item, "sectionName");
		if (!p->section.len)
			p->section = VIEW_NULL;
		p->port = (uint16_t)kube_reader_integer(r, item, "port", 1, 65535, 0);
	}
	route->parents = parents;
	route->nparents = i;
}

static void read_hostnames(const cJSON *spec, struct kube_route *route, struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, spec, "hostnames", HOSTNAMES_MAX, &n), *item;
	struct view *names = kube_reader_array(r, n, sizeof(*names));

	if (!names)
		return;
	before = kube_reader_enter(r, "hostnames");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i);

		if (cJSON_IsString(item))
			names[i] = kube_decode_hostname(r, view_str(item->valuestring));
		if (!kube_hostname_valid(names[i]) && !route->wrong.ptr)
			route->wrong = kube_reader_text(r, NULL, "no name of a host");
		i++;
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	route->hostnames = names;
	route->nhostnames = i;
}

/* @remarks: what is asked for without effect. */
static void read_backends(const cJSON *item, struct view namespace, struct kube_rule *rule,
			  struct view *remarks, struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, item, "backendRefs", BACKENDS_MAX, &n);
	struct kube_backend_ref *refs = kube_reader_array(r, n, sizeof(*refs));

	if (!refs)
		return;
	before = kube_reader_enter(r, "backendRefs");
	cJSON_ArrayForEach(item, list)
	{
		size_t filters, inner = kube_reader_enter_item(r, i);
		struct kube_backend_ref *b = &refs[i++];

		kube_decode_ref(r, item, "", "Service", namespace, &b->ref);
		b->weight = (uint32_t)kube_reader_integer(r, item, "weight", 0, 1000000, 1);
		only(item, KNOWN("group", "kind", "namespace", "name", "port", "weight", "filters"),
		     rule, r);
		if (kube_reader_any(item, "port") &&
		    view_eq(b->ref.kind, VIEW_LIT("InferencePool")) && !remarks->ptr)
			*remarks = kube_reader_text(r, "port",
						    "not looked at, an InferencePool has its own");
		kube_reader_list(r, item, "filters", FILTERS_MAX, &filters);
		if (filters)
			wrong(rule, kube_reader_text(r, "filters",
						     "filters of one backend are not supported"));
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	rule->backends = refs;
	rule->nbackends = i;
}

/* --- matches --- */

static void read_path(const cJSON *item, struct kube_match *m, struct kube_rule *rule,
		      struct kube_reader *r)
{
	const cJSON *path = kube_reader_map(r, item, "path");
	size_t before = kube_reader_enter(r, "path");
	struct view type = kube_reader_peek(r, path, "type");

	only(path, KNOWN("type", "value"), rule, r);
	m->path = kube_reader_string_or(r, path, "value", "/");
	if (view_eq(type, VIEW_LIT("Exact")))
		m->path_type = RULE_PATH_EXACT;
	else if (type.ptr && !view_eq(type, VIEW_LIT("PathPrefix")))
		wrong(rule, kube_reader_text(r, "type", "%.40s is not supported", type.ptr));
	if (!m->path.len || m->path.ptr[0] != '/' || m->path.len > 1024 ||
	    memchr(m->path.ptr, '?', m->path.len) || memchr(m->path.ptr, '#', m->path.len))
		wrong(rule, kube_reader_text(r, "value", "no absolute path"));
	kube_reader_leave(r, before);
}

static bool named_before(const struct rule_header *headers, size_t n, struct view name)
{
	for (size_t i = 0; i < n; i++)
		if (view_caseeq(headers[i].name, name))
			return true;
	return false;
}

static void read_headers(const cJSON *item, struct kube_match *m, struct kube_rule *rule,
			 struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, item, "headers", HEADERS_MAX, &n);
	struct rule_header *headers = kube_reader_array(r, n, sizeof(*headers));

	if (!headers)
		return;
	before = kube_reader_enter(r, "headers");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i++);
		struct view type = kube_reader_peek(r, item, "type");
		struct view name = kube_reader_peek(r, item, "name");

		only(item, KNOWN("type", "name", "value"), rule, r);
		if (type.ptr && !view_eq(type, VIEW_LIT("Exact")))
			wrong(rule,
			      kube_reader_text(r, "type", "%.40s is not supported", type.ptr));
		if (!is_token(name))
			wrong(rule, kube_reader_text(r, "name", "no name of a header"));
		/* Of entries with one name the first counts. */
		if (!named_before(headers, m->nheaders, name)) {
			headers[m->nheaders].name = kube_pack_dup(r->pack, name);
			headers[m->nheaders++].value = kube_reader_string_or(r, item, "value", "");
		}
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	m->headers = headers;
}

static void read_match(const cJSON *item, struct kube_match *m, struct kube_rule *rule,
		       struct kube_reader *r)
{
	static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
					      "CONNECT", "OPTIONS", "TRACE", "PATCH"};
	size_t n;
	bool known = false;

	only(item, KNOWN("path", "headers", "queryParams", "method"), rule, r);
	read_path(item, m, rule, r);
	read_headers(item, m, rule, r);
	kube_reader_list(r, item, "queryParams", HEADERS_MAX, &n);
	if (n)
		wrong(rule, kube_reader_text(r, "queryParams", "not supported"));
	m->method = kube_reader_string(r, item, "method");
	if (!m->method.len)
		m->method = VIEW_NULL;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		known |= view_eq(m->method, view_str(methods[i]));
	if (m->method.ptr && !known)
		wrong(rule, kube_reader_text(r, "method", "no method of HTTP"));
}

static void read_matches(const cJSON *item, struct kube_rule *rule, struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, item, "matches", MATCHES_MAX, &n);
	struct kube_match *matches = kube_reader_array(r, n ? n : 1, sizeof(*matches));

	if (!matches)
		return;
	rule->matches = matches;
	rule->nmatches = n ? n : 1;
	matches[0].path = VIEW_LIT("/");
	before = kube_reader_enter(r, "matches");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i);

		if (!cJSON_IsObject(item))
			kube_reader_fail(r, NULL, "not an object");
		read_match(item, &matches[i++], rule, r);
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
}

/* --- filters --- */

struct modifier {
	struct plan_header *headers;
	size_t n, room;
};

static void read_changes(const cJSON *filter, const char *key, enum plan_header_action action,
			 struct modifier *m, struct kube_rule *rule, struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, filter, key, HEADERS_MAX, &n), *item;

	before = kube_reader_enter(r, key);
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i++);
		struct plan_header h = {.action = action, .value = VIEW_LIT("")};

		if (cJSON_IsString(item)) {
			h.name = kube_pack_dup(r->pack, view_str(item->valuestring));
		} else {
			h.name = kube_reader_string_or(r, item, "name", "");
			h.value = kube_reader_string_or(r, item, "value", "");
		}
		if (!is_token(h.name))
			wrong(rule, kube_reader_text(r, "name", "no name of a header"));
		else if (view_caseeq(h.name, VIEW_LIT("content-length")) ||
			 view_caseeq(h.name, VIEW_LIT("transfer-encoding")))
			wrong(rule,
			      kube_reader_text(r, "name", "HAProxy says itself where a body ends"));
		else if (!is_value(h.value))
			wrong(rule, kube_reader_text(r, "value", "no value of a header"));
		else if (m->n < m->room)
			m->headers[m->n++] = h;
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
}

static size_t count_changes(const cJSON *filter)
{
	static const char *const keys[] = {"set", "add", "remove"};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const cJSON *list = kube_reader_any(filter, keys[i]), *item;

		cJSON_ArrayForEach(item, list) n++;
	}
	/* Longer lists fail when they are read. */
	return n < (size_t)3 * HEADERS_MAX ? n : (size_t)3 * HEADERS_MAX;
}

static void read_modifier(const cJSON *item, bool header_rules, struct kube_rule *rule,
			  struct kube_reader *r)
{
	const cJSON *filter = kube_reader_map(r, item, "requestHeaderModifier");
	size_t before;
	struct modifier m = {.room = count_changes(filter)};

	if (!header_rules) {
		wrong(rule, kube_reader_text(r, "type",
					     "RequestHeaderModifier needs the gateway's own "
					     "HAProxy"));
		return;
	}
	if (rule->headers) {
		wrong(rule, kube_reader_text(r, "type", "RequestHeaderModifier stands twice"));
		rule->wrong_filters = true;
		return;
	}
	/* One more, as having none is what tells the first of two modifiers. */
	m.headers = kube_reader_array(r, m.room + 1, sizeof(*m.headers));
	if (!m.headers)
		return;
	before = kube_reader_enter(r, "requestHeaderModifier");
	only(filter, KNOWN("set", "add", "remove"), rule, r);
	read_changes(filter, "set", PLAN_HEADER_SET, &m, rule, r);
	read_changes(filter, "add", PLAN_HEADER_ADD, &m, rule, r);
	read_changes(filter, "remove", PLAN_HEADER_REMOVE, &m, rule, r);
	kube_reader_leave(r, before);
	rule->headers = m.headers;
	rule->nheaders = m.n;
}

static void read_filters(const cJSON *item, bool header_rules, struct kube_rule *rule,
			 struct kube_reader *r)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, item, "filters", FILTERS_MAX, &n);

	before = kube_reader_enter(r, "filters");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i++);
		struct view type = kube_reader_peek(r, item, "type");

		if (view_eq(type, VIEW_LIT("RequestHeaderModifier")))
			read_modifier(item, header_rules, rule, r);
		else
			wrong(rule, kube_reader_text(r, "type", "%.40s is not supported",
						     type.ptr ? type.ptr : "a filter without one"));
		only(item, KNOWN("type", "requestHeaderModifier"), rule, r);
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
}

/* --- rules --- */

static uint32_t read_timeout(const cJSON *timeouts, const char *key, struct kube_rule *rule,
			     struct kube_reader *r)
{
	struct view text = kube_reader_peek(r, timeouts, key);
	uint64_t ms;

	if (!text.ptr)
		return 0;
	if (!kube_duration_parse(text, &ms)) {
		wrong(rule, kube_reader_text(r, key, "no duration, as in 300s or 1h30m"));
		return 0;
	}
	return ms == 0 || ms > LONGEST_MS ? LONGEST_MS : (uint32_t)ms;
}

static void read_rule(const cJSON *item, struct view namespace, bool header_rules,
		      struct kube_rule *rule, struct view *remarks, struct kube_reader *r)
{
	const cJSON *timeouts = kube_reader_map(r, item, "timeouts");
	uint32_t request, backend;
	size_t before;

	read_matches(item, rule, r);
	read_filters(item, header_rules, rule, r);
	read_backends(item, namespace, rule, remarks, r);
	before = kube_reader_enter(r, "timeouts");
	only(timeouts, KNOWN("request", "backendRequest"), rule, r);
	request = read_timeout(timeouts, "request", rule, r);
	backend = read_timeout(timeouts, "backendRequest", rule, r);
	kube_reader_leave(r, before);
	rule->timeout_ms = backend && (!request || backend < request) ? backend : request;
	if (kube_reader_any(item, "retry"))
		wrong(rule, kube_reader_text(r, "retry", "not supported"));
	if (kube_reader_any(item, "sessionPersistence"))
		wrong(rule, kube_reader_text(r, "sessionPersistence", "not supported"));
	only(item,
	     KNOWN("name", "matches", "filters", "backendRefs", "timeouts", "retry",
		   "sessionPersistence"),
	     rule, r);
}

static void read_rules(const cJSON *spec, struct view namespace, bool header_rules,
		       struct kube_route *route, struct kube_reader *r)
{
	static const struct kube_match everything = {.path = {"/", 1}};
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, spec, "rules", RULES_MAX, &n), *item;
	struct kube_rule *rules = kube_reader_array(r, list ? n : 1, sizeof(*rules));

	if (!rules)
		return;
	/* Without rules a route matches everything and leads nowhere. */
	rules[0].matches = &everything;
	rules[0].nmatches = 1;
	before = kube_reader_enter(r, "rules");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, i);

		if (!cJSON_IsObject(item))
			kube_reader_fail(r, NULL, "not an object");
		read_rule(item, namespace, header_rules, &rules[i++], &route->remarks, r);
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
	route->rules = rules;
	route->nrules = list ? n : 1;
}

void kube_decode_route(const cJSON *o, struct view namespace, bool header_rules,
		       struct kube_route *ret, struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	size_t before = kube_reader_enter(r, "spec");
	const char *other;

	read_parents(spec, namespace, ret, r);
	read_hostnames(spec, ret, r);
	read_rules(spec, namespace, header_rules, ret, r);
	other = kube_reader_unknown(
	    spec, KNOWN("parentRefs", "hostnames", "rules", "useDefaultGateways"));
	if (other && !ret->wrong.ptr)
		ret->wrong = kube_reader_text(r, other, "not supported");
	if (kube_reader_peek(r, spec, "useDefaultGateways").len &&
	    !view_eq(kube_reader_peek(r, spec, "useDefaultGateways"), VIEW_LIT("None")))
		ret->remarks = kube_reader_text(r, "useDefaultGateways",
						"not supported, parentRefs alone count");
	kube_reader_leave(r, before);
}
