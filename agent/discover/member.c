/*
 * What a member of a group is, in the words of its source: name, server, address, and the URL that
 * follows from them. Whose slot it keeps is roster.c's matter.
 */
#include "discover/member.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void member_free(struct member *m)
{
	free((char *)m->place.pool);
	free((char *)m->place.backend);
	free((char *)m->place.server);
	free((char *)m->place.name);
	free((char *)m->place.url);
	free((char *)m->place.connect_to);
	free((char *)m->place.metrics);
	free(m);
}

size_t member_address_len(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET    ? sizeof(struct sockaddr_in)
	       : a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					  : 0;
}

bool member_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && memcmp(a, b, member_address_len(a)) == 0;
}

static bool same_text(const char *have, struct view want)
{
	return have ? want.ptr && view_eq(view_str(have), want) : !want.ptr;
}

static uint16_t port_of(const struct sockaddr_storage *a)
{
	return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
					      : ((const struct sockaddr_in *)a)->sin_port);
}

/* Where it can be asked. False when memory is short. */
static bool make_url(const struct roster_want *w, char **ret_url, char **ret_connect)
{
	char ip[INET6_ADDRSTRLEN] = "";
	const void *raw = &((const struct sockaddr_in *)&w->addr)->sin_addr;
	bool six = w->addr.ss_family == AF_INET6;
	unsigned port = port_of(&w->addr);

	*ret_url = *ret_connect = NULL;
	if (member_address_len(&w->addr) == 0)
		return true;
	if (six)
		raw = &((const struct sockaddr_in6 *)&w->addr)->sin6_addr;
	inet_ntop(w->addr.ss_family, raw, ip, sizeof(ip));
	if (w->host.ptr) {
		*ret_connect = strdup(ip);
		if (!*ret_connect)
			return false;
		if (asprintf(ret_url, "%s://%.*s:%u", w->https ? "https" : "http", (int)w->host.len,
			     w->host.ptr, port) >= 0)
			return true;
	} else if (asprintf(ret_url, six ? "%s://[%s]:%u" : "%s://%s:%u",
			    w->https ? "https" : "http", ip, port) >= 0) {
		return true;
	}
	free(*ret_connect);
	*ret_url = *ret_connect = NULL;
	return false;
}

static bool text_changes(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

bool member_is(const struct member *m, const struct roster_want *w)
{
	struct view host = w->host;

	/* The host shows in the URL; an address alone has no connect_to. */
	if (!same_text(m->place.name, w->name) || !same_text(m->place.server, w->server) ||
	    !member_same_address(&m->place.addr, &w->addr) || m->https != w->https ||
	    text_changes(m->place.metrics, w->metrics))
		return false;
	if (!m->place.url)
		return true;
	if (!m->place.connect_to || !host.ptr)
		return !m->place.connect_to && !host.ptr;
	return strncmp(strstr(m->place.url, "://") + 3, host.ptr, host.len) == 0 &&
	       strstr(m->place.url, "://")[3 + host.len] == ':';
}

static void put(const char **field, char *value)
{
	free((char *)*field);
	*field = value;
}

static bool dup_view(struct view v, char **ret)
{
	*ret = v.ptr ? view_dup(v) : NULL;
	return *ret || !v.ptr;
}

bool member_take(struct member *m, const struct roster_want *w)
{
	char *name = NULL, *server = NULL, *metrics = NULL, *url = NULL, *connect = NULL;

	if (!dup_view(w->name, &name) || !dup_view(w->server, &server) ||
	    !dup_view(view_str(w->metrics), &metrics) || !make_url(w, &url, &connect)) {
		free(name);
		free(server);
		free(metrics);
		return false;
	}
	put(&m->place.name, name);
	put(&m->place.server, server);
	put(&m->place.metrics, metrics);
	put(&m->place.url, url);
	put(&m->place.connect_to, connect);
	m->place.addr = w->addr;
	m->https = w->https;
	return true;
}

int member_place(struct member *m, const char *pool, const char *backend)
{
	char *p, *b;

	if (m->place.pool && strcmp(m->place.pool, pool) == 0 &&
	    strcmp(m->place.backend, backend) == 0)
		return 0;
	p = strdup(pool);
	b = strdup(backend);
	if (!p || !b) {
		free(p);
		free(b);
		return -ENOMEM;
	}
	put(&m->place.pool, p);
	put(&m->place.backend, b);
	return 1;
}
