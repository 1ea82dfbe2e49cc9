/* HAProxy's runtime answers, recorded from 2.6, 3.0, 3.2 and 3.4, and made-up ones. */
#include "discover/runtime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "unit/golden.h"
#include "unit/guard.h"

static const char *const versions[] = {"2.6", "3.0", "3.2", "3.4"};
#define NVERSIONS (sizeof(versions) / sizeof(versions[0]))

struct want_server {
	const char *backend, *server, *addr;
	int port, op;
	unsigned admin;
	uint32_t weight;
	bool ssl;
};

/* What the recorded configuration sets up; the same in all versions. */
static const struct want_server servers[] = {
    {"llama", "s1", "127.0.0.1", 18001, RUNTIME_RUNNING, 0, 10, false},
    {"llama", "s2", "127.0.0.1", 18009, RUNTIME_STOPPED, 0, 1, false},
    {"llama", "s3", "::1", 18003, RUNTIME_RUNNING, 0, 0, false},
    {"llama", "s4", "127.0.0.1", 18004, RUNTIME_STOPPED, RUNTIME_FMAINT | RUNTIME_CMAINT, 1, true},
    {"llama", "s5", NULL, 0, RUNTIME_RUNNING, 0, 1, false},
    {"llama", "s6", "127.0.0.1", 18006, RUNTIME_STOPPED, RUNTIME_FMAINT, 1, false},
    {"llama", "s7", "127.0.0.1", 18007, RUNTIME_RUNNING, 0, 1, false},
    {"llama", "s8", "127.0.0.1", 18008, RUNTIME_STOPPED, RUNTIME_IMAINT, 1, false},
    {"phi4", "p1", "127.0.0.1", 18011, RUNTIME_RUNNING, 0, 1, false},
    {"phi4", "p2", "127.0.0.1", 18012, RUNTIME_RUNNING, RUNTIME_FDRAIN, 1, false},
    {"templ", "t1", NULL, 0, RUNTIME_STOPPED, RUNTIME_RMAINT, 1, false},
    {"templ", "t2", NULL, 0, RUNTIME_STOPPED, RUNTIME_RMAINT, 1, false},
    {"templ", "t3", NULL, 0, RUNTIME_STOPPED, RUNTIME_RMAINT, 1, false},
};

struct want_stat {
	const char *backend, *server, *status;
	uint32_t limit;
	bool unchecked, backup;
};

static const struct want_stat stats[] = {
    {"llama", "s1", "UP", 4, false, false},
    {"llama", "s2", "DOWN", 0, false, false},
    {"llama", "s3", "no check", 0, true, false},
    {"llama", "s4", "MAINT", 0, false, false},
    {"llama", "s5", "no check", 0, true, false},
    {"llama", "s6", "MAINT", 0, false, true},
    {"llama", "s7", "UP", 0, false, false},
    {"llama", "s8", "MAINT (via llama/s4)", 0, false, false},
    {"llama", "BACKEND", "UP", 0, false, false},
    {"phi4", "p1", "no check", 100, true, false},
    {"phi4", "p2", "DRAIN", 0, false, false},
    {"phi4", "BACKEND", "UP", 0, false, false},
    {"nobody", "BACKEND", "UP", 0, false, false},
    {"templ", "t1", "MAINT (resolution)", 0, false, false},
    {"templ", "t2", "MAINT (resolution)", 0, false, false},
    {"templ", "t3", "MAINT (resolution)", 0, false, false},
    {"templ", "BACKEND", "DOWN", 0, false, false},
};

static struct view poll_text(size_t version)
{
	char name[64];

	snprintf(name, sizeof(name), "runtime/%s-poll.txt", versions[version]);
	return golden_read(name);
}

static void assert_view(struct view v, const char *text)
{
	if (!view_eq(v, view_str(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)v.len, v.ptr, text);
}

static void assert_address(const struct sockaddr_storage *a, const char *addr, int port)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (!addr) {
		assert_int_equal(a->ss_family, 0);
	} else if (strchr(addr, ':')) {
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;

		assert_int_equal(a->ss_family, AF_INET6);
		inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
		assert_int_equal(ntohs(six->sin6_port), port);
		assert_string_equal(text, addr);
	} else {
		const struct sockaddr_in *four = (const struct sockaddr_in *)a;

		assert_int_equal(a->ss_family, AF_INET);
		inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
		assert_int_equal(ntohs(four->sin_port), port);
		assert_string_equal(text, addr);
	}
}

static void check_recorded(struct view text, const char *version)
{
	struct runtime_answer a;
	struct runtime_info info;
	struct runtime_table t;
	struct runtime_server server;
	struct runtime_stat stat;

	assert_int_equal(runtime_split(text, &a), 0);
	assert_null(a.error.ptr);
	assert_int_equal(runtime_info(a.info, &info), 0);
	assert_memory_equal(info.version.ptr, version, strlen(version));
	assert_true(info.pid > 0);
	assert_false(info.stopping);

	assert_int_equal(runtime_servers(a.servers, &t), 0);
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		const struct want_server *w = &servers[i];

		assert_int_equal(runtime_servers_next(&t, &server), 1);
		assert_view(server.backend, w->backend);
		assert_view(server.server, w->server);
		assert_address(&server.addr, w->addr, w->port);
		assert_int_equal(server.op, w->op);
		assert_int_equal(server.admin, w->admin);
		assert_int_equal(server.weight, w->weight);
		assert_int_equal(server.ssl, w->ssl);
		if (strcmp(w->backend, "templ") == 0)
			assert_view(server.fqdn, "model.invalid");
		else
			assert_null(server.fqdn.ptr);
	}
	assert_int_equal(runtime_servers_next(&t, &server), 0);

	assert_int_equal(runtime_stats(a.stat, &t), 0);
	for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
		const struct want_stat *w = &stats[i];

		assert_int_equal(runtime_stats_next(&t, &stat), 1);
		assert_view(stat.backend, w->backend);
		assert_view(stat.server, w->server);
		assert_view(stat.status, w->status);
		assert_int_equal(stat.is_backend, strcmp(w->server, "BACKEND") == 0);
		if (!stat.is_backend)
			assert_int_equal(stat.limit, w->limit);
		assert_int_equal(stat.unchecked, w->unchecked);
		assert_int_equal(stat.backup, w->backup);
	}
	assert_int_equal(runtime_stats_next(&t, &stat), 0);
}

static void test_recorded(void **state)
{
	(void)state;
	for (size_t v = 0; v < NVERSIONS; v++) {
		struct view text = poll_text(v);
		struct guard g = guard_new(text.len);

		check_recorded(guard_put(&g, text), versions[v]);
		guard_free(&g);
		free((char *)text.ptr);
	}
}

/* Reads whatever there is; only that it ends, and in bounds, is looked at. */
static void walk(struct view text)
{
	struct runtime_answer a;
	struct runtime_info info;
	struct runtime_table t;
	struct runtime_server server;
	struct runtime_stat stat;
	struct runtime_map map;
	struct runtime_pair pair;
	struct view rest = text;
	int r = runtime_split(text, &a);

	(void)r;
	if (a.info.ptr)
		(void)!runtime_info(a.info, &info);
	if (a.servers.ptr && runtime_servers(a.servers, &t) == 0)
		while (runtime_servers_next(&t, &server) > 0)
			continue;
	if (a.stat.ptr && runtime_stats(a.stat, &t) == 0)
		while (runtime_stats_next(&t, &stat) > 0)
			continue;
	while (runtime_maps_next(&rest, &map))
		continue;
	rest = text;
	while (runtime_pairs_next(&rest, &pair))
		continue;
	(void)runtime_prepared(text);
}

/* However early HAProxy stops talking, the answer is not taken for a whole one. */
static void test_truncated(void **state)
{
	(void)state;
	for (size_t v = 0; v < NVERSIONS; v++) {
		struct view text = poll_text(v);
		struct guard g = guard_new(text.len);
		struct runtime_answer a;

		for (size_t len = 0; len < text.len; len++) {
			struct view cut = guard_put(&g, (struct view){text.ptr, len});

			assert_int_equal(runtime_split(cut, &a), -EAGAIN);
			walk(cut);
		}
		guard_free(&g);
		free((char *)text.ptr);
	}
}

static int split(const char *text, struct runtime_answer *a)
{
	return runtime_split(view_str(text), a);
}

#define INFO    "Name: HAProxy\nVersion: 9.9\nPid: 7\nUptime_sec: 3\nStopping: 1\n\n"
#define SERVERS "1\n# be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n"
#define STAT    "# pxname,svname,status,scur,qcur,slim,\n"

static void test_parts(void **state)
{
	struct runtime_answer a;
	struct runtime_info info;

	(void)state;
	/* No servers at all: tables of a header alone. */
	assert_int_equal(split(INFO SERVERS "\n" STAT "\n", &a), 0);
	assert_int_equal(runtime_info(a.info, &info), 0);
	assert_true(info.stopping);
	assert_int_equal(info.uptime_s, 3);
	/* Another order is as good. */
	assert_int_equal(split(STAT "\n" SERVERS "\n" INFO, &a), 0);
	assert_int_equal(split("Permission denied\n\n" INFO "Permission denied\n\n", &a), -EACCES);
	assert_view(a.error, "Permission denied");
	assert_int_equal(split("Unknown command: 'show'\n  help\n\n" INFO, &a), -EPROTO);
	assert_view(a.error, "Unknown command: 'show'");
	assert_int_equal(split("SSH-2.0-OpenSSH\r\n\r\n", &a), -EPROTO);
	assert_int_equal(split("\n\n\n", &a), -EAGAIN);
	assert_int_equal(runtime_info(view_str("Name: HAProxy\nPid: x\n"), &info), -EPROTO);
}

static void test_columns(void **state)
{
	struct runtime_table t;
	struct runtime_server s;
	struct runtime_stat st;

	(void)state;
	/* By name, in any place, with others between; two optional ones are missing here. */
	assert_int_equal(runtime_servers(view_str("1\n# srv_port new srv_uweight srv_admin_state "
						  "srv_op_state srv_addr srv_name be_name more\n"
						  "8000 ? 3 8 2 10.1.2.3 a b !\n"),
					 &t),
			 0);
	assert_int_equal(runtime_servers_next(&t, &s), 1);
	assert_view(s.backend, "b");
	assert_view(s.server, "a");
	assert_address(&s.addr, "10.1.2.3", 8000);
	assert_int_equal(s.admin, RUNTIME_FDRAIN);
	assert_int_equal(s.weight, 3);
	assert_false(s.ssl);
	assert_int_equal(runtime_servers_next(&t, &s), 0);

	assert_int_equal(runtime_servers(view_str("2\n# be_name\n"), &t), -EPROTO);
	assert_int_equal(runtime_servers(view_str("1\n# be_name srv_name\n"), &t), -EPROTO);
	assert_int_equal(runtime_servers(view_str("1\n"), &t), -EPROTO);
	assert_int_equal(runtime_servers(view_str(""), &t), -EPROTO);
	/* A line that is too short is an error, not a server. */
	assert_int_equal(runtime_servers(view_str(SERVERS "b s 10.1.1.1 2 0 1\n"), &t), 0);
	assert_int_equal(runtime_servers_next(&t, &s), -EPROTO);
	assert_int_equal(runtime_servers(view_str(SERVERS " s 10.1.1.1 2 0 1 80\n"), &t), 0);
	assert_int_equal(runtime_servers_next(&t, &s), -EPROTO);
	{
		static const char nul[] = SERVERS "b s\0t 10.1.1.1 2 0 1 80\n";

		assert_int_equal(runtime_servers((struct view){nul, sizeof(nul) - 1}, &t), 0);
		assert_int_equal(runtime_servers_next(&t, &s), -EPROTO);
	}
	/* No address to speak of. */
	assert_int_equal(runtime_servers(view_str(SERVERS "b s 0.0.0.0 2 0 1 80\n"
							  "b s :: 2 0 1 80\nb s 10.0.0.1 2 0 1 0\n"
							  "b s 10.0.0.1 2 0 1 65536\n"
							  "b s 10.0.0.1.1 2 0 1 80\n"
							  "b s abns@x 2 0 1 80\n"),
					 &t),
			 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(runtime_servers_next(&t, &s), 1);
		assert_int_equal(s.addr.ss_family, 0);
	}
	/* Numbers past every bound. */
	assert_int_equal(
	    runtime_servers(view_str(SERVERS "b s 10.0.0.1 2 99999999999999999999 -1 80\n"), &t),
	    0);
	assert_int_equal(runtime_servers_next(&t, &s), 1);
	assert_int_equal(s.admin, UINT32_MAX);
	assert_int_equal(s.weight, 1);

	/* Quoted fields may hold commas, and quotes doubled. */
	assert_int_equal(
	    runtime_stats(view_str("# pxname,last_chk,svname,status,scur,qcur,slim,bck\n"
				   "b,\"a, \"\"b\"\", c\",s,DOWN 1/2,5,6,7,1\n"
				   "b,\"never closed,s,UP,1,1,1,0\n"),
			  &t),
	    0);
	assert_int_equal(runtime_stats_next(&t, &st), 1);
	assert_view(st.server, "s");
	assert_view(st.status, "DOWN 1/2");
	assert_int_equal(st.current, 5);
	assert_int_equal(st.queued, 6);
	assert_int_equal(st.limit, 7);
	assert_true(st.backup);
	assert_int_equal(runtime_stats_next(&t, &st), -EPROTO);
}

static void test_maps(void **state)
{
	(void)state;
	for (size_t v = 0; v < NVERSIONS; v++) {
		char name[64];
		struct view text, rest;
		struct runtime_map map;
		struct runtime_pair pair;

		snprintf(name, sizeof(name), "runtime/%s-maps.txt", versions[v]);
		text = rest = golden_read(name);
		assert_true(runtime_maps_next(&rest, &map));
		assert_view(map.path, "/etc/haproxy/models.map");
		assert_true(map.id.len > 0);
		assert_false(runtime_maps_next(&rest, &map));
		free((char *)text.ptr);

		snprintf(name, sizeof(name), "runtime/%s-map2.txt", versions[v]);
		text = rest = golden_read(name);
		assert_true(runtime_whole(&rest));
		assert_true(runtime_pairs_next(&rest, &pair));
		assert_view(pair.key, "a;b");
		assert_view(pair.value, "phi4");
		for (int i = 0; i < 4; i++)
			assert_true(runtime_pairs_next(&rest, &pair));
		assert_view(pair.key, "\xc3\xa9");
		assert_true(runtime_pairs_next(&rest, &pair));
		assert_view(pair.key, "");
		assert_view(pair.value, "lead llama");
		assert_false(runtime_pairs_next(&rest, &pair));
		free((char *)text.ptr);
	}
}

static void test_small(void **state)
{
	struct view v = view_str("# id (file) description\n"
				 "-1 () acl 'src' file 'x' line 3\n"
				 "4 (/a (b)/m.map) pattern loaded from file '/a (b)/m.map' used\n"
				 "x (/no) pattern\n9 (virt@m)\n10 (cut");
	struct runtime_map map;
	struct view w;

	(void)state;
	assert_true(runtime_maps_next(&v, &map));
	assert_view(map.id, "4");
	assert_view(map.path, "/a (b)/m.map");
	assert_true(runtime_maps_next(&v, &map));
	assert_view(map.path, "virt@m");
	assert_false(runtime_maps_next(&v, &map));

	w = view_str("\n");
	assert_true(runtime_whole(&w));
	assert_int_equal(w.len, 0);
	w = view_str("a\n\n");
	assert_true(runtime_whole(&w));
	w = view_str("a\n");
	assert_false(runtime_whole(&w));
	w = view_str("");
	assert_false(runtime_whole(&w));

	assert_int_equal(runtime_prepared(view_str("New version created: 17\n")), 17);
	assert_int_equal(runtime_prepared(view_str("New version created: \n")), -EPROTO);
	assert_int_equal(runtime_prepared(view_str("Unknown map identifier.")), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_recorded), cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_parts),    cmocka_unit_test(test_columns),
	    cmocka_unit_test(test_maps),     cmocka_unit_test(test_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
