/* Facts → snapshot, with a roster and made-up answers of model servers. */
#include "discover/builder.h"

#include <errno.h>
#include <time.h>

#include "failmalloc.h"
#include "unit/discover/facts.h"

static void test_same(void **state)
{
	struct snapshot *a, *b;

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n  b: {}\n");
	a = facts_build();
	assert_int_equal(a->nwhole, 2);
	assert_false(a->pools[0].known);
	assert_int_equal(route_table_count(a->routes), 0);
	assert_int_equal(a->default_pool, -1);
	facts_fill("a", 3, facts_list("[\"m\",{\"id\":\"l\",\"parent\":\"m\"}]"));
	facts_fill("b", 2, facts_list("[\"n\"]"));
	b = facts_build();
	assert_false(facts_same(a, b));
	snapshot_free(a);
	a = facts_build();
	assert_true(facts_same(a, b));
	assert_int_equal(a->npools, 2);
	assert_true(a->pools[0].known);
	assert_int_equal(a->pools[0].stat, 1);
	assert_int_equal(a->pools[1].stat, 2);
	assert_string_equal(a->pools[0].endpoints[2].name, "s3");
	assert_int_equal(a->pools[0].slots[2], a->pools[0].endpoints[2].slot);
	snapshot_free(b);
	/* Each of these is a difference. */
	facts_group("b")->known = false;
	b = facts_build();
	assert_false(facts_same(a, b));
	snapshot_free(b);
	facts_group("b")->known = true;
	facts_answer("b", 1, ASKER_ANSWERED, facts_list("[\"n\",\"o\"]"));
	b = facts_build();
	assert_false(facts_same(a, b));
	snapshot_free(b);
	snapshot_free(a);
}

static void test_variants(void **state)
{
	struct models *base, *more, *other;
	struct snapshot *s;
	const struct pool *p;
	struct route_target target;

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {when_full: queue}\n");
	base = facts_list("[\"m\"]");
	more =
	    facts_list("[\"m\",{\"id\":\"l\",\"parent\":\"m\"},{\"id\":\"k\",\"parent\":\"m\"}]");
	other = facts_list("[\"m\",{\"id\":\"k\",\"parent\":\"m\"}]");
	facts_fill("a", 4, base);
	facts_answer("a", 2, ASKER_ANSWERED, more);
	facts_answer("a", 4, ASKER_ANSWERED, other);
	s = facts_build();
	assert_ptr_equal(facts_route(s, "m", NULL), &s->pools[0]);
	p = facts_route(s, "l", &target);
	assert_true(view_eq(target.base, view_str("m")));
	assert_int_equal(p->n, 1);
	assert_string_equal(p->endpoints[0].server, "s2");
	assert_int_equal(p->slots[0], s->pools[0].slots[1]);
	assert_string_equal(p->name, "a");
	assert_int_equal(p->stat, s->pools[0].stat);
	assert_int_equal(p->when_full, POOL_FULL_REJECT);
	p = facts_route(s, "k", NULL);
	assert_int_equal(p->n, 2);
	assert_string_equal(p->endpoints[1].server, "s4");
	assert_int_equal(s->npools, 3);
	snapshot_free(s);

	/* Not answered yet: serves nothing. Cannot be asked, or has no list: serves all. */
	facts_answer("a", 1, ASKER_FAILED, NULL);
	facts_answer("a", 3, ASKER_LISTLESS, NULL);
	s = facts_build();
	p = facts_route(s, "m", NULL);
	assert_int_equal(p->n, 3);
	assert_int_equal(p->when_full, POOL_FULL_QUEUE);
	assert_string_equal(p->endpoints[0].server, "s2");
	assert_int_equal(facts_route(s, "l", NULL)->n, 2);
	snapshot_free(s);
	facts_answer("a", 1, ASKER_MUTE, NULL);
	s = facts_build();
	assert_ptr_equal(facts_route(s, "m", NULL), &s->pools[0]);
	snapshot_free(s);
}

/* Which pools may still turn out to have a model that nobody told. */
static void test_untold(void **state)
{
	static const struct {
		enum asker_state state;
		bool absent, untold;
	} rows[] = {
	    {ASKER_WAITING, false, true}, {ASKER_FAILED, true, true},
	    {ASKER_FAILED, false, false}, {ASKER_LISTLESS, false, false},
	    {ASKER_MUTE, false, false},
	};
	struct seed_pair pair = {VIEW_LIT("old"), VIEW_LIT("a")};
	struct snapshot *last = NULL, *s;

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n  b: {models: [n]}\n  c: {}\n");
	facts_fill("a", 2, NULL);
	facts_fill("b", 1, NULL);
	facts_fill("c", 0, NULL);
	facts_answer("a", 2, ASKER_LISTLESS, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t slot = facts_group("a")->members[0]->place.slot;

		facts_answer("a", 1, rows[i].state, NULL);
		facts.answers[slot].absent = rows[i].absent;
		s = facts_build();
		assert_int_equal(s->pools[0].untold, rows[i].untold);
		assert_int_equal(facts.notes.untold, rows[i].untold);
		/* Listed models are told; and who is not there says nothing. */
		assert_false(s->pools[1].untold);
		assert_false(s->pools[2].untold);
		if (i == 2)
			assert_false(facts_same(last, s));
		snapshot_free(last);
		last = s;
	}
	snapshot_free(last);
	/* One list is enough, and so is what HAProxy's map said. */
	facts_answer("a", 1, ASKER_WAITING, NULL);
	facts.seed = (struct seed){1, &pair};
	s = facts_build();
	assert_false(s->pools[0].untold);
	snapshot_free(s);
	facts.seed = (struct seed){0};
	facts_answer("a", 2, ASKER_ANSWERED, facts_list("[\"m\"]"));
	s = facts_build();
	assert_false(s->pools[0].untold);
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
	facts_configure(
	    FACTS_HEAD "default_pool: c\n"
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
	facts.seed = (struct seed){3, pairs};
	facts_fill("a", 1, facts_list("[\"m\",\"n\",\"q\"]"));
	facts_fill("bb", 1, NULL);
	s = facts_build();
	assert_int_equal(s->default_pool, 2);
	assert_ptr_equal(facts_route(s, "gpt", &target), &s->pools[0]);
	assert_true(view_eq(target.target, view_str("m")));
	/* The alias of that name comes before the model. */
	facts_route(s, "q", &target);
	assert_true(view_eq(target.target, view_str("n")));
	facts_route(s, "m", &target);
	assert_null(target.target.ptr);
	assert_ptr_equal(facts_route(s, "n", NULL), &s->pools[0]);
	route_find(s->routes, view_str("split"), UINT32_MAX, &target);
	assert_null(target.target.ptr);
	route_find(s->routes, view_str("split"), 0, &target);
	assert_true(view_eq(target.target, view_str("m")));
	assert_null(facts_route(s, "never", NULL));
	/* What the map said stands in for a pool whose servers said nothing yet. */
	assert_ptr_equal(facts_route(s, "old", NULL), &s->pools[1]);
	assert_null(facts_route(s, "older", NULL));
	assert_ptr_equal(facts_route(s, "lora", &target), &s->pools[2]);
	assert_true(view_eq(target.base, view_str("listed")));
	assert_int_equal(facts.notes.doubles, 3); /* n, m by the map, gpt */
	assert_int_equal(facts.notes.targets, 1);
	assert_string_equal(facts.notes.target_model, "x");
	assert_int_equal(facts.notes.seeded, 1);
	/* Three counters, then "other". */
	{
		struct route_target a, b;

		facts_route(s, "gpt", &a);
		facts_route(s, "old", &b);
		assert_int_equal(a.stat, 1);
		assert_int_equal(b.stat, 0);
		assert_string_equal(intern_name(facts.models, 0), "other");
		assert_string_equal(intern_name(facts.models, 1), "gpt");
		assert_null(intern_name(facts.models, 4));
	}
	snapshot_free(s);
	facts_fill("bb", 1, facts_list("[\"new\"]"));
	s = facts_build();
	assert_null(facts_route(s, "old", NULL));
	assert_ptr_equal(facts_route(s, "new", NULL), &s->pools[1]);
	snapshot_free(s);
}

static void test_limits(void **state)
{
	struct snapshot *s;
	char json[64 * 1024] = "[";
	size_t used = 1;

	(void)state;
	facts_configure(FACTS_HEAD
			"limits: {models: 10, pools: 1, endpoints: 4}\npools:\n  a: {}\n");
	for (int i = 0; i < 12; i++)
		used += (size_t)snprintf(json + used, sizeof(json) - used, "%s\"m%02d\"",
					 i ? "," : "", i);
	strcpy(json + used, "]");
	facts_fill("a", 2, facts_list(json));
	s = facts_build();
	assert_int_equal(route_table_count(s->routes), 10);
	assert_int_equal(facts.notes.no_room, 2);
	snapshot_free(s);
	/* More servers than slots: those that fit are there, and the number of the others is told.
	 */
	facts_fill("a", FACTS_SLOTS + 5, NULL);
	assert_int_equal(roster_count(facts.roster), FACTS_SLOTS);
	assert_int_equal(roster_refused(facts.roster), 5);
	facts_fill("a", 2, NULL);
	assert_int_equal(roster_refused(facts.roster), 0);
}

/* "A0".."A@n" and so on, sorted. */
static struct models *many(char letter, int n)
{
	size_t size = (size_t)n * 10 + 3, used = 1;
	char *json = malloc(size);
	struct models *list;

	json[0] = '[';
	for (int i = 0; i < n; i++)
		used += (size_t)snprintf(json + used, size - used, "%s\"%c%04d\"", i ? "," : "",
					 letter, i);
	strcpy(json + used, "]");
	list = facts_list(json);
	free(json);
	return list;
}

static size_t count_of(const struct snapshot *s, char letter, int n)
{
	size_t count = 0;
	char name[16];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%c%04d", letter, i);
		count += facts_route(s, name, NULL) != NULL;
	}
	return count;
}

/* One server with a list past all bounds takes nobody's place but its own. */
static void test_shares(void **state)
{
	struct snapshot *s, *again;

	(void)state;
	facts_configure(FACTS_HEAD "limits: {models: 1000}\n"
				   "pools:\n"
				   "  a: {}\n"
				   "  b: {}\n"
				   "  c: {models: [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9]}\n"
				   "  d: {}\n");
	facts_fill("a", 2, many('a', 5));
	facts_answer("a", 2, ASKER_ANSWERED, many('x', 1000));
	facts_fill("b", 1, many('b', 300));
	facts_fill("c", 1, NULL);
	facts_fill("d", 1, many('d', 1000));
	s = facts_build();
	/* ten are written down; b gets its 300, a and d the same of what is left */
	assert_int_equal(route_table_count(s->routes), 1000);
	assert_non_null(facts_route(s, "w9", NULL));
	assert_int_equal(count_of(s, 'b', 300), 300);
	assert_int_equal(count_of(s, 'd', 1000), 345);
	/* in a the honest server's names, too, and who has them */
	assert_int_equal(count_of(s, 'a', 5), 5);
	assert_int_equal(count_of(s, 'x', 1000), 340);
	assert_int_equal(facts_route(s, "a0004", NULL)->n, 1);
	assert_string_equal(facts_route(s, "a0004", NULL)->endpoints[0].server, "s1");
	assert_string_equal(facts_route(s, "x0339", NULL)->endpoints[0].server, "s2");
	assert_int_equal(facts.notes.no_room, 660 + 655);
	assert_string_equal(facts.notes.no_room_pool, "a");
	again = facts_build();
	assert_true(facts_same(s, again));
	snapshot_free(again);
	snapshot_free(s);
	/* Names that several lists have count once: these fit, though the lists are longer. */
	facts_fill("a", 4, many('a', 400));
	facts_answer("a", 2, ASKER_ANSWERED, many('a', 399));
	facts_answer("a", 3, ASKER_ANSWERED, many('a', 398));
	facts_fill("d", 1, many('d', 200));
	s = facts_build();
	assert_int_equal(facts.notes.no_room, 0);
	assert_int_equal(route_table_count(s->routes), 910);
	assert_int_equal(facts_route(s, "a0399", NULL)->n, 2);
	snapshot_free(s);
	/* One more than there is room for. */
	facts_fill("d", 1, many('d', 291));
	s = facts_build();
	assert_int_equal(facts.notes.no_room, 1);
	assert_int_equal(route_table_count(s->routes), 1000);
	assert_int_equal(count_of(s, 'd', 291), 291);
	assert_int_equal(count_of(s, 'a', 400), 399);
	snapshot_free(s);
}

static void test_variant_bound(void **state)
{
	struct snapshot *s;
	size_t places = 0;

	(void)state;
	/* 600 servers with 600 different lists of two of 600 models: each model is on two. */
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n");
	facts_fill("a", 600, NULL);
	for (int i = 0; i < 600; i++) {
		char json[64];

		snprintf(json, sizeof(json), "[\"m%d\",\"m%d\"]", i, (i + 1) % 600);
		facts_answer("a", i + 1, ASKER_ANSWERED, facts_list(json));
	}
	s = facts_build();
	assert_int_equal(s->npools - s->nwhole, 600);
	for (uint32_t i = s->nwhole; i < s->npools; i++) {
		assert_int_equal(s->pools[i].n, 2);
		places += s->pools[i].n;
	}
	assert_true(places <= BUILDER_PLACES);
	assert_int_equal(facts.notes.unsplit, 0);
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
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n");
	facts_fill("a", 1000, facts_list(json));
	strcpy(json + used, ",\"one-more\"]");
	facts_answer("a", 500, ASKER_ANSWERED, facts_list(json));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	s = facts_build();
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("10,000 models on 1,000 servers: %.1f ms\n",
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			  (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_int_equal(route_table_count(s->routes), 10001);
	assert_int_equal(facts_route(s, "one-more", NULL)->n, 1);
	snapshot_free(s);
	free(json);
}

static void test_memory(void **state)
{
	struct snapshot *s, *whole;
	long live;

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {aliases: {gpt: m}}\n  b: {}\n");
	facts_fill("a", 3, facts_list("[\"m\",\"n\"]"));
	facts_fill("b", 2, facts_list("[\"o\"]"));
	facts_answer("a", 2, ASKER_ANSWERED, facts_list("[\"m\",\"p\"]"));
	whole = facts_build();
	for (size_t i = 1;; i++) {
		int r;

		failmalloc_arm(i);
		r = facts_build_into(&s);
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
	s = facts_build();
	assert_true(facts_same(s, whole));
	snapshot_free(s);
	snapshot_free(whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_same, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_variants, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_untold, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_names, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_limits, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_shares, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_variant_bound, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_size, facts_set_up, facts_tear_down),
	    cmocka_unit_test_setup_teardown(test_memory, facts_set_up, facts_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
