/* A server that refuses, hangs, dies, has other rights or other kinds than a moment ago. */
#include "discover/kube/reflector.h"

#include "unit/discover/reflected.h"

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
		struct reflected *w = reflected_new();
		const struct kube_reflector_status *s;

		reflected_populate(w, 5);
		/* Of the list, for good; then it heals. */
		API_WITH(w->api, w->api->list_status = cases[i].status; w->api->list_times = -1);
		reflected_start(w, reflected_conf());
		reflected_run(w, reflected_ill);
		s = kube_reflector_status(w->r);
		assert_int_equal(s->state, cases[i].state);
		assert_int_equal(s->last.failure, cases[i].failure);
		assert_int_equal(s->last.status, cases[i].status);
		assert_string_equal(s->verb, "list");
		assert_non_null(strstr(s->last.message, "of the test"));
		assert_false(s->synced);
		API_WITH(w->api, w->api->list_status = 0);
		reflected_run(w, reflected_same);
		/* Of the watch, some times, with what is held kept. */
		API_WITH(w->api, w->api->watch_status = cases[i].status; w->api->watch_times = 3);
		w->seen[KUBE_REFLECTOR_FAILING] = w->seen[KUBE_REFLECTOR_FORBIDDEN] =
		    w->seen[KUBE_REFLECTOR_ABSENT] = 0;
		api_cut(w->api);
		api_event(w->api, 'M', 2, NULL);
		reflected_run(w, reflected_same);
		assert_string_equal(kube_reflector_status(w->r)->verb, "watch");
		assert_true(w->seen[cases[i].state] > 0);
		assert_int_equal(w->removes, 0);
		reflected_free(w);
	}
}

/* The server's word about when to come back is kept, be it a header or in the Status. */
static void test_retry_after(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	API_WITH(w->api, w->api->list_status = 429; w->api->list_times = 1;
		 w->api->headers = "Retry-After: 1\r\n");
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	assert_true(API_GET(w->api, asked_ms[1]) - API_GET(w->api, asked_ms[0]) >= 1000);
	reflected_free(w);
}

static bool unauthorized(struct reflected *w)
{
	return kube_reflector_status(w->r)->last.failure == KUBE_UNAUTHORIZED;
}

/* Rotation: at once when a look shows another token; the watch that stands is left alone. */
static void test_token(void **state)
{
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 5);
	w->api->token = "one";
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	assert_int_equal(API_GET(w->api, refused), 0);
	folder_swap("token", "two");
	API_WITH(w->api, w->api->token = "two");
	api_cut(w->api);
	api_event(w->api, 'M', 1, NULL);
	reflected_run(w, reflected_same);
	assert_true(API_GET(w->api, refused) <= 1);
	assert_int_equal(w->begins, 1);
	/* A token that stays wrong: told, and asked for again with pauses. */
	API_WITH(w->api, w->api->token = "three");
	api_cut(w->api);
	reflected_run(w, unauthorized);
	folder_swap("token", "three");
	reflected_run(w, reflected_same);
	reflected_free(w);
}

static bool asked_many(struct reflected *w)
{
	int n;

	API_WITH(w->api, n = w->api->nasked);
	return n > 6;
}

/* A kind that comes to be, and one that goes while nobody looks. */
static void test_absent(void **state)
{
	struct reflected *w = reflected_new();
	uint64_t now;

	(void)state;
	reflected_populate(w, 5);
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 404;
		 w->api->list_times = w->api->watch_times = -1);
	reflected_start(w, reflected_conf());
	reflected_run(w, asked_many);
	assert_int_equal(w->state, KUBE_REFLECTOR_ABSENT);
	assert_false(kube_reflector_status(w->r)->synced);
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 0);
	reflected_run(w, reflected_same);
	/* Gone: what is held stays for a minute, since a starting server knows no kinds either. */
	w->trusting = true;
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 404);
	api_cut(w->api);
	reflected_run(w, reflected_ill);
	reflected_pass(w, 50);
	assert_int_equal(w->removes, 0);
	now = clock_mono_ns() + 61 * CLOCK_NS_PER_S;
	clock_set_fake(&now);
	for (int i = 0; i < 5000 && w->removes < 5; i++)
		reflected_pass(w, 2);
	clock_set_fake(NULL);
	assert_int_equal(w->removes, 5);
	assert_int_equal(kube_reflector_status(w->r)->objects, 0);
	memset(w->held, 0, sizeof(w->held));
	API_WITH(w->api, w->api->list_status = w->api->watch_status = 0);
	reflected_run(w, reflected_same);
	reflected_free(w);
}

/* A server that ends every watch at once is not asked in a hot loop; each pause is at least
 * retry_ms, doubled up to retry_max_ms. */
static void test_no_hot_loop(void **state)
{
	struct reflected *w = reflected_new();
	struct kube_reflector_conf conf = reflected_conf();
	long begun = api_ms();
	int n;

	(void)state;
	conf.retry_ms = 20;
	conf.retry_max_ms = 200;
	w->api->closing = 1000000;
	reflected_start(w, conf);
	reflected_pass(w, 1000);
	/* 20 + 40 + 80 + 160 + 200… ms at least. */
	API_WITH(w->api, n = w->api->watches);
	assert_true(n >= 2 && n <= 5 + (api_ms() - begun) / 200);
	API_WITH(w->api, w->api->closing = 0);
	api_event(w->api, 'A', 1, NULL);
	reflected_run(w, reflected_same);
	reflected_free(w);
	/* The same for events that say the history is gone, with every list in between. */
	w = reflected_new();
	begun = api_ms();
	w->api->expired_as_event = true;
	w->api->oldest = 1000000;
	reflected_start(w, conf);
	reflected_pass(w, 1000);
	API_WITH(w->api, n = w->api->watches);
	assert_true(n >= 2 && n <= 5 + (api_ms() - begun) / 200);
	reflected_free(w);
}

/* A watch that hangs, its server deaf to timeoutSeconds too: given up after that and idle_ms. */
static void test_hang(void **state)
{
	struct reflected *w = reflected_new();
	struct kube_reflector_conf conf = reflected_conf();
	int n;

	(void)state;
	conf.watch_s = 1;
	conf.idle_ms = 100;
	reflected_populate(w, 3);
	w->api->silent = true;
	reflected_start(w, conf);
	reflected_run(w, reflected_same);
	API_WITH(w->api, n = w->api->watches);
	for (int i = 0; i < 2000 && API_GET(w->api, watches) == n; i++)
		reflected_pass(w, 10);
	assert_true(API_GET(w->api, watches) > n);
	assert_int_equal(w->removes, 0);
	assert_int_equal(kube_reflector_status(w->r)->last.failure, KUBE_UNREACHABLE);
	assert_non_null(strstr(kube_reflector_status(w->r)->last.message, "timeout"));
	reflected_free(w);
}

/* The server is gone, connections are refused; then it is back. */
static void test_restart(void **state)
{
	struct reflected *w = reflected_new();
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	uint16_t port = w->api->peer->port;
	int fd;

	(void)state;
	reflected_populate(w, 12);
	reflected_start(w, reflected_conf());
	reflected_run(w, reflected_same);
	API_WITH(w->api, w->api->epoch++; w->api->peer->stop = true;
		 pthread_cond_broadcast(&w->api->changed));
	peer_stop(w->api->peer);
	reflected_run(w, reflected_ill);
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
	reflected_run(w, reflected_same);
	assert_int_equal(w->removes, 1);
	assert_int_equal(w->begins, 1);
	reflected_free(w);
}

/* Everything at once, by a seed; in the end all is as the server says. */
static void test_torture(void **state)
{
	unsigned seed = 20260704;

	(void)state;
	for (int round = 0; round < 4; round++) {
		struct reflected *w = reflected_new();

		reflected_populate(w, 40);
		w->trusting = true; /* it may be removed, re-made and told in between */
		reflected_start(w, reflected_conf());
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
				reflected_pass(w, (int)(rand_r(&seed) % 6));
		}
		API_WITH(w->api, struct api *a = w->api; a->list_status = a->watch_status = 0;
			 a->pages_expire = false; a->watch_cut = a->list_cut = -1; a->closing = 0);
		reflected_run(w, reflected_same);
		assert_int_equal(kube_reflector_status(w->r)->refused, 0);
		reflected_free(w);
	}
}

/* Freed in the middle of everything, nothing is told and nothing is left. */
static void test_free_any_time(void **state)
{
	(void)state;
	for (int ms = 0; ms < 12; ms++) {
		struct reflected *w = reflected_new();
		int told;

		reflected_populate(w, 100);
		reflected_start(w, reflected_conf());
		reflected_pass(w, ms);
		told = w->upserts;
		w->r = kube_reflector_free(w->r);
		reflected_pass(w, 5);
		assert_int_equal(w->upserts, told);
		reflected_free(w);
	}
}

static void pass_over(const struct cJSON *object, void *arg)
{
	(void)object;
	(void)arg;
}

static bool all_watch(struct reflected *w)
{
	return API_GET(w->api, watches) >= 60;
}

/* A kind in each of many namespaces: nobody waits in line behind the others' watches. */
static void test_many(void **state)
{
	static const struct kube_reflector_hooks hooks = {.upsert = pass_over};
	struct kube_reflector *all[60];
	struct kube_reflector_conf conf = reflected_conf();
	struct reflected *w = reflected_new();

	(void)state;
	reflected_populate(w, 3);
	for (size_t i = 0; i < 60; i++)
		all[i] = kube_reflector_new(w->client, &conf, &hooks, NULL);
	w->r = all[0];
	reflected_run(w, all_watch);
	for (size_t i = 0; i < 60; i++) {
		for (int j = 0;
		     j < 5000 && kube_reflector_status(all[i])->state != KUBE_REFLECTOR_WATCHING;
		     j++)
			reflected_pass(w, 2);
		assert_int_equal(kube_reflector_status(all[i])->state, KUBE_REFLECTOR_WATCHING);
		if (i)
			kube_reflector_free(all[i]);
	}
	reflected_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_statuses),      cmocka_unit_test(test_retry_after),
	    cmocka_unit_test(test_token),         cmocka_unit_test(test_absent),
	    cmocka_unit_test(test_no_hot_loop),   cmocka_unit_test(test_hang),
	    cmocka_unit_test(test_restart),       cmocka_unit_test(test_torture),
	    cmocka_unit_test(test_free_any_time), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, reflected_setup, folder_drop);
}
