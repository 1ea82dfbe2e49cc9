/*
 * Gateways and listeners.
 *
 * All Gateways of ours are served by one HAProxy on one Service, so a listener is no socket of its
 * own: its port has to be one of the Service's, its certificates have to be where HAProxy reads
 * them, and what it adds is a host name and who may attach routes to it. Listeners of several
 * Gateways with the same port and host name are merged, as the Gateway API allows; a port that one
 * Gateway uses for HTTP and another for HTTPS stays with the older.
 *
 * Within one Gateway listeners that cannot be told apart are all refused, none of them wins; that
 * is the API's rule. Whether a route is attached depends on allowedRoutes and its parentRefs alone,
 * not on whether the listener is accepted; whether it is served does.
 */
#include "discover/kube/resolve.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include "discover/kube/owner.h"
#include "discover/kube/resolve_parts.h"

/* Why a condition is False; NULL: it is True. */
struct verdict {
	const char *reason;
	struct view message;
};

const struct kube_object *resolve_service(const struct resolving *r)
{
	const struct kube_entry *e =
	    r->set->service.len
		? kube_store_find(r->s, KUBE_SERVICE, r->set->service_namespace, r->set->service)
		: NULL;

	return e ? e->newest : NULL;
}

static bool is_http(const struct kube_listener *l)
{
	return view_eq(l->protocol, VIEW_LIT("HTTP"));
}

static bool is_https(const struct kube_listener *l)
{
	return view_eq(l->protocol, VIEW_LIT("HTTPS"));
}

/* --- conflicts --- */

/* The reason why two listeners of one Gateway cannot be told apart; NULL: they can. */
static const char *conflict(const struct kube_listener *a, const struct kube_listener *b)
{
	if (a->port != b->port || (!is_http(a) && !is_https(a)) || (!is_http(b) && !is_https(b)))
		return NULL;
	if (!view_eq(a->protocol, b->protocol))
		return "ProtocolConflict";
	return view_eq(a->hostname, b->hostname) ? "HostnameConflict" : NULL;
}

static int by_age(const void *a, const void *b)
{
	const struct resolve_gateway *x = *(const struct resolve_gateway *const *)a;
	const struct resolve_gateway *y = *(const struct resolve_gateway *const *)b;

	if (x->entry->created != y->entry->created)
		return x->entry->created < y->entry->created ? -1 : 1;
	/* They stand in the store's order, which is that of names. */
	return (x > y) - (x < y);
}

static struct verdict conflicts(struct resolving *r, const struct resolve_gateway *g,
				const struct kube_listener *l, const char *taken)
{
	for (size_t i = 0; i < g->nlisteners; i++) {
		const struct kube_listener *other = g->listeners[i].conf;
		const char *reason = other == l ? NULL : conflict(l, other);

		if (reason)
			return (struct verdict){
			    reason, resolve_text(r,
						 "cannot be told apart from listener %.63s of this "
						 "Gateway",
						 other->name.ptr)};
	}
	if ((is_http(l) && taken[l->port] == 's') || (is_https(l) && taken[l->port] == 'h'))
		return (struct verdict){"ProtocolConflict",
					resolve_text(r, "an older Gateway uses port %u for %s",
						     l->port, is_http(l) ? "HTTPS" : "HTTP")};
	return (struct verdict){NULL, VIEW_NULL};
}

/* --- one listener --- */

static struct verdict port_verdict(struct resolving *r, const struct kube_listener *l)
{
	const struct kube_object *service = resolve_service(r);

	if (!service)
		return (struct verdict){NULL, VIEW_NULL};
	for (size_t i = 0; i < service->service.nports; i++)
		if (service->service.ports[i].port == l->port)
			return (struct verdict){NULL, VIEW_NULL};
	return (struct verdict){"PortUnavailable",
				resolve_text(r,
					     "Service %s/%s has no port %u: add it there, and "
					     "to HAProxy's bind lines",
					     service->namespace.ptr, service->name.ptr, l->port)};
}

static struct verdict accepted_verdict(struct resolving *r, const struct kube_gateway *g,
				       const struct kube_listener *l)
{
	if (!is_http(l) && !is_https(l))
		return (struct verdict){
		    "UnsupportedProtocol",
		    resolve_text(r, "protocol %.40s: only HTTP and HTTPS are supported",
				 l->protocol.ptr)};
	if (l->wrong.ptr)
		return (struct verdict){"UnsupportedValue", l->wrong};
	if (is_https(l) && g->wrong_tls.ptr)
		return (struct verdict){"UnsupportedValue", g->wrong_tls};
	return port_verdict(r, l);
}

static bool has_secret(const struct resolving *r, const struct kube_ref *ref)
{
	for (size_t i = 0; i < r->set->nsecrets; i++) {
		struct view s = r->set->secrets[i];

		if (s.len == ref->namespace.len + 1 + ref->name.len &&
		    memcmp(s.ptr, ref->namespace.ptr, ref->namespace.len) == 0 &&
		    s.ptr[ref->namespace.len] == '/' &&
		    memcmp(s.ptr + ref->namespace.len + 1, ref->name.ptr, ref->name.len) == 0)
			return true;
	}
	return false;
}

static struct verdict certificate_verdict(struct resolving *r, const struct kube_listener *l)
{
	if (!l->ncertificates)
		return (struct verdict){"InvalidCertificateRef",
					resolve_text(r, "tls.certificateRefs: HTTPS needs one")};
	for (size_t i = 0; i < l->ncertificates; i++) {
		const struct kube_ref *c = &l->certificates[i];

		if (c->group.len || !view_eq(c->kind, VIEW_LIT("Secret")))
			return (struct verdict){
			    "InvalidCertificateRef",
			    resolve_text(r, "tls.certificateRefs[%zu]: only Secrets can be", i)};
	}
	return (struct verdict){NULL, VIEW_NULL};
}

static struct verdict refs_verdict(struct resolving *r, const struct resolve_gateway *g,
				   const struct kube_listener *l)
{
	struct verdict v =
	    is_https(l) ? certificate_verdict(r, l) : (struct verdict){NULL, VIEW_NULL};

	for (size_t i = 0; !v.reason && is_https(l) && i < l->ncertificates; i++) {
		const struct kube_ref *c = &l->certificates[i];

		if (!resolve_permitted(r, VIEW_LIT("Gateway"), g->entry->namespace, c))
			v = (struct verdict){
			    "RefNotPermitted",
			    resolve_text(r,
					 "no ReferenceGrant in namespace %.63s lets this "
					 "Gateway refer to Secret %.253s",
					 c->namespace.ptr, c->name.ptr)};
		else if (!has_secret(r, c))
			v = (struct verdict){
			    "InvalidCertificateRef",
			    resolve_text(r,
					 "HAProxy does not hold the certificate of Secret "
					 "%.63s/%.253s: name it in kubernetes.tls_secrets "
					 "and mount it",
					 c->namespace.ptr, c->name.ptr)};
	}
	if (!v.reason && l->kinds.ptr)
		v = (struct verdict){"InvalidRouteKinds", l->kinds};
	return v;
}

static void add(struct resolve_conditions *c, const char *type, const struct verdict *v,
		const char *fine)
{
	resolve_condition(c, type, !v->reason, v->reason ? v->reason : fine, v->message);
}

/* @served: the Gateway is accepted as a whole. */
static void judge(struct resolving *r, const struct resolve_gateway *g, struct resolve_listener *l,
		  const char *taken, bool served)
{
	const struct kube_listener *conf = l->conf;
	struct verdict clash = conflicts(r, g, conf, taken);
	struct verdict accepted = accepted_verdict(r, &g->entry->serving->gateway, conf);
	struct verdict refs = refs_verdict(r, g, conf), programmed = {NULL, VIEW_NULL};
	struct resolve_conditions c;
	bool usable_refs;

	if (!resolve_conditions(r, &c, g->entry->generation))
		return;
	if (clash.reason && !accepted.reason)
		accepted = clash;
	l->takes_routes = (is_http(conf) || is_https(conf)) && conf->takes_routes;
	l->accepted = !accepted.reason;
	usable_refs = !refs.reason || (conf->kinds.ptr && refs.message.ptr == conf->kinds.ptr);
	l->programmed = served && l->accepted && usable_refs && l->takes_routes;
	if (!l->programmed)
		programmed = (struct verdict){
		    "Invalid", accepted.reason ? accepted.message
			       : refs.reason   ? refs.message
					       : VIEW_LIT("the Gateway is not accepted")};
	add(&c, "Accepted", &accepted, "Accepted");
	add(&c, "Programmed", &programmed, "Programmed");
	add(&c, "ResolvedRefs", &refs, "ResolvedRefs");
	resolve_condition(&c, "Conflicted", clash.reason != NULL,
			  clash.reason ? clash.reason : "NoConflicts", clash.message);
	l->conditions = (struct kube_conditions){c.items, c.n};
	r->counts.listeners += l->programmed;
}

/* --- one Gateway --- */

static bool known_type(struct view type)
{
	return view_eq(type, VIEW_LIT("IPAddress")) || view_eq(type, VIEW_LIT("Hostname"));
}

/* Of the Gateway as a whole, without its listeners. */
static struct verdict whole_verdict(struct resolving *r, const struct kube_entry *e)
{
	const struct kube_gateway *g = &e->serving->gateway;

	if (g->parameters)
		return (struct verdict){
		    "InvalidParameters",
		    VIEW_LIT("spec.infrastructure.parametersRef: no parameters are known here")};
	if (g->wrong.ptr)
		return (struct verdict){"Invalid", g->wrong};
	for (size_t i = 0; i < g->naddresses; i++)
		if (!known_type(g->addresses[i].type))
			return (struct verdict){
			    "UnsupportedAddress",
			    resolve_text(r,
					 "spec.addresses[%zu].type: only IPAddress and Hostname "
					 "are supported",
					 i)};
	return (struct verdict){NULL, VIEW_NULL};
}

static void judge_gateway(struct resolving *r, struct resolve_gateway *g, char *taken)
{
	const struct kube_gateway *conf = &g->entry->serving->gateway;
	/* What cannot be read any more goes on as it was when it could. */
	bool served = !g->entry->newest || !whole_verdict(r, g->entry).reason;

	g->listeners = resolve_get(r, (conf->nlisteners + 1) * sizeof(*g->listeners));
	if (!g->listeners)
		return;
	g->nlisteners = conf->nlisteners;
	for (size_t i = 0; i < g->nlisteners; i++)
		g->listeners[i].conf = &conf->listeners[i];
	for (size_t i = 0; i < g->nlisteners; i++)
		judge(r, g, &g->listeners[i], taken, served);
	for (size_t i = 0; i < g->nlisteners; i++)
		if (g->listeners[i].programmed)
			taken[conf->listeners[i].port] = is_http(&conf->listeners[i]) ? 'h' : 's';
}

static void resolve_classes(struct resolving *r)
{
	size_t n;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_CLASS, &n);

	for (size_t i = 0; i < n; i++) {
		const struct kube_object *o = entries[i]->serving;
		struct resolve_conditions c;
		struct kube_wanted *w;

		if (!o || o != entries[i]->newest ||
		    !view_eq(o->class.controller, r->set->controller))
			continue;
		r->counts.classes++;
		w = resolve_want(r, entries[i]);
		if (!w || !resolve_conditions(r, &c, entries[i]->generation))
			return;
		if (o->class.parameters)
			resolve_condition(&c, "Accepted", false, "InvalidParameters",
					  VIEW_LIT("spec.parametersRef: no parameters are known "
						   "here"));
		else
			resolve_condition(&c, "Accepted", true, "Accepted", VIEW_NULL);
		w->status.conditions = (struct kube_conditions){c.items, c.n};
	}
}

void resolve_gateways(struct resolving *r)
{
	size_t n;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_GATEWAY, &n);
	struct resolve_gateway **order;
	char *taken = resolve_get(r, 65536);

	resolve_classes(r);
	r->gateways = resolve_get(r, (n + 1) * sizeof(*r->gateways));
	order = resolve_get(r, (n + 1) * sizeof(struct resolve_gateway *));
	if (!r->gateways || !order || !taken)
		return;
	for (size_t i = 0; i < n; i++)
		if (kube_owner_serves(r->s, r->set, entries[i])) {
			struct resolve_gateway *g = &r->gateways[r->ngateways++];

			g->entry = entries[i];
			g->silent = kube_owner_gateway(r->s, r->set, entries[i]->namespace,
						       entries[i]->name) != KUBE_OURS;
		}
	for (size_t i = 0; i < r->ngateways; i++)
		order[i] = &r->gateways[i];
	qsort(order, r->ngateways, sizeof(struct resolve_gateway *), by_age);
	for (size_t i = 0; i < r->ngateways; i++)
		judge_gateway(r, order[i], taken);
	r->counts.gateways = r->ngateways;
}

struct resolve_gateway *resolve_find_gateway(const struct resolving *r, struct view namespace,
					     struct view name)
{
	for (size_t i = 0; i < r->ngateways; i++)
		if (view_eq(r->gateways[i].entry->name, name) &&
		    view_eq(r->gateways[i].entry->namespace, namespace))
			return &r->gateways[i];
	return NULL;
}

/* --- their statuses --- */

static struct view address_type(struct view value)
{
	struct in6_addr a;

	return inet_pton(AF_INET, value.ptr, &a) == 1 || inet_pton(AF_INET6, value.ptr, &a) == 1
		   ? VIEW_LIT("IPAddress")
		   : VIEW_LIT("Hostname");
}

static bool asked_for(const struct kube_gateway *g, struct view value)
{
	for (size_t i = 0; i < g->naddresses; i++)
		if (!g->addresses[i].value.len || view_eq(g->addresses[i].value, value))
			return true;
	return g->naddresses == 0;
}

/* The first address that is asked for and not there. */
static const struct kube_address *unusable(const struct kube_gateway *g, const struct view *have,
					   size_t n)
{
	for (size_t i = 0; i < g->naddresses; i++) {
		bool found = !g->addresses[i].value.len;

		for (size_t k = 0; k < n && !found; k++)
			found = view_eq(have[k], g->addresses[i].value);
		if (!found)
			return &g->addresses[i];
	}
	return NULL;
}

static struct view why_no_address(struct resolving *r)
{
	if (!r->set->service.len)
		return VIEW_LIT(
		    "neither kubernetes.service nor kubernetes.addresses is configured");
	return resolve_text(
	    r, "Service %.*s/%.*s %s", (int)r->set->service_namespace.len,
	    r->set->service_namespace.ptr, (int)r->set->service.len, r->set->service.ptr,
	    resolve_service(r) ? "has no address yet" : "of kubernetes.service is not there");
}

static struct verdict programmed_verdict(struct resolving *r, const struct resolve_gateway *g,
					 const struct view *have, size_t n)
{
	const struct kube_address *a = unusable(&g->entry->serving->gateway, have, n);
	size_t programmed = 0;

	for (size_t i = 0; i < g->nlisteners; i++)
		programmed += g->listeners[i].programmed;
	if (!programmed)
		return (struct verdict){"Invalid", VIEW_LIT("no listener can be served")};
	if (!n)
		return (struct verdict){"AddressNotAssigned", why_no_address(r)};
	if (a)
		return (struct verdict){"AddressNotUsable",
					resolve_text(r,
						     "spec.addresses: %.253s is none of the "
						     "gateway's addresses",
						     a->value.ptr)};
	return (struct verdict){NULL, VIEW_NULL};
}

static void add_accepted(struct resolving *r, const struct resolve_gateway *g,
			 struct resolve_conditions *c)
{
	struct verdict whole = whole_verdict(r, g->entry);
	struct view remarks = g->entry->serving->gateway.remarks;
	size_t accepted = 0;

	for (size_t i = 0; i < g->nlisteners; i++)
		accepted += g->listeners[i].accepted;
	if (whole.reason)
		resolve_condition(c, "Accepted", false, whole.reason, whole.message);
	else if (accepted < g->nlisteners || !g->nlisteners)
		resolve_condition(c, "Accepted", accepted > 0, "ListenersNotValid",
				  VIEW_LIT("not every listener is accepted"));
	else
		resolve_condition(c, "Accepted", true, "Accepted", remarks);
	if (remarks.ptr)
		resolve_problem(r, g->entry, remarks);
}

static const struct kube_status_listener *tell_listeners(struct resolving *r,
							 const struct resolve_gateway *g)
{
	struct kube_status_listener *l = resolve_get(r, (g->nlisteners + 1) * sizeof(*l));

	for (size_t i = 0; l && i < g->nlisteners; i++) {
		l[i] = (struct kube_status_listener){
		    .name = g->listeners[i].conf->name,
		    .takes_routes = g->listeners[i].takes_routes,
		    .attached = g->listeners[i].attached,
		    .conditions = g->listeners[i].conditions,
		};
		if (!g->listeners[i].programmed && g->listeners[i].conditions.n > 1)
			resolve_problem(
			    r, g->entry,
			    resolve_text(r, "listener %.63s: %s", l[i].name.ptr,
					 g->listeners[i].conditions.items[1].message.ptr));
	}
	return l;
}

static void tell(struct resolving *r, const struct resolve_gateway *g, const struct view *have,
		 size_t n)
{
	struct kube_wanted *w = resolve_want(r, g->entry);
	struct kube_status_address *a = resolve_get(r, (n + 1) * sizeof(*a));
	struct resolve_conditions c;
	struct verdict programmed = programmed_verdict(r, g, have, n);

	if (!w || !a || !resolve_conditions(r, &c, g->entry->generation))
		return;
	add_accepted(r, g, &c);
	add(&c, "Programmed", &programmed, "Programmed");
	w->status.conditions = (struct kube_conditions){c.items, c.n};
	w->status.addresses = a;
	for (size_t i = 0; i < n; i++)
		if (asked_for(&g->entry->serving->gateway, have[i]))
			a[w->status.naddresses++] =
			    (struct kube_status_address){address_type(have[i]), have[i]};
	w->status.listeners = tell_listeners(r, g);
	w->status.nlisteners = g->nlisteners;
	if (programmed.reason)
		resolve_problem(r, g->entry, programmed.message);
}

void resolve_finish(struct resolving *r)
{
	const struct kube_object *service = resolve_service(r);
	const struct view *have = service ? service->service.addresses : r->set->addresses;
	size_t n = service ? service->service.naddresses : r->set->naddresses;

	if (!service && r->set->service.len)
		n = 0;
	for (size_t i = 0; i < r->ngateways; i++)
		if (!r->gateways[i].silent)
			tell(r, &r->gateways[i], have, n > 16 ? 16 : n);
}
