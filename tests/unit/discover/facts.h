/* What the builder is given: a roster filled by hand and made-up answers of model servers. */
#ifndef UNIT_DISCOVER_FACTS_H
#define UNIT_DISCOVER_FACTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "base/log.h"
#include "discover/builder.h"
#include "unit/config/conf.h"
#include "unit/discover/places.h"

#define FACTS_SLOTS 2048

static struct {
	struct config *conf;
	struct poolset *set;
	struct endpoints *endpoints;
	struct roster *roster;
	struct intern *pools, *models;
	struct asker_view answers[FACTS_SLOTS];
	struct models *lists[FACTS_SLOTS];
	size_t nlists;
	struct seed seed;
	struct places places;
	struct builder_notes notes;
} facts;

static inline void facts_models(uint32_t slot, struct asker_view *ret, void *arg)
{
	(void)arg;
	*ret = facts.answers[slot];
}

static inline struct models *facts_list(const char *json)
{
	const char *error;
	struct models *m;

	assert_int_equal(models_parse(view_str(json), 100000, &m, &error), 0);
	facts.lists[facts.nlists++] = m;
	return m;
}

/* The groups as discover.c makes them. */
static inline void facts_configure(const char *text)
{
	facts.set = poolset_free(facts.set);
	facts.conf = config_free(facts.conf);
	facts.conf = conf_of(text);
	for (size_t i = 0; i < facts.conf->npools; i++) {
		struct config_pool *p = &facts.conf->pools[i];
		struct group *g = roster_group(facts.roster, ROSTER_HAPROXY, p->backend, p->name);

		assert_non_null(g);
		roster_options(facts.roster, g, p, false);
	}
	facts.set = poolset_new(facts.conf, NULL);
	assert_non_null(facts.set);
}

static inline struct roster_want facts_want(const char *name, const char *addr, int port)
{
	struct roster_want w = {.name = view_str(name), .server = view_str(name)};
	struct sockaddr_in *four = (struct sockaddr_in *)&w.addr;

	if (addr) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		assert_int_equal(inet_pton(AF_INET, addr, &four->sin_addr), 1);
	}
	return w;
}

static inline struct group *facts_group(const char *backend)
{
	struct group *g = roster_find(facts.roster, ROSTER_HAPROXY, backend);

	assert_non_null(g);
	g->listed_here = true;
	return g;
}

/* s1 … sN at 10.0.0.1:8001 …, all with the same answer. */
static inline void facts_fill(const char *backend, int n, struct models *models)
{
	struct roster_want *wants = calloc((size_t)n, sizeof(*wants));
	char(*names)[16] = calloc((size_t)n, sizeof(*names));
	struct group *g = facts_group(backend);

	for (int i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i + 1);
		wants[i] = facts_want(names[i], "10.0.0.1", 8001 + i);
	}
	roster_set(facts.roster, g, wants, (size_t)n);
	for (size_t i = 0; i < g->n; i++)
		facts.answers[g->members[i]->place.slot] = (struct asker_view){
		    .state = models ? ASKER_ANSWERED : ASKER_WAITING, .models = models};
	free(wants);
	free(names);
}

static inline void facts_answer(const char *backend, int server, enum asker_state state,
				struct models *m)
{
	facts.answers[facts_group(backend)->members[server - 1]->place.slot] =
	    (struct asker_view){.state = state, .models = m};
}

static inline int facts_build_into(struct snapshot **ret)
{
	struct builder_input in = {
	    .pools = facts.set,
	    .roster = facts.roster,
	    .models = facts_models,
	    .pool_names = facts.pools,
	    .model_names = facts.models,
	    .seed = facts.seed,
	    .ready = true,
	};

	return builder_build(&in, ret, &facts.notes);
}

static inline struct snapshot *facts_build(void)
{
	struct snapshot *s;

	assert_int_equal(facts_build_into(&s), 0);
	return s;
}

static inline const struct pool *facts_route(const struct snapshot *s, const char *model,
					     struct route_target *ret)
{
	struct route_target target;

	if (!ret)
		ret = &target;
	return route_find(s->routes, view_str(model), 0, ret) ? &s->pools[ret->pool] : NULL;
}

static inline bool facts_same(const struct snapshot *a, const struct snapshot *b)
{
	return memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

static inline int facts_set_up(void **state)
{
	struct place_hooks hooks = places_hooks(&facts.places);

	(void)state;
	memset(&facts, 0, sizeof(facts));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	facts.endpoints = endpoints_new(FACTS_SLOTS);
	facts.roster = roster_new(facts.endpoints, &hooks);
	facts.pools = intern_new(4);
	facts.models = intern_new(3);
	return 0;
}

static inline int facts_tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < facts.nlists; i++)
		models_unref(facts.lists[i]);
	roster_free(facts.roster);
	endpoints_free(facts.endpoints);
	intern_free(facts.pools);
	intern_free(facts.models);
	poolset_free(facts.set);
	config_free(facts.conf);
	return 0;
}

#define FACTS_HEAD "haproxy:\n  socket: /s\n"

#endif
