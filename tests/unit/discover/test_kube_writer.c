/* discover/kube/writer against a server of the test: what is sent, in which order, what is tried
 * again and what is told. */
#include "discover/kube/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/access.h"
#include "net/timer.h"
#include "unit/folder.h"
#include "unit/net/peer.h"

#define MANY 64

static const struct kube_resource pools = {"inference.networking.k8s.io", "v1", "inferencepools"};
static const struct kube_resource classes = {"gateway.networking.k8s.io", "v1", "gatewayclasses"};

/* The server: answers the n-th write by the n-th status of its script, afterwards 200. */
struct server {
	pthread_mutex_t lock;
	struct peer *peer;
	int script[MANY];
	const char *headers;
	int nscript, n, now, most; /* most: at the same time */
	bool held;                 /* answers wait */
	char line[512][200], type[512][64], body[512][128];
	long at_ms[512];
};

static long ms_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void header(const char *head, const char *name, char *out, size_t size)
{
	const char *at = strcasestr(head, name);

	out[0] = '\0';
	if (at)
		snprintf(out, size, "%.*s", (int)strcspn(at + strlen(name), "\r"),
			 at + strlen(name));
}

static void serve(struct peer *p, int fd, int nth)
{
	struct server *s = p->arg;
	char head[4096], length[32], text[256];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		size_t len, got = 0;
		int n, status;

		header(head, "\r\nContent-Length: ", length, sizeof(length));
		len = (size_t)atoi(length);
		pthread_mutex_lock(&s->lock);
		n = s->n++;
		s->at_ms[n] = ms_now();
		if (++s->now > s->most)
			s->most = s->now;
		snprintf(s->line[n], sizeof(s->line[n]), "%.*s", (int)strcspn(head, "\r"), head);
		header(head, "\r\nContent-Type: ", s->type[n], sizeof(s->type[n]));
		status = n < s->nscript ? s->script[n] : 200;
		pthread_mutex_unlock(&s->lock);
		assert(len < sizeof(s->body[n]));
		while (got < len) {
			ssize_t r = recv(fd, s->body[n] + got, len - got, 0);

			if (r <= 0)
				return;
			got += (size_t)r;
		}
		for (bool held = true; held && !p->stop;) {
			pthread_mutex_lock(&s->lock);
			held = s->held;
			pthread_mutex_unlock(&s->lock);
			if (held)
				usleep(500);
		}
		pthread_mutex_lock(&s->lock);
		s->now--;
		pthread_mutex_unlock(&s->lock);
		if (status == 0) /* cut */
			return;
		snprintf(text, sizeof(text),
			 "{\"kind\":\"Status\",\"code\":%d,\"message\":\"%d of the test\"}", status,
			 status);
		if (!peer_answer(fd, status, s->headers ? s->headers : "", text, strlen(text)))
			return;
	}
}

struct told {
	char name[64], namespace[64];
	enum kube_failure failure;
};

struct world {
	struct server server;
	struct event_base *base;
	struct kube_access *access;
	struct kube_client *client;
	struct kube_writer *w;
	struct timer *tick;
	struct told told[512];
	int ntold, idle, wanted;
	bool by_time, again;
	long deadline_ms;
};

static void on_done(const struct kube_resource *resource, const char *namespace, const char *name,
		    const struct kube_result *result, void *arg)
{
	struct world *w = arg;
	struct told *t = &w->told[w->ntold++];

	assert_non_null(resource->plural);
	assert_true(result->message[0] != '\0');
	snprintf(t->name, sizeof(t->name), "%s", name);
	snprintf(t->namespace, sizeof(t->namespace), "%s", namespace);
	t->failure = result->failure;
	if (w->again) {
		/* The owner may wish anew, the same object too. */
		struct kube_wish wish = {.resource = *resource,
					 .namespace = namespace,
					 .name = name,
					 .body = VIEW_LIT("{\"again\":1}")};

		w->again = false;
		assert_int_equal(kube_writer_put(w->w, &wish), 0);
	}
}

static void on_idle(void *arg)
{
	((struct world *)arg)->idle++;
}

static void on_tick(void *arg)
{
	struct world *w = arg;
	bool enough;

	pthread_mutex_lock(&w->server.lock);
	enough = !w->by_time && w->server.n >= w->wanted;
	pthread_mutex_unlock(&w->server.lock);
	if ((enough && !kube_writer_stats(w->w).under_way) || ms_now() > w->deadline_ms)
		event_base_loopbreak(w->base);
}

static struct world *world_new(struct kube_writer_conf conf)
{
	static const struct kube_writer_hooks hooks = {on_done, on_idle};
	struct world *w = calloc(1, sizeof(*w));
	struct kube_access_conf access = {0};
	struct config_errors errors;
	char text[256];

	pthread_mutex_init(&w->server.lock, NULL);
	w->server.peer = peer_start(serve, &w->server);
	w->base = event_base_new();
	snprintf(text, sizeof(text),
		 "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n"
		 "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u/base'}}]\n",
		 w->server.peer->port);
	access.kubeconfig = folder_put("config", text);
	assert_int_equal(kube_access_new(&access, &errors, &w->access), 0);
	config_errors_deinit(&errors);
	w->client = kube_client_new(w->base, w->access);
	if (!conf.retry_ms)
		conf.retry_ms = 1;
	if (!conf.retry_max_ms)
		conf.retry_max_ms = 4;
	w->w = kube_writer_new(w->client, &conf, &hooks, w);
	w->tick = timer_new(w->base, on_tick, w);
	assert_int_equal(timer_every(w->tick, CLOCK_NS_PER_MS), 0);
	return w;
}

static void world_free(struct world *w)
{
	kube_writer_free(w->w);
	kube_client_free(w->client);
	kube_access_free(w->access);
	timer_free(w->tick);
	assert_int_equal(event_base_get_num_events(w->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(w->base);
	peer_stop(w->server.peer);
	free(w);
}

/* Until the server has seen @n writes and none is under way. */
static void run(struct world *w, int n)
{
	w->wanted = n;
	w->by_time = false;
	w->deadline_ms = ms_now() + 20000;
	event_base_dispatch(w->base);
	assert_true(w->server.n >= n);
}

static void pass(struct world *w, int ms)
{
	w->by_time = true;
	w->deadline_ms = ms_now() + ms;
	event_base_dispatch(w->base);
}

/* Until the server has read the heads of @n writes, answered or not. */
static void seen(struct world *w, int n)
{
	int now = 0;

	for (int i = 0; i < 10000 && now < n; i++) {
		pass(w, 2);
		pthread_mutex_lock(&w->server.lock);
		now = w->server.n;
		pthread_mutex_unlock(&w->server.lock);
	}
	assert_int_equal(now, n);
}

static void hold(struct world *w, bool held)
{
	pthread_mutex_lock(&w->server.lock);
	w->server.held = held;
	pthread_mutex_unlock(&w->server.lock);
}

static void script(struct world *w, int n, const int *statuses)
{
	memcpy(w->server.script, statuses, (size_t)n * sizeof(int));
	w->server.nscript = n;
}
#define SCRIPT(w, ...)                                                                             \
	script(w, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]){__VA_ARGS__})

static int put(struct world *w, const char *name, const char *body)
{
	struct kube_wish wish = {.resource = pools,
				 .namespace = "ns",
				 .name = name,
				 .patch = KUBE_PATCH_MERGE,
				 .body = view_str(body)};

	return kube_writer_put(w->w, &wish);
}

static void test_what_is_sent(void **state)
{
	struct world *w = world_new((struct kube_writer_conf){0});
	struct kube_wish wish = {.resource = classes, .name = "x", .patch = KUBE_PATCH_JSON};

	(void)state;
	assert_int_equal(put(w, "a", "{\"a\":1}"), 0);
	assert_int_equal(w->server.n, 0);
	run(w, 1);
	assert_string_equal(w->server.line[0],
			    "PATCH /base/apis/inference.networking.k8s.io/v1/namespaces/ns/"
			    "inferencepools/a/status?fieldManager=spoa-inference HTTP/1.1");
	assert_string_equal(w->server.type[0], "application/merge-patch+json");
	assert_string_equal(w->server.body[0], "{\"a\":1}");
	assert_int_equal(w->ntold, 1);
	assert_int_equal(w->told[0].failure, KUBE_OK);
	assert_string_equal(w->told[0].name, "a");
	assert_string_equal(w->told[0].namespace, "ns");
	assert_int_equal(w->idle, 1);
	wish.body = VIEW_LIT("[]");
	assert_int_equal(kube_writer_put(w->w, &wish), 0);
	run(w, 2);
	assert_string_equal(w->server.line[1], "PATCH /base/apis/gateway.networking.k8s.io/v1/"
					       "gatewayclasses/x/status"
					       "?fieldManager=spoa-inference HTTP/1.1");
	assert_string_equal(w->server.type[1], "application/json-patch+json");
	assert_string_equal(w->told[1].namespace, "");
	wish.name = "../x";
	assert_int_equal(kube_writer_put(w->w, &wish), -EINVAL);
	wish.name = "";
	assert_int_equal(kube_writer_put(w->w, &wish), -EINVAL);
	world_free(w);
}

/* The newest wish for an object counts; one that waits is replaced, one under way is waited for. */
static void test_newest(void **state)
{
	struct world *w = world_new((struct kube_writer_conf){0});
	struct kube_writer_stats s;

	(void)state;
	assert_int_equal(put(w, "a", "1"), 0);
	assert_int_equal(put(w, "a", "2"), 0);
	hold(w, true);
	seen(w, 1);
	assert_int_equal(put(w, "a", "3"), 0);
	assert_int_equal(put(w, "a", "4"), 0);
	assert_int_equal(put(w, "b", "5"), 0);
	seen(w, 2);
	s = kube_writer_stats(w->w);
	assert_int_equal(s.under_way, 2);
	assert_int_equal(s.waiting, 0);
	assert_int_equal(s.replaced, 3);
	hold(w, false);
	run(w, 3);
	assert_string_equal(w->server.body[0], "2");
	assert_string_equal(w->server.body[1], "5");
	assert_string_equal(w->server.body[2], "4");
	/* The end of 2 is not told: 4 took its place. */
	assert_int_equal(w->ntold, 2);
	assert_int_equal(kube_writer_stats(w->w).written, 3);
	/* What was dropped is not sent, what is under way ends. */
	hold(w, true);
	assert_int_equal(put(w, "a", "6"), 0);
	seen(w, 4);
	assert_int_equal(put(w, "a", "7"), 0);
	kube_writer_drop(w->w, &pools, "ns", "a");
	assert_int_equal(put(w, "c", "8"), 0);
	kube_writer_drop(w->w, &pools, "ns", "c");
	kube_writer_drop(w->w, &pools, "ns", "unheard-of");
	hold(w, false);
	run(w, 4);
	pass(w, 30);
	assert_int_equal(w->server.n, 4);
	assert_int_equal(w->ntold, 3);
	/* An owner that wishes again from inside. */
	w->again = true;
	assert_int_equal(put(w, "d", "9"), 0);
	run(w, 6);
	assert_string_equal(w->server.body[5], "{\"again\":1}");
	world_free(w);
}

static void test_bounds(void **state)
{
	struct world *w = world_new((struct kube_writer_conf){.max_wishes = 20, .at_a_time = 3});
	char name[16];

	(void)state;
	hold(w, true);
	for (int i = 0; i < 25; i++) {
		snprintf(name, sizeof(name), "o%d", i);
		assert_int_equal(put(w, name, "1"), i < 20 ? 0 : -ENOBUFS);
	}
	assert_int_equal(put(w, "o19", "2"), 0);
	assert_int_equal(kube_writer_stats(w->w).overflows, 5);
	seen(w, 3);
	pass(w, 20);
	assert_int_equal(w->server.n, 3);
	hold(w, false);
	run(w, 20);
	assert_int_equal(w->server.most, 3);
	assert_int_equal(w->ntold, 20);
	assert_int_equal(w->idle, 1);
	assert_int_equal(put(w, "o24", "1"), 0);
	run(w, 21);
	world_free(w);
}

/* What passes is tried again until it is done; what does not is told. */
static void test_failures(void **state)
{
	static const struct {
		int status;
		enum kube_failure told; /* KUBE_OK: after trying again */
	} cases[] = {{0, KUBE_OK},        {401, KUBE_OK},        {403, KUBE_OK},
		     {429, KUBE_OK},      {500, KUBE_OK},        {503, KUBE_OK},
		     {504, KUBE_OK},      {404, KUBE_NOT_FOUND}, {409, KUBE_CONFLICT},
		     {422, KUBE_INVALID}, {400, KUBE_INVALID}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = world_new((struct kube_writer_conf){0});
		bool again = cases[i].told == KUBE_OK;

		SCRIPT(w, cases[i].status, cases[i].status, cases[i].status);
		if (!again)
			w->server.nscript = 1;
		assert_int_equal(put(w, "a", "1"), 0);
		run(w, again ? 4 : 1);
		assert_int_equal(w->ntold, 1);
		assert_int_equal(w->told[0].failure, cases[i].told);
		assert_int_equal(kube_writer_stats(w->w).retries, again ? 3 : 0);
		assert_int_equal(w->idle, 1);
		if (again)
			assert_string_equal(w->server.body[3], "1");
		world_free(w);
	}
}

/* The server's trouble makes all wait, so that one asks and not a hundred; an object's own trouble
 * does not hold up the others. */
static void test_who_waits(void **state)
{
	struct world *w = world_new(
	    (struct kube_writer_conf){.retry_ms = 300, .retry_max_ms = 300, .at_a_time = 1});

	(void)state;
	SCRIPT(w, 503);
	assert_int_equal(put(w, "sick", "1"), 0);
	assert_int_equal(put(w, "well", "2"), 0);
	run(w, 3);
	assert_string_equal(w->server.body[1], "2");
	assert_string_equal(w->server.body[2], "1");
	assert_true(w->server.at_ms[2] - w->server.at_ms[0] >= 300);
	w->server.n = 0;
	w->server.headers = "Retry-After: 1\r\n";
	SCRIPT(w, 429);
	assert_int_equal(put(w, "a", "1"), 0);
	assert_int_equal(put(w, "b", "2"), 0);
	run(w, 3);
	assert_true(w->server.at_ms[1] - w->server.at_ms[0] >= 1000);
	assert_string_equal(w->server.body[1], "1");
	assert_string_equal(w->server.body[2], "2");
	world_free(w);
}

/* Gone while much waits and some is under way; freed as well. */
static void test_server_gone(void **state)
{
	struct world *w = world_new((struct kube_writer_conf){0});
	char name[16];

	(void)state;
	hold(w, true);
	SCRIPT(w, 0, 0, 0, 0, 200, 0, 0, 0);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "o%d", i);
		assert_int_equal(put(w, name, "1"), 0);
	}
	pass(w, 20);
	hold(w, false);
	for (int i = 0; i < 10000 && w->ntold < 10; i++)
		pass(w, 2);
	assert_int_equal(w->ntold, 10);
	assert_true(w->server.n >= 17);
	for (int i = 0; i < 10; i++)
		assert_int_equal(w->told[i].failure, KUBE_OK);
	hold(w, true);
	assert_int_equal(put(w, "x", "1"), 0);
	assert_int_equal(put(w, "y", "1"), 0);
	pass(w, 20);
	assert_int_equal(put(w, "x", "2"), 0);
	world_free(w);
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return folder_make(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_sent), cmocka_unit_test(test_newest),
	    cmocka_unit_test(test_bounds),       cmocka_unit_test(test_failures),
	    cmocka_unit_test(test_who_waits),    cmocka_unit_test(test_server_gone),
	};

	return cmocka_run_group_tests(tests, setup, folder_drop);
}
