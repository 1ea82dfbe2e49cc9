/*
 * The making of a snapshot.
 *
 * Models. Servers that answered alike share one list (discover/asker.c), so a pool is a handful of
 * distinct lists, and a model is a set of lists, a few bits. A model that every server of its pool
 * has gets the whole pool; the others get a variant of it, one per distinct set, with just the
 * servers that have it. A server that cannot be asked, or has no such page, serves whatever its
 * pool serves; one that has not answered yet serves nothing so far.
 *
 * When a variant is full HAProxy must not choose for us: it would send the request to a server
 * that is known not to have the model. So a variant rejects where its pool would queue.
 *
 * Pools that rules lead to are told apart: several of them may serve one model, and nobody gets
 * there by a model's name alone. Their models stand in a table of their own (discover/ruling.h),
 * with one definition for each pool. There a server that has not answered has what all others have:
 * that it is one of this pool has been said by somebody who knows.
 *
 * Room. Where all want more names than limits.models, what was written down comes first, and the
 * rest is shared fairly among the pools (discover/shares.h), of a pool's share each distinct list
 * as much: a server that tells 65,536 names takes no other's. Lists are sorted, so the same names
 * stay.
 *
 * Order of precedence: aliases, since somebody wrote them; then models by the order of the pools
 * in the configuration. What loses is noted, not merged.
 */
#include "discover/builder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "discover/arena.h"
#include "discover/catalog.h"
#include "discover/deflist.h"
#include "discover/digest.h"
#include "discover/poollists.h"
#include "discover/ruling.h"
#include "discover/shares.h"
#include "pick/pick.h"

struct variant {
	size_t bits; /* words in the catalogue that a model of this set owns */
	uint32_t pool;
};

struct build {
	const struct builder_input *in;
	const struct config *conf;
	const struct poolset *set;
	struct snapshot *s;
	struct builder_notes *notes;
	struct catalog catalog;
	struct deflist defs;   /* of the routes */
	struct deflist models; /* of the pools that rules lead to */
	uint32_t pools_room;
	size_t places; /* endpoints in variants */
	size_t *quota; /* names for each whole pool; NULL: all fit */
	/* of the pool at hand */
	uint32_t pool;
	struct poollists lists;
	size_t words; /* of a set of lists; 0 where there are none */
	bool apart;   /* rules lead to it */
	size_t nvariants, variants_room;
	struct variant *variants;
};

/* Its group counts as empty then: who is in it has nobody to send requests through. */
static bool is_reachable(const struct build *b, const struct poolset_pool *pool)
{
	return !pool->plan || !b->in->has_backend ||
	       b->in->has_backend(pool->plan->backend, b->in->has_backend_arg);
}

static int fill_pools(struct build *b)
{
	const struct config *conf = b->conf;
	size_t n = b->set->n;

	b->notes->no_pools = b->set->left_out;
	b->pools_room = (uint32_t)n + 16;
	b->s->pools = calloc(b->pools_room, sizeof(*b->s->pools));
	if (!b->s->pools)
		return -ENOMEM;
	b->s->default_pool = -1;
	for (size_t i = 0; i < n; i++) {
		const struct poolset_pool *pool = &b->set->pools[i];
		const struct group *g = poolset_group(b->set, i, b->in->roster);
		int r = poolset_fill(&b->s->pools[i], pool, g, b->s->arena);

		if (r < 0)
			return r;
		if (!is_reachable(b, pool))
			b->s->pools[i].n = b->s->pools[i].nall = 0;
		b->s->pools[i].stat = intern_index(b->in->pool_names, view_str(pool->conf->name));
		if (conf->default_pool && !pool->plan &&
		    strcmp(conf->default_pool, pool->conf->name) == 0)
			b->s->default_pool = (int32_t)i;
	}
	b->s->npools = b->s->nwhole = (uint32_t)n;
	return 0;
}

/* --- models ---------------------------------------------------------------------------------- */

static void note_double(struct build *b, struct view model, uint32_t first, uint32_t later)
{
	struct builder_notes *n = b->notes;

	if (n->doubles++)
		return;
	snprintf(n->double_model, sizeof(n->double_model), "%.*s", (int)model.len, model.ptr);
	snprintf(n->double_first, sizeof(n->double_first), "%s", b->set->pools[first].conf->name);
	snprintf(n->double_later, sizeof(n->double_later), "%s", b->set->pools[later].conf->name);
}

/* The entry of a model of the pool at hand, new or its own; NULL when it is another pool's or
 * there is no room. */
static int add_model(struct build *b, struct view name, struct view base, struct view parent,
		     struct catalog_entry **ret)
{
	struct catalog_entry *e;
	bool new;
	int r = catalog_add(&b->catalog, name, b->words, &e, &new);

	*ret = NULL;
	if (r == -ENOSPC && !b->notes->no_room++)
		snprintf(b->notes->no_room_pool, sizeof(b->notes->no_room_pool), "%s",
			 b->set->pools[b->pool].conf->name);
	if (r == -ENOSPC)
		return 0;
	if (r < 0)
		return r;
	if (!new && e->pool != b->pool) {
		note_double(b, name, e->pool, b->pool);
		return 0;
	}
	if (new) {
		e->pool = e->target = b->pool;
		e->base = base.ptr ? base : name;
		e->parent = parent;
	}
	*ret = e;
	return 0;
}

static int add_listed(struct build *b, const struct config_pool *pool)
{
	for (size_t i = 0; i < pool->nmodels; i++) {
		const struct config_model *m = &pool->models[i];
		struct catalog_entry *e;
		struct view base = view_str(m->base);
		int r = add_model(b, view_str(m->name), base, base, &e);

		if (r < 0)
			return r;
		if (e)
			e->hidden = m->hidden;
	}
	return 0;
}

static int add_seeded(struct build *b, const struct config_pool *pool)
{
	const struct seed *seed = &b->in->seed;
	bool any = false;

	for (size_t i = 0; i < seed->n; i++) {
		struct catalog_entry *e;
		int r;

		if (!view_eq(seed->pairs[i].backend, view_str(pool->backend)) ||
		    !models_name_valid(seed->pairs[i].model))
			continue;
		r = add_model(b, seed->pairs[i].model, VIEW_NULL, VIEW_NULL, &e);
		if (r < 0)
			return r;
		any = true;
	}
	b->notes->seeded += any;
	return 0;
}

/* Past the pool's share: a name of each list in turn, until there is no more room. */
static int choose_fairly(struct build *b)
{
	size_t *at = calloc(b->lists.n, sizeof(*at));
	bool more = true;
	int r = at ? 0 : -ENOMEM;

	while (r == 0 && more && b->catalog.n < b->catalog.max) {
		more = false;
		for (size_t l = 0; r == 0 && l < b->lists.n; l++) {
			const struct models *list = b->lists.lists[l];
			const struct model *m = &list->items[at[l]];
			struct catalog_entry *e;

			if (at[l] == list->n || b->catalog.n == b->catalog.max)
				continue;
			at[l]++;
			more = true;
			if (!catalog_find(&b->catalog, m->id))
				r = add_model(b, m->id, m->parent, m->parent, &e);
		}
	}
	free(at);
	return r;
}

static int add_lists(struct build *b)
{
	if (b->quota && b->lists.n > 1 &&
	    poollists_count(&b->lists) > b->catalog.max - b->catalog.n) {
		int r = choose_fairly(b);

		if (r < 0)
			return r;
	}
	for (size_t l = 0; l < b->lists.n; l++) {
		for (size_t i = 0; i < b->lists.lists[l]->n; i++) {
			const struct model *m = &b->lists.lists[l]->items[i];
			struct catalog_entry *e;
			int r = add_model(b, m->id, m->parent, m->parent, &e);

			if (r < 0)
				return r;
			if (e)
				b->catalog.bits[e->bits + l / 64] |= UINT64_C(1) << (l % 64);
		}
	}
	return 0;
}

/* --- variants -------------------------------------------------------------------------------- */

static bool has_list(const struct build *b, size_t bits, size_t list)
{
	return b->catalog.bits[bits + list / 64] >> (list % 64) & 1;
}

static bool has_all(const struct build *b, size_t bits)
{
	for (size_t l = 0; l < b->lists.n; l++)
		if (!has_list(b, bits, l))
			return false;
	return true;
}

static bool serves(const struct build *b, size_t bits, uint32_t endpoint)
{
	size_t list = b->lists.list_of[endpoint];

	return list == LIST_ANY || (list != LIST_NONE && has_list(b, bits, list));
}

static int grow_pools(struct build *b)
{
	uint32_t room = b->pools_room * 2;
	struct pool *pools;

	if (b->s->npools < b->pools_room)
		return 0;
	pools = realloc(b->s->pools, room * sizeof(*pools));
	if (!pools)
		return -ENOMEM;
	b->s->pools = pools;
	b->pools_room = room;
	return 0;
}

static int make_variant(struct build *b, size_t bits, uint32_t *ret)
{
	struct arena *a = b->s->arena;
	struct pool *p, *of;
	uint32_t n = 0;

	if (grow_pools(b) < 0)
		return -ENOMEM;
	of = &b->s->pools[b->pool];
	for (uint32_t i = 0; i < of->n; i++)
		n += serves(b, bits, i);
	if (b->s->npools - b->s->nwhole >= BUILDER_VARIANTS || b->places + n > BUILDER_PLACES)
		return -ENOSPC;
	p = &b->s->pools[b->s->npools];
	*p = *of;
	p->n = 0;
	/* Who has not answered yet most likely has what all others have. */
	if (!has_all(b, bits))
		p->when_full = POOL_FULL_REJECT;
	p->known = true;
	p->endpoints = arena_get(a, n * sizeof(*p->endpoints));
	p->slots = arena_get(a, n * sizeof(*p->slots));
	if (!p->endpoints || !p->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < of->n; i++) {
		if (!serves(b, bits, i))
			continue;
		p->endpoints[p->n] = of->endpoints[i];
		p->slots[p->n++] = of->slots[i];
	}
	b->places += n;
	*ret = b->s->npools++;
	return 0;
}

/* The variant for one set of lists; the sets of a pool are few, or the last one again. */
static int find_variant(struct build *b, size_t bits, uint32_t *ret)
{
	int r;

	for (size_t i = b->nvariants; i-- > 0;)
		if (memcmp(b->catalog.bits + b->variants[i].bits, b->catalog.bits + bits,
			   b->words * sizeof(*b->catalog.bits)) == 0) {
			*ret = b->variants[i].pool;
			return 0;
		}
	r = make_variant(b, bits, ret);
	if (r < 0)
		return r;
	if (b->nvariants == b->variants_room) {
		size_t room = b->variants_room ? 2 * b->variants_room : 16;
		struct variant *v = realloc(b->variants, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		b->variants = v;
		b->variants_room = room;
	}
	b->variants[b->nvariants++] = (struct variant){bits, *ret};
	return 0;
}

/* Points the models from @first on, all of the pool at hand, to the pool or a variant of it. */
static int assign(struct build *b, size_t first)
{
	b->nvariants = 0;
	for (size_t i = first; i < b->catalog.n; i++) {
		struct catalog_entry *e = &b->catalog.entries[i];
		int r;

		if ((b->lists.whole || b->apart) && has_all(b, e->bits))
			continue;
		r = find_variant(b, e->bits, &e->target);
		if (r == -ENOSPC) {
			e->target = b->pool;
			b->notes->unsplit++;
		} else if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* The models of the pool at hand, into the catalogue. */
static int gather_models(struct build *b)
{
	const struct config_pool *pool = b->set->pools[b->pool].conf;
	size_t first = b->catalog.n;
	int r;

	b->words = 0;
	if (b->quota)
		b->catalog.max = b->catalog.n + b->quota[b->pool];
	if (pool->nmodels > 0)
		return add_listed(b, pool);
	r = poollists_gather(&b->lists, b->in, &b->s->pools[b->pool]);
	b->words = b->lists.words;
	if (r == 0)
		r = b->lists.n ? add_lists(b) : add_seeded(b, pool);
	if (r == 0 && b->lists.n)
		r = assign(b, first);
	else if (r == 0 && b->catalog.n == first && !b->set->pools[b->pool].plan)
		b->s->pools[b->pool].untold =
		    b->lists.silent || poolset_unresolved(b->set, b->pool, b->in->roster);
	return r;
}

/* The same for a pool that rules lead to: a catalogue of its own, for names may repeat. */
static int gather_apart(struct build *b)
{
	struct catalog all = b->catalog;
	size_t left = b->conf->limits.models - b->models.n;
	int r = catalog_init(&b->catalog, left);

	if (r == 0)
		r = gather_models(b);
	for (size_t i = 0; r == 0 && i < b->catalog.n; i++) {
		const struct catalog_entry *e = &b->catalog.entries[i];
		struct route_def def = {
		    .model = e->name,
		    .pool = e->target,
		    .base = e->base,
		    .parent = e->parent,
		    .weight = 1,
		    .stat = intern_index(b->in->model_names, e->name),
		};

		r = deflist_add(&b->models, &def);
	}
	catalog_deinit(&b->catalog);
	b->catalog = all;
	return r;
}

/* Adapters that were written down and that no server tells are served where their base is. */
static int add_adapters(struct build *b)
{
	const struct plan *plan = b->set->plan;

	for (size_t i = 0; i < plan->nadapters; i++) {
		const struct plan_adapter *a = &plan->adapters[i];
		const struct catalog_entry *base = catalog_find(&b->catalog, a->base);
		uint32_t target = base ? base->target : 0;
		struct catalog_entry *e;
		int r;

		if (!base || catalog_find(&b->catalog, a->model))
			continue;
		b->pool = base->pool;
		r = add_model(b, a->model, a->base, a->base, &e);
		if (r < 0)
			return r;
		if (e)
			e->target = target;
	}
	return 0;
}

static int fill_models(struct build *b)
{
	const struct plan *plan = b->set->plan;
	bool by_rules = poolset_by_rules(b->set);
	int r = plan ? ruling_adapters(&b->models, plan, b->in->model_names, b->conf->limits.models)
		     : 0;

	if (r == 0)
		r = shares_models(b->in, b->s, b->models.n, &b->quota);

	for (uint32_t i = 0; r == 0 && i < b->s->nwhole; i++) {
		const struct poolset_pool *pool = &b->set->pools[i];
		size_t first = b->catalog.n;
		bool apart = pool->plan && by_rules;

		b->pool = i;
		b->apart = apart;
		r = apart ? gather_apart(b) : gather_models(b);
		b->notes->untold += b->s->pools[i].untold;
		if (!apart && b->catalog.n == first && pool->conf->naliases == 0 &&
		    !b->notes->modelless++)
			snprintf(b->notes->modelless_pool, sizeof(b->notes->modelless_pool), "%s",
				 pool->conf->name);
	}
	b->words = 0;
	b->catalog.max = b->conf->limits.models;
	return r == 0 && plan && !by_rules ? add_adapters(b) : r;
}

/* --- routes ---------------------------------------------------------------------------------- */

static bool pool_has_models(const struct build *b, uint32_t pool)
{
	for (size_t i = 0; i < b->catalog.n; i++)
		if (b->catalog.entries[i].pool == pool)
			return true;
	return false;
}

static int add_target(struct build *b, uint32_t pool, const struct config_alias *alias,
		      const struct config_target *t)
{
	struct view model = view_str(t->model);
	const struct catalog_entry *e = catalog_find(&b->catalog, model);
	struct route_def def = {
	    .model = view_str(alias->name),
	    .pool = e ? e->target : pool,
	    .base = e ? e->base : model,
	    .parent = e ? e->parent : VIEW_NULL,
	    .target = t->rewrite && strcmp(t->model, alias->name) != 0 ? model : VIEW_NULL,
	    .weight = t->weight,
	    .stat = intern_index(b->in->model_names, view_str(alias->name)),
	};

	if (t->weight == 0)
		return 0;
	/* A pool whose servers tell no models takes its aliases on trust. */
	if (!e && pool_has_models(b, pool)) {
		if (!b->notes->targets++) {
			snprintf(b->notes->target_alias, sizeof(b->notes->target_alias), "%s",
				 alias->name);
			snprintf(b->notes->target_model, sizeof(b->notes->target_model), "%s",
				 t->model);
		}
		return 0;
	}
	return deflist_add(&b->defs, &def);
}

static int add_aliases(struct build *b, struct catalog *names)
{
	for (uint32_t i = 0; i < b->s->nwhole; i++) {
		const struct config_pool *pool = b->set->pools[i].conf;

		for (size_t k = 0; k < pool->naliases; k++) {
			const struct config_alias *alias = &pool->aliases[k];
			struct catalog_entry *e;
			bool new;
			int r = catalog_add(names, view_str(alias->name), 0, &e, &new);

			if (r == 0 && !new)
				note_double(b, view_str(alias->name), e->pool, i);
			if (r == 0 && new)
				e->pool = i;
			for (size_t t = 0; r == 0 && new &&t < alias->ntargets; t++)
				r = add_target(b, i, alias, &alias->targets[t]);
			if (r == -ENOSPC)
				b->notes->no_room++;
			else if (r < 0)
				return r;
		}
	}
	return 0;
}

/* What was written down about adapters comes before what servers say. */
static struct view base_of(const struct build *b, const struct catalog_entry *e)
{
	const struct route_def *def = b->s->models ? route_table_get(b->s->models, e->name) : NULL;

	return def && def->pool == SNAPSHOT_NO_POOL ? def->base : e->base;
}

static int fill_routes(struct build *b)
{
	struct catalog names;
	int r = catalog_init(&names, b->conf->limits.models);

	if (r == 0)
		r = add_aliases(b, &names);
	for (size_t i = 0; r == 0 && i < b->catalog.n; i++) {
		const struct catalog_entry *e = &b->catalog.entries[i];
		struct route_def def = {
		    .model = e->name,
		    .pool = e->target,
		    .base = base_of(b, e),
		    .parent = e->parent,
		    .weight = 1,
		    .hidden = e->hidden,
		};

		if (catalog_find(&names, e->name))
			continue;
		def.stat = intern_index(b->in->model_names, e->name);
		r = deflist_add(&b->defs, &def);
	}
	catalog_deinit(&names);
	if (r < 0)
		return r;
	b->s->routes = route_table_new(b->defs.items, b->defs.n);
	return b->s->routes ? 0 : -ENOMEM;
}

int builder_build(const struct builder_input *in, struct snapshot **ret,
		  struct builder_notes *ret_notes)
{
	struct build b = {.in = in, .set = in->pools, .conf = in->pools->conf, .notes = ret_notes};
	int r = -ENOMEM;

	*ret_notes = (struct builder_notes){.no_slots = roster_refused(in->roster)};
	b.s = calloc(1, sizeof(*b.s));
	if (!b.s)
		return -ENOMEM;
	b.s->ready = in->ready;
	b.s->awaited = in->awaited;
	b.s->arena = arena_new();
	if (b.s->arena)
		r = catalog_init(&b.catalog, b.conf->limits.models);
	if (r == 0)
		r = fill_pools(&b);
	if (r == 0)
		r = fill_models(&b);
	if (r == 0)
		r = ruling_fill(b.s, b.set, &b.models, &b.catalog, in->model_names,
				b.conf->limits.models);
	if (r == 0)
		r = fill_routes(&b);
	if (r == 0)
		r = digest_snapshot(b.s, &b.defs, &b.models);
	catalog_deinit(&b.catalog);
	deflist_deinit(&b.defs);
	deflist_deinit(&b.models);
	poollists_deinit(&b.lists);
	free(b.variants);
	free(b.quota);
	if (r < 0) {
		snapshot_free(b.s);
		return r;
	}
	*ret = b.s;
	return 0;
}
