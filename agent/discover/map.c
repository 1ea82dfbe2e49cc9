/*
 * Content and file of the map.
 *
 * A map's file and HAProxy's command line both end a key at white space, and a file's line that
 * begins with '#' is a comment; names of that kind are left out and counted, and so are aliases
 * whose requests need their body rewritten, since nobody rewrites when the agent is away. Rules
 * come down to what a map can say: models that go to one place whatever host, path, method and
 * other headers are; and pools that only the agent may choose servers of are not in it.
 */
#include "discover/map.h"

#include <stdlib.h>

#include "discover/file.h"
#include "discover/runtime.h"

static const char head[] = "# model backend; written by spoa-inference, which overwrites changes\n";

static bool fits(struct view key)
{
	if (key.len == 0 || key.ptr[0] == '#')
		return false;
	for (size_t i = 0; i < key.len; i++)
		if ((unsigned char)key.ptr[i] <= ' ' || key.ptr[i] == 0x7f)
			return false;
	return true;
}

static int compare(struct view a, struct view b)
{
	int r = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_model(const void *a, const void *b)
{
	return compare(((const struct map_line *)a)->model, ((const struct map_line *)b)->model);
}

static struct view put(char **at, struct view v, char end)
{
	struct view kept = {*at, v.len};

	memcpy(*at, v.ptr, v.len);
	(*at)[v.len] = end;
	*at += v.len + 1;
	return kept;
}

/* Moves the lines' views out of the snapshot into a text of the map's own. */
static bool make_text(struct map *m)
{
	char *at;

	m->head = m->len = sizeof(head) - 1;
	for (size_t i = 0; i < m->n; i++)
		m->len += m->lines[i].model.len + m->lines[i].backend.len + 2;
	m->text = at = malloc(m->len + 1);
	if (!at)
		return false;
	memcpy(at, head, m->head);
	at += m->head;
	for (size_t i = 0; i < m->n; i++) {
		m->lines[i].model = put(&at, m->lines[i].model, ' ');
		m->lines[i].backend = put(&at, m->lines[i].backend, '\n');
	}
	*at = '\0';
	return true;
}

/* --- which backend --- */

/* Where requests for @name go that nothing else is known of: no host, no headers, path "/". */
static const struct pool *pool_by_rule(const struct snapshot *s, struct view name, bool *ret_ruled)
{
	const struct route_def *def = route_table_get(s->models, name);
	struct rule_request req = {.path = VIEW_LIT("/"), .model = name, .base = name};
	const struct rule_backend *best = NULL;
	const struct rule_def *rule;
	struct rule_target target;

	if (!def)
		def = route_table_get(s->routes, name);
	if (def && def->base.len)
		req.base = def->base;
	*ret_ruled = rules_find(s->rules, &req, 0, &target);
	if (!*ret_ruled)
		return NULL;
	/* Without the agent there are no shares: the largest takes all. */
	rule = rules_at(s->rules, target.rank);
	for (size_t i = 0; i < rule->nbackends; i++) {
		const struct rule_backend *b = &rule->backends[i];

		if (b->pool >= 0 && b->weight > (best ? best->weight : 0) &&
		    !s->pools[b->pool].agent_only)
			best = b;
	}
	return best ? &s->pools[best->pool] : NULL;
}

static const struct pool *pool_by_name(const struct snapshot *s, struct view name)
{
	const struct route_def *d = route_table_get(s->routes, name);

	return d && !d->target.ptr && !s->pools[d->pool].agent_only ? &s->pools[d->pool] : NULL;
}

static void add_name(struct map *m, const struct snapshot *s, struct view name)
{
	bool ruled = false;
	const struct pool *p = s->rules ? pool_by_rule(s, name, &ruled) : NULL;

	if (!ruled)
		p = pool_by_name(s, name);
	if (!p || !fits(name) || !fits(view_str(p->backend)))
		m->left_out++;
	else
		m->lines[m->n++] = (struct map_line){name, view_str(p->backend)};
}

struct map *map_new(const struct snapshot *s)
{
	size_t routes = route_table_count(s->routes);
	size_t models = s->rules ? route_table_count(s->models) : 0;
	struct map *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->lines = calloc(routes + models + 1, sizeof(*m->lines));
	if (!m->lines)
		return map_free(m);
	for (size_t i = 0; i < routes; i++)
		add_name(m, s, route_table_at(s->routes, i)->model);
	for (size_t i = 0; i < models; i++) {
		struct view name = route_table_at(s->models, i)->model;

		if (!route_table_get(s->routes, name))
			add_name(m, s, name);
	}
	qsort(m->lines, m->n, sizeof(*m->lines), by_model);
	return make_text(m) ? m : map_free(m);
}

struct map *map_free(struct map *m)
{
	if (m) {
		free(m->lines);
		free(m->text);
		free(m);
	}
	return NULL;
}

bool map_same(const struct map *a, const struct map *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

bool map_equals(const struct map *m, struct view shown)
{
	struct runtime_pair pair;
	size_t n = 0;

	/* Keys are unique on our side: as many pairs, each one of ours, could still be one of ours
	 * twice, so what was seen is marked. */
	char *seen = calloc(m->n + 1, 1);
	bool same = seen != NULL;

	while (same && runtime_pairs_next(&shown, &pair)) {
		struct map_line key = {pair.key, pair.value}, *line;

		line = bsearch(&key, m->lines, m->n, sizeof(key), by_model);
		same = line && view_eq(line->backend, pair.value) && !seen[line - m->lines];
		if (same)
			seen[line - m->lines] = 1;
		n++;
	}
	free(seen);
	return same && n == m->n;
}

struct view map_batch(const struct map *m, size_t from, size_t max, size_t *ret_next)
{
	const char *begin = m->lines[from].model.ptr, *end = begin;
	size_t i = from;

	while (i < m->n) {
		const char *next = m->lines[i].backend.ptr + m->lines[i].backend.len + 1;

		if (i > from && (size_t)(next - begin) > max)
			break;
		end = next;
		i++;
	}
	*ret_next = i;
	return (struct view){begin, (size_t)(end - begin)};
}

int map_write(const struct map *m, const char *path, const char **ret_what)
{
	return file_replace(path, (struct view){m->text, m->len}, ret_what);
}
