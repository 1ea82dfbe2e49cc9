/* Facts → snapshot, with a roster and made-up answers of model servers. */
#include "discover/builder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "failmalloc.h"
#include "base/log.h"
#include "discover/census.h"

#define SLOTS 2048

static struct {
	struct config *conf;
	struct poolset *set;
	struct endpoints *endpoints;
	struct roster *roster;
	struct intern *pools, *models;
	struct asker_view answers[SLOTS];
	struct models *lists[SLOTS];
	size_t nlists;
	struct seed seed;
	int added, changed, removed;
	struct builder_notes notes;
} t;

static void on_added(const struct place *p, void *arg)
{
	(void)arg;
	assert_non_null(p->name);
	t.added++;
}

static void on_changed(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
	t.changed++;
}

static void on_removed(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
	t.removed++;
}

static void models_of(uint32_t slot, struct asker_view *ret, void *arg)
{
	(void)arg;
	*ret = t.answers[slot];
}

static struct models *list(const char *json)
{
	const char *error;
	struct models *m;

	assert_int_equal(models_parse(view_str(json), 100000, &m, &error), 0);
	t.lists[t.nlists++] = m;
	return m;
}

/* The groups as discover.c makes them. */
static void configure(const char *text)
{
	struct config_errors errors = {0};

	t.set = poolset_free(t.set);
	t.conf = config_free(t.conf);
	if (config_parse("test", text, strlen(text), &t.conf, &errors) < 0) {
		config_errors_print(&errors, "test", stderr);
		fail();
	}
	for (size_t i = 0; i < t.conf->npools; i++) {
		struct config_pool *p = &t.conf->pools[i];
		struct group *g = roster_group(t.roster, ROSTER_HAPROXY, p->backend, p->name);

		assert_non_null(g);
		roster_options(t.roster, g, p, false);
	}
	t.set = poolset_new(t.conf, NULL);
	assert_non_null(t.set);
}

static struct roster_want want(const char *name, const char *addr, int port)
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

static struct group *group(const char *backend)
{
	struct group *g = roster_find(t.roster, ROSTER_HAPROXY, backend);

	assert_non_null(g);
	g->listed_here = true;
	return g;
}

/* s1 … sN at 10.0.0.1:8001 …, all with the same answer. */
static void fill(const char *backend, int n, struct models *models)
{
	struct roster_want *wants = calloc((size_t)n, sizeof(*wants));
	char(*names)[16] = calloc((size_t)n, sizeof(*names));
	struct group *g = group(backend);

	for (int i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i + 1);
		wants[i] = want(names[i], "10.0.0.1", 8001 + i);
	}
	roster_set(t.roster, g, wants, (size_t)n);
	for (size_t i = 0; i < g->n; i++)
		t.answers[g->members[i]->place.slot] = (struct asker_view){
		    .state = models ? ASKER_ANSWERED : ASKER_WAITING, .models = models};
	free(wants);
	free(names);
}

static void answer(const char *backend, int server, enum asker_state state, struct models *m)
{
	t.answers[group(backend)->members[server - 1]->place.slot] =
	    (struct asker_view){.state = state, .models = m};
}

static int build_into(struct snapshot **ret)
{
	struct builder_input in = {
	    .pools = t.set,
	    .roster = t.roster,
	    .models = models_of,
	    .pool_names = t.pools,
	    .model_names = t.models,
	    .seed = t.seed,
	    .ready = true,
	};

	return builder_build(&in, ret, &t.notes);
}

static struct snapshot *build(void)
{
	struct snapshot *s;

	assert_int_equal(build_into(&s), 0);
	return s;
}

static const struct pool *route(const struct snapshot *s, const char *model,
				struct route_target *ret)
{
	struct route_target target;

	if (!ret)
		ret = &target;
	return route_find(s->routes, view_str(model), 0, ret) ? &s->pools[ret->pool] : NULL;
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
	return memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

static int set_up(void **state)
{
	struct place_hooks hooks = {on_added, on_changed, on_removed, NULL};

	(void)state;
	memset(&t, 0, sizeof(t));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	t.endpoints = endpoints_new(SLOTS);
	t.roster = roster_new(t.endpoints, &hooks);
	t.pools = intern_new(4);
	t.models = intern_new(3);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < t.nlists; i++)
		models_unref(t.lists[i]);
	roster_free(t.roster);
	endpoints_free(t.endpoints);
	intern_free(t.pools);
	intern_free(t.models);
	poolset_free(t.set);
	config_free(t.conf);
	return 0;
}

#define HEAD "haproxy:\n  socket: /s\n"

static void test_same(void **state)
{
	struct snapshot *a, *b;

	(void)state;
	configure(HEAD "pools:\n  a: {}\n  b: {}\n");
	a = build();
	assert_int_equal(a->nwhole, 2);
	assert_false(a->pools[0].known);
	assert_int_equal(route_table_count(a->routes), 0);
	assert_int_equal(a->default_pool, -1);
	fill("a", 3, list("[\"m\",{\"id\":\"l\",\"parent\":\"m\"}]"));
	fill("b", 2, list("[\"n\"]"));
	b = build();
	assert_false(same(a, b));
	snapshot_free(a);
	a = build();
	assert_true(same(a, b));
	assert_int_equal(a->npools, 2);
	assert_true(a->pools[0].known);
	assert_int_equal(a->pools[0].stat, 1);
	assert_int_equal(a->pools[1].stat, 2);
	assert_string_equal(a->pools[0].endpoints[2].name, "s3");
	assert_int_equal(a->pools[0].slots[2], a->pools[0].endpoints[2].slot);
	snapshot_free(b);
	/* Each of these is a difference. */
	group("b")->known = false;
	b = build();
	assert_false(same(a, b));
	snapshot_free(b);
	group("b")->known = true;
	answer("b", 1, ASKER_ANSWERED, list("[\"n\",\"o\"]"));
	b = build();
	assert_false(same(a, b));
	snapshot_free(b);
	snapshot_free(a);
}

/* The slot follows the machine. */
static void test_slots(void **state)
{
	struct roster_want w[4];
	struct group *g;
	uint32_t one, two, three, generation;

	(void)state;
	configure(HEAD "pools:\n  a: {}\n");
	fill("a", 3, NULL);
	g = group("a");
	one = g->members[0]->place.slot;
	two = g->members[1]->place.slot;
	three = g->members[2]->place.slot;
	assert_string_equal(g->members[0]->place.url, "http://10.0.0.1:8001");
	assert_int_equal(t.added, 3);

	/* The same again, then in another order. */
	w[0] = want("s1", "10.0.0.1", 8001);
	w[1] = want("s2", "10.0.0.1", 8002);
	w[2] = want("s3", "10.0.0.1", 8003);
	assert_false(roster_set(t.roster, g, w, 3));
	w[0] = want("s3", "10.0.0.1", 8003);
	w[2] = want("s1", "10.0.0.1", 8001);
	assert_true(roster_set(t.roster, g, w, 3));
	assert_int_equal(g->members[0]->place.slot, three);
	assert_int_equal(t.added + t.changed + t.removed, 3);

	/* A new name for a known address; a known name for a new address; two names exchanged. */
	w[0] = want("renamed", "10.0.0.1", 8003);
	w[1] = want("s1", "10.0.0.1", 8002);
	w[2] = want("s2", "10.0.0.1", 8001);
	assert_true(roster_set(t.roster, g, w, 3));
	assert_int_equal(g->members[0]->place.slot, three);
	assert_int_equal(g->members[1]->place.slot, two);
	assert_int_equal(g->members[2]->place.slot, one);
	assert_int_equal(t.changed, 3);
	assert_int_equal(t.removed, 0);
	w[1] = want("s1", "10.0.0.9", 8002);
	assert_true(roster_set(t.roster, g, w, 3));
	assert_int_not_equal(g->members[1]->place.slot, two);
	assert_int_equal(t.removed, 1);
	assert_int_equal(t.added, 4);
	assert_int_equal(endpoint_flags(t.endpoints, two) & ENDPOINT_GONE, ENDPOINT_GONE);
	assert_null(roster_at(t.roster, two));
	generation = endpoint_generation(t.endpoints, two);
	roster_reap(t.roster);
	assert_int_not_equal(endpoint_generation(t.endpoints, two), generation);

	/* Not resolved yet, then resolved: one server. Twice the same name: one server. */
	w[0] = want("late", NULL, 0);
	w[1] = want("late", NULL, 0);
	assert_true(roster_set(t.roster, g, w, 2));
	assert_int_equal(g->n, 1);
	assert_null(g->members[0]->place.url);
	one = g->members[0]->place.slot;
	w[0] = want("late", "10.0.0.7", 80);
	assert_true(roster_set(t.roster, g, w, 1));
	assert_int_equal(g->members[0]->place.slot, one);
	assert_string_equal(g->members[0]->place.url, "http://10.0.0.7:80");
	/* A host name is what TLS and Host see. */
	w[0].host = view_str("model.example");
	w[0].https = true;
	assert_true(roster_set(t.roster, g, w, 1));
	assert_string_equal(g->members[0]->place.url, "https://model.example:80");
	assert_string_equal(g->members[0]->place.connect_to, "10.0.0.7");
	assert_false(roster_set(t.roster, g, w, 1));
	assert_true(roster_set(t.roster, g, w, 0));
	assert_int_equal(roster_count(t.roster), 0);
}

static void test_variants(void **state)
{
	struct models *base, *more, *other;
	struct snapshot *s;
	const struct pool *p;
	struct route_target target;

	(void)state;
	configure(HEAD "pools:\n  a: {when_full: queue}\n");
	base = list("[\"m\"]");
	more = list("[\"m\",{\"id\":\"l\",\"parent\":\"m\"},{\"id\":\"k\",\"parent\":\"m\"}]");
	other = list("[\"m\",{\"id\":\"k\",\"parent\":\"m\"}]");
	fill("a", 4, base);
	answer("a", 2, ASKER_ANSWERED, more);
	answer("a", 4, ASKER_ANSWERED, other);
	s = build();
	assert_ptr_equal(route(s, "m", NULL), &s->pools[0]);
	p = route(s, "l", &target);
	assert_true(view_eq(target.base, view_str("m")));
	assert_int_equal(p->n, 1);
	assert_string_equal(p->endpoints[0].server, "s2");
	assert_int_equal(p->slots[0], s->pools[0].slots[1]);
	assert_string_equal(p->name, "a");
	assert_int_equal(p->stat, s->pools[0].stat);
	assert_int_equal(p->when_full, POOL_FULL_REJECT);
	p = route(s, "k", NULL);
	assert_int_equal(p->n, 2);
	assert_string_equal(p->endpoints[1].server, "s4");
	assert_int_equal(s->npools, 3);
	snapshot_free(s);

	/* Not answered yet: serves nothing. Cannot be asked, or has no list: serves all. */
	answer("a", 1, ASKER_FAILED, NULL);
	answer("a", 3, ASKER_LISTLESS, NULL);
	s = build();
	p = route(s, "m", NULL);
	assert_int_equal(p->n, 3);
	assert_int_equal(p->when_full, POOL_FULL_QUEUE);
	assert_string_equal(p->endpoints[0].server, "s2");
	assert_int_equal(route(s, "l", NULL)->n, 2);
	snapshot_free(s);
	answer("a", 1, ASKER_MUTE, NULL);
	s = build();
	assert_ptr_equal(route(s, "m", NULL), &s->pools[0]);
	snapshot_free(s);
}

static void test_names(void **state)
{
	struct snapshot *s;
	struct route_target target;
	struct seed_pair pairs[] = {{VIEW_LIT("old"), VIEW_LIT("bb")},
				    {VIEW_LIT("older"), VIEW_LIT("gone")},
				    {VIEW_LIT("m"), VIEW_LIT("bb")}};

	(void)state;
	configure(HEAD "default_pool: c\n"
		       "pools:\n"
		       "  a:\n"
		       "    aliases:\n"
		       "      gpt: m\n"
		       "      q: n\n"
		       "      split: [{model: m, weight: 3}, {model: n, weight: 1, rewrite: false},"
		       " {model: x, weight: 0}]\n"
		       "      never: x\n"
		       "  b: {backend: bb}\n"
		       "  c:\n"
		       "    models: [listed, {name: lora, base: listed, hidden: true}, n]\n"
		       "    aliases:\n"
		       "      gpt: listed\n");
	t.seed = (struct seed){3, pairs};
	fill("a", 1, list("[\"m\",\"n\",\"q\"]"));
	fill("bb", 1, NULL);
	s = build();
	assert_int_equal(s->default_pool, 2);
	assert_ptr_equal(route(s, "gpt", &target), &s->pools[0]);
	assert_true(view_eq(target.target, view_str("m")));
	/* The alias of that name comes before the model. */
	route(s, "q", &target);
	assert_true(view_eq(target.target, view_str("n")));
	route(s, "m", &target);
	assert_null(target.target.ptr);
	assert_ptr_equal(route(s, "n", NULL), &s->pools[0]);
	route_find(s->routes, view_str("split"), UINT32_MAX, &target);
	assert_null(target.target.ptr);
	route_find(s->routes, view_str("split"), 0, &target);
	assert_true(view_eq(target.target, view_str("m")));
	assert_null(route(s, "never", NULL));
	/* What the map said stands in for a pool whose servers said nothing yet. */
	assert_ptr_equal(route(s, "old", NULL), &s->pools[1]);
	assert_null(route(s, "older", NULL));
	assert_ptr_equal(route(s, "lora", &target), &s->pools[2]);
	assert_true(view_eq(target.base, view_str("listed")));
	assert_int_equal(t.notes.doubles, 3); /* n, m by the map, gpt */
	assert_int_equal(t.notes.targets, 1);
	assert_string_equal(t.notes.target_model, "x");
	assert_int_equal(t.notes.seeded, 1);
	/* Three counters, then "other". */
	{
		struct route_target a, b;

		route(s, "gpt", &a);
		route(s, "old", &b);
		assert_int_equal(a.stat, 1);
		assert_int_equal(b.stat, 0);
		assert_string_equal(intern_name(t.models, 0), "other");
		assert_string_equal(intern_name(t.models, 1), "gpt");
		assert_null(intern_name(t.models, 4));
	}
	snapshot_free(s);
	fill("bb", 1, list("[\"new\"]"));
	s = build();
	assert_null(route(s, "old", NULL));
	assert_ptr_equal(route(s, "new", NULL), &s->pools[1]);
	snapshot_free(s);
}

static void test_limits(void **state)
{
	struct snapshot *s;
	char json[64 * 1024] = "[";
	size_t used = 1;

	(void)state;
	configure(HEAD "limits: {models: 10, pools: 1, endpoints: 4}\npools:\n  a: {}\n");
	for (int i = 0; i < 12; i++)
		used += (size_t)snprintf(json + used, sizeof(json) - used, "%s\"m%02d\"",
					 i ? "," : "", i);
	strcpy(json + used, "]");
	fill("a", 2, list(json));
	s = build();
	assert_int_equal(route_table_count(s->routes), 10);
	assert_int_equal(t.notes.no_room, 2);
	snapshot_free(s);
	/* More servers than slots: those that fit are there, and the number of the others is told.
	 */
	fill("a", SLOTS + 5, NULL);
	assert_int_equal(roster_count(t.roster), SLOTS);
	assert_int_equal(roster_refused(t.roster), 5);
	fill("a", 2, NULL);
	assert_int_equal(roster_refused(t.roster), 0);
}

static void test_variant_bound(void **state)
{
	struct snapshot *s;
	size_t places = 0;

	(void)state;
	/* 600 servers with 600 different lists of two of 600 models: each model is on two. */
	configure(HEAD "pools:\n  a: {}\n");
	fill("a", 600, NULL);
	for (int i = 0; i < 600; i++) {
		char json[64];

		snprintf(json, sizeof(json), "[\"m%d\",\"m%d\"]", i, (i + 1) % 600);
		answer("a", i + 1, ASKER_ANSWERED, list(json));
	}
	s = build();
	assert_int_equal(s->npools - s->nwhole, 600);
	for (uint32_t i = s->nwhole; i < s->npools; i++) {
		assert_int_equal(s->pools[i].n, 2);
		places += s->pools[i].n;
	}
	assert_true(places <= BUILDER_PLACES);
	assert_int_equal(t.notes.unsplit, 0);
	snapshot_free(s);
}

/* 10,000 models on 1,000 servers; told, not judged. */
static void test_size(void **state)
{
	char *json = malloc(1 << 20);
	struct timespec begin, end;
	struct snapshot *s;
	size_t used = 1;

	(void)state;
	json[0] = '[';
	for (int i = 0; i < 10000; i++)
		used += (size_t)snprintf(json + used, (1 << 20) - used,
					 "%s{\"id\":\"organization/model-of-some-length-%05d\"}",
					 i ? "," : "", i);
	strcpy(json + used, "]");
	configure(HEAD "pools:\n  a: {}\n");
	fill("a", 1000, list(json));
	strcpy(json + used, ",\"one-more\"]");
	answer("a", 500, ASKER_ANSWERED, list(json));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	s = build();
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("10,000 models on 1,000 servers: %.1f ms\n",
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			  (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_int_equal(route_table_count(s->routes), 10001);
	assert_int_equal(route(s, "one-more", NULL)->n, 1);
	snapshot_free(s);
	free(json);
}

static void test_memory(void **state)
{
	struct snapshot *s, *whole;
	long live;

	(void)state;
	configure(HEAD "pools:\n  a: {aliases: {gpt: m}}\n  b: {}\n");
	fill("a", 3, list("[\"m\",\"n\"]"));
	fill("b", 2, list("[\"o\"]"));
	answer("a", 2, ASKER_ANSWERED, list("[\"m\",\"p\"]"));
	whole = build();
	for (size_t i = 1;; i++) {
		int r;

		failmalloc_arm(i);
		r = build_into(&s);
		if (r == 0)
			snapshot_free(s);
		if (!failmalloc_disarm(&live)) {
			assert_int_equal(r, 0);
			assert_true(i > 10);
			break;
		}
		if (r != -ENOMEM)
			fail_msg("allocation %zu: %d", i, r);
		assert_int_equal(live, 0);
	}
	s = build();
	assert_true(same(s, whole));
	snapshot_free(s);
	snapshot_free(whole);
}

#define SERVERS "1\n# be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n"
#define STAT    "# pxname,svname,status,scur,qcur,slim,bck\n"

static bool census(const char *servers, const char *stat)
{
	bool changed;

	assert_int_equal(
	    census_apply(t.roster, t.endpoints, view_str(servers), view_str(stat), &changed), 0);
	return changed;
}

static unsigned flags(const char *backend, const char *server)
{
	struct member *m = roster_server(group(backend), view_str(server));

	assert_non_null(m);
	return endpoint_flags(t.endpoints, m->place.slot);
}

static void test_census(void **state)
{
	struct endpoint_view v;
	bool changed;
	char names[200];

	(void)state;
	configure(HEAD "pools:\n  a: {}\n  b: {}\n");
	assert_true(census(SERVERS "a s1 10.0.0.1 2 0 1 80\na s2 10.0.0.2 0 0 1 80\n"
				   "a s3 10.0.0.3 0 1 1 80\na s4 10.0.0.4 2 8 1 80\n"
				   "a s5 10.0.0.5 2 0 0 80\na s6 10.0.0.6 3 0 1 80\n"
				   "a s7 10.0.0.7 1 0 1 80\na s8 10.0.0.8 2 0 1 80\n"
				   "z s1 10.0.0.9 2 0 1 80\n",
			   STAT "a,s1,UP,7,2,10,0\na,s2,DOWN,0,0,,0\na,s3,MAINT,0,0,,0\n"
				"a,s4,DRAIN,0,0,,0\na,s5,no check,0,0,,0\na,s6,NOLB,0,0,,0\n"
				"a,s7,UP 1/3,0,0,,0\na,s8,UP,0,0,,1\na,BACKEND,UP,0,0,,0\n"
				"z,s1,UP,0,0,,0\nbb,BACKEND,UP,0,0,,0\nz,BACKEND,UP,0,0,,0\n"));
	assert_int_equal(flags("a", "s1"), 0);
	assert_int_equal(flags("a", "s2"), ENDPOINT_DOWN);
	assert_int_equal(flags("a", "s3"), ENDPOINT_MAINT);
	assert_int_equal(flags("a", "s4"), ENDPOINT_DRAIN);
	assert_int_equal(flags("a", "s5"), ENDPOINT_DRAIN);
	assert_int_equal(flags("a", "s6"), ENDPOINT_DRAIN);
	assert_int_equal(flags("a", "s7"), 0);
	assert_int_equal(flags("a", "s8"), ENDPOINT_DRAIN); /* a backup */
	endpoint_view(t.endpoints, group("a")->members[0]->place.slot, &v);
	assert_int_equal(v.maxconn, 10);
	assert_int_equal(v.others, 9);
	assert_false(roster_find(t.roster, ROSTER_HAPROXY, "b")->listed_here);
	census_backends(view_str(STAT "a,BACKEND,UP,0,0,,0\nzzzz,BACKEND,UP,0,0,,0\n"
				      "bb,BACKEND,UP,0,0,,0\n"),
			view_str("b"), names, sizeof(names));
	assert_string_equal(names, "a, bb, zzzz");

	/* Every active one out, by whatever: the backup takes over. */
	assert_false(census(SERVERS "a s1 10.0.0.1 0 0 1 80\na s2 10.0.0.2 0 0 1 80\n"
				    "a s3 10.0.0.3 0 1 1 80\na s4 10.0.0.4 2 8 1 80\n"
				    "a s5 10.0.0.5 2 0 0 80\na s6 10.0.0.6 3 0 1 80\n"
				    "a s7 10.0.0.7 0 0 1 80\na s8 10.0.0.8 2 0 1 80\n",
			    STAT "a,s8,UP,0,0,,1\n"));
	assert_int_equal(flags("a", "s8"), 0);

	/* A table that is none changes nothing. */
	assert_int_equal(census_apply(t.roster, t.endpoints, view_str(SERVERS "a s1\n"),
				      view_str(STAT), &changed),
			 -EPROTO);
	assert_int_equal(census_apply(t.roster, t.endpoints, view_str(SERVERS),
				      view_str("# pxname\n"), &changed),
			 -EPROTO);
	assert_int_equal(group("a")->n, 8);
	/* HAProxy silent for long: nothing is held against anybody. */
	census_forget(t.roster, t.endpoints);
	assert_int_equal(flags("a", "s2"), 0);
	assert_int_equal(flags("a", "s3"), 0);
	assert_true(census(SERVERS, STAT "a,BACKEND,UP,0,0,,0\n"));
	assert_int_equal(group("a")->n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_same, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_slots, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_variants, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_variant_bound, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_size, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_census, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
