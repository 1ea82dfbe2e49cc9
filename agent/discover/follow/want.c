/*
 * From a plan to what HAProxy can have.
 *
 * One name or value that HAProxy refuses would make it refuse the whole file, and with it every
 * other pool from then on; so all that comes from a cluster's objects is looked at here, and what
 * does not fit is left out and told: names beyond HAProxy's alphabet, names of the sections in our
 * own haproxy.cfg, servers without an address, header values with control characters (a line
 * feed would end the header and begin another).
 *
 * The stamp stands for what the runtime socket cannot change: rules, the environment, the
 * protocol and keywords of servers, and certificates. It is written into the file as an environment
 * variable and read back from the running process.
 */
#include "discover/follow/want.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "discover/arena.h"
#include "route/rule.h"

/* Sections of haproxy.cfg, of what is generated and of what is shipped to be loaded beside them;
 * since 3.3 a backend may not have the name of a defaults section either. */
static const char *const reserved[] = {
    "model-servers",     "inference",       "inference-pool",   "inference-sections",
    "inference-routes",  "inference-added", "inference-agent",  "inference-admin",
    "inference-answers", "inference-dst",   "inference-probes", "inference-probes-agent"};

static int compare(struct view a, struct view b)
{
	int r = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_backend(const void *a, const void *b)
{
	return compare(((const struct want_pool *)a)->backend,
		       ((const struct want_pool *)b)->backend);
}

static int by_name(const void *a, const void *b)
{
	return compare(((const struct want_server *)a)->name,
		       ((const struct want_server *)b)->name);
}

static void leave_out(struct want *w, const char *what, struct view name, const char *why)
{
	if (w->left_out++ == 0)
		snprintf(w->left_out_why, sizeof(w->left_out_why), "%s %.*s: %s", what,
			 (int)(name.len < 100 ? name.len : 100), name.ptr ? name.ptr : "", why);
}

bool want_is_name(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '.' || c == ':'))
			return false;
	}
	return v.len > 0 && v.len <= WANT_NAME_MAX;
}

/* A header's name: a token of RFC 9110 §5.6.2. */
static bool is_token(struct view v)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      memchr(others, c, sizeof(others) - 1)))
			return false;
	}
	return v.len > 0 && v.len <= WANT_NAME_MAX;
}

/* What says where a body ends is HAProxy's own. */
static bool is_framing(struct view name)
{
	return view_caseeq(name, VIEW_LIT("content-length")) ||
	       view_caseeq(name, VIEW_LIT("transfer-encoding"));
}

static bool is_text(struct view v)
{
	for (size_t i = 0; i < v.len; i++)
		if (((unsigned char)v.ptr[i] < ' ' && v.ptr[i] != '\t') || v.ptr[i] == 0x7f)
			return false;
	return v.len <= 8192;
}

bool want_is_reserved(struct view name)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (view_eq(name, view_str(reserved[i])))
			return true;
	return false;
}

static bool copy(struct arena *a, struct view from, struct view *ret)
{
	const char *text = from.ptr ? arena_dup(a, from) : "";

	*ret = (struct view){text, from.ptr ? from.len : 0};
	return text != NULL;
}

/* False only when memory is short; an absent @ret->where: no address. */
static bool put_address(struct arena *a, struct want_server *s)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&s->addr;
	const struct sockaddr_in *four = (const struct sockaddr_in *)&s->addr;
	char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 10];

	if (s->addr.ss_family == AF_INET && four->sin_port && four->sin_addr.s_addr) {
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
		snprintf(text, sizeof(text), "%s:%u", host, ntohs(four->sin_port));
	} else if (s->addr.ss_family == AF_INET6 && six->sin6_port &&
		   !IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) {
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
		snprintf(text, sizeof(text), "[%s]:%u", host, ntohs(six->sin6_port));
	} else {
		s->where = VIEW_NULL;
		return true;
	}
	return copy(a, view_str(text), &s->where);
}

static bool put_servers(struct want *w, const struct plan_pool *from, struct want_pool *to)
{
	struct want_server *servers = arena_get(w->arena, from->nmembers * sizeof(*servers) + 1);
	size_t n = 0, kept = 0;

	if (!servers)
		return false;
	for (size_t i = 0; i < from->nmembers; i++) {
		const struct plan_member *m = &from->members[i];
		struct want_server *s = &servers[n];

		*s = (struct want_server){.addr = m->addr, .draining = m->draining};
		if (!put_address(w->arena, s))
			return false;
		if (!want_is_name(m->name) || !s->where.ptr)
			leave_out(w, "server", m->name,
				  s->where.ptr ? "not a name for HAProxy" : "no address");
		else if (copy(w->arena, m->name, &s->name))
			n++;
		else
			return false;
	}
	qsort(servers, n, sizeof(*servers), by_name);
	for (size_t i = 0; i < n; i++) {
		if (kept && view_eq(servers[kept - 1].name, servers[i].name))
			leave_out(w, "server", servers[i].name, "there is one of that name");
		else
			servers[kept++] = servers[i];
	}
	to->servers = servers;
	to->nservers = kept;
	w->nservers += kept;
	return true;
}

static bool put_pools(struct want *w, const struct plan *p)
{
	struct want_pool *pools = arena_get(w->arena, p->npools * sizeof(*pools) + 1);
	size_t n = 0, kept = 0;

	if (!pools)
		return false;
	for (size_t i = 0; i < p->npools; i++) {
		const struct plan_pool *from = &p->pools[i];

		if (!want_is_name(from->backend)) {
			leave_out(w, "pool", from->name, "not a name for HAProxy");
			continue;
		}
		if (want_is_reserved(from->backend)) {
			leave_out(w, "pool", from->name, "haproxy.cfg has a section of that name");
			continue;
		}
		pools[n].h2c = from->h2c;
		if (!copy(w->arena, from->backend, &pools[n].backend) ||
		    !put_servers(w, from, &pools[n]))
			return false;
		n++;
	}
	qsort(pools, n, sizeof(*pools), by_backend);
	for (size_t i = 0; i < n; i++) {
		if (kept && view_eq(pools[kept - 1].backend, pools[i].backend)) {
			leave_out(w, "pool", pools[i].backend, "there is one of that name");
			w->nservers -= pools[i].nservers;
		} else {
			pools[kept++] = pools[i];
		}
	}
	w->pools = pools;
	w->npools = kept;
	return true;
}

static bool put_headers(struct want *w, const struct plan *p)
{
	struct plan_header *headers = arena_get(w->arena, p->nheaders * sizeof(*headers) + 1);

	if (!headers)
		return false;
	for (size_t i = 0; i < p->nheaders; i++) {
		const struct plan_header *from = &p->headers[i];
		struct plan_header *to = &headers[w->nheaders];

		if (!is_token(from->name) || is_framing(from->name)) {
			leave_out(w, "header", from->name, "not a header that can be set");
			continue;
		}
		if (!is_text(from->value) || !is_text(from->route) || from->route.len == 0) {
			leave_out(w, "header", from->name, "control characters in its value");
			continue;
		}
		to->action = from->action;
		if (!copy(w->arena, from->route, &to->route) ||
		    !copy(w->arena, from->name, &to->name) ||
		    !copy(w->arena, from->value, &to->value))
			return false;
		w->nheaders++;
	}
	w->headers = headers;
	return true;
}

/* What HAProxy must send, by the very table that asks for it. */
static bool want_arguments(const struct plan *p, struct want *w)
{
	struct rules *r;
	bool made;

	if (p->nrules == 0 || p->route_by_models)
		return true;
	r = rules_new(p->rules, p->nrules);
	made = r && rules_listen(r, &p->listeners) == 0;
	if (made) {
		w->hdrs = rules_want_headers(r);
		w->dst_port = rules_want_port(r);
	}
	rules_free(r);
	return made;
}

/* Length first, so that no two lists of texts read the same. */
static void stir(XXH3_state_t *x, struct view v)
{
	uint64_t len = v.len;

	XXH3_64bits_update(x, &len, sizeof(len));
	XXH3_64bits_update(x, v.ptr, v.len);
}

static bool put_stamp(struct want *w)
{
	XXH3_state_t *x = XXH3_createState();

	if (!x)
		return false;
	XXH3_64bits_reset(x);
	stir(x, w->keywords);
	stir(x, w->hdrs ? VIEW_LIT("hdrs") : VIEW_LIT(""));
	if (w->dst_port)
		stir(x, VIEW_LIT("dst_port"));
	for (size_t i = 0; i < w->nheaders; i++) {
		stir(x, w->headers[i].route);
		stir(x, (struct view){&"sar"[w->headers[i].action], 1});
		stir(x, w->headers[i].name);
		stir(x, w->headers[i].value);
	}
	for (size_t i = 0; i < w->npools; i++)
		if (w->pools[i].h2c)
			stir(x, w->pools[i].backend);
	w->lasting = XXH3_64bits_digest(x);
	XXH3_freeState(x);
	want_certificates(w, 0);
	return true;
}

void want_certificates(struct want *w, uint64_t print)
{
	uint64_t sum = print ? XXH3_64bits_withSeed(&print, sizeof(print), w->lasting) : w->lasting;

	snprintf(w->stamp, sizeof(w->stamp), "%016llx", (unsigned long long)sum);
}

struct want *want_new(const struct plan *p, struct view keywords)
{
	struct want *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->arena = arena_new();
	if (!w->arena || !copy(w->arena, keywords, &w->keywords) || !put_pools(w, p) ||
	    !put_headers(w, p) || !want_arguments(p, w) || !put_stamp(w))
		return want_free(w);
	return w;
}

struct want *want_free(struct want *w)
{
	if (w) {
		arena_free(w->arena);
		free(w);
	}
	return NULL;
}

const struct want_pool *want_pool(const struct want *w, struct view backend)
{
	struct want_pool key = {.backend = backend};

	return w->npools ? bsearch(&key, w->pools, w->npools, sizeof(key), by_backend) : NULL;
}

const struct want_server *want_server(const struct want_pool *p, struct view name)
{
	struct want_server key = {.name = name};

	return p->nservers ? bsearch(&key, p->servers, p->nservers, sizeof(key), by_name) : NULL;
}
