/* discover/kube/reflector against an API server of the test, over real connections, with every
 * fault that list and watch can meet. What is held here must be what the server holds in the end,
 * and nothing that exists may ever be told as removed. */
#include "discover/kube/reflector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cJSON.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/access.h"
#include "net/timer.h"
#include "unit/discover/apiserver.h"

static char dir[] = "/tmp/test_kube_reflector.XXXXXX";

struct world {
	struct api *api;
	struct event_base *base;
	struct kube_access *access;
	struct kube_client *client;
	struct kube_reflector *r;
	struct timer *tick;
	bool (*until)(struct world *w);
	long deadline_ms;

	long held[API_OBJECTS];
	int begins, syncs, upserts, removes, states, odd;
	bool trusting; /* a removal is not compared with the server */
	enum kube_reflector_state state, seen[8];
};

static int number(const char *name)
{
	assert_int_equal(name[0], 'o');
	return atoi(name + 1);
}

static void on_begin(void *arg)
{
	((struct world *)arg)->begins++;
}

static void on_upsert(const struct cJSON *object, void *arg)
{
	struct world *w = arg;
	const cJSON *m = cJSON_GetObjectItem(object, "metadata");
	const char *name = cJSON_GetObjectItem(m, "name")->valuestring;

	w->upserts++;
	/* managedFields are left out on the way. */
	if (cJSON_GetArraySize(cJSON_GetObjectItem(m, "managedFields")) != 0)
		w->odd++;
	if (name[0] != 'o') {
		w->odd++;
		return;
	}
	w->held[number(name)] = atol(cJSON_GetObjectItem(m, "resourceVersion")->valuestring);
}

static void on_remove(const char *namespace, const char *name, void *arg)
{
	struct world *w = arg;
	int n = number(name);
	bool there;

	assert_string_equal(namespace, "ns");
	w->removes++;
	w->held[n] = 0;
	/* It may have come back by now, but then under a later version. */
	API_WITH(w->api, there = w->api->held[n] && w->api->held[n] < w->api->version - 50);
	if (there && !w->trusting)
		fail_msg("o%d exists", n);
}

static void on_synced(void *arg)
{
	((struct world *)arg)->syncs++;
}

static void on_state(const struct kube_reflector_status *s, void *arg)
{
	struct world *w = arg;

	w->states++;
	w->state = s->state;
	w->seen[s->state]++;
}

static void on_tick(void *arg)
{
	struct world *w = arg;

	if (w->until(w) || api_ms() > w->deadline_ms)
		event_base_loopbreak(w->base);
}

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/new", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	{
		char to[128];

		snprintf(to, sizeof(to), "%s/%s", dir, name);
		assert_int_equal(rename(path, to), 0);
	}
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct kube_access_conf conf = {0};
	struct config_errors errors;
	char text[512], path[128];

	w->api = api_start();
	w->base = event_base_new();
	snprintf(text, sizeof(text),
		 "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
		 "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u'}}]\n"
		 "users: [{name: u, user: {tokenFile: token}}]\n",
		 w->api->peer->port);
	put("token", "one");
	put("config", text);
	snprintf(path, sizeof(path), "%s/config", dir);
	conf.kubeconfig = path;
	assert_int_equal(kube_access_new(&conf, &errors, &w->access), 0);
	config_errors_deinit(&errors);
	w->client = kube_client_new(w->base, w->access);
	w->tick = timer_new(w->base, on_tick, w);
	assert_int_equal(timer_every(w->tick, 2 * CLOCK_NS_PER_MS), 0);
	return w;
}

static struct kube_reflector_conf conf_of(void)
{
	return (struct kube_reflector_conf){
	    .resource = {"inference.networking.k8s.io", "v1", "inferencepools"},
	    .page = 7,
	    .watch_s = 20,
	    .idle_ms = 5000,
	    .retry_ms = 1,
	    .retry_max_ms = 20,
	    .absent_ms = 1,
	};
}

static void start(struct world *w, struct kube_reflector_conf conf)
{
	static const struct kube_reflector_hooks hooks = {on_begin, on_upsert, on_remove, on_synced,
							  on_state};

	w->r = kube_reflector_new(w->client, &conf, &hooks, w);
	assert_non_null(w->r);
}

static void world_free(struct world *w)
{
	kube_reflector_free(w->r);
	kube_client_free(w->client);
	kube_access_free(w->access);
	timer_free(w->tick);
	assert_int_equal(event_base_get_num_events(w->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(w->base);
	api_free(w->api);
	free(w);
}

/* Runs the loop until @until; that it happens at all is the test's, when is not. */
static void run(struct world *w, bool (*until)(struct world *w))
{
	w->until = until;
	w->deadline_ms = api_ms() + 20000;
	event_base_dispatch(w->base);
	if (!until(w)) {
		const struct kube_reflector_status *s = kube_reflector_status(w->r);

		fail_msg("never: state %s, version %s, objects %zu, last %s %s: %s",
			 kube_reflector_state_name(s->state), s->version, s->objects, s->verb,
			 kube_failure_name(s->last.failure), s->last.message);
	}
}

static bool same(struct world *w)
{
	bool same;

	API_WITH(w->api, same = memcmp(w->held, w->api->held, sizeof(w->held)) == 0);
	return same && w->state == KUBE_REFLECTOR_WATCHING;
}

static bool nothing(struct world *w)
{
	(void)w;
	return false;
}

/* For so long, whatever happens. */
static void pass(struct world *w, int ms)
{
	w->until = nothing;
	w->deadline_ms = api_ms() + ms;
	event_base_dispatch(w->base);
}

static void populate(struct world *w, int n)
{
	for (int i = 0; i < n; i++)
		api_event(w->api, 'A', i, NULL);
}

/* The n-th request whose target holds @text. */
static const char *asked(struct world *w, const char *text, int n)
{
	const char *found = NULL;

	API_WITH(
	    w->api, for (int i = 0; i < w->api->nasked && !found; i++) {
		    if (strstr(w->api->asked[i], text) && n-- == 0)
			    found = w->api->asked[i];
	    });
	return found;
}

static void test_plain(void **state)
{
	struct world *w = world_new();
	const struct kube_reflector_status *s;
	char wanted[256];

	(void)state;
	populate(w, 50);
	start(w, conf_of());
	assert_int_equal(API_GET(w->api, nasked), 0);
	run(w, same);
	assert_int_equal(w->begins, 1);
	assert_int_equal(w->syncs, 1);
	assert_int_equal(w->upserts, 50);
	assert_int_equal(w->odd, 0);
	assert_int_equal(API_GET(w->api, lists), 8); /* pages of 7 */
	assert_string_equal(asked(w, "", 0), "/apis/inference.networking.k8s.io/v1/inferencepools"
					     "?limit=7&resourceVersion=0");
	assert_string_equal(asked(w, "", 1), "/apis/inference.networking.k8s.io/v1/inferencepools"
					     "?limit=7&continue=1050.7");
	snprintf(wanted, sizeof(wanted), "&resourceVersion=1050");
	assert_non_null(strstr(asked(w, "watch=true&allowWatchBookmarks=true", 0), wanted));
	s = kube_reflector_status(w->r);
	assert_true(s->synced);
	assert_int_equal(s->objects, 50);
	assert_int_equal(s->failures, 0);
	assert_int_equal(s->last.failure, KUBE_OK);
	assert_true(s->in_step_ns > 0);

	api_event(w->api, 'M', 3, NULL);
	api_event(w->api, 'D', 4, NULL);
	api_event(w->api, 'A', 60, NULL);
	run(w, same);
	assert_int_equal(w->removes, 1);
	assert_int_equal(API_GET(w->api, watches), 1);
	/* A bookmark is where the next watch begins. */
	api_event(w->api, 'B', 0, NULL);
	snprintf(wanted, sizeof(wanted), "%ld", API_GET(w->api, version));
	for (int i = 0; i < 5000 && strcmp(kube_reflector_status(w->r)->version, wanted) != 0; i++)
		pass(w, 2);
	snprintf(wanted, sizeof(wanted), "resourceVersion=%ld", API_GET(w->api, version));
	api_cut(w->api);
	api_event(w->api, 'M', 5, NULL);
	run(w, same);
	assert_int_equal(API_GET(w->api, watches), 2);
	assert_int_equal(API_GET(w->api, clocks), 1);
	assert_non_null(strstr(asked(w, "watch=true", 1), wanted));
	assert_int_equal(w->begins, 1);
	world_free(w);
}

static void test_url(void **state)
{
	struct world *w = world_new();
	struct kube_reflector_conf conf = conf_of();

	(void)state;
	conf.resource = (struct kube_resource){"", "v1", "pods"};
	conf.namespace = "my-ns";
	conf.label_selector = "app in (a,b),c!=d e";
	conf.field_selector = "metadata.name=x";
	start(w, conf);
	run(w, same);
	api_cut(w->api);
	run(w, same);
	assert_string_equal(asked(w, "", 0),
			    "/api/v1/namespaces/my-ns/pods?limit=7&resourceVersion=0"
			    "&labelSelector=app%20in%20%28a%2Cb%29%2Cc%21%3Dd%20e"
			    "&fieldSelector=metadata.name%3Dx");
	assert_non_null(strstr(asked(w, "watch=true", 0),
			       "&labelSelector=app%20in%20%28a%2Cb%29%2Cc%21%3Dd%20e"
			       "&fieldSelector=metadata.name%3Dx"));
	conf.namespace = "../../x";
	assert_null(kube_reflector_new(w->client, &conf, &(struct kube_reflector_hooks){0}, NULL));
	world_free(w);
}

/* A list that ends after 0, 1, 2, … bytes, then a watch that does. */
static void test_cut_everywhere(void **state)
{
	(void)state;
	for (int watch = 0; watch < 2; watch++) {
		struct world *w = world_new();
		struct kube_reflector_conf conf = conf_of();

		conf.retry_max_ms = 1;
		populate(w, 3);
		API_WITH(w->api, *(watch ? &w->api->watch_cut : &w->api->list_cut) = 0;
			 w->api->cut_step = 1);
		start(w, conf);
		if (watch) {
			/* Each watch has an event to tell. */
			for (int i = 0; i < 450; i++) {
				int before = API_GET(w->api, watches);

				api_event(w->api, i % 3 == 2 ? 'D' : 'M', i % 9, NULL);
				kube_reflector_hurry(w->r);
				for (int j = 0; j < 1000 && API_GET(w->api, watches) == before; j++)
					pass(w, 2);
			}
			API_WITH(w->api, w->api->watch_cut = -1);
		}
		run(w, same);
		if (!watch) {
			assert_true(w->begins > 400);
			assert_int_equal(w->syncs, 1);
			assert_int_equal(w->removes, 0);
		} else {
			assert_int_equal(w->begins, 1);
			assert_true(API_GET(w->api, watches) > 400);
		}
		assert_int_equal(w->odd, 0);
		world_free(w);
	}
}

/* Chunks of one byte, of seven. */
static void test_chunks(void **state)
{
	(void)state;
	for (unsigned chunk = 1; chunk < 40; chunk = chunk * 3 + 1) {
		struct world *w = world_new();

		populate(w, 20);
		w->api->chunk = chunk;
		start(w, conf_of());
		run(w, same);
		for (int i = 0; i < 20; i++)
			api_event(w->api, i % 2 ? 'D' : 'M', i, NULL);
		run(w, same);
		assert_int_equal(API_GET(w->api, watches), 1);
		world_free(w);
	}
}

/* History is gone while we were away: what vanished is told, what stayed is not. */
static void test_expired(void **state)
{
	(void)state;
	for (int as_event = 0; as_event < 2; as_event++) {
		struct world *w = world_new();
		char wanted[64];

		populate(w, 30);
		w->api->expired_as_event = as_event;
		start(w, conf_of());
		run(w, same);
		snprintf(wanted, sizeof(wanted), "?resourceVersion=%ld", API_GET(w->api, version));
		api_event(w->api, 'D', 5, NULL);
		run(w, same);
		API_WITH(w->api, w->api->held[6] = w->api->held[7] = 0;
			 w->api->held[8] = ++w->api->version);
		api_compact(w->api);
		api_cut(w->api);
		run(w, same);
		assert_int_equal(w->removes, 3);
		assert_int_equal(w->syncs, 2);
		assert_int_equal(API_GET(w->api, expired), 1);
		/* From the server's cache, no older than what was seen. */
		snprintf(wanted, sizeof(wanted), "?resourceVersion=1031");
		assert_non_null(asked(w, wanted, 0));
		world_free(w);
	}
}

/* Pages that expire while they are read: again, then without pages. */
static void test_pages_expire(void **state)
{
	struct world *w = world_new();

	(void)state;
	populate(w, 30);
	w->api->pages_expire = true;
	start(w, conf_of());
	run(w, same);
	assert_int_equal(w->syncs, 1);
	assert_int_equal(w->removes, 0);
	assert_int_equal(API_GET(w->api, expired), 2);
	assert_non_null(asked(w, "?limit=7&resourceVersion=0", 0));
	assert_non_null(asked(w, "?limit=7&resourceVersion=", 1));
	assert_non_null(asked(w, "inferencepools?resourceVersion=", 0));
	world_free(w);
}

/* A server from a backup: its versions are those of the past. */
static void test_time_goes_back(void **state)
{
	struct world *w = world_new();

	(void)state;
	populate(w, 30);
	start(w, conf_of());
	run(w, same);
	w->trusting = true;
	API_WITH(w->api, w->api->version = 1010; w->api->oldest = 1000; w->api->nevents = 0;
		 for (int i = 10; i < 30; i++) w->api->held[i] = 0);
	api_cut(w->api);
	run(w, same);
	assert_int_equal(w->removes, 20);
	assert_non_null(asked(w, "limit=7&resourceVersion=", 1));
	/* And it is in step with what happens from now on. */
	api_event(w->api, 'A', 12, NULL);
	run(w, same);
	world_free(w);
}

/* The same seen by the list itself: it does not know a version so late. */
static void test_version_from_the_future(void **state)
{
	struct world *w = world_new();

	(void)state;
	populate(w, 10);
	start(w, conf_of());
	run(w, same);
	w->trusting = true;
	API_WITH(w->api, w->api->version = 900; w->api->oldest = 5000; w->api->nevents = 0;
		 w->api->held[3] = 0; w->api->list_status = 410; w->api->list_times = 1;
		 w->api->watch_status = 410; w->api->watch_times = 1);
	api_cut(w->api);
	/* The clock says 410 once, the list is asked for by our version: too new. */
	pass(w, 50);
	API_WITH(w->api, w->api->oldest = 0);
	run(w, same);
	assert_int_equal(w->removes, 1);
	assert_non_null(asked(w, "?resourceVersion=1010", 0));
	assert_non_null(asked(w, "?limit=7&resourceVersion=", 1));
	world_free(w);
}

static bool ill(struct world *w)
{
	return w->state == KUBE_REFLECTOR_FAILING || w->state == KUBE_REFLECTOR_FORBIDDEN ||
	       w->state == KUBE_REFLECTOR_ABSENT;
}

static void test_statuses(void **state)
{
	static const struct {
		int status;
		enum kube_reflector_state state;
		enum kube_failure failure;
	} cases[] = {
	    {401, KUBE_REFLECTOR_FORBIDDEN, KUBE_UNAUTHORIZED},
	    {403, KUBE_REFLECTOR_FORBIDDEN, KUBE_FORBIDDEN},
	    {404, KUBE_REFLECTOR_ABSENT, KUBE_NOT_FOUND},
	    {429, KUBE_REFLECTOR_FAILING, KUBE_BUSY},
	    {500, KUBE_REFLECTOR_FAILING, KUBE_UNHEALTHY},
	    {503, KUBE_REFLECTOR_FAILING, KUBE_UNHEALTHY},
	    {400, KUBE_REFLECTOR_FAILING, KUBE_INVALID},
	    {302, KUBE_REFLECTOR_FAILING, KUBE_UNHEALTHY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = world_new();
		const struct kube_reflector_status *s;

		populate(w, 5);
		/* Of the list, for good; then it heals. */
		API_WITH(w->api, w->api->list_status = cases[i].status; w->api->list_times = -1);
		start(w, conf_of());
		run(w, ill);
		s = kube_reflector_status(w->r);
		assert_int_equal(s->state, cases[i].state);
		assert_int_equal(s->last.failure, cases[i].failure);
		assert_int_equal(s->last.status, cases[i].status);
		assert_string_equal(s->verb, "list");
		assert_non_null(strstr(s->last.message, "of the test"));
		assert_false(s->synced);
		API_WITH(w->api, w->api->list_status = 0);
		run(w, same);
		/* Of the watch, some times, with what is held kept. */
		API_WITH(w->api, w->api->watch_status = cases[i].status; w->api->watch_times = 3);
		w->seen[KUBE_REFLECTOR_FAILING] = w->seen[KUBE_REFLECTOR_FORBIDDEN] =
		    w->seen[KUBE_REFLECTOR_ABSENT] = 0;
		api_cut(w->api);
		api_event(w->api, 'M', 2, NULL);
		run(w, same);
		assert_string_equal(kube_reflector_status(w->r)->verb, "watch");
		assert_true(w->seen[cases[i].state] > 0);
		assert_int_equal(w->removes, 0);
		world_free(w);
	}
}

/* The server's word about when to come back is kept, be it a header or in the Status. */
static void test_retry_after(void **state)
{
	struct world *w = world_new();

	(void)state;
	API_WITH(w->api, w->api->list_status = 429; w->api->list_times = 1;
		 w->api->headers = "Retry-After: 1\r\n");
	start(w, conf_of());
	run(w, same);
	assert_true(API_GET(w->api, asked_ms[1]) - API_GET(w->api, asked_ms[0]) >= 1000);
	world_free(w);
}

static bool unauthorized(struct world *w)
{
	return kube_reflector_status(w->r)->last.failure == KUBE_UNAUTHORIZED;
}

/* Rotation: at once when a look shows another token; the watch that stands is left alone. */
static void test_token(void **state)
{
	struct world *w = world_new();

	(void)state;
	populate(w, 5);
	w->api->token = "one";
	start(w, conf_of());
	run(w, same);
	assert_int_equal(API_GET(w->api, refused), 0);
	put("token", "two");
	API_WITH(w->api, w->api->token = "two");
	api_cut(w->api);
	api_event(w->api, 'M', 1, NULL);
	run(w, same);
	assert_true(API_GET(w->api, refused) <= 1);
	assert_int_equal(w->begins, 1);
	/* A token that stays wrong: told, and asked for again with pauses. */
	API_WITH(w->api, w->api->token = "three");
	api_cut(w->api);
	run(w, unauthorized);
	put("token", "three");
	run(w, same);
	world_free(w);
}

static bool asked_many(struct world *w)
{
	int n;

	API_WITH(w->api, n = w->api->nasked);
	return n > 6;
}

/* A kind that comes to be, and one that goes while nobody looks. */
static void test_absent(void **state)
{
	struct world *w = world_new();
	uint64_t now;

	(void)state;
	populate(w, 5);
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 404;
		 w->api->list_times = w->api->watch_times = -1);
	start(w, conf_of());
	run(w, asked_many);
	assert_int_equal(w->state, KUBE_REFLECTOR_ABSENT);
	assert_false(kube_reflector_status(w->r)->synced);
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 0);
	run(w, same);
	/* Gone: what is held stays for a minute, since a starting server knows no kinds either. */
	w->trusting = true;
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 404);
	api_cut(w->api);
	run(w, ill);
	pass(w, 50);
	assert_int_equal(w->removes, 0);
	now = clock_mono_ns() + 61 * CLOCK_NS_PER_S;
	clock_set_fake(&now);
	for (int i = 0; i < 5000 && w->removes < 5; i++)
		pass(w, 2);
	clock_set_fake(NULL);
	assert_int_equal(w->removes, 5);
	assert_int_equal(kube_reflector_status(w->r)->objects, 0);
	memset(w->held, 0, sizeof(w->held));
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 0);
	run(w, same);
	world_free(w);
}

/* A server that ends every watch at once is not asked in a hot loop; each pause is at least
 * retry_ms, doubled up to retry_max_ms. */
static void test_no_hot_loop(void **state)
{
	struct world *w = world_new();
	struct kube_reflector_conf conf = conf_of();
	long begun = api_ms();
	int n;

	(void)state;
	conf.retry_ms = 20;
	conf.retry_max_ms = 200;
	w->api->closing = 1000000;
	start(w, conf);
	pass(w, 1000);
	/* 20 + 40 + 80 + 160 + 200… ms at least. */
	API_WITH(w->api, n = w->api->watches);
	assert_true(n >= 2 && n <= 5 + (api_ms() - begun) / 200);
	API_WITH(w->api, w->api->closing = 0);
	api_event(w->api, 'A', 1, NULL);
	run(w, same);
	world_free(w);
	/* The same for events that say the history is gone, with every list in between. */
	w = world_new();
	begun = api_ms();
	w->api->expired_as_event = true;
	w->api->oldest = 1000000;
	start(w, conf);
	pass(w, 1000);
	API_WITH(w->api, n = w->api->watches);
	assert_true(n >= 2 && n <= 5 + (api_ms() - begun) / 200);
	world_free(w);
}

/* A watch that hangs, its server deaf to timeoutSeconds too: given up after that and idle_ms. */
static void test_hang(void **state)
{
	struct world *w = world_new();
	struct kube_reflector_conf conf = conf_of();
	int n;

	(void)state;
	conf.watch_s = 1;
	conf.idle_ms = 100;
	populate(w, 3);
	w->api->silent = true;
	start(w, conf);
	run(w, same);
	API_WITH(w->api, n = w->api->watches);
	for (int i = 0; i < 2000 && API_GET(w->api, watches) == n; i++)
		pass(w, 10);
	assert_true(API_GET(w->api, watches) > n);
	assert_int_equal(w->removes, 0);
	assert_int_equal(kube_reflector_status(w->r)->last.failure, KUBE_UNREACHABLE);
	assert_non_null(strstr(kube_reflector_status(w->r)->last.message, "timeout"));
	world_free(w);
}

/* What cannot be read is left as it was, in a list and in a watch. */
static void test_unreadable(void **state)
{
	static char large[6000];
	static const char *const items[] = {"{\"metadata\":{\"namespace\":\"ns\"}}",
					    "{\"metadata\":{\"name\":7}}",
					    "{]",
					    "{}",
					    "{\"a\":nul}",
					    "{\"metadata\":{\"name\":\"\"}}",
					    large};
	struct world *w;

	(void)state;
	snprintf(large, sizeof(large),
		 "{\"metadata\":{\"name\":\"o0\",\"namespace\":\"ns\","
		 "\"resourceVersion\":\"1\"},\"x\":\"%05000d\"}",
		 1);
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		struct kube_reflector_conf conf = conf_of();
		char event[8000];

		conf.max_object = 4000;
		w = world_new();
		populate(w, 20);
		start(w, conf);
		run(w, same);
		/* In a watch: passed over. */
		snprintf(event, sizeof(event), "{\"type\":\"MODIFIED\",\"object\":%s}\n", items[i]);
		api_event(w->api, 'X', 0, event);
		api_event(w->api, 'M', 1, NULL);
		run(w, same);
		assert_int_equal(kube_reflector_status(w->r)->refused, 1);
		/* In a list: o0 is held still, and so is o3, since who knows what that was. */
		API_WITH(w->api, w->api->item = items[i]; w->api->held[3] = 0;
			 w->api->held[4] = ++w->api->version);
		api_compact(w->api);
		api_cut(w->api);
		for (int j = 0; j < 5000 && w->syncs < 2; j++)
			pass(w, 2);
		assert_int_equal(w->syncs, 2);
		assert_int_equal(w->removes, 0);
		assert_true(w->held[3] && w->held[0]);
		/* It is mended, and listed again. */
		API_WITH(w->api, w->api->item = NULL);
		api_compact(w->api);
		api_cut(w->api);
		run(w, same);
		assert_int_equal(w->removes, 1);
		world_free(w);
	}
}

/* Events that are none, an ERROR that says nothing we know: asked again, in step again. */
static void test_odd_events(void **state)
{
	static const char *const events[] = {
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500}}\n",
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":429}}\n",
	    "{\"type\":\"ERROR\"}\n",
	    "{\"type\":\"ERROR\",\"object\":null}",
	    "{\"type\":\"SURPRISE\",\"object\":{}}\n",
	    "{\"object\":{\"metadata\":{\"name\":\"o1\"}}}",
	    "{\"type\":\"ADDED\",\"object\":[]}",
	    "{\"type\":\"DELETED\",\"object\":{}}",
	    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"\"}}}",
	    "this is no JSON at all",
	    "{\"type\":\"ADDED\"",
	    "[]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct world *w = world_new();

		populate(w, 9);
		start(w, conf_of());
		run(w, same);
		api_event(w->api, 'X', 0, events[i]);
		pass(w, 10);
		API_WITH(w->api, w->api->nevents = 0);
		api_cut(w->api);
		api_event(w->api, 'M', 1, NULL);
		api_event(w->api, 'D', 2, NULL);
		run(w, same);
		assert_int_equal(w->removes, 1);
		world_free(w);
	}
}

/* The server is gone, connections are refused; then it is back. */
static void test_restart(void **state)
{
	struct world *w = world_new();
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	uint16_t port = w->api->peer->port;
	int fd;

	(void)state;
	populate(w, 12);
	start(w, conf_of());
	run(w, same);
	API_WITH(w->api, w->api->epoch++; w->api->peer->stop = true;
		 pthread_cond_broadcast(&w->api->changed));
	peer_stop(w->api->peer);
	run(w, ill);
	assert_int_equal(kube_reflector_status(w->r)->last.failure, KUBE_UNREACHABLE);
	assert_int_equal(w->removes, 0);
	w->api->held[3] = 0;
	w->api->held[4] = ++w->api->version;
	w->api->events[w->api->nevents++] = (struct api_event){'D', 3, ++w->api->version, NULL};
	w->api->events[w->api->nevents++] = (struct api_event){'M', 4, w->api->held[4], NULL};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	in.sin_port = htons(port);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	w->api->peer = peer_start_on(fd, api_connection, w->api);
	w->api->peer->port = port;
	run(w, same);
	assert_int_equal(w->removes, 1);
	assert_int_equal(w->begins, 1);
	world_free(w);
}

/* Everything at once, by a seed; in the end all is as the server says. */
static void test_torture(void **state)
{
	unsigned seed = 20260704;

	(void)state;
	for (int round = 0; round < 4; round++) {
		struct world *w = world_new();

		populate(w, 40);
		w->trusting = true; /* it may be removed, re-made and told in between */
		start(w, conf_of());
		for (int i = 0; i < 300; i++) {
			int name = (int)(rand_r(&seed) % 60), fault = (int)(rand_r(&seed) % 40);
			bool there;

			API_WITH(w->api, there = w->api->held[name] != 0);
			api_event(w->api, !there ? 'A' : rand_r(&seed) % 3 ? 'M' : 'D', name, NULL);
			if (fault == 0)
				api_compact(w->api);
			if (fault < 4)
				api_cut(w->api);
			API_WITH(w->api, struct api *a = w->api; a->list_status = fault == 5   ? 500
										  : fault == 6 ? 410
											       : 0;
				 a->list_times = 2; a->watch_status = fault == 7    ? 503
								      : fault == 8  ? 410
								      : fault == 9  ? 429
								      : fault == 10 ? 404
										    : 0;
				 a->watch_times = 2; a->expired_as_event = fault % 2;
				 a->pages_expire = fault == 11;
				 a->watch_cut = fault == 12 ? (long)(rand_r(&seed) % 900) : -1;
				 a->list_cut = fault == 13 ? (long)(rand_r(&seed) % 3000) : -1;
				 a->chunk = (unsigned)fault; a->closing = fault == 14 ? 3 : 0);
			if (i % 4 == 0)
				pass(w, (int)(rand_r(&seed) % 6));
		}
		API_WITH(w->api, struct api *a = w->api; a->list_status = a->watch_status = 0;
			 a->pages_expire = false; a->watch_cut = a->list_cut = -1; a->closing = 0);
		run(w, same);
		assert_int_equal(kube_reflector_status(w->r)->refused, 0);
		world_free(w);
	}
}

static void pass_over(const struct cJSON *object, void *arg)
{
	(void)object;
	(void)arg;
}

static bool all_watch(struct world *w)
{
	return API_GET(w->api, watches) >= 60;
}

/* A kind in each of many namespaces: nobody waits in line behind the others' watches. */
static void test_many(void **state)
{
	static const struct kube_reflector_hooks hooks = {.upsert = pass_over};
	struct kube_reflector *all[60];
	struct kube_reflector_conf conf = conf_of();
	struct world *w = world_new();

	(void)state;
	populate(w, 3);
	for (size_t i = 0; i < 60; i++)
		all[i] = kube_reflector_new(w->client, &conf, &hooks, NULL);
	w->r = all[0];
	run(w, all_watch);
	for (size_t i = 0; i < 60; i++) {
		for (int j = 0;
		     j < 5000 && kube_reflector_status(all[i])->state != KUBE_REFLECTOR_WATCHING;
		     j++)
			pass(w, 2);
		assert_int_equal(kube_reflector_status(all[i])->state, KUBE_REFLECTOR_WATCHING);
		if (i)
			kube_reflector_free(all[i]);
	}
	world_free(w);
}

/* Freed in the middle of everything, nothing is told and nothing is left. */
static void test_free_any_time(void **state)
{
	(void)state;
	for (int ms = 0; ms < 12; ms++) {
		struct world *w = world_new();
		int told;

		populate(w, 100);
		start(w, conf_of());
		pass(w, ms);
		told = w->upserts;
		w->r = kube_reflector_free(w->r);
		pass(w, 5);
		assert_int_equal(w->upserts, told);
		world_free(w);
	}
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_url),
	    cmocka_unit_test(test_chunks),
	    cmocka_unit_test(test_expired),
	    cmocka_unit_test(test_pages_expire),
	    cmocka_unit_test(test_time_goes_back),
	    cmocka_unit_test(test_version_from_the_future),
	    cmocka_unit_test(test_statuses),
	    cmocka_unit_test(test_retry_after),
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_absent),
	    cmocka_unit_test(test_no_hot_loop),
	    cmocka_unit_test(test_hang),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_odd_events),
	    cmocka_unit_test(test_restart),
	    cmocka_unit_test(test_torture),
	    cmocka_unit_test(test_free_any_time),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_cut_everywhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
