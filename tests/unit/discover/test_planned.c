/* Pods of a plan in the published snapshot: they come, drain and go. */
#include "discover/plan.h"

#include <unistd.h>

#include "unit/discover/planned.h"

static void pods_come_drain_and_go(void **state)
{
	struct draft first = {.pools = {"ns/a: p1@0 p2@1", "ns/b: p9@2"}};
	struct draft drains = {.pools = {"ns/a: p1@0! p2@1 p3@3", "ns/b: p9@2"}};
	struct draft gone = {.pools = {"ns/a: p2@1 p3@3", "ns/b: p9@2"}};
	struct draft back = {.pools = {"ns/a: p1@0 p2@1 p3@3", "ns/b: p9@2"}};
	uint32_t one, two;
	uint64_t version;

	(void)state;
	planned_start("haproxy: {socket: /nowhere}\nkubernetes: {haproxy_dir: /nowhere}");
	assert_false(planned_now()->ready);
	assert_true(planned_now()->awaited);
	planned_want(&first);
	TURN_UNTIL(planned.base, planned_pool("ns/a"));
	assert_false(planned_now()->awaited);
	TURN_UNTIL(planned.base, planned_now()->ready);
	assert_int_equal(planned_pool("ns/a")->n, 2);
	assert_string_equal(planned_pool("ns/a")->backend, "a");
	assert_string_equal(planned_pod("ns/a", "p1")->server, "p1");
	assert_int_equal(planned_flags("ns/a", "p1"), 0);
	one = planned_pod("ns/a", "p1")->slot;
	two = planned_pod("ns/a", "p2")->slot;

	/* Draining takes effect at once: workers read the flag, not the snapshot. */
	planned_want(&drains);
	assert_int_equal(endpoint_flags(planned.endpoints, one), ENDPOINT_DRAIN);
	TURN_UNTIL(planned.base, planned_pod("ns/a", "p3"));
	assert_int_equal(planned_pod("ns/a", "p1")->slot, one);
	assert_int_equal(planned_pod("ns/a", "p2")->slot, two);
	assert_int_equal(planned.places.removed, 0);

	/* Ready again before it was gone. */
	planned_want(&back);
	assert_int_equal(endpoint_flags(planned.endpoints, one), 0);
	planned_want(&drains);
	assert_int_equal(endpoint_flags(planned.endpoints, one), ENDPOINT_DRAIN);

	planned_want(&gone);
	assert_true(endpoint_flags(planned.endpoints, one) & ENDPOINT_GONE);
	TURN_UNTIL(planned.base, !planned_pod("ns/a", "p1"));
	assert_int_equal(planned.places.removed, 1);
	assert_int_equal(planned_pod("ns/a", "p2")->slot, two);

	/* The same again is nothing new. */
	do { /* p3 may just be telling its models */
		version = planned_now()->version;
		turn_for(planned.base, 200);
	} while (planned_now()->version != version);
	planned_want(&gone);
	turn_for(planned.base, 50);
	assert_int_equal(planned_now()->version, version);
	assert_int_equal(planned.places.removed, 1);
}

/* Somebody else's HAProxy has one backend for all: no names, addresses. */
static void by_address(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0"}, .listed = true};

	(void)state;
	planned_start("kubernetes: {}");
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_pool("ns/a"));
	assert_null(planned_pod("ns/a", "p1")->server);
	assert_int_equal(
	    ntohs(((const struct sockaddr_in *)&planned_pod("ns/a", "p1")->addr)->sin_port),
	    planned.servers[0].port);
	/* Listed models: nobody is asked. */
	turn_for(planned.base, 50);
	assert_int_equal(planned.servers[0].asked, 0);
}

/* All pods replaced at once, or the whole pool gone: nobody is told that all servers are down. */
static void replaced_as_a_whole(void **state)
{
	struct draft first = {.pools = {"ns/a: p1@0", "ns/b: p2@1"}};
	struct draft other = {.pools = {"ns/a: p3@2", "ns/b: p2@1"}};
	struct draft none = {.pools = {"ns/b: p2@1"}};
	uint32_t slot;

	(void)state;
	planned_start("kubernetes: {}");
	planned_want(&first);
	TURN_UNTIL(planned.base, planned_pool("ns/a"));
	slot = planned_pod("ns/a", "p1")->slot;
	planned_want(&other);
	assert_int_equal(endpoint_flags(planned.endpoints, slot), 0);
	TURN_UNTIL(planned.base, planned_pod("ns/a", "p3"));
	assert_int_equal(endpoint_flags(planned.endpoints, slot), ENDPOINT_GONE);
	slot = planned_pod("ns/a", "p3")->slot;
	planned_want(&none);
	assert_int_equal(endpoint_flags(planned.endpoints, slot), 0);
	TURN_UNTIL(planned.base, !planned_pool("ns/a"));
	assert_int_equal(endpoint_flags(planned.endpoints, slot), ENDPOINT_GONE);
	assert_int_equal(planned.places.removed, 2);
}

/* The same for pools of the file: a reload removes one, or gives another its servers anew. */
static void removed_by_a_reload(void **state)
{
	struct config *old;
	uint32_t slot, moved;

	(void)state;
	planned_start("pools:\n"
		      "  f1: {endpoints: ['127.0.0.1:1'], models: [one]}\n"
		      "  f2: {endpoints: ['127.0.0.1:2'], models: [two]}\n");
	TURN_UNTIL(planned.base, planned_now()->ready);
	slot = planned_pool("f1")->slots[0];
	moved = planned_pool("f2")->slots[0];
	old = planned.conf;
	planned.conf = conf_of("pools: {f2: {endpoints: ['127.0.0.1:3'], models: [two]}}\n");
	assert_int_equal(discover_reload(planned.d, planned.conf), 0);
	config_free(old);
	/* Workers still see the old snapshot, and find its servers as they were. */
	assert_non_null(planned_pool("f1"));
	assert_int_equal(endpoint_flags(planned.endpoints, slot), 0);
	assert_int_equal(endpoint_flags(planned.endpoints, moved), 0);
	TURN_UNTIL(planned.base, !planned_pool("f1"));
	assert_int_equal(endpoint_flags(planned.endpoints, slot), ENDPOINT_GONE);
	assert_int_equal(endpoint_flags(planned.endpoints, moved), ENDPOINT_GONE);
	assert_int_equal(planned.places.removed, 2);
}

/* Pods that take the connection and say nothing: rules lead to them all the same. */
static void pods_that_say_nothing(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0"}};
	int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(a);

	(void)state;
	a.sin_addr.s_addr = htonl(0x7f000001);
	assert_int_equal(bind(mute, (void *)&a, sizeof(a)), 0);
	assert_int_equal(listen(mute, 16), 0);
	assert_int_equal(getsockname(mute, (void *)&a, &len), 0);
	planned.servers[0].port = ntohs(a.sin_port);
	planned_start("kubernetes: {}\nscrape: {timeout: 60s}\nlimits: {endpoints: 64}");
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_pool("ns/a"));
	assert_false(planned_now()->ready);
	TURN_UNTIL(planned.base, planned_now()->ready);
	close(mute);
}

static bool has_backend(struct view backend, void *arg)
{
	(void)arg;
	return !planned.absent || !view_eq(backend, view_str(planned.absent));
}

/* HAProxy does not have the backend yet: nobody is named, and the answer is "not now". */
static void backend_to_come(void **state)
{
	struct draft draft = {.pools = {"ns/a: p1@0", "ns/b: p3@2"}};

	(void)state;
	planned_start("kubernetes: {}");
	planned.absent = "b";
	discover_backends(planned.d, has_backend, NULL);
	planned_want(&draft);
	TURN_UNTIL(planned.base, planned_pool("ns/b"));
	assert_int_equal(planned_pool("ns/a")->n, 1);
	assert_int_equal(planned_pool("ns/b")->n, 0);
	assert_true(planned_pool("ns/b")->known);
	planned.absent = NULL;
	discover_refresh(planned.d);
	TURN_UNTIL(planned.base, planned_pool("ns/b")->n == 1);
}

static size_t left_out(void)
{
	struct discover_status s;

	discover_status(planned.d, &s);
	return s.notes.no_slots;
}

/* A table just large enough: those who come find room when those who go have left it. */
static void slots_change_hands(void **state)
{
	struct draft before = {.pools = {"ns/a: p1@0 p2@1"}},
		     after = {.pools = {"ns/b: p1@0 p2@1"}};
	struct config *old;

	(void)state;
	planned.endpoints = endpoints_free(planned.endpoints);
	planned.endpoints = endpoints_new(5);
	planned_start("kubernetes: {}\n"
		      "pools: {f1: {models: [m], endpoints: ['127.0.0.1:1', '127.0.0.1:2']}}\n");
	planned_want(&before);
	TURN_UNTIL(planned.base, planned_pool("ns/a") && planned_pool("ns/a")->n == 2);
	assert_int_equal(planned_pool("f1")->n, 2);

	planned_want(&after);
	TURN_UNTIL(planned.base, planned_pool("ns/b") && planned_pool("ns/b")->n == 2);
	assert_null(planned_pool("ns/a"));

	old = planned.conf;
	planned.conf = conf_of("kubernetes: {}\n"
			       "pools: {f2: {models: [m], endpoints: ['127.0.0.1:1', "
			       "'127.0.0.1:2']}}\n");
	assert_int_equal(discover_reload(planned.d, planned.conf), 0);
	config_free(old);
	TURN_UNTIL(planned.base, planned_pool("f2") && planned_pool("f2")->n == 2);
	assert_int_equal(planned_pool("ns/b")->n, 2);

	/* One more than there is room for: told once all the others are in. */
	old = planned.conf;
	planned.conf = conf_of("kubernetes: {}\n"
			       "pools: {f3: {models: [m], endpoints: ['127.0.0.1:1', "
			       "'127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4']}}\n");
	assert_int_equal(discover_reload(planned.d, planned.conf), 0);
	config_free(old);
	TURN_UNTIL(planned.base, planned_pool("f3") && planned_pool("f3")->n == 3);
	TURN_UNTIL(planned.base, left_out() == 1);
	assert_int_equal(planned_pool("ns/b")->n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(pods_come_drain_and_go, planned_set_up,
					    planned_tear_down),
	    cmocka_unit_test_setup_teardown(by_address, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(replaced_as_a_whole, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(removed_by_a_reload, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(pods_that_say_nothing, planned_set_up,
					    planned_tear_down),
	    cmocka_unit_test_setup_teardown(backend_to_come, planned_set_up, planned_tear_down),
	    cmocka_unit_test_setup_teardown(slots_change_hands, planned_set_up, planned_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
