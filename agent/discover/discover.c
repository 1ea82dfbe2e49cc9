/*
 * The sources put together.
 *
 * Each source (HAProxy's socket, names, listed endpoints, a controller's plan) says who is there to
 * the roster; the asker says which models they have. Whatever changes something calls touch(),
 * which lets what else happens within TOUCH_NS join in; then one snapshot is built from all,
 * compared by its digest, and published when it differs. Publishing swaps the pointer, waits until
 * no worker reads the old one, and only then gives memory and slots back.
 *
 * The wait is short by the workers' contract (a read lock lasts one batch of decisions), so it is
 * done in place.
 */
#include "discover/discover.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "discover/arena.h"
#include "discover/listed.h"
#include "discover/notes.h"
#include "discover/planned.h"
#include "discover/poolset.h"
#include "net/timer.h"

#define TOUCH_NS (5 * CLOCK_NS_PER_MS)
/* Rules lead to pods whether they tell their models or not: those that do not answer keep the agent
 * from being ready no longer than this. */
#define PATIENCE_NS (3 * CLOCK_NS_PER_S)

struct discover {
	struct discover_env env;
	const struct config *conf;
	const struct plan *plan; /* NULL: none yet */
	struct poolset *pools;
	struct roster *roster;
	struct haproxy *haproxy;
	struct asker *asker;
	struct names *names;
	struct listed *listed;
	struct mapsync *map;
	struct intern *pool_names, *model_names;
	struct timer *rebuild, *deadline, *patience;
	bool impatient;
	struct arena *seed_memory;
	struct seed seed;
	bool (*has_backend)(struct view backend, void *arg);
	void *has_backend_arg;
	bool seeded; /* the map was read, or there is none to read */
	bool ready;
	struct snapshot *current; /* read by workers */
	void (*settled)(bool settled, void *arg);
	void *settled_arg;
	uint64_t builds, publications, build_ns, build_cpu_ns, built_ns;
	struct builder_notes notes;
};

static void touch(struct discover *d)
{
	/* What is long in the making is made less often: at most a fifth of a core's time. */
	uint64_t now = clock_mono_ns(), due = d->built_ns + d->build_cpu_ns * 4;

	if (!timer_running(d->rebuild) &&
	    timer_start(d->rebuild, due > now + TOUCH_NS ? due - now : TOUCH_NS) < 0)
		log_event(LOG_LEVEL_ERROR, "discover_timer", "error", "out of memory", NULL);
}

/* --- ready and settled ----------------------------------------------------------------------- */

static bool map_is_on(const struct discover *d)
{
	return d->conf->haproxy.socket && d->conf->haproxy.map && d->conf->haproxy.map[0];
}

static bool uses_haproxy(const struct discover *d)
{
	const struct group *g;

	for (g = roster_groups(d->roster); g; g = g->hh.next)
		if (g->source == ROSTER_HAPROXY)
			return true;
	return false;
}

static bool asked_all(const struct discover *d, bool answered)
{
	struct haproxy_status h;

	haproxy_status(d->haproxy, &h);
	if (uses_haproxy(d) && !(answered ? h.answered : h.answered || h.failures || h.ignored))
		return false;
	if (map_is_on(d) && h.answered && !d->seeded)
		return false;
	if (d->conf->kubernetes.here && !d->plan)
		return false;
	if (d->impatient && poolset_by_rules(d->pools) && d->pools->nfile == 0)
		return true;
	return names_pending(d->names) == 0 && asker_pending(d->asker) == 0;
}

static void settle(struct discover *d, bool settled)
{
	void (*done)(bool, void *) = d->settled;

	d->settled = NULL;
	timer_stop(d->deadline);
	if (done)
		done(settled, d->settled_arg);
}

static void patience_due(void *arg)
{
	struct discover *d = arg;

	d->impatient = true;
	touch(d);
}

static void deadline_due(void *arg)
{
	settle(arg, false);
}

/* --- publishing ------------------------------------------------------------------------------ */

static void publish(struct discover *d, struct snapshot *s)
{
	struct snapshot *old = d->current;
	struct log_line l;
	struct map *map;

	s->version = old ? old->version + 1 : 1;
	grace_publish(&d->current, s);
	if (old)
		grace_wait();
	snapshot_free(old);
	d->publications++;
	log_begin(&l, LOG_LEVEL_INFO, "snapshot");
	log_int(&l, "version", (int64_t)s->version);
	log_int(&l, "pools", s->nwhole);
	log_int(&l, "endpoints", (int64_t)roster_count(d->roster));
	log_int(&l, "models", (int64_t)route_table_count(s->routes));
	log_int(&l, "variants", (int64_t)(s->npools - s->nwhole));
	log_str(&l, "ready", s->ready ? "yes" : "no");
	log_end(&l);
	if (s->ready && !d->env.read_only && (map = map_new(s)))
		mapsync_want_consume(d->map, map);
	if (d->env.published)
		d->env.published(s, d->env.arg);
}

static void models_of(uint32_t slot, struct asker_view *ret, void *arg)
{
	asker_view(((struct discover *)arg)->asker, slot, ret);
}

static bool awaits_rules(const struct discover *d)
{
	return d->conf->kubernetes.here && !d->plan &&
	       d->conf->kubernetes.routing == CONFIG_ROUTING_HTTPROUTES;
}

/* The slots of those who left are free now: whoever found none is let in. */
static void reap(struct discover *d)
{
	bool room = roster_leaving(d->roster);

	roster_reap(d->roster);
	if (!room || roster_refused(d->roster) == 0)
		return;
	listed_refresh(d->listed);
	planned_refresh(d->pools, d->roster);
	/* HAProxy's servers come in with its next answer. */
	touch(d);
}

static int build(struct discover *d)
{
	struct builder_input in = {
	    .pools = d->pools,
	    .roster = d->roster,
	    .models = models_of,
	    .arg = d,
	    .pool_names = d->pool_names,
	    .model_names = d->model_names,
	    .seed = d->seed,
	    .awaited = awaits_rules(d),
	    .has_backend = d->has_backend,
	    .has_backend_arg = d->has_backend_arg,
	};
	struct builder_notes notes;
	struct snapshot *s;
	uint64_t begin = clock_mono_ns(), worked = clock_cpu_ns();
	int r;

	in.ready = d->ready = d->ready || asked_all(d, true);
	intern_begin(d->pool_names);
	intern_begin(d->model_names);
	r = builder_build(&in, &s, &notes);
	if (r < 0)
		return r;
	d->builds++;
	d->built_ns = clock_mono_ns();
	d->build_ns = d->built_ns - begin;
	d->build_cpu_ns = clock_cpu_ns() - worked;
	/* Nor is it known who finds no slot before those who leave have given theirs back. */
	if (roster_leaving(d->roster))
		notes.no_slots = d->notes.no_slots;
	/* While sources are still being asked, what is missing is only not there yet. */
	if (d->ready)
		notes_log(&notes, &d->notes);
	if (d->current && memcmp(s->hash, d->current->hash, sizeof(s->hash)) == 0)
		snapshot_free(s);
	else
		publish(d, s);
	/* Nobody counts by another snapshot's indices any more. */
	intern_keep(d->pool_names);
	intern_keep(d->model_names);
	reap(d);
	return 0;
}

static void rebuild_due(void *arg)
{
	struct discover *d = arg;

	if (build(d) < 0) {
		/* What is published stays; memory may come back. */
		log_event(LOG_LEVEL_ERROR, "snapshot_failed", "error", "out of memory", NULL);
		if (timer_start(d->rebuild, CLOCK_NS_PER_S) < 0)
			return;
	}
	if (d->settled && asked_all(d, false) && !timer_running(d->rebuild))
		settle(d, true);
}

/* --- what the sources say -------------------------------------------------------------------- */

static void place_added(const struct place *p, void *arg)
{
	struct discover *d = arg;

	if (roster_at(d->roster, p->slot)->group->ask_models)
		asker_watch(d->asker, p);
	if (d->env.places.added)
		d->env.places.added(p, d->env.places.arg);
}

static void place_changed(const struct place *p, void *arg)
{
	struct discover *d = arg;

	if (roster_at(d->roster, p->slot)->group->ask_models)
		asker_watch(d->asker, p);
	else
		asker_forget(d->asker, p->slot);
	if (d->env.places.changed)
		d->env.places.changed(p, d->env.places.arg);
}

static void place_removed(const struct place *p, void *arg)
{
	struct discover *d = arg;

	asker_forget(d->asker, p->slot);
	if (d->env.places.removed)
		d->env.places.removed(p, d->env.places.arg);
}

static void place_back(uint32_t slot, void *arg)
{
	asker_again(((struct discover *)arg)->asker, slot);
}

static void haproxy_polled(bool changed, bool restarted, void *arg)
{
	struct discover *d = arg;

	if (restarted)
		mapsync_found(d->map);
	if (changed || !d->ready || d->settled)
		touch(d);
}

static void something_ended(void *arg)
{
	struct discover *d = arg;

	if (!d->ready || d->settled)
		touch(d);
}

static void models_changed(uint32_t slot, void *arg)
{
	(void)slot;
	touch(arg);
}

static void names_changed(void *arg)
{
	struct discover *d = arg;

	if (listed_refresh(d->listed))
		touch(d);
}

static void names_settled(void *arg)
{
	/* A name that failed for the first time may complete a pool as well. */
	names_changed(arg);
	something_ended(arg);
}

static void map_read(const struct seed *seed, void *arg)
{
	struct discover *d = arg;
	struct arena *memory = arena_new();

	d->seed = seed_dup(memory, seed);
	arena_free(d->seed_memory);
	d->seed_memory = memory;
	d->seeded = true;
	touch(d);
}

/* --- configuration --------------------------------------------------------------------------- */

/* The groups of the new pools, each with the options of its first pool. */
static int configure(struct discover *d, const struct config *conf, const struct plan *plan)
{
	struct poolset *set = poolset_new(conf, plan);
	struct group *g;

	if (!set)
		return -ENOMEM;
	if (poolset_groups(set, d->roster) < 0) {
		roster_sweep(d->roster);
		poolset_free(set);
		return -ENOMEM;
	}
	roster_sweep(d->roster);
	for (g = roster_groups(d->roster); g; g = g->hh.next) {
		bool changed =
		    g->pool && (!poolset_same_scrape(&g->pool->scrape, &g->next_pool->scrape) ||
				g->asked != g->ask_models);

		g->ask_models = g->asked;
		roster_options(d->roster, g, g->next_pool, changed);
	}
	poolset_free(d->pools);
	d->pools = set;
	d->conf = conf;
	d->plan = plan;
	planned_refresh(set, d->roster);
	return 0;
}

/* What else the configuration file says. */
static void configure_rest(struct discover *d)
{
	asker_limits(d->asker, d->conf->limits.models, d->conf->limits.models_page);
	names_options(d->names, d->conf);
	if (listed_configure(d->listed, d->conf) < 0)
		log_event(LOG_LEVEL_ERROR, "names_lost", "error", "out of memory", NULL);
}

struct discover *discover_new(const struct discover_env *env, const struct config *conf)
{
	struct discover *d = calloc(1, sizeof(*d));
	struct place_hooks places = {place_added, place_changed, place_removed, d};
	struct haproxy_hooks haproxy = {haproxy_polled, something_ended, d};
	struct asker_hooks asker = {models_changed, something_ended, d};
	struct names_hooks names = {names_changed, names_settled, d};
	struct mapsync_hooks map = {map_read, d};

	if (!d)
		return NULL;
	d->env = *env;
	d->conf = conf;
	d->rebuild = timer_new(env->base, rebuild_due, d);
	d->deadline = timer_new(env->base, deadline_due, d);
	d->patience = timer_new(env->base, patience_due, d);
	d->pool_names = intern_new(conf->limits.pools);
	d->model_names = intern_new(conf->limits.model_labels);
	d->roster = roster_new(env->endpoints, &places);
	d->asker = asker_new(env->base, env->http, endpoints_max(env->endpoints), &asker);
	d->names = names_new(env->base, env->dns, &names);
	d->map = mapsync_new(env->base, &map, conf, env->read_only);
	if (!d->rebuild || !d->deadline || !d->patience || !d->pool_names || !d->model_names ||
	    !d->roster || !d->asker || !d->names || !d->map)
		return discover_free(d);
	roster_on_back(d->roster, place_back, d);
	d->listed = listed_new(d->roster, d->names);
	d->haproxy = haproxy_new(env->base, d->roster, env->endpoints, &haproxy, conf);
	if (!d->listed || !d->haproxy || configure(d, conf, NULL) < 0)
		return discover_free(d);
	configure_rest(d);
	if (build(d) < 0)
		return discover_free(d);
	return d;
}

struct discover *discover_free(struct discover *d)
{
	struct snapshot *last;

	if (!d)
		return NULL;
	haproxy_free(d->haproxy);
	mapsync_free(d->map);
	listed_free(d->listed);
	names_free(d->names);
	asker_free(d->asker);
	last = d->current;
	grace_publish(&d->current, NULL);
	if (last)
		grace_wait();
	snapshot_free(last);
	roster_free(d->roster);
	poolset_free(d->pools);
	timer_free(d->rebuild);
	timer_free(d->deadline);
	timer_free(d->patience);
	intern_free(d->pool_names);
	intern_free(d->model_names);
	arena_free(d->seed_memory);
	free(d);
	return NULL;
}

int discover_reload(struct discover *d, const struct config *conf)
{
	int r = configure(d, conf, conf->kubernetes.here ? d->plan : NULL);

	if (r < 0)
		return r;
	configure_rest(d);
	haproxy_reload(d->haproxy, conf);
	mapsync_reload(d->map, conf);
	touch(d);
	return 0;
}

int discover_plan(struct discover *d, const struct plan *plan)
{
	bool first = !d->plan;
	int r = configure(d, d->conf, plan);

	if (r < 0)
		return r;
	touch(d);
	if (first && !d->ready && timer_start(d->patience, PATIENCE_NS) < 0)
		d->impatient = true;
	return 0;
}

void discover_backends(struct discover *d, bool (*has)(struct view backend, void *arg), void *arg)
{
	d->has_backend = has;
	d->has_backend_arg = arg;
	touch(d);
}

void discover_refresh(struct discover *d)
{
	touch(d);
}

/* --- answers --------------------------------------------------------------------------------- */

struct snapshot *const *discover_published(const struct discover *d)
{
	return &d->current;
}

const struct snapshot *discover_snapshot(const struct discover *d)
{
	return d->current;
}

void discover_endpoint_dead(struct discover *d, uint32_t slot)
{
	struct member *m = roster_at(d->roster, slot);

	if (m)
		roster_dead(d->roster, m);
}

void discover_endpoint_back(struct discover *d, uint32_t slot)
{
	struct member *m = roster_at(d->roster, slot);

	if (!m)
		return;
	roster_alive(d->roster, m);
	asker_again(d->asker, slot);
}

const struct place *discover_place(const struct discover *d, uint32_t slot)
{
	const struct member *m = roster_at(d->roster, slot);

	return m ? &m->place : NULL;
}

int discover_find_server(const struct discover *d, struct view backend, struct view server)
{
	const struct group *g;

	for (g = roster_groups(d->roster); g; g = g->hh.next) {
		const struct member *m;

		if (!view_eq(view_str(g->backend), backend))
			continue;
		m = roster_server(g, server);
		if (m)
			return (int)m->place.slot;
	}
	return -ENOENT;
}

int discover_when_settled(struct discover *d, uint32_t deadline_ms,
			  void (*done)(bool settled, void *arg), void *arg)
{
	int r = timer_start(d->deadline, deadline_ms * CLOCK_NS_PER_MS);

	if (r < 0)
		return r;
	d->settled = done;
	d->settled_arg = arg;
	touch(d);
	return 0;
}

void discover_status(const struct discover *d, struct discover_status *ret)
{
	*ret = (struct discover_status){
	    .endpoints = roster_count(d->roster),
	    .endpoints_refused = roster_refused(d->roster),
	    .names_pending = names_pending(d->names),
	    .models_pending = asker_pending(d->asker),
	    .builds = d->builds,
	    .publications = d->publications,
	    .build_ns = d->build_ns,
	    .notes = d->notes,
	};
	haproxy_status(d->haproxy, &ret->haproxy);
	mapsync_status(d->map, &ret->map);
}

void discover_models(const struct discover *d, uint32_t slot, struct asker_view *ret)
{
	asker_view(d->asker, slot, ret);
}

const struct names *discover_names(const struct discover *d)
{
	return d->names;
}

const struct intern *discover_pool_names(const struct discover *d)
{
	return d->pool_names;
}

void discover_on_model_reuse(struct discover *d, void (*reused)(uint32_t index, void *arg),
			     void *arg)
{
	intern_on_reuse(d->model_names, reused, arg);
}

const struct intern *discover_model_names(const struct discover *d)
{
	return d->model_names;
}
