/*
 * The groups of model servers and their slots.
 *
 * A slot stands for a machine: its open tickets, load, rate and cached prefixes are that machine's.
 * So a server keeps its slot while its address stays, even under another name, and gets a new one
 * when its name goes to another address. Requests under way at the old address then stay counted
 * where they are.
 *
 * A slot is given back in two steps. The server leaves its group at once; the slot itself goes
 * back in roster_reap(), after a snapshot without it was published and every reader of the one
 * before has left. Until then workers see it in the old snapshot. It is marked GONE, so that they
 * pick it no more, when somebody else of that snapshot can take its requests. When nobody can
 * (its pool left the configuration, or was replaced as a whole) it goes on until the snapshot
 * changes: else its pool would answer that all its servers are down, which is not so.
 */
#include "discover/roster.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "discover/member.h"
#include "discover/standing.h"

struct roster {
	struct endpoints *endpoints;
	struct place_hooks hooks;
	void (*back)(uint32_t slot, void *arg);
	void *back_arg;
	struct group *groups;
	struct member **by_slot;
	struct member *gone;
	size_t count;
};

struct roster *roster_new(struct endpoints *e, const struct place_hooks *hooks)
{
	struct roster *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->endpoints = e;
	if (hooks)
		r->hooks = *hooks;
	r->by_slot = calloc(endpoints_max(e), sizeof(struct member *));
	if (!r->by_slot) {
		free(r);
		return NULL;
	}
	return r;
}

struct roster *roster_free(struct roster *r)
{
	struct group *g, *next;

	if (!r)
		return NULL;
	HASH_ITER(hh, r->groups, g, next)
	{
		for (size_t i = 0; i < g->n; i++) {
			endpoint_release(r->endpoints, g->members[i]->place.slot);
			member_free(g->members[i]);
		}
		HASH_DEL(r->groups, g);
		free(g->members);
		free(g->backend);
		free(g->key);
		free(g);
	}
	roster_reap(r);
	free(r->by_slot);
	free(r);
	return NULL;
}

#define KEY_MAX 600

/* Source and name in one text; false when the name is longer than any name may be. */
static bool group_key(enum roster_source source, const char *name, char key[KEY_MAX])
{
	return (size_t)snprintf(key, KEY_MAX, "%c:%s", "hldk"[source], name) < KEY_MAX;
}

struct group *roster_find(struct roster *r, enum roster_source source, const char *name)
{
	char key[KEY_MAX];
	struct group *g = NULL;

	if (group_key(source, name, key))
		HASH_FIND_STR(r->groups, key, g);
	return g;
}

struct group *roster_group(struct roster *r, enum roster_source source, const char *backend,
			   const char *pool)
{
	const char *name = source == ROSTER_HAPROXY ? backend : pool;
	char key[KEY_MAX];
	struct group *g = roster_find(r, source, name);

	if (g) {
		/* A listed pool may name another backend since. */
		if (strcmp(g->backend, backend) != 0) {
			char *copy = strdup(backend);

			if (!copy)
				return NULL;
			free(g->backend);
			g->backend = copy;
		}
		return g;
	}
	if (!group_key(source, name, key))
		return NULL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->source = source;
	g->key = strdup(key);
	g->backend = strdup(backend);
	if (!g->key || !g->backend) {
		free(g->key);
		free(g->backend);
		free(g);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, r->groups, g->key, strlen(g->key), g);
	if (!g->hh.tbl) {
		free(g->key);
		free(g->backend);
		free(g);
		return NULL;
	}
	return g;
}

struct group *roster_groups(struct roster *r)
{
	return r->groups;
}

static struct member *join(struct roster *r, struct group *g, const struct roster_want *w)
{
	struct member *m = calloc(1, sizeof(*m));
	int slot;

	if (!m)
		return NULL;
	m->group = g;
	m->place.scrape = &g->pool->scrape;
	if (member_place(m, g->pool->name, g->backend) < 0 || !member_take(m, w)) {
		member_free(m);
		return NULL;
	}
	slot = endpoint_alloc(r->endpoints);
	if (slot < 0) {
		member_free(m);
		return NULL;
	}
	m->place.slot = (uint32_t)slot;
	r->by_slot[slot] = m;
	r->count++;
	if (r->hooks.added)
		r->hooks.added(&m->place, r->hooks.arg);
	return m;
}

static void leave(struct roster *r, struct member *m, bool others)
{
	if (r->hooks.removed)
		r->hooks.removed(&m->place, r->hooks.arg);
	if (others)
		endpoint_set_flags(r->endpoints, m->place.slot, 0, ENDPOINT_GONE);
	r->by_slot[m->place.slot] = NULL;
	r->count--;
	m->next_gone = r->gone;
	r->gone = m;
}

/* The scraper begins anew with it: what it said before is not repeated, so it is not kept here. */
static void forgive(struct member *m)
{
	if (m->excused)
		m->scrape_dead = m->excused = false;
}

/* True: something differs now. */
static bool update(struct roster *r, struct member *m, const struct roster_want *w)
{
	if (member_is(m, w) || !member_take(m, w))
		return false;
	forgive(m);
	if (r->hooks.changed)
		r->hooks.changed(&m->place, r->hooks.arg);
	return true;
}

/* Who of the old is still there by name, in the order of @wants. -ENOMEM: nothing was touched. */
static int match_names(struct roster *r, struct group *g, const struct roster_want *wants, size_t n,
		       struct member **fresh, bool *changed)
{
	struct member *names = NULL, *m;

	for (size_t i = 0; i < g->n; i++) {
		m = g->members[i];
		m->kept = false;
		HASH_ADD_KEYPTR(by_name, names, m->place.name, strlen(m->place.name), m);
		if (!m->by_name.tbl) {
			HASH_CLEAR(by_name, names);
			return -ENOMEM;
		}
	}
	for (size_t i = 0; i < n; i++) {
		HASH_FIND(by_name, names, wants[i].name.ptr, wants[i].name.len, m);
		if (!m || m->kept)
			continue;
		if (member_same_address(&m->place.addr, &wants[i].addr) ||
		    member_address_len(&m->place.addr) == 0) {
			m->kept = true;
			fresh[i] = m;
		}
	}
	HASH_CLEAR(by_name, names);
	for (size_t i = 0; i < n; i++)
		if (fresh[i])
			*changed |= update(r, fresh[i], &wants[i]);
	return 0;
}

/* The others: a known address under another name, or somebody new. Who finds no room in a table is
 * not found there: then a new name is somebody new, and a name said twice counts twice. */
static bool match_rest(struct roster *r, struct group *g, const struct roster_want *wants, size_t n,
		       struct member **fresh)
{
	struct member *addrs = NULL, *seen = NULL, *m, *other;
	bool changed = false;

	for (size_t i = 0; i < g->n; i++) {
		m = g->members[i];
		if (m->kept || member_address_len(&m->place.addr) == 0)
			continue;
		HASH_FIND(by_addr, addrs, &m->place.addr, member_address_len(&m->place.addr),
			  other);
		if (!other)
			HASH_ADD_KEYPTR(by_addr, addrs, &m->place.addr,
					member_address_len(&m->place.addr), m);
	}
	for (size_t i = 0; i < n; i++)
		if ((m = fresh[i]))
			HASH_ADD_KEYPTR(by_name, seen, m->place.name, strlen(m->place.name), m);
	for (size_t i = 0; i < n; i++) {
		if (fresh[i])
			continue;
		HASH_FIND(by_name, seen, wants[i].name.ptr, wants[i].name.len, m);
		if (m)
			continue;
		if (member_address_len(&wants[i].addr))
			HASH_FIND(by_addr, addrs, &wants[i].addr,
				  member_address_len(&wants[i].addr), m);
		if (m) {
			HASH_DELETE(by_addr, addrs, m);
			changed |= update(r, m, &wants[i]);
		} else {
			m = join(r, g, &wants[i]);
		}
		if (!m) {
			g->refused++;
			continue;
		}
		assert(m->place.name);
		m->kept = true;
		fresh[i] = m;
		HASH_ADD_KEYPTR(by_name, seen, m->place.name, strlen(m->place.name), m);
	}
	HASH_CLEAR(by_name, seen);
	HASH_CLEAR(by_addr, addrs);
	return changed;
}

static bool unchanged(const struct group *g, const struct roster_want *wants, size_t n)
{
	if (g->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!member_is(g->members[i], &wants[i]))
			return false;
	return true;
}

/* Their order is that of @wants, but for those that were refused or named twice. */
static bool mark_draining(struct group *g, const struct roster_want *wants, size_t n)
{
	bool changed = false;
	size_t at = 0;

	for (size_t i = 0; i < n && at < g->n; i++) {
		struct member *m = g->members[at];

		if (!view_eq(view_str(m->place.name), wants[i].name))
			continue;
		changed |= m->draining != wants[i].draining;
		m->draining = wants[i].draining;
		at++;
	}
	return changed;
}

/* Who stays and takes requests. */
static bool some_serve(const struct roster *r, const struct group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct member *m = g->members[i];

		if (m->kept &&
		    (endpoint_flags(r->endpoints, m->place.slot) & ~(unsigned)ENDPOINT_FULL) == 0)
			return true;
	}
	return false;
}

bool roster_set(struct roster *r, struct group *g, const struct roster_want *wants, size_t n)
{
	struct member **fresh;
	size_t kept = 0;
	bool before = g->known, changed = !before, others;

	g->known = true;
	if (unchanged(g, wants, n)) {
		if (mark_draining(g, wants, n))
			roster_judge(r, g);
		return changed;
	}
	fresh = calloc(n + 1, sizeof(struct member *));
	if (!fresh || match_names(r, g, wants, n, fresh, &changed) < 0) {
		free(fresh);
		g->known = before;
		return false;
	}
	g->refused = 0;
	changed |= match_rest(r, g, wants, n, fresh);
	others = some_serve(r, g);
	for (size_t i = 0; i < g->n; i++)
		if (!g->members[i]->kept)
			leave(r, g->members[i], others);
	for (size_t i = 0; i < n; i++) {
		if (!fresh[i])
			continue;
		changed |= kept >= g->n || g->members[kept] != fresh[i];
		fresh[kept++] = fresh[i];
	}
	changed |= kept != g->n;
	free(g->members);
	g->members = fresh;
	g->n = kept;
	if (mark_draining(g, wants, n) || changed)
		roster_judge(r, g);
	return changed;
}

bool roster_sweep(struct roster *r)
{
	struct group *g, *next;
	bool any = false;

	HASH_ITER(hh, r->groups, g, next)
	{
		if (g->used)
			continue;
		for (size_t i = 0; i < g->n; i++)
			leave(r, g->members[i], false);
		HASH_DEL(r->groups, g);
		free(g->members);
		free(g->backend);
		free(g->key);
		free(g);
		any = true;
	}
	return any;
}

void roster_options(struct roster *r, struct group *g, const struct config_pool *pool, bool changed)
{
	g->pool = pool;
	for (size_t i = 0; i < g->n; i++) {
		struct place *p = &g->members[i]->place;

		p->scrape = &pool->scrape;
		changed |= member_place(g->members[i], pool->name, g->backend) > 0;
		if (!changed)
			continue;
		forgive(g->members[i]);
		if (r->hooks.changed)
			r->hooks.changed(p, r->hooks.arg);
	}
}

struct member *roster_at(const struct roster *r, uint32_t slot)
{
	return slot < endpoints_max(r->endpoints) ? r->by_slot[slot] : NULL;
}

struct member *roster_server(const struct group *g, struct view server)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->members[i]->place.server &&
		    view_eq(view_str(g->members[i]->place.server), server))
			return g->members[i];
	return NULL;
}

void roster_on_back(struct roster *r, void (*back)(uint32_t slot, void *arg), void *arg)
{
	r->back = back;
	r->back_arg = arg;
}

void roster_dead(struct roster *r, struct member *m)
{
	m->told_dead = true;
	roster_judge(r, m->group);
}

void roster_alive(struct roster *r, struct member *m)
{
	endpoint_set_flags(r->endpoints, m->place.slot, ENDPOINT_SCRAPE_DEAD, 0);
	m->scrape_dead = m->excused = false;
	m->answers = true;
	roster_judge(r, m->group);
}

void roster_judge(struct roster *r, struct group *g)
{
	standing_judge(r->endpoints, g->members, g->n, r->back, r->back_arg);
}

bool roster_leaving(const struct roster *r)
{
	return r->gone != NULL;
}

void roster_reap(struct roster *r)
{
	while (r->gone) {
		struct member *m = r->gone;

		r->gone = m->next_gone;
		endpoint_release(r->endpoints, m->place.slot);
		member_free(m);
	}
}

size_t roster_count(const struct roster *r)
{
	return r->count;
}

size_t roster_refused(const struct roster *r)
{
	const struct group *g;
	size_t n = 0;

	for (g = r->groups; g; g = g->hh.next)
		n += g->refused;
	return n;
}
