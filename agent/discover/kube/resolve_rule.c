/*
 * Rules and header changes of the plan: one rule for each match of each rule that is served, times
 * the route's host names, for each listener's host that they are attached to.
 *
 * The value of the variable `route` is NAMESPACE/NAME. Where rules of one route change headers
 * differently, "+NN", the rule's number, tells them apart; '+' sorts before all that a name can
 * have, and two digits keep rules in their order, so precedence is as it was.
 */
#include "discover/kube/resolve.h"

#include <stdio.h>
#include "discover/kube/resolve_parts.h"
#include "discover/plan.h"

size_t resolve_count_rules(const struct resolve_route *route)
{
	const struct kube_route *conf = &route->entry->serving->route;
	size_t n = 0;

	for (size_t i = 0; i < conf->nrules; i++)
		if (!conf->rules[i].wrong.ptr)
			n += conf->rules[i].nmatches;
	return n * route->nhosts;
}

struct output {
	struct rule_def *rules;
	size_t nrules;
	struct plan_header *headers;
	size_t nheaders;
};

static const struct rule_backend *keep_backends(struct resolving *r, const struct kube_object *o,
						const struct kube_rule *rule)
{
	struct rule_backend *b = arena_get(r->lasting, (rule->nbackends + 1) * sizeof(*b));

	for (size_t i = 0; b && i < rule->nbackends; i++) {
		const char *reason;
		int64_t pool = resolve_find_pool(r, o, &rule->backends[i].ref, &reason);

		b[i].pool = pool < 0 ? -1 : r->pool_at[pool];
		b[i].weight = rule->backends[i].weight;
	}
	r->failed |= !b;
	return b;
}

static const struct rule_header *keep_headers(struct resolving *r, const struct kube_match *m)
{
	struct rule_header *h = arena_get(r->lasting, (m->nheaders + 1) * sizeof(*h));

	for (size_t i = 0; h && i < m->nheaders; i++) {
		h[i].name = resolve_keep(r, m->headers[i].name);
		h[i].value = resolve_keep(r, m->headers[i].value);
	}
	r->failed |= !h;
	return h;
}

static struct view route_name(struct resolving *r, const struct kube_object *o, size_t rule)
{
	char name[400];
	bool numbered = false;

	for (size_t i = 0; i < o->route.nrules; i++)
		numbered |= o->route.nrules > 1 && o->route.rules[i].nheaders > 0;
	snprintf(name, sizeof(name), numbered ? "%s/%s+%02zu" : "%s/%s", o->namespace.ptr,
		 o->name.ptr, rule);
	return resolve_keep(r, view_str(name));
}

static void emit(struct resolving *r, const struct resolve_route *route, size_t at,
		 struct output *out)
{
	const struct kube_object *o = route->entry->serving;
	const struct kube_rule *rule = &o->route.rules[at];
	struct rule_def def = {
	    .backends = keep_backends(r, o, rule),
	    .nbackends = rule->nbackends,
	    .route = route_name(r, o, at),
	    .created = o->created,
	    .timeout_ms = rule->timeout_ms,
	};

	for (size_t i = 0; i < rule->nheaders; i++)
		out->headers[out->nheaders++] = (struct plan_header){
		    .route = def.route,
		    .action = rule->headers[i].action,
		    .name = resolve_keep(r, rule->headers[i].name),
		    .value = resolve_keep(r, rule->headers[i].value),
		};
	for (size_t i = 0; i < rule->nmatches; i++) {
		const struct kube_match *m = &rule->matches[i];

		def.path_type = m->path_type;
		def.path = resolve_keep(r, m->path);
		def.method = resolve_keep(r, m->method);
		def.headers = keep_headers(r, m);
		def.nheaders = m->nheaders;
		for (size_t k = 0; k < route->nhosts; k++) {
			def.host = resolve_keep(r, route->hosts[k].name);
			def.listener = route->hosts[k].place;
			def.ports = route->hosts[k].ports;
			out->rules[out->nrules++] = def;
		}
	}
}

void resolve_rules(struct resolving *r)
{
	size_t rules = 0, headers = 0;
	struct output out = {NULL, 0, NULL, 0};

	for (size_t i = 0; i < r->nroutes; i++) {
		const struct resolve_route *route = &r->routes[i];

		if (!route->nhosts)
			continue;
		rules += resolve_count_rules(route);
		for (size_t k = 0; k < route->entry->serving->route.nrules; k++)
			headers += route->entry->serving->route.rules[k].nheaders;
	}
	out.rules = arena_get(r->lasting, (rules + 1) * sizeof(*out.rules));
	out.headers = arena_get(r->lasting, (headers + 1) * sizeof(*out.headers));
	if (!out.rules || !out.headers || (r->nroutes && !r->pool_at)) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < r->nroutes && !r->failed; i++) {
		const struct resolve_route *route = &r->routes[i];

		for (size_t k = 0; route->nhosts && k < route->entry->serving->route.nrules; k++)
			if (!route->entry->serving->route.rules[k].wrong.ptr)
				emit(r, route, k, &out);
	}
	r->plan->rules = out.rules;
	r->plan->nrules = out.nrules;
	r->plan->headers = out.headers;
	r->plan->nheaders = out.nheaders;
}
