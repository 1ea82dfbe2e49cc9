/* HAProxy reloaded or killed, the agent restarted, and the map that outlives both. */
#include "discover/discover.h"

#include "unit/discover/machine.h"

static void test_reload(void **state)
{
	char servers[512];
	uint32_t one, two;
	pid_t old;

	(void)state;
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base,
		   machine_now()->ready && machine_status().map.state == MAPSYNC_CURRENT);
	one = machine_endpoint("llama", "s1")->slot;
	two = machine_endpoint("llama", "s2")->slot;

	/* s1 stays, under another name; s2's name goes to another address; s3 is gone. */
	snprintf(servers, sizeof(servers),
		 "  server first 127.0.0.1:%d\n  server s2 127.0.0.1:%d\n", machine.servers[0].port,
		 machine.servers[3].port);
	machine_haproxy_cfg(servers);
	machine_write(machine_path("models.map"), "Llama elsewhere\n");
	old = machine.haproxy;
	machine.haproxy = machine_haproxy(old);
	TURN_UNTIL(machine.base, machine_endpoint("llama", "first"));
	assert_int_equal(machine_endpoint("llama", "first")->slot, one);
	assert_int_not_equal(machine_endpoint("llama", "s2")->slot, two);
	assert_null(machine_endpoint("llama", "s3"));
	assert_int_equal(machine_now()->pools[0].n, 2);
	/* The old worker leaves: nobody holds a connection to it. */
	TURN_UNTIL(machine.base, machine_exited(old));
	/* Its successor started with an old map. */
	TURN_UNTIL(machine.base,
		   machine_map_has(" Llama llama\n") && !machine_map_has("elsewhere"));
	TURN_UNTIL(machine.base, machine_file_has("\nLlama llama\n") &&
				     machine_status().map.state == MAPSYNC_CURRENT);

	/* Killed: what was known stays; back with an old map again: pushed again. */
	machine_haproxy_down();
	TURN_UNTIL(machine.base, !machine_status().haproxy.good);
	assert_int_equal(machine_now()->pools[0].n, 2);
	assert_non_null(machine_route("Llama", NULL));
	machine_write(machine_path("models.map"), "");
	machine.haproxy = machine_haproxy(0);
	TURN_UNTIL(machine.base, machine_status().haproxy.good);
	TURN_UNTIL(machine.base, machine_map_has(" Llama llama\n"));
	TURN_UNTIL(machine.base, machine_file_has("\nLlama llama\n"));
	assert_int_equal(machine_endpoint("llama", "first")->slot, one);
}

/* The agent restarts while the model servers do: HAProxy's map tells what it knew. */
static void test_seed(void **state)
{
	(void)state;
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base,
		   machine_now()->ready && machine_status().map.state == MAPSYNC_CURRENT);
	machine_agent_down();
	for (int i = 0; i < MACHINE_SERVERS; i++)
		machine.servers[i].models = NULL;
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base, machine_now()->ready);
	assert_ptr_equal(machine_route("Llama", NULL), &machine_now()->pools[0]);
	assert_ptr_equal(machine_route("phi4", NULL), &machine_now()->pools[1]);
	turn_for(machine.base, 300);
	assert_true(machine_map_has(" Llama llama\n"));
	assert_int_equal(machine_status().map.pushes, 0);
	/* What they say themselves counts, once they say something. */
	for (int i = 0; i < MACHINE_SERVERS; i++)
		machine.servers[i].models = "[\"New\"]";
	TURN_UNTIL(machine.base, machine_route("New", NULL) && !machine_route("Llama", NULL));
	TURN_UNTIL(machine.base, machine_map_has(" New llama\n") && !machine_map_has("Llama"));
}

/* More entries than one command of HAProxy's can hold. */
static void test_large_map(void **state)
{
	size_t size = 400000, used = 1;
	char *models = malloc(size);

	(void)state;
	assert_non_null(models);
	models[0] = '[';
	for (int i = 0; i < 3000; i++)
		used += (size_t)snprintf(models + used, size - used,
					 "%s\"organization/a-rather-long-model-name;\\\\-%04d\"",
					 i ? "," : "", i);
	strcpy(models + used, "]");
	machine.servers[3].models = models;
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base,
		   machine_now()->ready && machine_status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(machine_status().map.entries, 3002);
	assert_int_equal(machine_status().map.pushes, 1);
	assert_true(machine_map_has(" organization/a-rather-long-model-name;\\-2999 phi4\n"));
	assert_true(machine_file_has("organization/a-rather-long-model-name;\\-0000 phi4\n"));
	/* A model more: one push more. */
	machine.servers[0].models = machine.servers[1].models = machine.servers[2].models =
	    "[\"Llama\",\"More\"]";
	TURN_UNTIL(machine.base, machine_map_has(" More llama\n") &&
				     machine_status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(machine_status().map.failures, 0);
	machine.servers[3].models = "[]";
	TURN_UNTIL(machine.base, !machine_map_has("organization"));
	free(models);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_reload, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_seed, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_large_map, machine_set_up, machine_tear_down),
	};

	return MACHINE_RUN(tests);
}
