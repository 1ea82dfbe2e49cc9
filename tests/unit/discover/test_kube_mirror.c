/*
 * discover/kube/mirror: which kinds are asked for and where, when all is known, and what is told
 * of kinds that are missing, forbidden, or too many.
 */
#include "discover/kube/mirror.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/timer.h"
#include "unit/config/conf.h"
#include "unit/folder.h"
#include "unit/net/peer.h"

#define PODS "/api/v1/pods?"

/* Lists by the beginning of what is asked; watches stay silent. */
struct page {
	const char *path;
	int status;
	const char *body;
	const char *watch; /* what the first watch says before it is silent, or NULL */
	const char *later; /* the list from then on */
};

struct server {
	pthread_mutex_t lock;
	struct peer *peer;
	struct page pages[4]; /* what is none of these is empty */
	bool watched[4];
	char asked[256][200];
	int n;
};

struct bench {
	struct server server;
	struct event_base *base;
	struct config *conf;
	struct kube_mirror *m;
	struct timer *tick;
	uint64_t deadline;
	bool (*until)(struct bench *b);
	int changed[KUBE_KINDS], removed, synced;
};

static void serve(struct peer *p, int fd, int nth)
{
	static const char empty[] = "{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"5\"},"
				    "\"items\":[]}";
	struct server *s = p->arg;
	char head[4096];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		const char *target = strchr(head, ' ') + 1;
		bool watch = memmem(target, strcspn(target, " "), "watch=", 6);
		struct page page = {.status = 200, .body = empty};

		pthread_mutex_lock(&s->lock);
		if (s->n < 256)
			snprintf(s->asked[s->n++], sizeof(s->asked[0]), "%.*s",
				 (int)strcspn(target, " "), target);
		for (size_t i = 0; i < 4 && s->pages[i].path; i++)
			if (strncmp(target, s->pages[i].path, strlen(s->pages[i].path)) == 0) {
				page = s->pages[i];
				if (s->watched[i]) {
					page.watch = NULL;
					page.body = page.later ? page.later : page.body;
				}
				s->watched[i] |= watch;
			}
		pthread_mutex_unlock(&s->lock);
		if (page.status == 200 && watch) {
			if (!page.watch ||
			    (peer_say(fd, "HTTP/1.1 200 OK\r\n\r\n") && peer_say(fd, page.watch)))
				peer_mute(p, fd, 0);
			return;
		}
		if (!peer_answer(fd, page.status, "", page.body, strlen(page.body)))
			return;
	}
}

static void on_changed(enum kube_kind kind, enum kube_change change, void *arg)
{
	assert_int_not_equal(change, KUBE_SAME);
	((struct bench *)arg)->changed[kind]++;
}

static void on_removed(enum kube_kind kind, const char *namespace, const char *name, void *arg)
{
	(void)kind;
	(void)namespace;
	(void)name;
	((struct bench *)arg)->removed++;
}

static void on_synced(void *arg)
{
	((struct bench *)arg)->synced++;
}

static void on_tick(void *arg)
{
	struct bench *b = arg;

	if (b->until(b) || clock_mono_ns() > b->deadline)
		event_base_loopbreak(b->base);
}

/* @more: of the kubernetes section. */
static struct bench *start(const struct page *pages, size_t n, const char *more)
{
	struct bench *b = calloc(1, sizeof(*b));
	char text[1024];

	assert_non_null(b);
	pthread_mutex_init(&b->server.lock, NULL);
	for (size_t i = 0; i < n; i++)
		b->server.pages[i] = pages[i];
	b->server.peer = peer_start(serve, &b->server);
	snprintf(
	    text, sizeof(text),
	    "current-context: x\ncontexts: [{name: x, context: {cluster: c, namespace: told}}]\n"
	    "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u'}}]\n",
	    b->server.peer->port);
	folder_put("config", text);
	snprintf(text, sizeof(text),
		 "haproxy: {socket: /s}\npools: {}\nkubernetes:\n  kubeconfig: %s\n"
		 "  retry: 10ms\n  retry_max: 20ms\n%s",
		 folder_path("config"), more);
	b->conf = conf_of(text);
	b->base = event_base_new();
	b->tick = timer_new(b->base, on_tick, b);
	assert_int_equal(timer_every(b->tick, CLOCK_NS_PER_MS), 0);
	{
		const struct kube_mirror_hooks hooks = {on_changed, on_removed, on_synced, b};

		assert_int_equal(kube_mirror_new(b->base, b->conf, &hooks, stderr, &b->m), 0);
	}
	return b;
}

static void stop(struct bench *b)
{
	kube_mirror_free(b->m);
	timer_free(b->tick);
	assert_int_equal(event_base_get_num_events(b->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(b->base);
	peer_stop(b->server.peer);
	pthread_mutex_destroy(&b->server.lock);
	config_free(b->conf);
	free(b);
}

static void run(struct bench *b, bool (*until)(struct bench *b))
{
	b->until = until;
	b->deadline = clock_mono_ns() + 20 * CLOCK_NS_PER_S;
	event_base_dispatch(b->base);
	assert_true(until(b));
}

static bool is_synced(struct bench *b)
{
	return kube_mirror_synced(b->m);
}

/* Was that asked for? */
static bool asked(struct bench *b, const char *path)
{
	bool found = false;

	pthread_mutex_lock(&b->server.lock);
	for (int i = 0; i < b->server.n; i++)
		found |= strncmp(b->server.asked[i], path, strlen(path)) == 0;
	pthread_mutex_unlock(&b->server.lock);
	return found;
}

static struct kube_mirror_kind kind_of(struct bench *b, enum kube_kind kind)
{
	struct kube_mirror_kind k;

	kube_mirror_kind(b->m, kind, &k);
	return k;
}

/* Which kinds, and of which namespaces. */
static void test_what_is_asked(void **state)
{
	static const struct {
		const char *conf;
		const char *asked[6], *not_asked[6];
	} cases[] = {
	    {"",
	     {PODS, "/api/v1/namespaces?", "/apis/gateway.networking.k8s.io/v1/httproutes?",
	      "/apis/gateway.networking.k8s.io/v1/gatewayclasses?", "/api/v1/configmaps?"},
	     {"/api/v1/services", "/api/v1/namespaces/"}},
	    {"  routing: models\n  service: infra/gw\n  configmaps: \"\"\n",
	     {PODS, "/apis/inference.networking.k8s.io/v1/inferencepools?"},
	     {"/apis/gateway.networking.k8s.io", "/api/v1/services", "/api/v1/namespaces",
	      "/api/v1/configmaps"}},
	    {"  namespaces: [a, b]\n  service: infra/gw\n",
	     {"/api/v1/namespaces/a/pods?", "/api/v1/namespaces/b/pods?",
	      "/apis/gateway.networking.k8s.io/v1/namespaces/b/gateways?", "/api/v1/namespaces?",
	      "/api/v1/namespaces/infra/services?",
	      "/apis/gateway.networking.k8s.io/v1/gatewayclasses?"},
	     {PODS, "/api/v1/namespaces/a/services", "/api/v1/services",
	      "/api/v1/namespaces/infra/pods"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = start(NULL, 0, cases[i].conf);

		assert_false(kube_mirror_synced(b->m));
		run(b, is_synced);
		assert_true(b->synced > 0);
		for (size_t k = 0; k < 6; k++) {
			if (cases[i].asked[k] && !asked(b, cases[i].asked[k]))
				fail_msg("%zu: %s", i, cases[i].asked[k]);
			if (cases[i].not_asked[k] && asked(b, cases[i].not_asked[k]))
				fail_msg("%zu: not %s", i, cases[i].not_asked[k]);
		}
		assert_int_equal(kind_of(b, KUBE_SERVICE).watched, i == 2);
		stop(b);
	}
}

static bool is_forbidden(struct bench *b)
{
	return kind_of(b, KUBE_POD).state == KUBE_REFLECTOR_FORBIDDEN &&
	       kind_of(b, KUBE_ROUTE).synced;
}

/* A kind that is not installed is an answer, one that may not be read is none. */
static void test_missing_and_forbidden(void **state)
{
	static const struct page absent = {
	    "/apis/gateway.networking.k8s.io/v1/referencegrants", 404,
	    "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"code\":404}", NULL, NULL};
	static const struct page absent_beta = {
	    "/apis/gateway.networking.k8s.io/v1beta1/referencegrants", 404,
	    "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"code\":404}", NULL, NULL};
	static const struct page forbidden = {
	    PODS, 403,
	    "{\"kind\":\"Status\",\"message\":\"pods is forbidden\",\"reason\":\"Forbidden\","
	    "\"code\":403}",
	    NULL, NULL};
	const struct page two[] = {absent, absent_beta};
	const struct page three[] = {absent, absent_beta, forbidden};
	struct bench *b = start(two, 2, "");
	struct kube_mirror_kind k;

	(void)state;
	run(b, is_synced);
	k = kind_of(b, KUBE_GRANT);
	assert_int_equal(k.state, KUBE_REFLECTOR_ABSENT);
	assert_true(k.synced);
	assert_string_equal(k.name, "referencegrants");
	stop(b);

	b = start(three, 3, "");
	run(b, is_forbidden);
	assert_false(kube_mirror_synced(b->m));
	k = kind_of(b, KUBE_POD);
	assert_false(k.synced);
	assert_true(k.failures > 0);
	assert_non_null(strstr(k.error, "forbidden"));
	stop(b);
}

#define POD(name)                                                                                  \
	"{\"metadata\":{\"namespace\":\"a\",\"name\":\"" name "\",\"uid\":\"" name                 \
	"\",\"resourceVersion\":\"3\"}}"
#define PODS_OF(items)                                                                             \
	"{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" items "]}"

#define FOUR(a, b, c, d) POD(a) "," POD(b) "," POD(c) "," POD(d)
#define TWO_TO_9         FOUR("p2", "p3", "p4", "p5") "," FOUR("p6", "p7", "p8", "p9")
#define TEN_TO_17        FOUR("p10", "p11", "p12", "p13") "," FOUR("p14", "p15", "p16", "p17")
#define SIXTEEN          TWO_TO_9 "," TEN_TO_17

/* Past the maximum nobody new comes in, and who is there stays. */
static void test_too_many(void **state)
{
	static const struct page many[] = {
	    {PODS, 200, PODS_OF(POD("p1") "," SIXTEEN "," POD("p18")), NULL, NULL}};
	struct bench *b = start(many, 1, "  routing: models\n  max_objects: 16\n");

	(void)state;
	run(b, is_synced);
	assert_int_equal(kind_of(b, KUBE_POD).objects, 16);
	assert_int_equal(kube_mirror_left_out(b->m), 2);
	assert_int_equal(b->changed[KUBE_POD], 16);
	stop(b);
}

static bool has_p17(struct bench *b)
{
	return kube_store_find(kube_mirror_store(b->m), KUBE_POD, view_str("a"), view_str("p17")) !=
	       NULL;
}

/* Who was left out comes in when others have gone: the watch never tells of it again. */
static void test_room_again(void **state)
{
	static const struct page many[] = {{PODS, 200, PODS_OF(POD("p1") "," SIXTEEN),
					    "{\"type\":\"DELETED\",\"object\":" POD("p1") "}\n",
					    PODS_OF(SIXTEEN)}};
	struct bench *b;

	(void)state;
	b = start(many, 1, "  routing: models\n  max_objects: 16\n");
	run(b, is_synced);
	assert_false(has_p17(b));
	run(b, has_p17);
	assert_true(has_p17(b));
	stop(b);
}

/* Whose namespace: the option, POD_NAMESPACE, what the kubeconfig says. */
static void test_namespace(void **state)
{
	struct bench *b;

	(void)state;
	unsetenv("POD_NAMESPACE");
	b = start(NULL, 0, "");
	assert_string_equal(kube_mirror_namespace(b->m), "told");
	stop(b);
	setenv("POD_NAMESPACE", "pods", 1);
	b = start(NULL, 0, "");
	assert_string_equal(kube_mirror_namespace(b->m), "pods");
	stop(b);
	b = start(NULL, 0, "  namespace: mine\n");
	assert_string_equal(kube_mirror_namespace(b->m), "mine");
	stop(b);
	setenv("POD_NAMESPACE", "", 1);
	b = start(NULL, 0, "");
	assert_string_equal(kube_mirror_namespace(b->m), "told");
	stop(b);
	unsetenv("POD_NAMESPACE");
}

/* -t says what is wrong with the way to the server, and nothing is left behind. */
static void test_check(void **state)
{
	struct config *conf;
	char text[512], said[512] = "";
	FILE *err = fmemopen(said, sizeof(said), "w");

	(void)state;
	snprintf(text, sizeof(text),
		 "haproxy: {socket: /s}\nkubernetes: {kubeconfig: %s}\npools: {}\n",
		 folder_path("nowhere"));
	conf = conf_of(text);
	assert_int_equal(kube_mirror_check(conf, err), -EINVAL);
	fclose(err);
	assert_non_null(strstr(said, "nowhere"));
	config_free(conf);
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
	    cmocka_unit_test(test_what_is_asked), cmocka_unit_test(test_missing_and_forbidden),
	    cmocka_unit_test(test_too_many),      cmocka_unit_test(test_room_again),
	    cmocka_unit_test(test_namespace),     cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, setup, folder_drop);
}
