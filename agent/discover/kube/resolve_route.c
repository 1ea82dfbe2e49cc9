/*
 * HTTPRoutes: which listeners they are attached to, what their references lead to, what their
 * statuses say, and what becomes rules of the plan.
 *
 * A route is attached to a listener that its parentRef selects, that allows its namespace and kind,
 * and that has a host name in common with it; the three reasons for refusal are looked for in this
 * order, each among the listeners that the one before left. Rules that cannot be served are
 * dropped (PartiallyInvalid); when none is left the route is not accepted. That a reference leads
 * nowhere drops nothing: its share of requests is answered with an error, as the API wants it.
 *
 * One HAProxy serves all Gateways: a rule carries the listener that it hangs on, as the host name
 * listened for and the ports where it is, so a route serves at the listeners alone that it is
 * attached to.
 *
 * No message depends on more than the objects: two replicas have to write the same words.
 */
#include "discover/kube/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include "discover/kube/hostname.h"
#include "discover/kube/labels.h"
#include "discover/kube/owner.h"
#include "discover/kube/resolve_parts.h"

#define DEFAULT_MAX_RULES 100000
#define HOSTS_MAX         4096 /* of one route: its host names times listeners */

/* --- attachment --- */

/* How far a parentRef came. */
enum attachment { NO_LISTENER, NOT_ALLOWED, NO_HOSTNAME, ATTACHED };

struct hosts {
	struct resolve_host *items;
	size_t n;
	bool cut;
};

static bool selects(const struct kube_parent_ref *p, const struct kube_listener *l)
{
	return (!p->section.ptr || view_eq(p->section, l->name)) &&
	       (!p->port || p->port == l->port);
}

static bool allows(const struct resolving *r, const struct resolve_gateway *g,
		   const struct resolve_listener *l, struct view namespace)
{
	const struct kube_entry *space;

	if (!l->takes_routes)
		return false;
	switch (l->conf->from) {
	case KUBE_FROM_ALL:
		return true;
	case KUBE_FROM_SAME:
		return view_eq(g->entry->namespace, namespace);
	case KUBE_FROM_SELECTOR:
		space = kube_store_find(r->s, KUBE_NAMESPACE, VIEW_LIT(""), namespace);
		return space && space->newest &&
		       kube_labels_select(l->conf->selector, l->conf->nselector,
					  &space->newest->space.labels);
	case KUBE_FROM_NONE:
		break;
	}
	return false;
}

static void add_host(struct hosts *h, const struct resolve_listener *l, struct view name)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->items[i].place == l->place && view_eq(h->items[i].name, name)) {
			h->items[i].ports |= l->ports;
			return;
		}
	if (h->n < HOSTS_MAX)
		h->items[h->n++] = (struct resolve_host){name, l->place, l->ports};
	else
		h->cut = true;
}

/* True when they have a name in common; those go to @h unless it is NULL. */
static bool share_hosts(const struct kube_route *route, const struct resolve_listener *l,
			struct hosts *h)
{
	struct view name = l->conf->hostname;
	bool any = route->nhostnames == 0;

	if (any && h)
		add_host(h, l, name);
	for (size_t i = 0; i < route->nhostnames; i++) {
		if (!kube_hostname_intersect(route->hostnames[i], l->conf->hostname, &name))
			continue;
		any = true;
		if (h)
			add_host(h, l, name);
	}
	return any;
}

/* @h: where the host names of programmed listeners go, or NULL. */
static enum attachment attach(const struct resolving *r, const struct resolve_gateway *g,
			      const struct kube_object *o, const struct kube_parent_ref *p,
			      struct hosts *h)
{
	enum attachment best = NO_LISTENER;

	for (size_t i = 0; i < g->nlisteners; i++) {
		const struct resolve_listener *l = &g->listeners[i];
		enum attachment here = NO_LISTENER;

		if (selects(p, l->conf))
			here = !allows(r, g, l, o->namespace)                         ? NOT_ALLOWED
			       : !share_hosts(&o->route, l, l->programmed ? h : NULL) ? NO_HOSTNAME
										      : ATTACHED;
		if (here > best)
			best = here;
	}
	return best;
}

/* The listeners that count this accepted route, each once. */
static void count(struct resolving *r, struct resolve_gateway *g, const struct kube_object *o,
		  const struct kube_parent_ref *p, size_t number)
{
	for (size_t i = 0; i < g->nlisteners; i++) {
		struct resolve_listener *l = &g->listeners[i];

		if (l->counted != number && selects(p, l->conf) && allows(r, g, l, o->namespace) &&
		    share_hosts(&o->route, l, NULL)) {
			l->counted = number;
			l->attached++;
		}
	}
}

static struct resolve_gateway *gateway_of(const struct resolving *r,
					  const struct kube_parent_ref *p)
{
	if (!view_eq(p->ref.group, VIEW_LIT(KUBE_GATEWAY_GROUP)) ||
	    !view_eq(p->ref.kind, VIEW_LIT("Gateway")))
		return NULL;
	return resolve_find_gateway(r, p->ref.namespace, p->ref.name);
}

/* --- uses of pools --- */

/* That a Gateway's route refers to the pools of its rules. */
static void note_uses(struct resolving *r, const struct kube_object *o,
		      const struct resolve_gateway *g, bool accepted)
{
	for (size_t i = 0; i < o->route.nrules; i++) {
		const struct kube_rule *rule = &o->route.rules[i];

		for (size_t k = 0; k < rule->nbackends; k++) {
			const char *reason;
			int64_t pool = resolve_find_pool(r, o, &rule->backends[k].ref, &reason);
			struct resolve_use *u = pool < 0 ? NULL
							 : resolve_more(r, r->uses, r->nuses,
									&r->uses_room, sizeof(*u));

			if (!u)
				continue;
			r->used[pool] = true;
			r->uses = u;
			u[r->nuses++] =
			    (struct resolve_use){(size_t)pool, (size_t)(g - r->gateways), accepted};
		}
	}
}

/* That what serves leads to pools: an older version, or through a Gateway that is not spoken of. */
static void note_served(struct resolving *r, const struct kube_object *o)
{
	for (size_t i = 0; i < o->route.nrules; i++)
		for (size_t k = 0; k < o->route.rules[i].nbackends; k++) {
			const char *reason;
			int64_t pool =
			    resolve_find_pool(r, o, &o->route.rules[i].backends[k].ref, &reason);

			if (pool >= 0)
				r->used[pool] = true;
		}
}

/* --- what is said of a route --- */

struct route_verdict {
	const char *accepted; /* the reason why not; NULL: it is, where it is attached */
	const char *refs;     /* the reason of ResolvedRefs=False */
	struct view message, refs_message;
	struct view dropped; /* the message of PartiallyInvalid; absent: no rule is */
};

static void judge_rules(struct resolving *r, const struct kube_object *o, struct route_verdict *v)
{
	const struct kube_rule *first = NULL;
	char numbers[160] = "";
	size_t wrong = 0, used = 0;

	for (size_t i = 0; i < o->route.nrules; i++) {
		const struct kube_rule *rule = &o->route.rules[i];

		if (!rule->wrong.ptr)
			continue;
		if (!first)
			first = rule;
		wrong++;
		if (used < sizeof(numbers) - 8)
			used += (size_t)snprintf(numbers + used, sizeof(numbers) - used, "%s%zu",
						 used ? ", " : "", i);
	}
	if (!first)
		return;
	if (wrong == o->route.nrules) {
		v->accepted = first->wrong_filters ? "IncompatibleFilters" : "UnsupportedValue";
		v->message = first->wrong;
	} else {
		v->dropped = resolve_text(r, "Dropped Rule(s) %s: %s", numbers, first->wrong.ptr);
	}
}

static void judge(struct resolving *r, const struct kube_entry *e, struct route_verdict *v)
{
	const struct kube_object *o = e->newest;

	*v = (struct route_verdict){.message = VIEW_NULL};
	v->refs = resolve_check_refs(r, o, &v->refs_message);
	if (o->route.wrong.ptr) {
		v->accepted = "UnsupportedValue";
		v->message = o->route.wrong;
	} else {
		judge_rules(r, o, v);
	}
}

static bool said_before(const struct kube_status_parent *said, size_t n,
			const struct kube_status_parent *p, struct view namespace)
{
	for (size_t i = 0; i < n; i++)
		if (kube_owner_same(&said[i], p, namespace))
			return true;
	return false;
}

static struct kube_conditions tell_parent(struct resolving *r, const struct kube_entry *e,
					  const struct route_verdict *v, enum attachment at)
{
	static const struct {
		const char *reason, *message;
	} refusals[] = {
	    [NO_LISTENER] = {"NoMatchingParent",
			     "no listener of the Gateway has this sectionName and port"},
	    [NOT_ALLOWED] = {"NotAllowedByListeners",
			     "allowedRoutes of the listeners exclude this route"},
	    [NO_HOSTNAME] = {"NoMatchingListenerHostname",
			     "no listener has a host name in common with the route"},
	};
	struct resolve_conditions c;

	if (!resolve_conditions(r, &c, e->generation))
		return (struct kube_conditions){NULL, 0};
	if (at != ATTACHED)
		resolve_condition(&c, "Accepted", false, refusals[at].reason,
				  view_str(refusals[at].message));
	else if (v->accepted)
		resolve_condition(&c, "Accepted", false, v->accepted, v->message);
	else
		resolve_condition(&c, "Accepted", true, "Accepted", e->newest->route.remarks);
	resolve_condition(&c, "ResolvedRefs", !v->refs, v->refs ? v->refs : "ResolvedRefs",
			  v->refs_message);
	if (v->dropped.ptr && at == ATTACHED && !v->accepted)
		resolve_condition(&c, "PartiallyInvalid", true, "UnsupportedValue", v->dropped);
	for (size_t i = 0; i < c.n; i++)
		if (c.items[i].message.len)
			resolve_problem(r, e,
					resolve_text(r, "%s: %s", c.items[i].reason.ptr,
						     c.items[i].message.ptr));
	return (struct kube_conditions){c.items, c.n};
}

/* Its parents. True: accepted by one. */
static bool tell_route(struct resolving *r, const struct kube_entry *e,
		       const struct route_verdict *v, size_t number)
{
	const struct kube_object *o = e->newest;
	size_t room = o->route.nparents, n = 0;
	struct kube_status_parent *said = resolve_get(r, (room + 1) * sizeof(*said));
	struct kube_wanted *w;
	bool accepted = false;

	for (size_t i = 0; said && i < room; i++) {
		const struct kube_parent_ref *p = &o->route.parents[i];
		struct resolve_gateway *g = gateway_of(r, p);
		enum attachment at;

		if (!g || g->silent)
			continue;
		said[n] = (struct kube_status_parent){
		    .controller = r->set->controller,
		    .group = p->ref.group,
		    .kind = p->ref.kind,
		    .namespace = p->namespace_given ? p->ref.namespace : VIEW_NULL,
		    .name = p->ref.name,
		    .section = p->section,
		    .port = p->port,
		};
		if (said_before(said, n, &said[n], e->namespace))
			continue;
		at = attach(r, g, o, p, NULL);
		said[n++].conditions = tell_parent(r, e, v, at);
		if (at != ATTACHED)
			continue;
		note_uses(r, o, g, !v->accepted);
		if (!v->accepted) {
			accepted = true;
			count(r, g, o, p, number);
		}
	}
	if (n || kube_owner_left(r->s, r->set, e)) {
		w = resolve_want(r, e);
		if (w) {
			w->status.parents = said;
			w->status.nparents = n;
		}
	}
	r->counts.routes += n > 0;
	r->counts.routes_accepted += accepted;
	return accepted;
}

/* --- what is served --- */

static void find_hosts(struct resolving *r, struct resolve_route *route)
{
	const struct kube_object *o = route->entry->serving;
	struct hosts h = {NULL, 0, false};
	size_t room = 0;

	for (size_t i = 0; i < o->route.nparents; i++) {
		const struct resolve_gateway *g = gateway_of(r, &o->route.parents[i]);

		room += g ? g->nlisteners * (o->route.nhostnames + 1) : 0;
	}
	if (!room)
		return;
	h.items = resolve_get(r, (room < HOSTS_MAX ? room : HOSTS_MAX) * sizeof(*h.items));
	for (size_t i = 0; h.items && i < o->route.nparents; i++) {
		const struct resolve_gateway *g = gateway_of(r, &o->route.parents[i]);

		if (g)
			attach(r, g, o, &o->route.parents[i], &h);
	}
	route->hosts = h.items;
	route->nhosts = h.n;
	if (h.cut)
		resolve_problem(
		    r, route->entry,
		    resolve_text(r,
				 "its host names at the listeners of its Gateways are more "
				 "than %d: the rest is not served; make several routes of it",
				 HOSTS_MAX));
}

static int by_age(const void *a, const void *b)
{
	const struct resolve_route *x = a, *y = b;

	if (x->entry->created != y->entry->created)
		return x->entry->created < y->entry->created ? -1 : 1;
	if (!view_eq(x->entry->namespace, y->entry->namespace))
		return strcmp(x->entry->namespace.ptr, y->entry->namespace.ptr);
	return strcmp(x->entry->name.ptr, y->entry->name.ptr);
}

void resolve_routes(struct resolving *r)
{
	size_t n, max = r->set->max_rules ? r->set->max_rules : DEFAULT_MAX_RULES, rules = 0;
	const struct kube_entry *const *entries = kube_store_all(r->s, KUBE_ROUTE, &n);

	r->routes = resolve_get(r, (n + 1) * sizeof(*r->routes));
	r->used = resolve_get(r, kube_store_count(r->s, KUBE_POOL) + 1);
	if (!r->routes || !r->used)
		return;
	for (size_t i = 0; i < n; i++)
		r->routes[i].entry = entries[i];
	qsort(r->routes, n, sizeof(*r->routes), by_age);
	r->nroutes = n;
	for (size_t i = 0; i < n; i++) {
		struct resolve_route *route = &r->routes[i];
		struct route_verdict v;

		v = (struct route_verdict){.message = VIEW_NULL};
		if (route->entry->newest)
			judge(r, route->entry, &v);
		if (route->entry->serving)
			find_hosts(r, route);
		if (route->nhosts && resolve_count_rules(route) > max - rules) {
			route->nhosts = 0;
			if (!v.accepted) {
				v.accepted = "TooManyRules";
				v.message = resolve_text(
				    r, "older routes use up the %zu rules there can be", max);
			}
		} else if (route->nhosts) {
			rules += resolve_count_rules(route);
			if (route->entry->serving)
				note_served(r, route->entry->serving);
		}
		/* What cannot be read says nothing of its parents: its status stays. */
		if (route->entry->newest)
			tell_route(r, route->entry, &v, i + 1);
	}
}
