/* HAProxy's tables of servers → flags and figures of endpoints. */
#include "discover/census.h"

#include <errno.h>

#include "unit/discover/facts.h"

#define SERVERS "1\n# be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n"
#define STAT    "# pxname,svname,status,scur,qcur,slim,bck\n"

static bool census(const char *servers, const char *stat)
{
	bool changed;

	assert_int_equal(census_apply(facts.roster, facts.endpoints, view_str(servers),
				      view_str(stat), &changed),
			 0);
	return changed;
}

static unsigned flags(const char *backend, const char *server)
{
	struct member *m = roster_server(facts_group(backend), view_str(server));

	assert_non_null(m);
	return endpoint_flags(facts.endpoints, m->place.slot);
}

static void test_census(void **state)
{
	struct endpoint_view v;
	bool changed;
	char names[200];

	(void)state;
	facts_configure(FACTS_HEAD "pools:\n  a: {}\n  b: {}\n");
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
	assert_int_equal(flags("a", "s8"), ENDPOINT_BACKUP);
	endpoint_view(facts.endpoints, facts_group("a")->members[0]->place.slot, &v);
	assert_int_equal(v.maxconn, 10);
	assert_int_equal(v.others, 9);
	assert_false(roster_find(facts.roster, ROSTER_HAPROXY, "b")->listed_here);
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
	assert_int_equal(census_apply(facts.roster, facts.endpoints, view_str(SERVERS "a s1\n"),
				      view_str(STAT), &changed),
			 -EPROTO);
	assert_int_equal(census_apply(facts.roster, facts.endpoints, view_str(SERVERS),
				      view_str("# pxname\n"), &changed),
			 -EPROTO);
	assert_int_equal(facts_group("a")->n, 8);
	/* HAProxy silent for long: nothing is held against anybody. */
	census_forget(facts.roster, facts.endpoints);
	assert_int_equal(flags("a", "s2"), 0);
	assert_int_equal(flags("a", "s3"), 0);
	assert_true(census(SERVERS, STAT "a,BACKEND,UP,0,0,,0\n"));
	assert_int_equal(facts_group("a")->n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_census, facts_set_up, facts_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
