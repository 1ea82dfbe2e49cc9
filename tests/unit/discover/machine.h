/*
 * A machine with a real HAProxy and four model servers on ports of their own, discover/ on it, and
 * a thread that reads what is published as workers do.
 *
 * SPOA_HAPROXY names another binary, SPOA_HAPROXY_ROOT a directory to chroot into for it. Without
 * any HAProxy the tests are skipped, aloud.
 */
#ifndef UNIT_DISCOVER_MACHINE_H
#define UNIT_DISCOVER_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit/discover/modelserver.h" /* net/http.h before libevent */
#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "discover/discover.h"
#include "net/dns.h"
#include "unit/config/conf.h"
#include "unit/discover/places.h"
#include "unit/discover/turn.h"

#define MACHINE_SERVERS 4

static struct {
	struct event_base *base;
	struct modelserver servers[MACHINE_SERVERS];
	char root[256], dir[64]; /* @dir as HAProxy sees it; root + dir as we do */
	pid_t haproxy;
	struct endpoints *endpoints;
	struct http_client *http;
	struct dns *dns;
	struct config *conf;
	struct discover *d;
	struct places places;
} machine;

static inline const char *machine_binary(void)
{
	const char *b = getenv("SPOA_HAPROXY");

	return b ? b : "/usr/sbin/haproxy";
}

static inline char *machine_path(const char *file)
{
	static char paths[4][400];
	static int at;
	char *p = paths[at++ % 4];

	snprintf(p, sizeof(paths[0]), "%s%s/%s", machine.root, machine.dir, file);
	return p;
}

static inline void machine_write(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

static inline char *machine_read(const char *path)
{
	static char text[65536];
	FILE *in = fopen(path, "r");
	size_t n;

	if (!in)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, in);
	text[n] = '\0';
	fclose(in);
	return text;
}

/* @servers: the server lines of backend llama. */
static inline void machine_haproxy_cfg(const char *servers)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 "global\n"
		 "  stats socket %s/admin.sock mode 600 level admin\n"
		 "defaults\n"
		 "  mode http\n"
		 "  timeout connect 1s\n"
		 "  timeout client 5s\n"
		 "  timeout server 5s\n"
		 "frontend f\n"
		 "  bind unix@%s/front.sock\n"
		 "  use_backend %%[req.hdr(x-model),map(%s/models.map)]\n"
		 "backend llama\n"
		 "  balance leastconn\n"
		 "%s"
		 "backend phi4\n"
		 "  balance roundrobin\n"
		 "  server p1 127.0.0.1:%d\n"
		 "backend nobody\n",
		 machine.dir, machine.dir, machine.dir, servers, machine.servers[3].port);
	machine_write(machine_path("haproxy.cfg"), text);
}

static inline pid_t machine_haproxy(pid_t old)
{
	char cfg[100], pid[20];
	pid_t child;

	snprintf(cfg, sizeof(cfg), "%s/haproxy.cfg", machine.dir);
	snprintf(pid, sizeof(pid), "%d", (int)old);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		FILE *out = freopen(machine_path("haproxy.log"), "a", stderr);

		if (!out || (machine.root[0] && (chroot(machine.root) < 0 || chdir("/") < 0)))
			_exit(126);
		if (old)
			execl(machine_binary(), "haproxy", "-db", "-f", cfg, "-sf", pid,
			      (char *)NULL);
		else
			execl(machine_binary(), "haproxy", "-db", "-f", cfg, (char *)NULL);
		_exit(127);
	}
	return child;
}

static inline char *machine_cli(const char *question)
{
	static char text[262144];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0;
	ssize_t r;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", machine_path("admin.sock"));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(write(fd, question, strlen(question)) > 0 && write(fd, "\n", 1) == 1);
	while ((r = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)r;
	text[len] = '\0';
	close(fd);
	return text;
}

static inline bool machine_exited(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) == pid;
}

static inline void machine_haproxy_down(void)
{
	if (machine.haproxy) {
		kill(machine.haproxy, SIGKILL);
		waitpid(machine.haproxy, NULL, 0);
	}
	machine.haproxy = 0;
}

static inline const struct snapshot *machine_now(void)
{
	return discover_snapshot(machine.d);
}

static inline const struct pool_endpoint *machine_endpoint(const char *pool, const char *name)
{
	for (uint32_t i = 0; i < machine_now()->nwhole; i++)
		for (uint32_t k = 0; k < machine_now()->pools[i].n; k++)
			if (strcmp(machine_now()->pools[i].name, pool) == 0 &&
			    strcmp(machine_now()->pools[i].endpoints[k].name, name) == 0)
				return &machine_now()->pools[i].endpoints[k];
	return NULL;
}

static inline unsigned machine_flags(const char *pool, const char *name)
{
	const struct pool_endpoint *e = machine_endpoint(pool, name);

	return e ? endpoint_flags(machine.endpoints, e->slot) : UINT32_MAX;
}

static inline const struct pool *machine_route(const char *model, struct route_target *ret)
{
	struct route_target target;

	if (!ret)
		ret = &target;
	return route_find(machine_now()->routes, view_str(model), 0, ret)
		   ? &machine_now()->pools[ret->pool]
		   : NULL;
}

static inline bool machine_map_has(const char *line)
{
	char command[100];

	snprintf(command, sizeof(command), "show map %s/models.map", machine.dir);
	return strstr(machine_cli(command), line) != NULL;
}

static inline bool machine_file_has(const char *line)
{
	char *text = machine_read(machine_path("models.map"));

	return text && strstr(text, line) != NULL;
}

static inline struct discover_status machine_status(void)
{
	struct discover_status s;

	discover_status(machine.d, &s);
	return s;
}

static inline void machine_added(const struct place *p, void *arg)
{
	assert_ptr_equal(machine.d ? discover_place(machine.d, p->slot) : p, p);
	places_added(p, arg);
}

static inline struct config *machine_conf(const char *extra)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 "haproxy:\n"
		 "  socket: %s\n"
		 "  poll: 100ms\n"
		 "  map_file: %s\n"
		 "scrape:\n"
		 "  models_interval: 1s\n"
		 "dns:\n"
		 "  min_ttl: 100ms\n"
		 "%s",
		 machine_path("admin.sock"), machine_path("models.map"), extra);
	return conf_of(text);
}

#define TWO_POOLS "pools:\n  llama: {}\n  phi4: {}\n"

static struct {
	pthread_t thread;
	_Atomic bool stop;
	_Atomic uint64_t reads;
	struct snapshot *const *published;
} reader;

/* Reads all of what is published, again and again, under the read lock alone. */
static inline void *machine_reads(void *arg)
{
	uint64_t version = 0;

	(void)arg;
	grace_join();
	while (!atomic_load(&reader.stop)) {
		const struct timespec pause = {.tv_nsec = 200000};
		const struct snapshot *s;
		struct route_target target;
		size_t length = 0;

		grace_enter();
		s = grace_read(reader.published);
		assert_true(s->version >= version);
		version = s->version;
		for (uint32_t i = 0; i < s->npools; i++)
			for (uint32_t k = 0; k < s->pools[i].n; k++)
				length += strlen(s->pools[i].endpoints[k].name) +
					  endpoint_open(machine.endpoints, s->pools[i].slots[k]);
		if (route_find(s->routes, view_str("Llama"), 0, &target))
			length += target.base.len + strlen(s->pools[target.pool].backend);
		grace_leave();
		atomic_fetch_add(&reader.reads, 1 + length / SIZE_MAX);
		nanosleep(&pause, NULL);
	}
	grace_part();
	return NULL;
}

static inline void machine_agent_up(const char *pools)
{
	struct discover_env env = {
	    .base = machine.base,
	    .endpoints = machine.endpoints,
	    .http = machine.http,
	    .dns = machine.dns,
	    .places = {machine_added, places_changed, places_removed, &machine.places},
	};

	machine.conf = machine_conf(pools);
	machine.d = discover_new(&env, machine.conf);
	assert_non_null(machine.d);
	reader.stop = false;
	reader.reads = 0;
	reader.published = discover_published(machine.d);
	assert_int_equal(pthread_create(&reader.thread, NULL, machine_reads, NULL), 0);
}

static inline void machine_agent_down(void)
{
	reader.stop = true;
	pthread_join(reader.thread, NULL);
	machine.d = discover_free(machine.d);
	machine.conf = config_free(machine.conf);
}

static inline void machine_reconfigure(const char *pools)
{
	struct config *old = machine.conf;

	machine.conf = machine_conf(pools);
	assert_int_equal(discover_reload(machine.d, machine.conf), 0);
	config_free(old);
}

static inline char *machine_three_servers(void)
{
	static char text[512];

	snprintf(text, sizeof(text),
		 "  server s1 127.0.0.1:%d maxconn 100\n"
		 "  server s2 127.0.0.1:%d\n"
		 "  server s3 127.0.0.1:%d weight 0\n",
		 machine.servers[0].port, machine.servers[1].port, machine.servers[2].port);
	return text;
}

static inline int machine_set_up(void **state)
{
	const char *root = getenv("SPOA_HAPROXY_ROOT");

	(void)state;
	memset(&machine, 0, sizeof(machine));
	signal(SIGPIPE, SIG_IGN);
	if (getenv("SPOA_TEST_QUIET"))
		log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	snprintf(machine.root, sizeof(machine.root), "%s", root ? root : "");
	{
		char template[400];

		snprintf(template, sizeof(template), "%s/tmp/discover.XXXXXX", machine.root);
		assert_non_null(mkdtemp(template));
		snprintf(machine.dir, sizeof(machine.dir), "%s", template + strlen(machine.root));
	}
	machine.base = event_base_new();
	machine.endpoints = endpoints_new(64);
	machine.http = http_client_new(machine.base, 8);
	assert_int_equal(dns_new(machine.base, NULL, 0, 1000, &machine.dns), 0);
	for (int i = 0; i < MACHINE_SERVERS; i++) {
		machine.servers[i].models =
		    "{\"data\":[{\"id\":\"Llama\"},{\"id\":\"sql\",\"parent\":\"Llama\"}]}";
		modelserver_up(&machine.servers[i], machine.base);
	}
	machine.servers[3].models = "{\"data\":[{\"id\":\"Phi 4\"},{\"id\":\"phi4\"}]}";
	machine_write(machine_path("models.map"), "# nothing yet\n");
	machine_haproxy_cfg(machine_three_servers());
	return 0;
}

static inline int machine_tear_down(void **state)
{
	char command[500];

	(void)state;
	if (machine.d)
		machine_agent_down();
	machine_haproxy_down();
	for (int i = 0; i < MACHINE_SERVERS; i++)
		modelserver_down(&machine.servers[i]);
	http_client_free(machine.http);
	dns_free(machine.dns);
	endpoints_free(machine.endpoints);
	event_base_free(machine.base);
	snprintf(command, sizeof(command), "rm -rf '%s%s'", machine.root, machine.dir);
	return system(command) == 0 ? 0 : -1;
}

static inline void machine_is_missing(void **state)
{
	(void)state;
	print_message("there is no %s\n", machine_binary());
	skip();
}

/* @tests where there is a HAProxy. */
#define MACHINE_RUN(tests)                                                                         \
	(getenv("SPOA_HAPROXY_ROOT") || access(machine_binary(), X_OK) == 0                        \
	     ? cmocka_run_group_tests(tests, NULL, NULL)                                           \
	     : cmocka_run_group_tests(machine_missing, NULL, NULL))

static const struct CMUnitTest machine_missing[] = {cmocka_unit_test(machine_is_missing)};

#endif
