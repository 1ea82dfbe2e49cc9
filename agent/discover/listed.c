/*
 * Listed endpoints and DNS pools.
 *
 * A listed endpoint is one model server, whatever number of addresses its name has: it keeps the
 * one it has while that is still in the answer, else it takes the first. Without an address it is
 * there only if HAProxy can be told its name. A DNS pool is every address with every port; its
 * servers are named by these.
 */
#include "discover/listed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "discover/arena.h"

struct listed {
	struct roster *roster;
	struct names *names;
	const struct config *conf;
	size_t n;
	struct name **followed; /* in the order of pools and endpoints */
};

struct listed *listed_new(struct roster *r, struct names *n)
{
	struct listed *l = calloc(1, sizeof(*l));

	if (l) {
		l->roster = r;
		l->names = n;
	}
	return l;
}

static void unfollow(struct name **followed, size_t n)
{
	for (size_t i = 0; i < n; i++)
		name_unref(followed[i]);
	free(followed);
}

struct listed *listed_free(struct listed *l)
{
	if (l) {
		unfollow(l->followed, l->n);
		free(l);
	}
	return NULL;
}

static size_t count_names(const struct config *conf)
{
	size_t n = 0;

	for (size_t i = 0; i < conf->npools; i++)
		n += conf->pools[i].nendpoints + (conf->pools[i].dns_host != NULL);
	return n;
}

int listed_configure(struct listed *l, const struct config *conf)
{
	size_t n = 0;
	struct name **followed = calloc(count_names(conf) + 1, sizeof(struct name *));
	int r = followed ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < conf->npools; i++) {
		const struct config_pool *pool = &conf->pools[i];

		for (size_t k = 0; k < pool->nendpoints; k++)
			followed[n++] = names_follow(l->names, pool->endpoints[k].host);
		if (pool->dns_host)
			followed[n++] = names_follow(l->names, pool->dns_host);
	}
	for (size_t i = 0; i < n; i++)
		if (!followed[i])
			r = -ENOMEM;
	unfollow(l->followed, l->n);
	l->followed = followed;
	l->n = n;
	l->conf = conf;
	if (r == 0)
		listed_refresh(l);
	return r;
}

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
	if (a->ss_family == AF_INET6)
		((struct sockaddr_in6 *)a)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)a)->sin_port = htons(port);
}

static char *host_port(struct arena *a, const char *host, uint16_t port)
{
	char *text;
	struct view v;

	if (asprintf(&text, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port) < 0)
		return NULL;
	v = view_str(text);
	text = arena_dup(a, v);
	free((char *)v.ptr);
	return text;
}

static bool is_https(const struct config_pool *pool, bool written)
{
	return pool->scrape.scheme == CONFIG_SCHEME_HTTPS ||
	       (pool->scrape.scheme == CONFIG_SCHEME_AUTO && written);
}

/* The address that the server of that name has now, when the answer still has it; else the first.
 */
static void choose(const struct group *g, const char *name, const struct name_view *v,
		   uint16_t port, struct sockaddr_storage *ret)
{
	*ret = v->addrs[0];
	set_port(ret, port);
	if (v->n == 1)
		return;
	for (size_t i = 0; i < g->n; i++) {
		const struct place *p = &g->members[i]->place;

		if (strcmp(p->name, name) != 0)
			continue;
		for (size_t k = 0; k < v->n; k++) {
			struct sockaddr_storage a = v->addrs[k];

			set_port(&a, port);
			if (memcmp(&a, &p->addr, sizeof(a)) == 0)
				*ret = a;
		}
		return;
	}
}

static bool set_listed(struct listed *l, struct arena *a, struct group *g,
		       const struct config_pool *pool, struct name **followed)
{
	struct roster_want *wants = calloc(pool->nendpoints + 1, sizeof(*wants));
	bool ended = true, changed = false;
	size_t n = 0;

	for (size_t i = 0; wants && i < pool->nendpoints; i++) {
		const struct config_endpoint *e = &pool->endpoints[i];
		struct roster_want *w = &wants[n];
		struct sockaddr_storage literal;
		struct name_view v = {.ended = true};
		const char *name = e->server ? e->server : host_port(a, e->host, e->port);

		if (followed[i])
			name_view(followed[i], &v);
		ended &= v.ended;
		if (!name || (v.n == 0 && !e->server))
			continue;
		memset(w, 0, sizeof(*w));
		w->name = view_str(name);
		w->server = view_str(e->server);
		w->https = is_https(pool, e->https);
		w->metrics = e->metrics;
		if (!names_literal(e->host, &literal))
			w->host = view_str(e->host);
		if (v.n)
			choose(g, name, &v, e->port, &w->addr);
		n++;
	}
	if (wants && (n > 0 || ended))
		changed = roster_set(l->roster, g, wants, n);
	free(wants);
	return changed;
}

static bool set_dns(struct listed *l, struct arena *a, struct group *g,
		    const struct config_pool *pool, struct name *name)
{
	struct roster_want *wants;
	struct name_view v;
	bool changed;
	size_t n = 0;

	if (!name)
		return false;
	name_view(name, &v);
	if (!v.answered)
		return false;
	wants = calloc(v.n * pool->ndns_ports + 1, sizeof(*wants));
	for (size_t i = 0; wants && i < v.n; i++) {
		for (size_t k = 0; k < pool->ndns_ports; k++) {
			char ip[INET6_ADDRSTRLEN] = "";
			const struct sockaddr_storage *addr = &v.addrs[i];
			const char *text;

			inet_ntop(
			    addr->ss_family,
			    addr->ss_family == AF_INET6
				? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
				: &((const struct sockaddr_in *)addr)->sin_addr,
			    ip, sizeof(ip));
			text = host_port(a, ip, pool->dns_ports[k]);
			if (!text)
				continue;
			wants[n].name = view_str(text);
			wants[n].addr = *addr;
			set_port(&wants[n].addr, pool->dns_ports[k]);
			wants[n].https = is_https(pool, false);
			if (wants[n].https)
				wants[n].host = view_str(pool->dns_host);
			n++;
		}
	}
	changed = wants && roster_set(l->roster, g, wants, n);
	free(wants);
	return changed;
}

bool listed_refresh(struct listed *l)
{
	struct arena *a = arena_new();
	struct name **followed = l->followed;
	bool changed = false;

	for (size_t i = 0; a && l->conf && i < l->conf->npools; i++) {
		const struct config_pool *pool = &l->conf->pools[i];
		struct group *g = NULL;

		if (pool->nendpoints)
			g = roster_find(l->roster, ROSTER_LISTED, pool->name);
		else if (pool->dns_host)
			g = roster_find(l->roster, ROSTER_DNS, pool->name);
		if (g && g->source == ROSTER_LISTED)
			changed |= set_listed(l, a, g, pool, followed);
		else if (g)
			changed |= set_dns(l, a, g, pool, followed[0]);
		followed += pool->nendpoints + (pool->dns_host != NULL);
	}
	arena_free(a);
	return changed;
}
