/*
 * From HAProxy's tables to the roster.
 *
 * Everything is read first and applied after, so a table that turns out to be no table changes
 * nothing. Backends that no pool is on are passed over. "show servers state" says who is there;
 * "show stat" lists the same servers in the same order and says how busy they are, so the row for
 * a server is looked for behind the one before.
 *
 * A server of a listed pool is matched by its name in HAProxy. One that HAProxy does not know
 * counts as in maintenance: naming a deleted server to HAProxy would leave the choice to `balance`.
 * A pod that HAProxy does not know yet is about to be made known to it: it serves.
 *
 * Requests of others = what HAProxy has there or queued for it, less our open tickets there.
 */
#include "discover/census.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/suggest.h"
#include "discover/runtime.h"

#define BACKENDS_MAX   256
#define BACKENDS_NAMED 8

struct row {
	struct runtime_server server;
	struct runtime_stat stat;
	bool counted; /* stat was found */
};

/* One of HAProxy's backends that some pool is on. */
struct work {
	struct view backend;
	bool there;
	size_t n, room, hint;
	struct row *rows;
	UT_hash_handle hh;
};

struct works {
	struct work *table;
	struct work *last; /* rows of one backend stand together */
};

static struct work *find(struct works *w, struct view backend)
{
	struct work *found = w->last;

	if (found && view_eq(found->backend, backend))
		return found;
	HASH_FIND(hh, w->table, backend.ptr, backend.len, found);
	if (found)
		w->last = found;
	return found;
}

static void works_deinit(struct works *w)
{
	struct work *one, *next;

	HASH_ITER(hh, w->table, one, next)
	{
		HASH_DEL(w->table, one);
		free(one->rows);
		free(one);
	}
}

static int works_init(struct works *w, struct roster *r)
{
	struct group *g;

	*w = (struct works){0};
	for (g = roster_groups(r); g; g = g->hh.next) {
		struct view backend = view_str(g->backend);
		struct work *one = find(w, backend);

		if (one)
			continue;
		one = calloc(1, sizeof(*one));
		if (!one)
			return -ENOMEM;
		one->backend = backend;
		HASH_ADD_KEYPTR(hh, w->table, backend.ptr, backend.len, one);
		if (!one->hh.tbl) {
			free(one);
			return -ENOMEM;
		}
	}
	w->last = NULL;
	return 0;
}

static int add_row(struct work *w, const struct runtime_server *server)
{
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		struct row *rows = realloc(w->rows, room * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		w->rows = rows;
		w->room = room;
	}
	w->rows[w->n++] = (struct row){.server = *server};
	w->there = true;
	return 0;
}

static int read_servers(struct works *w, struct view part)
{
	struct runtime_table table;
	struct runtime_server server;
	int r = runtime_servers(part, &table);

	if (r < 0)
		return r;
	while ((r = runtime_servers_next(&table, &server)) > 0) {
		struct work *one = find(w, server.backend);

		if (one && (r = add_row(one, &server)) < 0)
			return r;
	}
	return r;
}

static int read_stat(struct works *w, struct view part)
{
	struct runtime_table table;
	struct runtime_stat stat;
	int r = runtime_stats(part, &table);

	if (r < 0)
		return r;
	while ((r = runtime_stats_next(&table, &stat)) > 0) {
		struct work *one = find(w, stat.backend);

		if (!one)
			continue;
		one->there = true;
		if (stat.is_backend)
			continue;
		for (size_t i = 0; i < one->n; i++) {
			size_t at = (one->hint + i) % one->n;

			if (!view_eq(one->rows[at].server.server, stat.server))
				continue;
			one->rows[at].stat = stat;
			one->rows[at].counted = true;
			one->hint = at + 1;
			break;
		}
	}
	return r;
}

static bool wants_https(const struct group *g, bool ssl)
{
	int scheme = g->pool->scrape.scheme;

	return scheme == CONFIG_SCHEME_HTTPS || (scheme == CONFIG_SCHEME_AUTO && ssl);
}

static int set_members(struct roster *r, struct group *g, const struct work *w, bool *ret_changed)
{
	struct roster_want *wants = calloc(w->n + 1, sizeof(*wants));

	if (!wants)
		return -ENOMEM;
	for (size_t i = 0; i < w->n; i++) {
		const struct runtime_server *s = &w->rows[i].server;

		wants[i].name = wants[i].server = s->server;
		wants[i].addr = s->addr;
		wants[i].https = wants_https(g, s->ssl);
		if (wants[i].https)
			wants[i].host = s->fqdn;
	}
	*ret_changed |= roster_set(r, g, wants, w->n);
	free(wants);
	return 0;
}

static struct standing standing_of(const struct row *row)
{
	const struct runtime_server *s = &row->server;
	struct standing st = {.known = true};

	if (s->admin & RUNTIME_ANY_MAINT) {
		st.flags = ENDPOINT_MAINT;
	} else {
		if ((s->admin & RUNTIME_ANY_DRAIN) || s->weight == 0 || s->op == RUNTIME_STOPPING)
			st.flags |= ENDPOINT_DRAIN;
		if (s->op == RUNTIME_STOPPED)
			st.flags |= ENDPOINT_DOWN;
	}
	st.unchecked = !row->counted || row->stat.unchecked;
	st.backup = row->stat.backup;
	return st;
}

static void set_room(struct endpoints *e, uint32_t slot, const struct runtime_stat *stat)
{
	uint64_t there = (uint64_t)stat->current + stat->queued, ours = endpoint_open(e, slot);
	uint64_t others = there > ours ? there - ours : 0;

	/* Not UINT32_MAX, which would say that it is not known. */
	endpoint_set_held(e, slot, (uint32_t)(there < UINT32_MAX ? there : UINT32_MAX - 1));
	endpoint_set_room(e, slot, stat->limit,
			  (uint32_t)(others > UINT32_MAX ? UINT32_MAX : others));
}

static void set_standings(struct roster *r, struct endpoints *e, struct group *g, struct work *w)
{
	size_t hint = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct member *m = g->members[i];
		const struct row *row = NULL;

		if (!m->place.server)
			continue;
		endpoint_set_held(e, m->place.slot, ENDPOINT_HELD_UNKNOWN);
		if (!w->there) { /* HAProxy has no such backend, so it says nothing */
			m->standing = (struct standing){0};
			continue;
		}
		for (size_t k = 0; k < w->n && !row; k++) {
			size_t at = (hint + k) % w->n;

			if (view_eq(w->rows[at].server.server, view_str(m->place.server))) {
				row = &w->rows[at];
				hint = at + 1;
			}
		}
		if (!row) {
			m->standing = (struct standing){.known = true, .unchecked = true};
			if (g->source != ROSTER_KUBE)
				m->standing.flags = ENDPOINT_MAINT;
			continue;
		}
		m->standing = standing_of(row);
		if (row->counted)
			set_room(e, m->place.slot, &row->stat);
	}
	roster_judge(r, g);
}

int census_apply(struct roster *r, struct endpoints *e, struct view servers, struct view stat,
		 bool *ret_changed)
{
	struct works w;
	struct group *g;
	int error = works_init(&w, r);

	if (!error)
		error = read_servers(&w, servers);
	if (!error)
		error = read_stat(&w, stat);
	*ret_changed = false;
	for (g = roster_groups(r); g && !error; g = g->hh.next) {
		struct work *one = find(&w, view_str(g->backend));

		assert(one); /* works_init() made one for each group */
		*ret_changed |= g->listed_here != one->there;
		g->listed_here = one->there;
		if (g->source == ROSTER_HAPROXY)
			error = set_members(r, g, one, ret_changed);
		if (!error)
			set_standings(r, e, g, one);
	}
	works_deinit(&w);
	return error;
}

void census_forget(struct roster *r, struct endpoints *e)
{
	struct group *g;

	for (g = roster_groups(r); g; g = g->hh.next) {
		for (size_t i = 0; i < g->n; i++) {
			struct member *m = g->members[i];

			if (!m->standing.known)
				continue;
			m->standing = (struct standing){0};
			endpoint_set_room(e, m->place.slot, 0, 0);
			endpoint_set_held(e, m->place.slot, ENDPOINT_HELD_UNKNOWN);
		}
		roster_judge(r, g);
	}
}

void census_backends(struct view stat, struct view name, char *out, size_t size)
{
	struct view names[BACKENDS_MAX];
	struct runtime_table table;
	struct runtime_stat row;
	size_t n = 0, used = 0;

	out[0] = '\0';
	if (runtime_stats(stat, &table) < 0)
		return;
	while (n < BACKENDS_MAX && runtime_stats_next(&table, &row) > 0)
		if (row.is_backend)
			names[n++] = row.backend;
	/* Named ones are taken off the end; what is left stays in HAProxy's order. */
	for (size_t k = 0; k < BACKENDS_NAMED && n > 0 && used < size; k++) {
		size_t best = 0;

		for (size_t i = 1; i < n; i++)
			if (suggest_distance(name, names[i]) < suggest_distance(name, names[best]))
				best = i;
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", k ? ", " : "",
					 (int)names[best].len, names[best].ptr);
		memmove(names + best, names + best + 1, (--n - best) * sizeof(*names));
	}
}
