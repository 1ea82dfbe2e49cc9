/*
 * Pools.
 *
 * What is no plain row is read here: lists whose items are words or maps, aliases, addresses that
 * are split into host and port, and the pool's own scrape: over the top level's. The short forms
 * are filled in so that nobody behind this file knows of them.
 */
#include "config/poolconf.h"

#include <errno.h>
#include <stdlib.h>
#include "config/value.h"

struct reading {
	struct config *c;
	struct mistakes *r;
	struct config_pool *pool;
	struct config_endpoint *endpoint;
};

/* calloc() that reports; NULL for 0 as well. */
static void *poolconf_array(struct mistakes *r, size_t n, size_t size)
{
	void *array = n ? calloc(n, size) : NULL;

	if (n && !array)
		r->err = -ENOMEM;
	return array;
}

/* One row from a word that stands for the whole item. */
static void poolconf_word(enum option_section s, const char *key, void *base, struct mistakes *r,
			  const struct tree_node *node)
{
	const struct option *o = option_find(s, view_str(key));

	value_read(o, (char *)base + o->offset, r, node);
}

static char *poolconf_dup(struct mistakes *r, struct view text)
{
	char *copy = view_dup(text);

	if (!copy)
		r->err = -ENOMEM;
	return copy;
}

static void poolconf_address(struct config_endpoint *e, struct mistakes *r,
			     const struct tree_node *node)
{
	struct syntax_address a;
	struct syntax_why why;

	if (!value_expect(r, node, TREE_WORD, "HOST:PORT"))
		return;
	if (!syntax_address(node->text, &a, &why)) {
		mistakes_add(r, node->line, node->col, "%s %s", mistakes_quote(node->text).text,
			     why.text);
		return;
	}
	free(e->host);
	e->host = poolconf_dup(r, a.host);
	e->port = a.port;
	e->https = a.https;
}

static void poolconf_endpoint_row(const struct option *o, const struct tree_item *item, void *arg)
{
	struct reading *g = arg;

	(void)o; /* address is the only one */
	poolconf_address(g->endpoint, g->r, item->value);
}

static void poolconf_endpoint(struct reading *g, struct config_endpoint *e,
			      const struct tree_node *node)
{
	struct section s = {
	    .rows = OPTION_ENDPOINT, .base = e, .custom = poolconf_endpoint_row, .arg = g};

	e->line = node->line;
	e->col = node->col;
	g->r->err = option_defaults(OPTION_ENDPOINT, e);
	if (g->r->err)
		return;
	g->endpoint = e;
	if (node->kind == TREE_WORD)
		poolconf_address(e, g->r, node);
	else if (value_expect(g->r, node, TREE_MAP, "HOST:PORT or a map with address"))
		section_read(&s, g->r, node);
}

static void poolconf_model(struct reading *g, struct config_model *m, const struct tree_node *node)
{
	struct section s = {.rows = OPTION_MODEL, .base = m};

	m->line = node->line;
	m->col = node->col;
	g->r->err = option_defaults(OPTION_MODEL, m);
	if (g->r->err)
		return;
	if (node->kind == TREE_WORD)
		poolconf_word(OPTION_MODEL, "name", m, g->r, node);
	else if (value_expect(g->r, node, TREE_MAP, "a model's name or a map with name"))
		section_read(&s, g->r, node);
}

static void poolconf_target(struct reading *g, struct config_target *t,
			    const struct tree_node *node)
{
	struct section s = {.rows = OPTION_TARGET, .base = t};

	t->line = node->line;
	t->col = node->col;
	g->r->err = option_defaults(OPTION_TARGET, t);
	if (g->r->err)
		return;
	if (node->kind == TREE_WORD)
		poolconf_word(OPTION_TARGET, "model", t, g->r, node);
	else if (value_expect(g->r, node, TREE_MAP, "a model's name or a map with model"))
		section_read(&s, g->r, node);
}

static void poolconf_alias(struct reading *g, struct config_alias *a, const struct tree_item *item)
{
	const struct tree_node *node = item->value;
	const struct option *name = option_find(OPTION_MODEL, VIEW_LIT("name"));
	struct tree_node key = *item->key;
	size_t n = node->kind == TREE_LIST ? node->n : 1, i = 0;

	a->line = item->key->line;
	a->col = item->key->col;
	key.kind = TREE_WORD;
	value_read(name, &a->name, g->r, &key);
	if (n == 0)
		mistakes_add(g->r, node->line, node->col, "has no model: name at least one");
	if (g->r->err)
		return;
	a->targets = poolconf_array(g->r, n, sizeof(*a->targets));
	if (!a->targets)
		return;
	a->ntargets = n;
	if (node->kind != TREE_LIST) {
		poolconf_target(g, a->targets, node);
		return;
	}
	for (const struct tree_item *t = node->first; t && !g->r->err; t = t->next, i++) {
		size_t before = mistakes_enter_item(g->r, i);

		poolconf_target(g, &a->targets[i], t->value);
		mistakes_leave(g->r, before);
	}
}

static void poolconf_models(struct reading *g, const struct tree_node *node)
{
	struct config_pool *p = g->pool;

	if (p->models || !value_expect(g->r, node, TREE_LIST, "a list of models ([NAME, …])"))
		return;
	p->models = poolconf_array(g->r, node->n, sizeof(*p->models));
	for (const struct tree_item *i = node->first; i && !g->r->err; i = i->next) {
		size_t before = mistakes_enter_item(g->r, p->nmodels);

		poolconf_model(g, &p->models[p->nmodels++], i->value);
		mistakes_leave(g->r, before);
	}
}

static void poolconf_endpoints(struct reading *g, const struct tree_node *node)
{
	struct config_pool *p = g->pool;

	if (p->endpoints ||
	    !value_expect(g->r, node, TREE_LIST, "a list of endpoints ([HOST:PORT, …])"))
		return;
	p->endpoints = poolconf_array(g->r, node->n, sizeof(*p->endpoints));
	for (const struct tree_item *i = node->first; i && !g->r->err; i = i->next) {
		size_t before = mistakes_enter_item(g->r, p->nendpoints);

		poolconf_endpoint(g, &p->endpoints[p->nendpoints++], i->value);
		mistakes_leave(g->r, before);
	}
}

static void poolconf_aliases(struct reading *g, const struct tree_node *node)
{
	struct config_pool *p = g->pool;

	if (p->aliases || !value_expect(g->r, node, TREE_MAP, "a map of aliases (ALIAS: MODEL)"))
		return;
	p->aliases = poolconf_array(g->r, node->n, sizeof(*p->aliases));
	for (const struct tree_item *i = node->first; i && !g->r->err; i = i->next) {
		size_t before = mistakes_enter(g->r, i->key->text);

		poolconf_alias(g, &p->aliases[p->naliases++], i);
		mistakes_leave(g->r, before);
	}
}

static void poolconf_dns(struct reading *g, const struct tree_node *node)
{
	struct config_pool *p = g->pool;
	struct syntax_why why;
	struct view host;

	if (!value_expect(g->r, node, TREE_WORD, "HOST:PORT[,PORT…]") || node->text.len == 0)
		return;
	if (!syntax_dns(node->text, &host, p->dns_ports, &p->ndns_ports, &why)) {
		mistakes_add(g->r, node->line, node->col, "%s %s", mistakes_quote(node->text).text,
			     why.text);
		return;
	}
	free(p->dns_host);
	p->dns_host = poolconf_dup(g->r, host);
}

static void poolconf_row(const struct option *o, const struct tree_item *item, void *arg)
{
	struct reading *g = arg;
	struct section scrape = {.rows = OPTION_SCRAPE, .base = &g->pool->scrape};

	if (!o)
		section_read(&scrape, g->r, item->value);
	else if (strcmp(o->key, "models") == 0)
		poolconf_models(g, item->value);
	else if (strcmp(o->key, "aliases") == 0)
		poolconf_aliases(g, item->value);
	else if (strcmp(o->key, "endpoints") == 0)
		poolconf_endpoints(g, item->value);
	else if (strcmp(o->key, "dns") == 0)
		poolconf_dns(g, item->value);
}

static void poolconf_pool(struct reading *g, const struct tree_item *item)
{
	static const char *const extra[] = {"scrape", NULL};
	const struct option *name = option_find(OPTION_TOP, VIEW_LIT("default_pool"));
	struct config_pool *p = g->pool;
	struct section s = {
	    .rows = OPTION_POOL, .base = p, .extra = extra, .custom = poolconf_row, .arg = g};
	struct tree_node key = *item->key;

	p->line = item->key->line;
	p->col = item->key->col;
	key.kind = TREE_WORD;
	if (key.text.len == 0)
		mistakes_add(g->r, key.line, key.col, "has no name");
	value_read(name, &p->name, g->r, &key);
	if (!p->name && !g->r->err)
		p->name = poolconf_dup(g->r, key.text); /* refused, and needed to tell the rest */
	if (!g->r->err)
		g->r->err = option_defaults(OPTION_POOL, p);
	for (size_t i = 0; i < option_count && !g->r->err; i++)
		if (option_rows[i].section == OPTION_SCRAPE)
			g->r->err = option_copy(&option_rows[i], &p->scrape, &g->c->scrape);
	if (g->r->err)
		return;
	section_read(&s, g->r, item->value);
	if (!p->backend && p->name && !g->r->err)
		p->backend = poolconf_dup(g->r, view_str(p->name));
}

void poolconf_read(struct config *c, struct mistakes *r, const struct tree_node *pools)
{
	struct reading g = {.c = c, .r = r};
	size_t before = mistakes_enter(r, VIEW_LIT("pools"));

	if (pools->kind != TREE_NULL &&
	    value_expect(r, pools, TREE_MAP, "a map of pools (NAME: {…})")) {
		c->pools = poolconf_array(r, pools->n, sizeof(*c->pools));
		for (const struct tree_item *i = pools->first; i && !r->err; i = i->next) {
			size_t inner = mistakes_enter(r, i->key->text);

			g.pool = &c->pools[c->npools++];
			poolconf_pool(&g, i);
			mistakes_leave(r, inner);
		}
	}
	mistakes_leave(r, before);
}

void poolconf_deinit(struct config_pool *p)
{
	for (size_t i = 0; i < p->nmodels; i++)
		option_clear(OPTION_MODEL, &p->models[i]);
	for (size_t i = 0; i < p->naliases; i++) {
		for (size_t j = 0; j < p->aliases[i].ntargets; j++)
			option_clear(OPTION_TARGET, &p->aliases[i].targets[j]);
		free(p->aliases[i].targets);
		free(p->aliases[i].name);
	}
	for (size_t i = 0; i < p->nendpoints; i++) {
		option_clear(OPTION_ENDPOINT, &p->endpoints[i]);
		free(p->endpoints[i].host);
	}
	free(p->models);
	free(p->aliases);
	free(p->endpoints);
	free(p->dns_host);
	free(p->name);
	option_clear(OPTION_POOL, p);
	option_clear(OPTION_SCRAPE, &p->scrape);
}
