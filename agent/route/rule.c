/*
 * Routing by host, path, method and headers.
 *
 * The definitions are sorted once by precedence; a rule's position is its rank, and the lowest
 * rank that matches wins. Each rule stands in one list: that of the model's name it demands, that
 * of the base model's name, or the list of those that demand neither. A request walks three lists
 * and stops in each at the first match, or where the ranks pass the best so far. A list is ordered
 * by rank because rules are appended in that order.
 *
 * Which listener a request belongs to is found first, by port and host, in a list that begins with
 * the most specific host; a rule of another one does not match then. A listener without rules has
 * its requests all the same: nobody else gets them. A request whose port says nothing, where there
 * are several, belongs to none, and ports and listeners are not looked at: serving what another
 * port would not is better than refusing all there is because a proxy in front hides the port.
 *
 * Paths compare by segments: the prefix /v1 covers /v1 and /v1/x, not /v12; a trailing slash of
 * the prefix does not count; what follows a ? is no path. Hosts compare without case and port.
 */
#include "route/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#define NONE UINT32_MAX

/* Which list a rule stands in. */
enum key_kind { KEY_MODEL, KEY_BASE, KEY_ANY };

struct rule {
	struct rule_def def; /* strings, headers and backends are the table's */
	enum key_kind kind;
	struct view key;
	uint64_t total; /* of weights */
	uint32_t next;  /* in its list */
};

struct bucket {
	uint32_t first, last;
};

struct rules {
	size_t n;
	struct rule *rules; /* by rank */
	bool want_headers;
	uint32_t mask;
	struct bucket *buckets; /* of KEY_MODEL and KEY_BASE; collisions share a list */
	struct bucket any;
	struct rule_header *headers;
	struct rule_backend *backends;
	char *strings;
	struct rule_listeners listeners; /* items by specificity of their hosts */
	uint32_t *listener_ids;          /* of each, as rules name it */
	uint64_t all_ports;
	char *listener_hosts;
};

/* What a request came in by. */
struct entrance {
	uint64_t ports;
	uint32_t listener; /* 0: any */
};

/* --- order --- */

static size_t host_rank(struct view host)
{
	/* An exact name before a wildcard, the longer before the shorter, none at all last. */
	if (!host.len)
		return 0;
	return host.ptr[0] == '*' ? host.len : host.len + 4096;
}

static int compare_views(struct view a, struct view b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

#define BY(x, y)                                                                                   \
	do {                                                                                       \
		if ((x) != (y))                                                                    \
			return (x) < (y) ? -1 : 1;                                                 \
	} while (0)

static int by_precedence(const void *a, const void *b)
{
	const struct rule_def *x = *(const struct rule_def *const *)a;
	const struct rule_def *y = *(const struct rule_def *const *)b;
	int r;

	BY(host_rank(y->host), host_rank(x->host));
	BY(y->path_type, x->path_type);
	BY(y->path.len, x->path.len);
	BY(y->method.len > 0, x->method.len > 0);
	BY(y->nheaders, x->nheaders);
	BY(x->created, y->created);
	r = compare_views(x->route, y->route);
	if (r)
		return r;
	/* As written: the definitions are one array. */
	BY(x, y);
	return 0;
}

/* --- building --- */

static uint64_t hash_key(enum key_kind kind, struct view key)
{
	return XXH3_64bits_withSeed(key.ptr, key.len, (XXH64_hash_t)kind);
}

bool rules_is_model_header(struct view name)
{
	return view_caseeq(name, VIEW_LIT("x-gateway-model-name"));
}

bool rules_is_base_header(struct view name)
{
	return view_caseeq(name, VIEW_LIT("x-gateway-base-model-name"));
}

static void find_key(struct rules *r, struct rule *rule)
{
	rule->kind = KEY_ANY;
	for (size_t i = 0; i < rule->def.nheaders; i++) {
		const struct rule_header *h = &rule->def.headers[i];

		if (rules_is_model_header(h->name)) {
			rule->kind = KEY_MODEL;
			rule->key = h->value;
		} else if (rules_is_base_header(h->name)) {
			if (rule->kind == KEY_ANY) {
				rule->kind = KEY_BASE;
				rule->key = h->value;
			}
		} else {
			r->want_headers = true;
		}
	}
}

static struct bucket *bucket_of(struct rules *r, enum key_kind kind, struct view key)
{
	return kind == KEY_ANY ? &r->any : &r->buckets[hash_key(kind, key) & r->mask];
}

static void append(struct rules *r, uint32_t rank)
{
	struct rule *rule = &r->rules[rank];
	struct bucket *b = bucket_of(r, rule->kind, rule->key);

	rule->next = NONE;
	if (b->first == NONE)
		b->first = rank;
	else
		r->rules[b->last].next = rank;
	b->last = rank;
}

static size_t string_bytes(const struct rule_def *d)
{
	size_t n = d->host.len + d->path.len + d->method.len + d->route.len;

	for (size_t i = 0; i < d->nheaders; i++)
		n += d->headers[i].name.len + d->headers[i].value.len;
	return n;
}

static struct rules *table_alloc(const struct rule_def *defs, size_t n)
{
	struct rules *r = calloc(1, sizeof(*r));
	size_t bytes = 1, headers = 1, backends = 1, size = 4;

	if (!r)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bytes += string_bytes(&defs[i]);
		headers += defs[i].nheaders;
		backends += defs[i].nbackends;
	}
	while (size < 2 * n)
		size *= 2;
	r->mask = (uint32_t)(size - 1);
	r->rules = calloc(n + 1, sizeof(*r->rules));
	r->buckets = malloc(size * sizeof(*r->buckets));
	r->headers = calloc(headers, sizeof(*r->headers));
	r->backends = calloc(backends, sizeof(*r->backends));
	r->strings = malloc(bytes);
	if (!r->rules || !r->buckets || !r->headers || !r->backends || !r->strings)
		return rules_free(r);
	memset(r->buckets, 0xff, size * sizeof(*r->buckets));
	r->any = (struct bucket){NONE, NONE};
	return r;
}

/* Where the next copies go. */
struct room {
	char *strings;
	struct rule_header *headers;
	struct rule_backend *backends;
};

static void copy_def(struct rule *rule, const struct rule_def *def, struct room *room)
{
	rule->def = *def;
	rule->def.host = view_pack(&room->strings, def->host);
	rule->def.path = view_pack(&room->strings, def->path);
	rule->def.method = view_pack(&room->strings, def->method);
	rule->def.route = view_pack(&room->strings, def->route);
	rule->def.headers = room->headers;
	for (size_t i = 0; i < def->nheaders; i++) {
		room->headers->name = view_pack(&room->strings, def->headers[i].name);
		room->headers->value = view_pack(&room->strings, def->headers[i].value);
		room->headers++;
	}
	rule->def.backends = room->backends;
	for (size_t i = 0; i < def->nbackends; i++) {
		*room->backends++ = def->backends[i];
		rule->total += def->backends[i].weight;
	}
	/* /v1/ and /v1 cover the same. */
	if (def->path_type == RULE_PATH_PREFIX)
		while (rule->def.path.len && rule->def.path.ptr[rule->def.path.len - 1] == '/')
			rule->def.path.len--;
}

struct rules *rules_new(const struct rule_def *defs, size_t n)
{
	const struct rule_def **order = malloc((n + 1) * sizeof(*order));
	struct rules *r = n < UINT32_MAX / 4 && order ? table_alloc(defs, n) : NULL;
	struct room room;

	if (!r) {
		free(order);
		errno = ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		order[i] = &defs[i];
	qsort(order, n, sizeof(*order), by_precedence);
	room = (struct room){r->strings, r->headers, r->backends};
	for (size_t i = 0; i < n; i++) {
		copy_def(&r->rules[i], order[i], &room);
		find_key(r, &r->rules[i]);
		append(r, (uint32_t)i);
	}
	r->n = n;
	free(order);
	return r;
}

struct rules *rules_free(struct rules *r)
{
	if (r) {
		free(r->rules);
		free(r->buckets);
		free(r->headers);
		free(r->backends);
		free(r->strings);
		free((void *)r->listeners.items);
		free((void *)r->listeners.ports);
		free(r->listener_ids);
		free(r->listener_hosts);
		free(r);
	}
	return NULL;
}

/* By insertion: there are few, and an order that they have already costs nothing. */
static void put_listener(struct rules *r, struct rule_listener *items, size_t n,
			 const struct rule_listener *l, uint32_t id)
{
	while (n > 0 && host_rank(items[n - 1].host) < host_rank(l->host)) {
		items[n] = items[n - 1];
		r->listener_ids[n] = r->listener_ids[n - 1];
		n--;
	}
	items[n] = *l;
	r->listener_ids[n] = id;
}

int rules_listen(struct rules *r, const struct rule_listeners *l)
{
	struct rule_listener *items = calloc(l->n + 1, sizeof(*items));
	struct rule_port *ports = calloc(l->nports + 1, sizeof(*ports));
	size_t bytes = 1;
	char *at;

	for (size_t i = 0; i < l->n; i++)
		bytes += l->items[i].host.len;
	r->listener_ids = calloc(l->n + 1, sizeof(*r->listener_ids));
	r->listener_hosts = at = malloc(bytes);
	r->listeners.items = items;
	r->listeners.ports = ports;
	if (!items || !ports || !r->listener_ids || !at)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++) {
		const struct rule_listener one = {view_pack(&at, l->items[i].host),
						  l->items[i].ports};

		put_listener(r, items, i, &one, (uint32_t)i + 1);
		r->all_ports |= one.ports;
	}
	for (size_t i = 0; i < l->nports; i++) {
		ports[i] = l->ports[i];
		r->all_ports |= UINT64_C(1) << (ports[i].bit & 63);
	}
	r->listeners.n = l->n;
	r->listeners.nports = l->nports;
	return 0;
}

const struct rule_listeners *rules_listeners(const struct rules *r)
{
	return &r->listeners;
}

size_t rules_count(const struct rules *r)
{
	return r->n;
}

const struct rule_def *rules_at(const struct rules *r, size_t i)
{
	return &r->rules[i].def;
}

bool rules_want_headers(const struct rules *r)
{
	return r->want_headers;
}

bool rules_want_port(const struct rules *r)
{
	return (r->all_ports & (r->all_ports - 1)) != 0;
}

/* --- matching --- */

static struct view without_port(struct view host)
{
	size_t n = host.len;

	while (n > 0 && host.ptr[n - 1] >= '0' && host.ptr[n - 1] <= '9')
		n--;
	/* [::1] has colons of its own, but ends in a bracket. */
	if (n > 0 && n < host.len && host.ptr[n - 1] == ':')
		host.len = n - 1;
	return host;
}

static bool match_host(struct view rule, struct view host)
{
	if (!rule.len)
		return true;
	if (rule.ptr[0] != '*')
		return view_caseeq(rule, host);
	/* "*.a.b" → ".a.b" with something in front. */
	rule.ptr++;
	rule.len--;
	return host.len > rule.len &&
	       strncasecmp(host.ptr + host.len - rule.len, rule.ptr, rule.len) == 0;
}

static bool match_path(const struct rule_def *d, struct view path)
{
	if (d->path_type == RULE_PATH_EXACT)
		return view_eq(d->path, path);
	if (!d->path.len)
		return true;
	return path.len >= d->path.len && memcmp(path.ptr, d->path.ptr, d->path.len) == 0 &&
	       (path.len == d->path.len || path.ptr[d->path.len] == '/');
}

/* HAProxy's varint, as SPOP has it; false past the end or beyond 32 bits. */
static bool varint(struct view *v, size_t *ret)
{
	uint64_t n;
	unsigned shift = 4;

	if (v->len == 0)
		return false;
	n = (unsigned char)*v->ptr++;
	v->len--;
	if (n >= 240) {
		unsigned char c;

		do {
			if (v->len == 0 || shift > 32)
				return false;
			c = (unsigned char)*v->ptr++;
			v->len--;
			n += (uint64_t)c << shift;
			shift += 7;
		} while (c >= 128);
	}
	*ret = (size_t)n;
	return n <= UINT32_MAX;
}

static bool next_string(struct view *v, struct view *ret)
{
	size_t n;

	if (!varint(v, &n) || n > v->len)
		return false;
	*ret = (struct view){v->ptr, n};
	v->ptr += n;
	v->len -= n;
	return true;
}

static bool sent_header(struct view headers, const struct rule_header *want)
{
	struct view name, value;

	while (next_string(&headers, &name) && next_string(&headers, &value)) {
		if (!name.len && !value.len)
			return false;
		if (view_caseeq(name, want->name) && view_eq(value, want->value))
			return true;
	}
	return false;
}

static bool match_headers(const struct rule_def *d, const struct rule_request *req)
{
	for (size_t i = 0; i < d->nheaders; i++) {
		const struct rule_header *h = &d->headers[i];

		/* These two are ours to set: what a client sends under their names is nothing. */
		if (rules_is_model_header(h->name)) {
			if (!req->model.ptr || !view_eq(req->model, h->value))
				return false;
		} else if (rules_is_base_header(h->name)) {
			if (!req->base.ptr || !view_eq(req->base, h->value))
				return false;
		} else if (!req->headers.ptr || !sent_header(req->headers, h)) {
			return false;
		}
	}
	return true;
}

static uint64_t port_bit(const struct rules *r, uint32_t port)
{
	for (size_t i = 0; i < r->listeners.nports; i++)
		if (r->listeners.ports[i].port == port)
			return UINT64_C(1) << (r->listeners.ports[i].bit & 63);
	return rules_want_port(r) ? 0 : r->all_ports;
}

/* False: no listener takes it. */
static bool enter(const struct rules *r, const struct rule_request *req, struct entrance *ret)
{
	const struct rule_listeners *l = &r->listeners;

	*ret = (struct entrance){port_bit(r, req->port), 0};
	if (!ret->ports) {
		ret->ports = UINT64_MAX;
		return true;
	}
	for (size_t i = 0; i < l->n; i++)
		if ((l->items[i].ports & ret->ports) && match_host(l->items[i].host, req->host)) {
			ret->listener = r->listener_ids[i];
			return true;
		}
	return false;
}

static bool match_entrance(const struct rule_def *d, const struct entrance *e)
{
	return (!d->ports || (d->ports & e->ports)) &&
	       (!d->listener || !e->listener || d->listener == e->listener);
}

/* The best rank in one list that is below @best. */
static uint32_t walk(const struct rules *r, uint32_t first, const struct rule_request *req,
		     const struct entrance *e, uint32_t best)
{
	for (uint32_t i = first; i < best; i = r->rules[i].next) {
		const struct rule_def *d = &r->rules[i].def;

		if (match_entrance(d, e) && match_host(d->host, req->host) &&
		    match_path(d, req->path) &&
		    (!d->method.len || view_eq(d->method, req->method)) && match_headers(d, req))
			return i;
	}
	return best;
}

static int32_t choose(const struct rule *rule, uint32_t chance)
{
	uint64_t at;

	if (rule->total == 0)
		return -1;
	at = (uint64_t)(((__uint128_t)chance * rule->total) >> 32);
	for (size_t i = 0; i < rule->def.nbackends; i++) {
		if (at < rule->def.backends[i].weight)
			return rule->def.backends[i].pool;
		at -= rule->def.backends[i].weight;
	}
	return -1;
}

bool rules_find(const struct rules *r, const struct rule_request *req, uint32_t chance,
		struct rule_target *ret)
{
	struct rule_request seen = *req;
	const char *query = seen.path.len ? memchr(seen.path.ptr, '?', seen.path.len) : NULL;
	struct entrance entrance;
	uint32_t best = NONE;

	seen.host = without_port(req->host);
	if (!enter(r, &seen, &entrance))
		return false;
	if (query)
		seen.path.len = (size_t)(query - seen.path.ptr);
	if (seen.model.ptr)
		best = walk(r, r->buckets[hash_key(KEY_MODEL, seen.model) & r->mask].first, &seen,
			    &entrance, best);
	if (seen.base.ptr)
		best = walk(r, r->buckets[hash_key(KEY_BASE, seen.base) & r->mask].first, &seen,
			    &entrance, best);
	best = walk(r, r->any.first, &seen, &entrance, best);
	if (best == NONE)
		return false;
	*ret = (struct rule_target){
	    .pool = choose(&r->rules[best], chance),
	    .timeout_ms = r->rules[best].def.timeout_ms,
	    .route = r->rules[best].def.route,
	    .rank = best,
	};
	return true;
}

/* The two headers that name a model, as far as the rule asks for them. */
static bool match_names(const struct rule_def *d, struct view model, struct view base)
{
	for (size_t i = 0; i < d->nheaders; i++) {
		const struct rule_header *h = &d->headers[i];

		if ((rules_is_model_header(h->name) && !view_eq(h->value, model)) ||
		    (rules_is_base_header(h->name) && !view_eq(h->value, base)))
			return false;
	}
	return true;
}

bool rules_reach(const struct rules *r, struct view model, struct view base,
		 bool (*serves)(int32_t pool, void *arg), void *arg)
{
	const uint32_t lists[] = {
	    r->buckets[hash_key(KEY_MODEL, model) & r->mask].first,
	    r->buckets[hash_key(KEY_BASE, base) & r->mask].first,
	    r->any.first,
	};

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
		for (uint32_t i = lists[l]; i != NONE; i = r->rules[i].next) {
			const struct rule_def *d = &r->rules[i].def;

			if (!match_names(d, model, base))
				continue;
			for (size_t k = 0; k < d->nbackends; k++)
				if (d->backends[k].weight > 0 && d->backends[k].pool >= 0 &&
				    serves(d->backends[k].pool, arg))
					return true;
		}
	}
	return false;
}
