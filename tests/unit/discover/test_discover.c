/* discover/ against a real HAProxy and model servers: found, followed, reconfigured. */
#include "discover/discover.h"

#include <errno.h>

#include "unit/discover/machine.h"

/* The agent is first; HAProxy and the servers are found as they come. */
static void test_found(void **state)
{
	struct route_target target;
	uint64_t version;

	(void)state;
	machine_agent_up(TWO_POOLS);
	assert_int_equal(machine_now()->version, 1);
	assert_int_equal(machine_now()->npools, 2);
	assert_int_equal(machine_now()->pools[0].n, 0);
	assert_false(machine_now()->pools[0].known);
	assert_false(machine_now()->ready);
	TURN_UNTIL(machine.base, machine_status().haproxy.failures > 1);
	assert_false(machine_now()->ready);

	machine.haproxy = machine_haproxy(0);
	TURN_UNTIL(machine.base, machine_now()->ready);
	assert_int_equal(machine_now()->pools[0].n, 3);
	assert_true(machine_now()->pools[0].known);
	assert_int_equal(machine_now()->pools[1].n, 1);
	assert_int_equal(machine.places.added, 4);
	assert_string_equal(machine_now()->pools[0].endpoints[1].server, "s2");
	assert_int_equal(machine_flags("llama", "s1"), 0);
	assert_int_equal(machine_flags("llama", "s3"), ENDPOINT_DRAIN); /* weight 0 */
	assert_ptr_equal(machine_route("Llama", &target), &machine_now()->pools[0]);
	assert_true(view_eq(target.base, view_str("Llama")));
	assert_ptr_equal(machine_route("sql", &target), &machine_now()->pools[0]);
	assert_true(view_eq(target.base, view_str("Llama")));
	assert_ptr_equal(machine_route("Phi 4", NULL), &machine_now()->pools[1]);
	assert_null(machine_route("nobody", NULL));

	TURN_UNTIL(machine.base,
		   machine_map_has(" Llama llama\n") && machine_map_has(" phi4 phi4\n"));
	assert_false(machine_map_has("Phi"));
	TURN_UNTIL(machine.base, machine_status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(machine_status().map.left_out, 1);
	assert_true(machine_file_has("\nLlama llama\nphi4 phi4\nsql llama\n"));

	/* Nothing happens, nothing is published. */
	version = machine_now()->version;
	for (int i = 0; i < 25; i++)
		turn_for(machine.base, 100);
	assert_int_equal(machine_now()->version, version);
	assert_true(reader.reads > 100);
	assert_int_equal(machine_status().map.pushes, 1);
	assert_true(machine_status().haproxy.polls > 10);
}

static void test_states(void **state)
{
	struct endpoint_view v;
	uint32_t slot;

	(void)state;
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base, machine_now()->ready);
	machine_cli("set server llama/s1 state maint;set server llama/s2 state drain");
	TURN_UNTIL(machine.base, machine_flags("llama", "s1") == ENDPOINT_MAINT &&
				     machine_flags("llama", "s2") == ENDPOINT_DRAIN);
	machine_cli("set server llama/s1 state ready;set server llama/s2 state ready");
	machine_cli("set server llama/s3 weight 1");
	TURN_UNTIL(machine.base, !machine_flags("llama", "s1") && !machine_flags("llama", "s2") &&
				     !machine_flags("llama", "s3"));
	machine_cli("set maxconn server llama/s1 7");
	slot = machine_endpoint("llama", "s1")->slot;
	TURN_UNTIL(machine.base, (endpoint_view(machine.endpoints, slot, &v), v.maxconn == 7));

	/* Servers that come and go; the others keep their slots. */
	{
		char command[200];

		snprintf(command, sizeof(command),
			 "add server llama/s9 127.0.0.1:%d;enable server llama/s9",
			 machine.servers[3].port);
		machine_cli(command);
	}
	TURN_UNTIL(machine.base, machine_endpoint("llama", "s9"));
	assert_int_equal(machine_now()->pools[0].n, 4);
	assert_int_equal(machine_endpoint("llama", "s1")->slot, slot);
	/* It serves other models: everybody gets its own part of the pool. */
	TURN_UNTIL(machine.base, machine_route("phi4", NULL) &&
				     machine_route("phi4", NULL)->n == 1 &&
				     machine_route("Llama", NULL)->n == 3);
	assert_true(machine_now()->npools > machine_now()->nwhole);
	machine_cli("set server llama/s9 state maint;del server llama/s9");
	TURN_UNTIL(machine.base, !machine_endpoint("llama", "s9"));
	assert_int_equal(machine.places.removed, 1);
	assert_ptr_equal(machine_route("phi4", NULL), &machine_now()->pools[1]);
	assert_ptr_equal(machine_route("Llama", NULL), &machine_now()->pools[0]);
	assert_int_equal(discover_find_server(machine.d, view_str("llama"), view_str("s1")), slot);
	assert_int_equal(discover_find_server(machine.d, view_str("llama"), view_str("s9")),
			 -ENOENT);
}

/* HAProxy's checks say up and no scrape succeeds: the agent is the one who is cut off. */
static void test_cut_off(void **state)
{
	char servers[512];
	uint32_t one, two;

	(void)state;
	snprintf(servers, sizeof(servers),
		 "  server s1 127.0.0.1:%d check inter 100ms\n  server s2 127.0.0.1:%d check inter "
		 "100ms\n"
		 "  server b1 127.0.0.1:%d backup\n",
		 machine.servers[0].port, machine.servers[1].port, machine.servers[2].port);
	machine_haproxy_cfg(servers);
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(TWO_POOLS);
	TURN_UNTIL(machine.base, machine_now()->ready);
	assert_int_equal(machine_flags("llama", "b1"), ENDPOINT_BACKUP);
	one = machine_endpoint("llama", "s1")->slot;
	two = machine_endpoint("llama", "s2")->slot;
	discover_endpoint_dead(machine.d, one);
	assert_int_equal(machine_flags("llama", "s1"), ENDPOINT_SCRAPE_DEAD);
	discover_endpoint_dead(machine.d, two);
	assert_int_equal(machine_flags("llama", "s1"), 0);
	assert_int_equal(machine_flags("llama", "s2"), 0);
	for (int i = 0; i < 4; i++)
		turn_for(machine.base, 100);
	assert_int_equal(machine_flags("llama", "s1"), 0);
	discover_endpoint_back(machine.d, two);
	assert_int_equal(machine_flags("llama", "s1"), ENDPOINT_SCRAPE_DEAD);
	assert_int_equal(machine_flags("llama", "s2"), 0);
	discover_endpoint_back(machine.d, one);
	assert_int_equal(machine_flags("llama", "s1"), 0);
	/* Where HAProxy does not check, a failed scrape counts. */
	discover_endpoint_dead(machine.d, machine_endpoint("phi4", "p1")->slot);
	assert_int_equal(machine_flags("phi4", "p1"), ENDPOINT_SCRAPE_DEAD);
	discover_endpoint_back(machine.d, machine_endpoint("phi4", "p1")->slot);
	/* Both gone for HAProxy: the backup serves. */
	modelserver_down(&machine.servers[0]);
	modelserver_down(&machine.servers[1]);
	TURN_UNTIL(machine.base, machine_flags("llama", "s1") == ENDPOINT_DOWN &&
				     machine_flags("llama", "s2") == ENDPOINT_DOWN);
	assert_int_equal(machine_flags("llama", "b1"), 0);
	/* They are restarting: their models stay. */
	TURN_UNTIL(machine.base, ({
			   struct asker_view v;
			   discover_models(machine.d, one, &v);
			   v.failures > 0;
		   }));
	assert_non_null(machine_route("Llama", NULL));
	modelserver_up(&machine.servers[0], machine.base);
	TURN_UNTIL(machine.base, machine_flags("llama", "s1") == 0 &&
				     machine_flags("llama", "b1") == ENDPOINT_BACKUP);
}

static void test_config(void **state)
{
	char text[1024], path[400];
	uint32_t one, listed;

	(void)state;
	snprintf(path, sizeof(path), "%s", machine_path("token"));
	machine_write(path, "secret-1\n");
	machine.haproxy = machine_haproxy(0);
	machine_agent_up(
	    "pools:\n  llama:\n    scrape:\n      api_key_file: /nonexistent\n  absent: {}\n"
	    "  nobody: {}\n");
	TURN_UNTIL(machine.base, machine_status().haproxy.good &&
				     machine_status().models_pending == 0 && machine_now()->ready);
	one = machine_endpoint("llama", "s1")->slot;
	assert_null(machine_route("Llama", NULL));
	/* A backend that is not there is not an empty one. */
	assert_false(machine_now()->pools[1].known);
	assert_true(machine_now()->pools[2].known);
	assert_int_equal(machine_now()->pools[2].n, 0);

	/* A token, an alias, a listed pool beside: the old servers keep their slots. */
	snprintf(text, sizeof(text),
		 "pools:\n"
		 "  llama:\n"
		 "    policy: round-robin\n"
		 "    scrape:\n"
		 "      api_key_file: %s\n"
		 "    aliases:\n"
		 "      gpt-4: Llama\n"
		 "      gone: nobody-serves-this\n"
		 "  listed:\n"
		 "    backend: phi4\n"
		 "    endpoints:\n"
		 "      - localhost:%d\n"
		 "      - address: 127.0.0.1:%d\n"
		 "        server: p1\n"
		 "      - address: 127.0.0.1:1\n"
		 "        server: deleted\n"
		 "  names:\n"
		 "    backend: phi4\n"
		 "    models: [fixed]\n"
		 "    dns: localhost:%d,%d\n",
		 path, machine.servers[3].port, machine.servers[2].port, machine.servers[0].port,
		 machine.servers[1].port);
	machine_reconfigure(text);
	TURN_UNTIL(machine.base, machine_route("Llama", NULL) && machine_route("gpt-4", NULL) &&
				     machine_now()->npools >= 3 && machine_now()->pools[2].n >= 2);
	assert_int_equal(machine_endpoint("llama", "s1")->slot, one);
	assert_string_equal(machine.servers[0].token, "Bearer secret-1");
	{
		struct route_target target;

		machine_route("gpt-4", &target);
		assert_true(view_eq(target.target, view_str("Llama")));
	}
	assert_null(machine_route("gone", NULL));
	assert_ptr_equal(machine_route("fixed", NULL), &machine_now()->pools[2]);
	TURN_UNTIL(machine.base, machine_flags("listed", "deleted") == ENDPOINT_MAINT &&
				     machine_flags("listed", "p1") == 0);
	snprintf(text, sizeof(text), "localhost:%d", machine.servers[3].port);
	TURN_UNTIL(machine.base, machine_endpoint("listed", text));
	listed = machine_endpoint("listed", text)->slot;
	assert_null(machine_endpoint("listed", text)->server);
	assert_non_null(strstr(discover_place(machine.d, listed)->url, "http://localhost:"));
	snprintf(text, sizeof(text), "127.0.0.1:%d", machine.servers[0].port);
	assert_non_null(machine_endpoint("names", text));
	/* The map has no alias that needs a rewrite. */
	TURN_UNTIL(machine.base, machine_map_has(" fixed phi4\n"));
	assert_false(machine_map_has("gpt-4"));

	/* The token changes on the disk. */
	machine_write(path, "secret-2");
	TURN_UNTIL(machine.base, strcmp(machine.servers[0].token, "Bearer secret-2") == 0);

	/* Back to less: the others' slots are free again. */
	machine_reconfigure("pools:\n  llama: {}\n");
	TURN_UNTIL(machine.base, machine_now()->nwhole == 1);
	assert_int_equal(machine_endpoint("llama", "s1")->slot, one);
	assert_int_equal(machine_status().endpoints, 3);
	assert_null(discover_place(machine.d, listed));
	TURN_UNTIL(machine.base, strcmp(machine.servers[0].token, "") == 0);
}

static bool settled_called, settled_value;

static void on_settled(bool settled, void *arg)
{
	(void)arg;
	settled_called = true;
	settled_value = settled;
}

static void test_settled(void **state)
{
	(void)state;
	/* Nobody there: it ends all the same. */
	machine_agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(machine.d, 15000, on_settled, NULL), 0);
	TURN_UNTIL(machine.base, settled_called);
	assert_true(settled_value);
	assert_false(machine_now()->ready);
	machine_agent_down();

	machine.haproxy = machine_haproxy(0);
	TURN_UNTIL(machine.base, access(machine_path("admin.sock"), F_OK) == 0);
	machine_agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(machine.d, 15000, on_settled, NULL), 0);
	TURN_UNTIL(machine.base, settled_called);
	assert_true(settled_value);
	assert_non_null(machine_route("Llama", NULL));
	machine_agent_down();

	/* A HAProxy that hangs. */
	kill(machine.haproxy, SIGSTOP);
	machine_agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(machine.d, 200, on_settled, NULL), 0);
	TURN_UNTIL(machine.base, settled_called);
	assert_false(settled_value);
	kill(machine.haproxy, SIGCONT);
	TURN_UNTIL(machine.base, machine_now()->ready);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_found, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_states, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_cut_off, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_config, machine_set_up, machine_tear_down),
	    cmocka_unit_test_setup_teardown(test_settled, machine_set_up, machine_tear_down),
	};

	return MACHINE_RUN(tests);
}
