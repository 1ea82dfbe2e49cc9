/* What HAProxy and the scraper say of a group's servers, and who is picked then. */
#include "discover/standing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"

#define MAX 4

static struct {
	struct endpoints *endpoints;
	struct group group;
	struct member members[MAX], *list[MAX];
	size_t n;
} t;

static int set_up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	t.endpoints = endpoints_new(MAX);
	t.group.source = ROSTER_HAPROXY;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	endpoints_free(t.endpoints);
	return 0;
}

static void join(void)
{
	struct member *m = &t.members[t.n];

	m->group = &t.group;
	m->place.pool = "p";
	m->place.name = "s";
	m->place.slot = (uint32_t)endpoint_alloc(t.endpoints);
	m->standing.known = true;
	t.list[t.n] = m;
	t.n++;
}

/*
 * One letter a server. Of the scraper: A it answers, D too many scrapes failed, - neither is new.
 * Of HAProxy: u unchecked, m in maintenance, b a backup. Expected: i in, d dead, m maintenance,
 * b a backup that stands aside.
 */
static void say(const char *scraper, const char *haproxy, const char *expected)
{
	char got[MAX + 1] = "";

	while (t.n < strlen(scraper))
		join();
	for (size_t i = 0; i < t.n; i++) {
		struct member *m = &t.members[i];

		m->standing.unchecked = haproxy[i] == 'u';
		m->standing.backup = haproxy[i] == 'b';
		m->standing.flags = haproxy[i] == 'm' ? ENDPOINT_MAINT : 0;
		if (scraper[i] == 'D')
			m->told_dead = true;
		if (scraper[i] == 'A') { /* as roster_alive() */
			endpoint_set_flags(t.endpoints, m->place.slot, ENDPOINT_SCRAPE_DEAD, 0);
			m->scrape_dead = m->excused = false;
			m->answers = true;
		}
	}
	standing_judge(t.endpoints, t.list, t.n, NULL, NULL);
	for (size_t i = 0; i < t.n; i++) {
		unsigned f = endpoint_flags(t.endpoints, t.members[i].place.slot);

		got[i] = f & ENDPOINT_MAINT         ? 'm'
			 : f & ENDPOINT_BACKUP      ? 'b'
			 : f & ENDPOINT_SCRAPE_DEAD ? 'd'
						    : 'i';
	}
	assert_string_equal(got, expected);
	/* Judged once more it is the same. */
	standing_judge(t.endpoints, t.list, t.n, NULL, NULL);
}

static void test_one_fails(void **state)
{
	(void)state;
	say("AA", "..", "ii");
	say("D-", "..", "di");
	say("A-", "..", "ii");
}

/* The agent is cut off: what HAProxy finds up is used, from the first moment on. */
static void test_all_fail(void **state)
{
	(void)state;
	say("AAA", ".u.", "iii");
	say("D--", ".u.", "dii");
	say("-D-", ".u.", "ddi");
	say("--D", ".u.", "idi");
	say("---", "mu.", "mdi");
	/* One that can be asked again is the one to use. */
	say("--A", "mu.", "mdi");
	say("---", ".u.", "ddi");
	say("A--", ".u.", "idi");
}

/* Who comes while the others are excused has not all requests to itself. */
static void test_newcomer(void **state)
{
	(void)state;
	say("A", ".", "i");
	say("D", ".", "i");
	say("--", "..", "ii");
	say("---", "...", "iii");
	say("-D-", "...", "iii");
	say("--A", "...", "ddi");
	/* And nobody is excused for one that may answer yet. */
	say("----", "..m.", "ddmi");
	say("---D", "..m.", "iimi");
}

static void test_unchecked(void **state)
{
	(void)state;
	say("AA", "uu", "ii");
	say("DD", "uu", "dd");
	say("--", "u.", "di");
}

static void test_pods(void **state)
{
	(void)state;
	t.group.source = ROSTER_KUBE;
	say("AA", "uu", "ii");
	say("DD", "uu", "ii");
	say("---", "uuu", "iii");
	say("--A", "uuu", "ddi");
}

static void test_backup(void **state)
{
	(void)state;
	say("AA", ".b", "ib");
	say("D-", ".b", "ib"); /* HAProxy finds it up and sends it there all the same */
	say("--", "mb", "mi");
	say("--", "ub", "di");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_one_fails, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_all_fail, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_newcomer, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_unchecked, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_pods, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_backup, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
