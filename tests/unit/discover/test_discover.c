/*
 * discover/ against a real HAProxy and model servers on ports of their own: found, followed,
 * reloaded, restarted, and the map kept.
 *
 * SPOA_HAPROXY names another binary, SPOA_HAPROXY_ROOT a directory to chroot into for it. Without
 * any HAProxy the test is skipped, aloud.
 */
#include "discover/discover.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include "net/http.h" /* before libevent, whose HTTP_OK is a macro */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "net/dns.h"

#define SERVERS 4
#define WAIT_S  20

/* --- model servers ---------------------------------------------------------------------------- */

struct server {
	struct evhttp *http;
	int port;
	const char *models; /* NULL: 404 */
	int asked;
	char token[64]; /* the last Authorization */
};

static struct {
	struct event_base *base;
	struct server servers[SERVERS];
	char root[256], dir[64]; /* @dir as HAProxy sees it; root + dir as we do */
	pid_t haproxy;
	struct endpoints *endpoints;
	struct http_client *http;
	struct dns *dns;
	struct config *conf;
	struct discover *d;
	int added, changed, removed;
} t;

static void serve_models(struct evhttp_request *req, void *arg)
{
	struct server *s = arg;
	const char *token =
	    evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
	struct evbuffer *body = evbuffer_new();

	s->asked++;
	snprintf(s->token, sizeof(s->token), "%s", token ? token : "");
	if (s->models) {
		evbuffer_add_printf(body, "%s", s->models);
		evhttp_send_reply(req, 200, "OK", body);
	} else {
		evhttp_send_reply(req, 503, "Loading", body);
	}
	evbuffer_free(body);
}

static void server_up(struct server *s)
{
	struct evhttp_bound_socket *bound;
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	s->http = evhttp_new(t.base);
	assert_non_null(s->http);
	bound = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", (uint16_t)s->port);
	assert_non_null(bound);
	assert_int_equal(
	    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	evhttp_set_cb(s->http, "/v1/models", serve_models, s);
}

static void server_down(struct server *s)
{
	if (s->http)
		evhttp_free(s->http);
	s->http = NULL;
}

/* --- HAProxy ---------------------------------------------------------------------------------- */

static const char *binary(void)
{
	const char *b = getenv("SPOA_HAPROXY");

	return b ? b : "/usr/sbin/haproxy";
}

static char *ours(const char *file)
{
	static char paths[4][400];
	static int at;
	char *p = paths[at++ % 4];

	snprintf(p, sizeof(paths[0]), "%s%s/%s", t.root, t.dir, file);
	return p;
}

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

static char *read_text(const char *path)
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
static void write_haproxy_cfg(const char *servers)
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
		 t.dir, t.dir, t.dir, servers, t.servers[3].port);
	write_text(ours("haproxy.cfg"), text);
}

static pid_t spawn(pid_t old)
{
	char cfg[100], pid[20];
	pid_t child;

	snprintf(cfg, sizeof(cfg), "%s/haproxy.cfg", t.dir);
	snprintf(pid, sizeof(pid), "%d", (int)old);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		FILE *out = freopen(ours("haproxy.log"), "a", stderr);

		if (!out || (t.root[0] && (chroot(t.root) < 0 || chdir("/") < 0)))
			_exit(126);
		if (old)
			execl(binary(), "haproxy", "-db", "-f", cfg, "-sf", pid, (char *)NULL);
		else
			execl(binary(), "haproxy", "-db", "-f", cfg, (char *)NULL);
		_exit(127);
	}
	return child;
}

static void turn(int ms)
{
	const struct timeval tv = {.tv_usec = ms * 1000};

	event_base_loopexit(t.base, &tv);
	event_base_dispatch(t.base);
}

#define wait_for(what)                                                                             \
	do {                                                                                       \
		time_t wait_end = time(NULL) + WAIT_S;                                             \
		while (!(what)) {                                                                  \
			if (time(NULL) > wait_end)                                                 \
				fail_msg("never: %s", #what);                                      \
			turn(20);                                                                  \
		}                                                                                  \
	} while (0)

static char *cli(const char *question)
{
	static char text[262144];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0;
	ssize_t r;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", ours("admin.sock"));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(write(fd, question, strlen(question)) > 0 && write(fd, "\n", 1) == 1);
	while ((r = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)r;
	text[len] = '\0';
	close(fd);
	return text;
}

static bool has_exited(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) == pid;
}

static void haproxy_down(void)
{
	if (t.haproxy) {
		kill(t.haproxy, SIGKILL);
		waitpid(t.haproxy, NULL, 0);
	}
	t.haproxy = 0;
}

/* --- what is looked at ------------------------------------------------------------------------ */

static const struct snapshot *now(void)
{
	return discover_snapshot(t.d);
}

static const struct pool_endpoint *endpoint(const char *pool, const char *name)
{
	for (uint32_t i = 0; i < now()->nwhole; i++)
		for (uint32_t k = 0; k < now()->pools[i].n; k++)
			if (strcmp(now()->pools[i].name, pool) == 0 &&
			    strcmp(now()->pools[i].endpoints[k].name, name) == 0)
				return &now()->pools[i].endpoints[k];
	return NULL;
}

static unsigned flags(const char *pool, const char *name)
{
	const struct pool_endpoint *e = endpoint(pool, name);

	return e ? endpoint_flags(t.endpoints, e->slot) : UINT32_MAX;
}

static const struct pool *route(const char *model, struct route_target *ret)
{
	struct route_target target;

	if (!ret)
		ret = &target;
	return route_find(now()->routes, view_str(model), 0, ret) ? &now()->pools[ret->pool] : NULL;
}

static bool map_has(const char *line)
{
	char command[100];

	snprintf(command, sizeof(command), "show map %s/models.map", t.dir);
	return strstr(cli(command), line) != NULL;
}

static bool file_has(const char *line)
{
	char *text = read_text(ours("models.map"));

	return text && strstr(text, line) != NULL;
}

static struct discover_status status(void)
{
	struct discover_status s;

	discover_status(t.d, &s);
	return s;
}

static void on_added(const struct place *p, void *arg)
{
	(void)arg;
	assert_ptr_equal(t.d ? discover_place(t.d, p->slot) : p, p);
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

static struct config *parse(const char *extra)
{
	struct config_errors errors = {0};
	struct config *conf;
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
		 ours("admin.sock"), ours("models.map"), extra);
	if (config_parse("test", text, strlen(text), &conf, &errors) < 0) {
		config_errors_print(&errors, "test", stderr);
		fail();
	}
	return conf;
}

#define TWO_POOLS "pools:\n  llama: {}\n  phi4: {}\n"

/* --- a worker, as far as this room knows one -------------------------------------------------- */

static struct {
	pthread_t thread;
	_Atomic bool stop;
	_Atomic uint64_t reads;
	struct snapshot *const *published;
} reader;

/* Reads all of what is published, again and again, under the read lock alone. */
static void *read_snapshots(void *arg)
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
					  endpoint_open(t.endpoints, s->pools[i].slots[k]);
		if (route_find(s->routes, view_str("Llama"), 0, &target))
			length += target.base.len + strlen(s->pools[target.pool].backend);
		grace_leave();
		atomic_fetch_add(&reader.reads, 1 + length / SIZE_MAX);
		nanosleep(&pause, NULL);
	}
	grace_part();
	return NULL;
}

static void agent_up(const char *pools)
{
	struct discover_env env = {
	    .base = t.base,
	    .endpoints = t.endpoints,
	    .http = t.http,
	    .dns = t.dns,
	    .places = {on_added, on_changed, on_removed, NULL},
	};

	t.conf = parse(pools);
	t.d = discover_new(&env, t.conf);
	assert_non_null(t.d);
	reader.stop = false;
	reader.reads = 0;
	reader.published = discover_published(t.d);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_snapshots, NULL), 0);
}

static void agent_down(void)
{
	reader.stop = true;
	pthread_join(reader.thread, NULL);
	t.d = discover_free(t.d);
	t.conf = config_free(t.conf);
}

static void reconfigure(const char *pools)
{
	struct config *old = t.conf;

	t.conf = parse(pools);
	assert_int_equal(discover_reload(t.d, t.conf), 0);
	config_free(old);
}

static char *three_servers(void)
{
	static char text[512];

	snprintf(text, sizeof(text),
		 "  server s1 127.0.0.1:%d maxconn 100\n"
		 "  server s2 127.0.0.1:%d\n"
		 "  server s3 127.0.0.1:%d weight 0\n",
		 t.servers[0].port, t.servers[1].port, t.servers[2].port);
	return text;
}

static int set_up(void **state)
{
	const char *root = getenv("SPOA_HAPROXY_ROOT");

	(void)state;
	memset(&t, 0, sizeof(t));
	signal(SIGPIPE, SIG_IGN);
	if (getenv("SPOA_TEST_QUIET"))
		log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	snprintf(t.root, sizeof(t.root), "%s", root ? root : "");
	{
		char template[400];

		snprintf(template, sizeof(template), "%s/tmp/discover.XXXXXX", t.root);
		assert_non_null(mkdtemp(template));
		snprintf(t.dir, sizeof(t.dir), "%s", template + strlen(t.root));
	}
	t.base = event_base_new();
	t.endpoints = endpoints_new(64);
	t.http = http_client_new(t.base, 8);
	assert_int_equal(dns_new(t.base, NULL, 0, 1000, &t.dns), 0);
	for (int i = 0; i < SERVERS; i++) {
		t.servers[i].models =
		    "{\"data\":[{\"id\":\"Llama\"},{\"id\":\"sql\",\"parent\":\"Llama\"}]}";
		server_up(&t.servers[i]);
	}
	t.servers[3].models = "{\"data\":[{\"id\":\"Phi 4\"},{\"id\":\"phi4\"}]}";
	write_text(ours("models.map"), "# nothing yet\n");
	write_haproxy_cfg(three_servers());
	return 0;
}

static int tear_down(void **state)
{
	char command[500];

	(void)state;
	if (t.d)
		agent_down();
	haproxy_down();
	for (int i = 0; i < SERVERS; i++)
		server_down(&t.servers[i]);
	http_client_free(t.http);
	dns_free(t.dns);
	endpoints_free(t.endpoints);
	event_base_free(t.base);
	snprintf(command, sizeof(command), "rm -rf '%s%s'", t.root, t.dir);
	return system(command) == 0 ? 0 : -1;
}

/* --- the tests -------------------------------------------------------------------------------- */

/* The agent is first; HAProxy and the servers are found as they come. */
static void test_found(void **state)
{
	struct route_target target;
	uint64_t version;

	(void)state;
	agent_up(TWO_POOLS);
	assert_int_equal(now()->version, 1);
	assert_int_equal(now()->npools, 2);
	assert_int_equal(now()->pools[0].n, 0);
	assert_false(now()->pools[0].known);
	assert_false(now()->ready);
	wait_for(status().haproxy.failures > 1);
	assert_false(now()->ready);

	t.haproxy = spawn(0);
	wait_for(now()->ready);
	assert_int_equal(now()->pools[0].n, 3);
	assert_true(now()->pools[0].known);
	assert_int_equal(now()->pools[1].n, 1);
	assert_int_equal(t.added, 4);
	assert_string_equal(now()->pools[0].endpoints[1].server, "s2");
	assert_int_equal(flags("llama", "s1"), 0);
	assert_int_equal(flags("llama", "s3"), ENDPOINT_DRAIN); /* weight 0 */
	assert_ptr_equal(route("Llama", &target), &now()->pools[0]);
	assert_true(view_eq(target.base, view_str("Llama")));
	assert_ptr_equal(route("sql", &target), &now()->pools[0]);
	assert_true(view_eq(target.base, view_str("Llama")));
	assert_ptr_equal(route("Phi 4", NULL), &now()->pools[1]);
	assert_null(route("nobody", NULL));

	wait_for(map_has(" Llama llama\n") && map_has(" phi4 phi4\n"));
	assert_false(map_has("Phi"));
	wait_for(status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(status().map.left_out, 1);
	assert_true(file_has("\nLlama llama\nphi4 phi4\nsql llama\n"));

	/* Nothing happens, nothing is published. */
	version = now()->version;
	for (int i = 0; i < 25; i++)
		turn(100);
	assert_int_equal(now()->version, version);
	assert_true(reader.reads > 100);
	assert_int_equal(status().map.pushes, 1);
	assert_true(status().haproxy.polls > 10);
}

static void test_states(void **state)
{
	struct endpoint_view v;
	uint32_t slot;

	(void)state;
	t.haproxy = spawn(0);
	agent_up(TWO_POOLS);
	wait_for(now()->ready);
	cli("set server llama/s1 state maint;set server llama/s2 state drain");
	wait_for(flags("llama", "s1") == ENDPOINT_MAINT && flags("llama", "s2") == ENDPOINT_DRAIN);
	cli("set server llama/s1 state ready;set server llama/s2 state ready");
	cli("set server llama/s3 weight 1");
	wait_for(!flags("llama", "s1") && !flags("llama", "s2") && !flags("llama", "s3"));
	cli("set maxconn server llama/s1 7");
	slot = endpoint("llama", "s1")->slot;
	wait_for((endpoint_view(t.endpoints, slot, &v), v.maxconn == 7));

	/* Servers that come and go; the others keep their slots. */
	{
		char command[200];

		snprintf(command, sizeof(command),
			 "add server llama/s9 127.0.0.1:%d;enable server llama/s9",
			 t.servers[3].port);
		cli(command);
	}
	wait_for(endpoint("llama", "s9"));
	assert_int_equal(now()->pools[0].n, 4);
	assert_int_equal(endpoint("llama", "s1")->slot, slot);
	/* It serves other models: everybody gets its own part of the pool. */
	wait_for(route("phi4", NULL) && route("phi4", NULL)->n == 1 &&
		 route("Llama", NULL)->n == 3);
	assert_true(now()->npools > now()->nwhole);
	cli("set server llama/s9 state maint;del server llama/s9");
	wait_for(!endpoint("llama", "s9"));
	assert_int_equal(t.removed, 1);
	assert_ptr_equal(route("phi4", NULL), &now()->pools[1]);
	assert_ptr_equal(route("Llama", NULL), &now()->pools[0]);
	assert_int_equal(discover_find_server(t.d, view_str("llama"), view_str("s1")), slot);
	assert_int_equal(discover_find_server(t.d, view_str("llama"), view_str("s9")), -ENOENT);
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
		 t.servers[0].port, t.servers[1].port, t.servers[2].port);
	write_haproxy_cfg(servers);
	t.haproxy = spawn(0);
	agent_up(TWO_POOLS);
	wait_for(now()->ready);
	assert_int_equal(flags("llama", "b1"), ENDPOINT_DRAIN);
	one = endpoint("llama", "s1")->slot;
	two = endpoint("llama", "s2")->slot;
	discover_endpoint_dead(t.d, one);
	assert_int_equal(flags("llama", "s1"), ENDPOINT_SCRAPE_DEAD);
	discover_endpoint_dead(t.d, two);
	assert_int_equal(flags("llama", "s1"), 0);
	assert_int_equal(flags("llama", "s2"), 0);
	for (int i = 0; i < 4; i++)
		turn(100);
	assert_int_equal(flags("llama", "s1"), 0);
	discover_endpoint_back(t.d, two);
	assert_int_equal(flags("llama", "s1"), ENDPOINT_SCRAPE_DEAD);
	assert_int_equal(flags("llama", "s2"), 0);
	discover_endpoint_back(t.d, one);
	assert_int_equal(flags("llama", "s1"), 0);
	/* Where HAProxy does not check, a failed scrape counts. */
	discover_endpoint_dead(t.d, endpoint("phi4", "p1")->slot);
	assert_int_equal(flags("phi4", "p1"), ENDPOINT_SCRAPE_DEAD);
	discover_endpoint_back(t.d, endpoint("phi4", "p1")->slot);
	/* Both gone for HAProxy: the backup serves. */
	server_down(&t.servers[0]);
	server_down(&t.servers[1]);
	wait_for(flags("llama", "s1") == ENDPOINT_DOWN && flags("llama", "s2") == ENDPOINT_DOWN);
	assert_int_equal(flags("llama", "b1"), 0);
	/* They are restarting: their models stay. */
	wait_for(({
		struct asker_view v;
		discover_models(t.d, one, &v);
		v.failures > 0;
	}));
	assert_non_null(route("Llama", NULL));
	server_up(&t.servers[0]);
	wait_for(flags("llama", "s1") == 0 && flags("llama", "b1") == ENDPOINT_DRAIN);
}

static void test_reload(void **state)
{
	char servers[512];
	uint32_t one, two;
	pid_t old;

	(void)state;
	t.haproxy = spawn(0);
	agent_up(TWO_POOLS);
	wait_for(now()->ready && status().map.state == MAPSYNC_CURRENT);
	one = endpoint("llama", "s1")->slot;
	two = endpoint("llama", "s2")->slot;

	/* s1 stays, under another name; s2's name goes to another address; s3 is gone. */
	snprintf(servers, sizeof(servers),
		 "  server first 127.0.0.1:%d\n  server s2 127.0.0.1:%d\n", t.servers[0].port,
		 t.servers[3].port);
	write_haproxy_cfg(servers);
	write_text(ours("models.map"), "Llama elsewhere\n");
	old = t.haproxy;
	t.haproxy = spawn(old);
	wait_for(endpoint("llama", "first"));
	assert_int_equal(endpoint("llama", "first")->slot, one);
	assert_int_not_equal(endpoint("llama", "s2")->slot, two);
	assert_null(endpoint("llama", "s3"));
	assert_int_equal(now()->pools[0].n, 2);
	/* The old worker leaves: nobody holds a connection to it. */
	wait_for(has_exited(old));
	/* Its successor started with an old map. */
	wait_for(map_has(" Llama llama\n") && !map_has("elsewhere"));
	wait_for(file_has("\nLlama llama\n") && status().map.state == MAPSYNC_CURRENT);

	/* Killed: what was known stays; back with an old map again: pushed again. */
	haproxy_down();
	wait_for(!status().haproxy.good);
	assert_int_equal(now()->pools[0].n, 2);
	assert_non_null(route("Llama", NULL));
	write_text(ours("models.map"), "");
	t.haproxy = spawn(0);
	wait_for(status().haproxy.good);
	wait_for(map_has(" Llama llama\n"));
	wait_for(file_has("\nLlama llama\n"));
	assert_int_equal(endpoint("llama", "first")->slot, one);
}

/* The agent restarts while the model servers do: HAProxy's map tells what it knew. */
static void test_seed(void **state)
{
	(void)state;
	t.haproxy = spawn(0);
	agent_up(TWO_POOLS);
	wait_for(now()->ready && status().map.state == MAPSYNC_CURRENT);
	agent_down();
	for (int i = 0; i < SERVERS; i++)
		t.servers[i].models = NULL;
	agent_up(TWO_POOLS);
	wait_for(now()->ready);
	assert_ptr_equal(route("Llama", NULL), &now()->pools[0]);
	assert_ptr_equal(route("phi4", NULL), &now()->pools[1]);
	turn(300);
	assert_true(map_has(" Llama llama\n"));
	assert_int_equal(status().map.pushes, 0);
	/* What they say themselves counts, once they say something. */
	for (int i = 0; i < SERVERS; i++)
		t.servers[i].models = "[\"New\"]";
	wait_for(route("New", NULL) && !route("Llama", NULL));
	wait_for(map_has(" New llama\n") && !map_has("Llama"));
}

static void test_config(void **state)
{
	char text[1024], path[400];
	uint32_t one, listed;

	(void)state;
	snprintf(path, sizeof(path), "%s", ours("token"));
	write_text(path, "secret-1\n");
	t.haproxy = spawn(0);
	agent_up("pools:\n  llama:\n    scrape:\n      api_key_file: /nonexistent\n  absent: {}\n"
		 "  nobody: {}\n");
	wait_for(status().haproxy.good && status().models_pending == 0 && now()->ready);
	one = endpoint("llama", "s1")->slot;
	assert_null(route("Llama", NULL));
	/* A backend that is not there is not an empty one. */
	assert_false(now()->pools[1].known);
	assert_true(now()->pools[2].known);
	assert_int_equal(now()->pools[2].n, 0);

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
		 path, t.servers[3].port, t.servers[2].port, t.servers[0].port, t.servers[1].port);
	reconfigure(text);
	wait_for(route("Llama", NULL) && route("gpt-4", NULL) && now()->npools >= 3 &&
		 now()->pools[2].n >= 2);
	assert_int_equal(endpoint("llama", "s1")->slot, one);
	assert_string_equal(t.servers[0].token, "Bearer secret-1");
	{
		struct route_target target;

		route("gpt-4", &target);
		assert_true(view_eq(target.target, view_str("Llama")));
	}
	assert_null(route("gone", NULL));
	assert_ptr_equal(route("fixed", NULL), &now()->pools[2]);
	wait_for(flags("listed", "deleted") == ENDPOINT_MAINT && flags("listed", "p1") == 0);
	snprintf(text, sizeof(text), "localhost:%d", t.servers[3].port);
	wait_for(endpoint("listed", text));
	listed = endpoint("listed", text)->slot;
	assert_null(endpoint("listed", text)->server);
	assert_non_null(strstr(discover_place(t.d, listed)->url, "http://localhost:"));
	snprintf(text, sizeof(text), "127.0.0.1:%d", t.servers[0].port);
	assert_non_null(endpoint("names", text));
	/* The map has no alias that needs a rewrite. */
	wait_for(map_has(" fixed phi4\n"));
	assert_false(map_has("gpt-4"));

	/* The token changes on the disk. */
	write_text(path, "secret-2");
	wait_for(strcmp(t.servers[0].token, "Bearer secret-2") == 0);

	/* Back to less: the others' slots are free again. */
	reconfigure("pools:\n  llama: {}\n");
	wait_for(now()->nwhole == 1);
	assert_int_equal(endpoint("llama", "s1")->slot, one);
	assert_int_equal(status().endpoints, 3);
	assert_null(discover_place(t.d, listed));
	wait_for(strcmp(t.servers[0].token, "") == 0);
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
	agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(t.d, 15000, on_settled, NULL), 0);
	wait_for(settled_called);
	assert_true(settled_value);
	assert_false(now()->ready);
	agent_down();

	t.haproxy = spawn(0);
	wait_for(access(ours("admin.sock"), F_OK) == 0);
	agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(t.d, 15000, on_settled, NULL), 0);
	wait_for(settled_called);
	assert_true(settled_value);
	assert_non_null(route("Llama", NULL));
	agent_down();

	/* A HAProxy that hangs. */
	kill(t.haproxy, SIGSTOP);
	agent_up(TWO_POOLS);
	settled_called = false;
	assert_int_equal(discover_when_settled(t.d, 200, on_settled, NULL), 0);
	wait_for(settled_called);
	assert_false(settled_value);
	kill(t.haproxy, SIGCONT);
	wait_for(now()->ready);
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
	t.servers[3].models = models;
	t.haproxy = spawn(0);
	agent_up(TWO_POOLS);
	wait_for(now()->ready && status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(status().map.entries, 3002);
	assert_int_equal(status().map.pushes, 1);
	assert_true(map_has(" organization/a-rather-long-model-name;\\-2999 phi4\n"));
	assert_true(file_has("organization/a-rather-long-model-name;\\-0000 phi4\n"));
	/* A model more: one push more. */
	t.servers[0].models = t.servers[1].models = t.servers[2].models = "[\"Llama\",\"More\"]";
	wait_for(map_has(" More llama\n") && status().map.state == MAPSYNC_CURRENT);
	assert_int_equal(status().map.failures, 0);
	t.servers[3].models = "[]";
	wait_for(!map_has("organization"));
	free(models);
}

static void test_without_haproxy(void **state)
{
	(void)state;
	print_message("there is no %s\n", binary());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_found, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_states, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_cut_off, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_seed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_config, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_settled, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_large_map, set_up, tear_down),
	};

	const struct CMUnitTest none[] = {cmocka_unit_test(test_without_haproxy)};

	if (!getenv("SPOA_HAPROXY_ROOT") && access(binary(), X_OK) < 0)
		return cmocka_run_group_tests(none, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
