/* Whose slot a server has, whatever it is called today. */
#include "discover/roster.h"

#include "unit/discover/facts.h"

/* The slot follows the machine. */
static void test_slots(void **state)
{
	struct roster_want w[4];
	struct group *g;
	uint32_t one, two, three, generation;

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n");
	facts_fill("a", 3, NULL);
	g = facts_group("a");
	one = g->members[0]->place.slot;
	two = g->members[1]->place.slot;
	three = g->members[2]->place.slot;
	assert_string_equal(g->members[0]->place.url, "http://10.0.0.1:8001");
	assert_int_equal(facts.places.added, 3);

	/* The same again, then in another order. */
	w[0] = facts_want("s1", "10.0.0.1", 8001);
	w[1] = facts_want("s2", "10.0.0.1", 8002);
	w[2] = facts_want("s3", "10.0.0.1", 8003);
	assert_false(roster_set(facts.roster, g, w, 3));
	w[0] = facts_want("s3", "10.0.0.1", 8003);
	w[2] = facts_want("s1", "10.0.0.1", 8001);
	assert_true(roster_set(facts.roster, g, w, 3));
	assert_int_equal(g->members[0]->place.slot, three);
	assert_int_equal(facts.places.added + facts.places.changed + facts.places.removed, 3);

	/* A new name for a known address; a known name for a new address; two names exchanged. */
	w[0] = facts_want("renamed", "10.0.0.1", 8003);
	w[1] = facts_want("s1", "10.0.0.1", 8002);
	w[2] = facts_want("s2", "10.0.0.1", 8001);
	assert_true(roster_set(facts.roster, g, w, 3));
	assert_int_equal(g->members[0]->place.slot, three);
	assert_int_equal(g->members[1]->place.slot, two);
	assert_int_equal(g->members[2]->place.slot, one);
	assert_int_equal(facts.places.changed, 3);
	assert_int_equal(facts.places.removed, 0);
	w[1] = facts_want("s1", "10.0.0.9", 8002);
	assert_true(roster_set(facts.roster, g, w, 3));
	assert_int_not_equal(g->members[1]->place.slot, two);
	assert_int_equal(facts.places.removed, 1);
	assert_int_equal(facts.places.added, 4);
	assert_int_equal(endpoint_flags(facts.endpoints, two) & ENDPOINT_GONE, ENDPOINT_GONE);
	assert_null(roster_at(facts.roster, two));
	generation = endpoint_generation(facts.endpoints, two);
	roster_reap(facts.roster);
	assert_int_not_equal(endpoint_generation(facts.endpoints, two), generation);

	/* Not resolved yet, then resolved: one server. Twice the same name: one server. */
	w[0] = facts_want("late", NULL, 0);
	w[1] = facts_want("late", NULL, 0);
	assert_true(roster_set(facts.roster, g, w, 2));
	assert_int_equal(g->n, 1);
	assert_null(g->members[0]->place.url);
	one = g->members[0]->place.slot;
	w[0] = facts_want("late", "10.0.0.7", 80);
	assert_true(roster_set(facts.roster, g, w, 1));
	assert_int_equal(g->members[0]->place.slot, one);
	assert_string_equal(g->members[0]->place.url, "http://10.0.0.7:80");
	/* A host name is what TLS and Host see. */
	w[0].host = view_str("model.example");
	w[0].https = true;
	assert_true(roster_set(facts.roster, g, w, 1));
	assert_string_equal(g->members[0]->place.url, "https://model.example:80");
	assert_string_equal(g->members[0]->place.connect_to, "10.0.0.7");
	assert_false(roster_set(facts.roster, g, w, 1));
	assert_true(roster_set(facts.roster, g, w, 0));
	assert_int_equal(roster_count(facts.roster), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_slots, facts_set_up, facts_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
