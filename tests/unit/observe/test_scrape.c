/* What is taken from an answer to a scrape, and what a failed one does. */
#include "observe/scrape.h"

#include "unit/observe/world.h"

static void test_figures(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = world_target(s);

	(void)state;
	world_start(&w);
	atomic_fetch_add(&w.endpoints->open[3], 4); /* ours, of the 7 there */
	t.bearer = "token";
	assert_int_equal(scraper_set(w.scraper, 3, &t), 0);
	assert_int_equal(w.changes, 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 3, SCRAPE_TOLD) >= 10);
	assert_true(world_view(&w, 3).waiting == 2 && world_view(&w, 3).running == 5);
	assert_true(world_view(&w, 3).kv_usage == 0.25 && world_view(&w, 3).foreign == 3);
	assert_true(endpoint_load(w.endpoints, 3) == 7);
	assert_int_equal(STATUS(&w, 3)->engine, ENGINE_VLLM);
	assert_true(STATUS(&w, 3)->alive && STATUS(&w, 3)->told_ns != 0);
	assert_string_equal(STATUS(&w, 3)->error, "");
	assert_int_equal(w.changes, 1); /* once, for the first answer */
	assert_int_equal(w.last_slot, 3);
	assert_true(w.last_alive);
	assert_int_equal(s->peer->connections, 1); /* one that is kept */
	assert_non_null(strstr(s->last_head, "Authorization: Bearer token\r\n"));
	assert_null(STATUS(&w, 4));
	assert_null(STATUS(&w, SLOTS));
	world_close(&w);
	server_stop(s);
}

static void test_dead_and_back(void **state)
{
	static const struct {
		int status;
		const char *page, *headers;
		enum scrape_outcome outcome;
	} cases[] = {
	    {500, "", "", SCRAPE_STATUS},
	    {503, PAGE_OK, "", SCRAPE_STATUS},
	    {200, "vllm:num_requests_running NaN\n", "", SCRAPE_BAD_VALUE},
	    {200, PAGE_OK, "Content-Encoding: gzip\r\n", SCRAPE_PROTOCOL},
	    {200, PAGE_OK PAGE_OK, "", SCRAPE_TOO_LARGE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server *s = server_start(PAGE_OK);
		struct world w = world_open();
		struct scrape_target t = world_target(s);
		struct endpoint_view before;

		t.max_page = strlen(PAGE_OK);
		world_start(&w);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 1);
		strcpy(s->headers, cases[i].headers);
		server_say(s, cases[i].status, cases[i].page);
		WORLD_UNTIL(&w, STATUS(&w, 0)->failing == 1);
		assert_int_equal(endpoint_flags(w.endpoints, 0), 0); /* once is no reason */
		before = world_view(&w, 0);
		WORLD_UNTIL(&w, w.changes == 2);
		assert_false(w.last_alive);
		assert_int_equal(endpoint_flags(w.endpoints, 0), ENDPOINT_SCRAPE_DEAD);
		assert_int_equal(STATUS(&w, 0)->failing, 3);
		assert_int_equal(OUTCOMES(&w, 0, cases[i].outcome), 3);
		assert_int_equal(STATUS(&w, 0)->last, cases[i].outcome);
		assert_true(STATUS(&w, 0)->error[0] != '\0');
		assert_false(STATUS(&w, 0)->alive);
		/* What failed was never a load. */
		assert_true(world_view(&w, 0).observed_ns == before.observed_ns);
		WORLD_UNTIL(&w, STATUS(&w, 0)->failing >= 5);
		assert_int_equal(w.changes, 2);
		s->headers[0] = '\0';
		server_say(s, 200, PAGE_OK);
		WORLD_UNTIL(&w, w.changes == 3);
		assert_true(w.last_alive);
		assert_int_equal(endpoint_flags(w.endpoints, 0), 0);
		assert_int_equal(STATUS(&w, 0)->failing, 0);
		assert_string_equal(STATUS(&w, 0)->error, "");
		world_close(&w);
		server_stop(s);
	}
}

static void test_refused_and_unsendable(void **state)
{
	struct world w = world_open();
	struct scrape_target t = world_target(NULL);
	char url[64];
	uint16_t port;
	int fd = peer_bind(&port);

	(void)state;
	world_start(&w);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	t.url = url;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	t.url = "no://url";
	assert_int_equal(scraper_set(w.scraper, 1, &t), 0);
	t.url = url;
	t.bearer = "a\nb";
	assert_int_equal(scraper_set(w.scraper, 2, &t), 0);
	assert_int_equal(scraper_set(w.scraper, SLOTS, &t), -EINVAL);
	assert_int_equal(w.changes, 0);
	WORLD_UNTIL(&w, w.changes == 3);
	assert_int_equal(STATUS(&w, 0)->last, SCRAPE_CONNECT);
	assert_int_equal(STATUS(&w, 1)->last, SCRAPE_PROTOCOL);
	assert_int_equal(STATUS(&w, 2)->last, SCRAPE_PROTOCOL);
	for (uint32_t slot = 0; slot < 3; slot++)
		assert_int_equal(endpoint_flags(w.endpoints, slot), ENDPOINT_SCRAPE_DEAD);
	/* Removing takes back what was said. */
	scraper_remove(w.scraper, 1);
	assert_int_equal(endpoint_flags(w.endpoints, 1), 0);
	world_close(&w);
	close(fd);
}

/* Servers without metrics are alive, asked at both paths, and less and less often. */
static void test_none(void **state)
{
	static const struct {
		int status;
		const char *page;
	} cases[] = {{404, ""},
		     {401, ""},
		     {403, "no"},
		     {302, ""},
		     {200, "<html>hello</html>"},
		     {200, "[{\"iter\": 0}]"},
		     {200, ""},
		     {200, "python_info 1\n"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server *s = server_start(cases[i].page);
		struct world w = world_open();
		struct scrape_target t = world_target(s);
		int scrapes;

		server_say(s, cases[i].status, cases[i].page);
		world_start(&w);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_NONE) >= 4);
		assert_int_equal(s->elsewhere, OUTCOMES(&w, 0, SCRAPE_NONE));
		assert_int_equal(endpoint_flags(w.endpoints, 0), 0);
		assert_true(STATUS(&w, 0)->alive);
		assert_int_equal(w.changes, 1);
		assert_true(w.last_alive);
		assert_true(world_view(&w, 0).observed_ns == 0);
		/* 10, 10, 20, 40, 80 ms …: a few turns where 100 would have been. */
		scrapes = (int)STATUS(&w, 0)->scrapes;
		for (int k = 0; k < (i == 0 ? 1000 : 0); k++) {
			event_base_loop(w.base, EVLOOP_NONBLOCK);
			usleep(1000);
		}
		assert_true((int)STATUS(&w, 0)->scrapes - scrapes <= 8);
		/* Figures at last: asked as usual again. */
		if (i == 0) {
			server_say(s, 200, PAGE_OK);
			WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 20);
		}
		world_close(&w);
		server_stop(s);
	}
}

static void test_second_path(void **state)
{
	struct server *s = server_start("trtllm_num_requests_running 3\n");
	struct world w = world_open();
	struct scrape_target t = world_target(s);
	int elsewhere;

	(void)state;
	strcpy(s->path, "/prometheus/metrics");
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 5);
	assert_int_equal(s->elsewhere, 1); /* found out once */
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_TRTLLM);
	assert_non_null(strstr(STATUS(&w, 0)->url, "/prometheus/metrics"));
	/* Where it is said what the server is, the first path is not even tried. */
	t.engine = CONFIG_ENGINE_TRTLLM;
	elsewhere = s->elsewhere;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	assert_int_equal(s->elsewhere, elsewhere);
	/* A path or a whole URL of one's own is the only one. */
	t.metrics_path = "prometheus/metrics";
	t.engine = CONFIG_ENGINE_AUTO;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	t.metrics_path = "/elsewhere";
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_NONE) >= 3);
	world_close(&w);
	server_stop(s);
}

static void test_stale(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = world_target(s);

	(void)state;
	t.stale_ms = 200;
	t.failures = 1000000;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 7);
	server_say(s, 500, "");
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 0);
	assert_true(world_view(&w, 0).kv_usage == -1);
	assert_int_equal(endpoint_flags(w.endpoints, 0), 0); /* unknown, not dead */
	/* Once: what somebody else says of it afterwards stays. */
	endpoint_observe(w.endpoints, 0, 9, 0, 0, 0, clock_mono_ns());
	WORLD_UNTIL(&w, STATUS(&w, 0)->failing >= 30);
	assert_true(world_view(&w, 0).waiting == 9);
	server_say(s, 200, PAGE_OK);
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 7);
	world_close(&w);
	server_stop(s);
}

static void test_fresh_then_figures(void **state)
{
	struct server *s = server_start("# TYPE sglang:num_running_reqs gauge\n");
	struct world w = world_open();
	struct scrape_target t = world_target(s);

	(void)state;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_SILENT) >= 10);
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_SGLANG);
	assert_true(world_view(&w, 0).observed_ns == 0);
	assert_int_equal(s->elsewhere, 0);
	server_say(s, 200, "sglang:num_running_reqs 3\n");
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 3);
	/* Another engine in the same place is found out without being told. */
	server_say(s, 200, "llamacpp:requests_processing 1\n");
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 1);
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_LLAMACPP);
	assert_int_equal(w.changes, 1);
	world_close(&w);
	server_stop(s);
}

static void test_names(void **state)
{
	(void)state;
	for (int o = 0; o < SCRAPE_OUTCOMES; o++)
		assert_non_null(scrape_outcome_name(o));
	assert_string_equal(scrape_outcome_name(SCRAPE_BAD_VALUE), "bad_value");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_figures),
	    cmocka_unit_test(test_dead_and_back),
	    cmocka_unit_test(test_refused_and_unsendable),
	    cmocka_unit_test(test_none),
	    cmocka_unit_test(test_second_path),
	    cmocka_unit_test(test_stale),
	    cmocka_unit_test(test_fresh_then_figures),
	    cmocka_unit_test(test_names),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
