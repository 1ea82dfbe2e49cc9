/*
 * Cross checks.
 *
 * They run over what was read even when parts of it were refused, so that one run tells
 * everything; a value that was refused is NULL or its default here, and what would follow from
 * that alone is not reported.
 *
 * Names are compared by sorting them once: a file may hold a million.
 */
#include "config/check.h"

#include <errno.h>
#include <stdlib.h>

/* A model, alias, endpoint or backend by what must be unique about it. */
struct named {
	const char *name;
	unsigned port; /* of endpoints */
	const struct config_pool *pool;
	bool alias;
	int line, col;
};

static int check_compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order)
		return order;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->alias != y->alias)
		return x->alias ? 1 : -1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->col < y->col ? -1 : x->col > y->col;
}

/* calloc() that reports; NULL for 0 as well. */
static struct named *check_array(struct mistakes *r, size_t n)
{
	struct named *array = n ? calloc(n, sizeof(*array)) : NULL;

	if (n && !array)
		r->err = -ENOMEM;
	return array;
}

static void check_no_source(const struct config *c, struct mistakes *r, bool whole)
{
	for (size_t i = 0; i < c->npools; i++) {
		const struct config_pool *p = &c->pools[i];
		size_t before = mistakes_enter(r, view_str(p->name));

		if (whole && !c->haproxy.socket && !p->nendpoints && !p->dns_host)
			mistakes_add(r, p->line, p->col,
				     "nothing says which servers it has: set haproxy.socket, or "
				     "list endpoints here, or give dns: HOST:PORT");
		if (p->nendpoints && p->dns_host)
			mistakes_add(r, p->line, p->col,
				     "has both endpoints and dns: keep one of them");
		mistakes_leave(r, before);
	}
}

/* Servers' names and addresses are each one of a kind within a pool. */
static void check_endpoints(const struct config_pool *p, struct mistakes *r)
{
	struct named *servers = check_array(r, p->nendpoints);
	struct named *addresses = check_array(r, p->nendpoints);
	size_t n = 0, m = 0;

	for (size_t i = 0; i < p->nendpoints && servers && addresses; i++) {
		const struct config_endpoint *e = &p->endpoints[i];

		if (e->server)
			servers[n++] = (struct named){e->server, 0, p, false, e->line, e->col};
		if (e->host)
			addresses[m++] =
			    (struct named){e->host, e->port, p, false, e->line, e->col};
	}
	if (n)
		qsort(servers, n, sizeof(*servers), check_compare);
	if (m)
		qsort(addresses, m, sizeof(*addresses), check_compare);
	for (size_t i = 1; i < n; i++)
		if (strcmp(servers[i].name, servers[i - 1].name) == 0)
			mistakes_add(r, servers[i].line, servers[i].col,
				     "server \"%s\" is also in line %d: one name, one server",
				     servers[i].name, servers[i - 1].line);
	for (size_t i = 1; i < m; i++)
		if (strcmp(addresses[i].name, addresses[i - 1].name) == 0 &&
		    addresses[i].port == addresses[i - 1].port)
			mistakes_add(r, addresses[i].line, addresses[i].col,
				     "%.255s:%u is also in line %d: its requests would be "
				     "counted twice",
				     addresses[i].name, addresses[i].port, addresses[i - 1].line);
	free(servers);
	free(addresses);
}

static const struct named *check_find_alias(const struct named *names, size_t n, const char *name)
{
	/* Aliases sort behind a model of their name: look for the end of the name's run. */
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(names[middle].name, name) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || strcmp(names[low - 1].name, name) != 0 || !names[low - 1].alias)
		return NULL;
	return &names[low - 1];
}

static void check_targets(const struct config_pool *p, const struct named *names, size_t n,
			  struct mistakes *r)
{
	for (size_t i = 0; i < p->naliases; i++) {
		const struct config_alias *a = &p->aliases[i];
		uint64_t sum = 0;

		for (size_t j = 0; j < a->ntargets; j++) {
			const struct config_target *t = &a->targets[j];
			const struct named *other;

			sum += t->weight;
			other = t->model ? check_find_alias(names, n, t->model) : NULL;
			if (other)
				mistakes_add(r, t->line, t->col,
					     "%s is an alias itself (line %d): name the model",
					     mistakes_quote(view_str(t->model)).text, other->line);
			for (size_t k = 0; k < j && t->model && a->ntargets <= 256; k++)
				if (a->targets[k].model &&
				    strcmp(a->targets[k].model, t->model) == 0) {
					mistakes_add(r, t->line, t->col,
						     "%s is given twice: add the weights up",
						     mistakes_quote(view_str(t->model)).text);
					break;
				}
		}
		if (a->ntargets && sum == 0)
			mistakes_add(r, a->line, a->col,
				     "all weights of alias %s are 0: give one at least 1",
				     mistakes_quote(view_str(a->name)).text);
	}
}

/* A model is listed once in all pools; a name is a model or an alias. An alias may stand in
 * several pools: they share its requests by weight. */
static void check_names(const struct config *c, struct mistakes *r)
{
	struct named *names;
	size_t total = 0, n = 0;

	for (size_t i = 0; i < c->npools; i++)
		total += c->pools[i].nmodels + c->pools[i].naliases;
	names = check_array(r, total);
	for (size_t i = 0; i < c->npools && names; i++) {
		const struct config_pool *p = &c->pools[i];

		for (size_t j = 0; j < p->nmodels; j++)
			if (p->models[j].name)
				names[n++] = (struct named){
				    p->models[j].name, 0, p, false, p->models[j].line,
				    p->models[j].col};
		for (size_t j = 0; j < p->naliases; j++)
			if (p->aliases[j].name)
				names[n++] = (struct named){
				    p->aliases[j].name, 0, p, true, p->aliases[j].line,
				    p->aliases[j].col};
	}
	if (n)
		qsort(names, n, sizeof(*names), check_compare);
	for (size_t i = 1; i < n; i++) {
		const struct named *a = &names[i - 1], *b = &names[i];

		if (strcmp(a->name, b->name) != 0 || (a->alias && b->alias))
			continue;
		if (b->alias)
			mistakes_add(r, b->line, b->col,
				     "%s is a listed model too (line %d): an alias needs a name "
				     "of its own",
				     mistakes_quote(view_str(b->name)).text, a->line);
		else
			mistakes_add(r, b->line, b->col,
				     "model %s is listed in line %d already: a model belongs to "
				     "one pool",
				     mistakes_quote(view_str(b->name)).text, a->line);
	}
	for (size_t i = 0; i < c->npools && !r->err; i++) {
		size_t before = mistakes_enter(r, view_str(c->pools[i].name));

		check_targets(&c->pools[i], names, n, r);
		check_endpoints(&c->pools[i], r);
		mistakes_leave(r, before);
	}
	free(names);
}

static void check_limits(const struct config *c, struct mistakes *r)
{
	size_t endpoints = 0, models = 0;
	bool told_endpoints = false, told_models = false;

	if (c->npools > c->limits.pools)
		mistakes_add(r, c->pools[c->limits.pools].line, c->pools[c->limits.pools].col,
			     "%zu pools are more than limits.pools (%u): raise it", c->npools,
			     c->limits.pools);
	for (size_t i = 0; i < c->npools; i++) {
		const struct config_pool *p = &c->pools[i];

		endpoints += p->nendpoints;
		models += p->nmodels + p->naliases;
		if (endpoints > c->limits.endpoints && !told_endpoints) {
			mistakes_add(r, p->line, p->col,
				     "with this pool there are more endpoints than "
				     "limits.endpoints (%u): raise it",
				     c->limits.endpoints);
			told_endpoints = true;
		}
		if (models > c->limits.models && !told_models) {
			mistakes_add(r, p->line, p->col,
				     "with this pool there are more models and aliases than "
				     "limits.models (%u): raise it",
				     c->limits.models);
			told_models = true;
		}
	}
}

static struct section_place check_place(const struct section_place *places, enum option_section s,
					const char *key)
{
	return places[option_find(s, view_str(key)) - option_rows];
}

static void check_default_pool(const struct config *c, struct mistakes *r,
			       const struct section_place *places, bool whole)
{
	struct section_place at = check_place(places, OPTION_TOP, "default_pool");

	if (c->default_pool && whole && !config_pool_find(c, c->default_pool))
		mistakes_add(r, at.line, at.col, "default_pool: there is no pool %s",
			     mistakes_quote(view_str(c->default_pool)).text);
	if (at.line)
		return;
	at = check_place(places, OPTION_TOP, "no_model");
	if (c->no_model == CONFIG_NO_MODEL_DEFAULT)
		mistakes_add(r, at.line, at.col,
			     "no_model: default needs default_pool: POOL beside it");
	at = check_place(places, OPTION_TOP, "unknown_model");
	if (c->unknown_model == CONFIG_UNKNOWN_DEFAULT)
		mistakes_add(r, at.line, at.col,
			     "unknown_model: default needs default_pool: POOL beside it");
}

static bool check_has(const struct config_list *list, const char *word)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], word) == 0)
			return true;
	return false;
}

static bool check_any_port(const char *address)
{
	size_t len = strlen(address);

	return len > 2 && strcmp(address + len - 2, ":0") == 0;
}

static void check_listeners(const struct config *c, struct mistakes *r,
			    const struct section_place *places, bool whole)
{
	static const char *const keys[] = {"spop", "admin", "feedback"};
	const struct config_list *lists[] = {&c->listen.spop, &c->listen.admin,
					     &c->listen.feedback};
	struct section_place at = check_place(places, OPTION_LISTEN, "spop");

	if (whole && c->listen.spop.n == 0)
		mistakes_add(r, at.line, at.col,
			     "listen.spop: HAProxy needs at least one address to reach the agent");
	for (size_t i = 1; i < 3; i++) {
		for (size_t j = 0; j < i; j++) {
			for (size_t k = 0; k < lists[i]->n; k++) {
				const char *address = lists[i]->items[k];
				struct section_place place =
				    check_place(places, OPTION_LISTEN, keys[i]);

				if (place.line == 0)
					place = check_place(places, OPTION_LISTEN, keys[j]);
				if (!check_any_port(address) && check_has(lists[j], address))
					mistakes_add(r, place.line, place.col,
						     "listen.%s: %.120s is an address of "
						     "listen.%s too: each needs its own",
						     keys[i], address, keys[j]);
			}
		}
	}
}

/* Only this machine can reach it. */
static bool check_local(const char *address)
{
	return strncmp(address, "unix@", 5) == 0 || strncmp(address, "abns@", 5) == 0 ||
	       address[0] == '/' || strncmp(address, "127.", 4) == 0 ||
	       strncmp(address, "localhost:", 10) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

/* What is said about each missing piece of protection for @address. */
static void check_admin_need(struct mistakes *r, struct section_place at, const char *address,
			     const char *key)
{
	mistakes_add(r, at.line, at.col,
		     "listen.admin: others than this machine can reach %.120s, so it needs "
		     "listen.%s: PATH (or listen.admin_open: true, if everybody who can reach it "
		     "may read it)",
		     address, key);
}

static void check_admin(const struct config *c, struct mistakes *r,
			const struct section_place *places)
{
	struct section_place at = check_place(places, OPTION_LISTEN, "admin");
	struct section_place cert = check_place(places, OPTION_LISTEN, "admin_cert");
	struct section_place key = check_place(places, OPTION_LISTEN, "admin_key");
	struct section_place token = check_place(places, OPTION_LISTEN, "admin_token_file");
	const struct config_list *list = &c->listen.admin;

	/* A value that was refused has its place but is NULL: one mistake is enough. */
	if (cert.line && !key.line)
		mistakes_add(r, cert.line, cert.col,
			     "listen.admin_cert needs the certificate's private key beside it: "
			     "listen.admin_key: PATH");
	if (key.line && !cert.line)
		mistakes_add(r, key.line, key.col,
			     "listen.admin_key needs the certificate beside it: "
			     "listen.admin_cert: PATH");
	for (size_t i = 0; i < list->n && !c->listen.admin_open; i++) {
		if (check_local(list->items[i]))
			continue;
		if (!cert.line && !key.line)
			check_admin_need(r, at, list->items[i], "admin_cert and admin_key");
		if (!token.line)
			check_admin_need(r, at, list->items[i], "admin_token_file");
		return;
	}
}

/* Rows that say nothing without another one. */
static void check_kubernetes(const struct config *c, struct mistakes *r,
			     const struct section_place *places, bool whole)
{
	struct section_place dir = check_place(places, OPTION_KUBERNETES, "haproxy_dir");
	struct section_place at = check_place(places, OPTION_KUBERNETES, "haproxy_master");

	if (at.line && !dir.line)
		mistakes_add(
		    r, at.line, at.col,
		    "kubernetes.haproxy_master: it is asked to load kubernetes.haproxy_dir: DIR, "
		    "which is missing");
	if (dir.line && whole && c->kubernetes.haproxy_dir && !c->haproxy.socket)
		mistakes_add(r, dir.line, dir.col,
			     "kubernetes.haproxy_dir: our own HAProxy is told of changes by "
			     "haproxy.socket: PATH, which is missing");
	at = check_place(places, OPTION_KUBERNETES, "context");
	if (at.line && !check_place(places, OPTION_KUBERNETES, "kubeconfig").line)
		mistakes_add(r, at.line, at.col,
			     "kubernetes.context: a context is one of kubernetes.kubeconfig: FILE, "
			     "which is missing");
	if (c->kubernetes.retry_ms > c->kubernetes.retry_max_ms) {
		at = check_place(places, OPTION_KUBERNETES, "retry");
		if (at.line == 0)
			at = check_place(places, OPTION_KUBERNETES, "retry_max");
		mistakes_add(r, at.line, at.col,
			     "kubernetes: retry (%u ms) is longer than retry_max (%u ms)",
			     c->kubernetes.retry_ms, c->kubernetes.retry_max_ms);
	}
}

/* Figures that are forgotten before the next ones come are no figures. */
static void check_stale(const struct config_scrape *scrape, struct mistakes *r,
			struct section_place at)
{
	if (scrape->stale_ms <= scrape->interval_ms)
		mistakes_add(r, at.line, at.col,
			     "scrape: what is read every %u ms (interval) is forgotten after %u ms "
			     "(stale): make stale the longer one",
			     scrape->interval_ms, scrape->stale_ms);
}

static void check_scrape(const struct config *c, struct mistakes *r,
			 const struct section_place *places)
{
	struct section_place at = check_place(places, OPTION_SCRAPE, "interval");

	if (at.line == 0)
		at = check_place(places, OPTION_SCRAPE, "stale");
	check_stale(&c->scrape, r, at);
	for (size_t i = 0; i < c->npools; i++) {
		const struct config_pool *p = &c->pools[i];
		size_t before = mistakes_enter(r, VIEW_LIT("pools"));

		mistakes_enter(r, view_str(p->name));
		if (p->scrape.stale_ms != c->scrape.stale_ms ||
		    p->scrape.interval_ms != c->scrape.interval_ms)
			check_stale(&p->scrape, r, (struct section_place){p->line, p->col});
		mistakes_leave(r, before);
	}
}

void check_config(const struct config *c, struct mistakes *r, const struct section_place *places,
		  bool whole)
{
	struct section_place at = check_place(places, OPTION_TOP, "variables");
	size_t before;

	if (whole && !check_has(&c->variables, "verdict"))
		mistakes_add(r, at.line, at.col,
			     "variables: lacks verdict, which haproxy.cfg asks for first: add it");
	if (c->dns.min_ttl_ms > c->dns.max_ttl_ms) {
		at = check_place(places, OPTION_DNS, "min_ttl");
		if (at.line == 0)
			at = check_place(places, OPTION_DNS, "max_ttl");
		mistakes_add(r, at.line, at.col,
			     "dns: min_ttl (%u ms) is longer than max_ttl (%u ms)",
			     c->dns.min_ttl_ms, c->dns.max_ttl_ms);
	}
	check_scrape(c, r, places);
	check_listeners(c, r, places, whole);
	check_admin(c, r, places);
	check_kubernetes(c, r, places, whole);
	check_default_pool(c, r, places, whole);
	before = mistakes_enter(r, VIEW_LIT("pools"));
	check_limits(c, r);
	check_no_source(c, r, whole);
	check_names(c, r);
	mistakes_leave(r, before);
}
