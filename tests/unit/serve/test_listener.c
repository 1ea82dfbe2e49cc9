/* The door for HAProxy: who is let in, who is told why not, and what happens without descriptors.
 */
#include "unit/serve/house.h"

#include <sys/resource.h>
#include <sys/un.h>

#include "serve/listener.h"
#include "unit/serve/loop.h"
#include "unit/valgrind.h"

struct gate {
	struct house *house;
	struct loop loop;
	struct config conf;
	char text[2][96], *items[2];
	unsigned port;
	struct listener *listener;
};

static struct gate *open_gate(uint32_t connections, unsigned workers)
{
	struct gate *g = calloc(1, sizeof(*g));
	struct listener_env env;

	g->house = build();
	start_workers(g->house, workers);
	loop_init(&g->loop);
	g->port = free_port();
	snprintf(g->text[0], sizeof(g->text[0]), "127.0.0.1:%u", g->port);
	snprintf(g->text[1], sizeof(g->text[1]), "unix@/tmp/listener-%d.sock", (int)getpid());
	g->items[0] = g->text[0];
	g->items[1] = g->text[1];
	g->conf.listen.spop = (struct config_list){2, g->items};
	g->conf.listen.spop_mode = 0600;
	g->conf.listen.backlog = 64;
	g->conf.limits.connections = connections;
	env = (struct listener_env){.base = g->loop.base,
				    .workers = g->house->workers,
				    .nworkers = workers,
				    .shared = &g->house->env};
	g->listener = listener_new(&env, &g->conf);
	assert_non_null(g->listener);
	loop_start(&g->loop);
	return g;
}

static void close_gate(struct gate *g)
{
	loop_stop(&g->loop);
	listener_free(g->listener);
	assert_int_equal(access(strchr(g->text[1], '@') + 1, F_OK), -1);
	loop_deinit(&g->loop);
	demolish(g->house);
	free(g);
}

static struct peer *come(struct gate *g, bool by_file)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (by_file) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};

		strcpy(un.sun_path, strchr(g->text[1], '@') + 1);
		p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(connect(p->fd, (void *)&un, sizeof(un)), 0);
	} else {
		p->fd = dial(g->port, SOCK_STREAM);
	}
	p->buf = malloc(2 * FRAME_MAX);
	spop_client_init(&p->client, FRAME_MAX - 4, SPOP_CAP_PIPELINING, false);
	return p;
}

static void both_doors_all_workers(void **state)
{
	enum { PEERS = 40 };
	struct gate *g = open_gate(100, 4);
	struct peer *peers[PEERS];
	struct answer a;

	(void)state;
	for (unsigned i = 0; i < PEERS; i++) {
		peers[i] = come(g, i % 2);
		hello(peers[i]);
		ask(peers[i], 1, "{\"model\":\"B\"}");
		hear(peers[i], &a);
		assert_non_null(strstr(a.text, "verdict=routed"));
	}
	/* Dealt out in turn. */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(stat_get(&g->house->workers[i].stats->accepted), PEERS / 4);
	for (unsigned i = 0; i < PEERS; i++)
		leave(peers[i]);
	close_gate(g);
}

static void reload_limits(void *arg)
{
	struct gate *g = arg;

	listener_reload(g->listener, &g->conf);
}

static void past_the_limit(void **state)
{
	struct gate *g = open_gate(2, 1);
	struct peer *in[2], *out;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		in[i] = come(g, true);
		hello(in[i]);
		push(in[i], "\0\0\1", 3); /* it is not idle: more is to come */
		while (stat_get(&g->house->workers[0].stats->accepted) <= i)
			usleep(1000);
	}
	usleep(1100 * 1000);
	for (unsigned i = 0; i < 2; i++) {
		/* Without a word of its own, it is told why. */
		out = come(g, i);
		out->client.state = SPOP_CLIENT_ST_WAIT_HELLO;
		expect_goodbye(out, SPOP_ERR_RES);
		leave(out);
	}
	assert_int_equal(listener_refused(g->listener), 2);
	/* One goes, one may come. */
	leave(in[0]);
	while (atomic_load(&g->house->env.connections) > 1)
		usleep(1000);
	in[0] = come(g, false);
	hello(in[0]);
	g->conf.limits.connections = 3;
	loop_call(&g->loop, reload_limits, g);
	out = come(g, false);
	hello(out);
	leave(out);
	leave(in[0]);
	leave(in[1]);
	close_gate(g);
}

/* Who was silent for a second goes, in the order of the list; who has just come does not. */
static void the_idle_make_room(void **state)
{
	struct gate *g = open_gate(2, 1);
	struct peer *in[2], *more[2], *out;
	struct stats *stats = g->house->workers[0].stats;
	struct answer a;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		in[i] = come(g, true);
		hello(in[i]);
	}
	usleep(1100 * 1000);
	for (unsigned i = 0; i < 2; i++) {
		more[i] = come(g, true);
		hello(more[i]);
		ask(more[i], 1, "{\"model\":\"B\"}");
		hear(more[i], &a);
		expect_goodbye(in[i], SPOP_ERR_NONE);
		leave(in[i]);
	}
	assert_int_equal(stat_get(&stats->closed_by[CLOSE_MADE_ROOM]), 2);
	assert_int_equal(listener_refused(g->listener), 0);
	assert_int_equal(atomic_load(&g->house->env.connections), 2);
	push(more[0], "\0\0\1", 3);
	push(more[1], "\0\0\1", 3);
	usleep(1100 * 1000);
	out = come(g, true);
	out->client.state = SPOP_CLIENT_ST_WAIT_HELLO;
	expect_goodbye(out, SPOP_ERR_RES);
	leave(out);
	assert_int_equal(listener_refused(g->listener), 1);
	leave(more[0]);
	leave(more[1]);
	close_gate(g);
}

static void out_of_descriptors(void **state)
{
	struct gate *g;
	struct rusage before, after;
	struct rlimit old, tight;
	struct peer *p;
	int highest;
	long used_us;

	(void)state;
	if (under_valgrind())
		skip(); /* it closes what the kernel has accepted past the limit */
	g = open_gate(100, 1);
	p = come(g, false);
	hello(p);
	leave(p);
	while (atomic_load(&g->house->env.connections) > 0)
		usleep(1000);
	p = calloc(1, sizeof(*p));
	p->buf = malloc(2 * FRAME_MAX);
	spop_client_init(&p->client, FRAME_MAX - 4, SPOP_CAP_PIPELINING, false);
	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	highest = dup(0);
	close(highest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)highest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	{
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)g->port),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		assert_int_equal(connect(p->fd, (void *)&in, sizeof(in)), 0);
	}
	getrusage(RUSAGE_SELF, &before);
	usleep(1000000);
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	used_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
		   before.ru_stime.tv_sec) *
		      1000000 +
		  after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
		  before.ru_stime.tv_usec;
	/* A loop that spins takes all of that second. */
	assert_true(used_us < 400000);
	/* Who waited is served. */
	hello(p);
	leave(p);
	close_gate(g);
}

static void an_address_that_is_taken(void **state)
{
	struct gate *g = open_gate(2, 1);
	const struct listener_env env = {.base = g->loop.base,
					 .workers = g->house->workers,
					 .nworkers = 1,
					 .shared = &g->house->env};
	struct peer *p;

	(void)state;
	assert_null(listener_new(&env, &g->conf));
	/* Also where only the second one is: the first was ours and is gone again. */
	snprintf(g->text[0], sizeof(g->text[0]), "unix@/tmp/listener-%d-b.sock", (int)getpid());
	assert_null(listener_new(&env, &g->conf));
	assert_int_equal(access(strchr(g->text[0], '@') + 1, F_OK), -1);
	p = come(g, true);
	hello(p);
	leave(p);
	close_gate(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_doors_all_workers),   cmocka_unit_test(past_the_limit),
	    cmocka_unit_test(the_idle_make_room),       cmocka_unit_test(out_of_descriptors),
	    cmocka_unit_test(an_address_that_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
