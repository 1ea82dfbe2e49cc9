/* The scraper among servers that hang, targets that change, and deeds in its callbacks. */
#include "observe/scrape.h"

#include <errno.h>

#include "unit/observe/world.h"

static void test_hang(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = world_target(s);

	(void)state;
	s->hang = true;
	t.timeout_ms = 100;
	t.failures = 2;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, w.changes == 1);
	assert_false(w.last_alive);
	assert_int_equal(OUTCOMES(&w, 0, SCRAPE_TIMEOUT), 2);
	/* not asked again while it was hanging */
	WORLD_UNTIL(&w, STATUS(&w, 0)->skipped > 2);
	/* The peer may see an end late, so that two overlap by a moment, but never more. */
	assert_true(s->peer->most_open <= 2);
	world_close(&w);
	server_stop(s);
}

/* Hundreds that hang do not keep those that answer from being asked. */
static void test_hanging_crowd(void **state)
{
	enum { CROWD = 300, GOOD = 10 };
	struct server *h = server_start(""), *s = server_start(PAGE_OK);
	struct world w = {.base = event_base_new(), .endpoints = endpoints_new(CROWD + GOOD)};
	struct scrape_target bad = world_target(h), good = world_target(s);

	(void)state;
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	h->hang = true;
	bad.timeout_ms = 300;
	bad.interval_ms = good.interval_ms = 100;
	world_start(&w);
	for (uint32_t slot = 0; slot < CROWD + GOOD; slot++) {
		assert_int_equal(endpoint_alloc(w.endpoints), (int)slot);
		assert_int_equal(scraper_set(w.scraper, slot, slot < CROWD ? &bad : &good), 0);
	}
	WORLD_UNTIL(&w, STATUS(&w, CROWD - 1)->failing >= 2);
	/* The crowd has places of its own by now: the good ones get on while it hangs. */
	for (uint32_t slot = CROWD; slot < CROWD + GOOD; slot++) {
		uint64_t told = OUTCOMES(&w, slot, SCRAPE_TOLD);

		WORLD_UNTIL(&w, OUTCOMES(&w, slot, SCRAPE_TOLD) >= told + 5);
		assert_true(STATUS(&w, slot)->alive);
	}
	world_close(&w);
	server_stop(s);
	server_stop(h);
}

static void test_set_again(void **state)
{
	struct server *s = server_start(PAGE_OK),
		      *other = server_start("llamacpp:requests_deferred 1\n");
	struct world w = world_open();
	struct scrape_target t = world_target(s);
	uint64_t scrapes;

	(void)state;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	WORLD_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	scrapes = STATUS(&w, 0)->scrapes;
	t.bearer = "new";
	t.interval_ms = 20;
	t.name = "renamed";
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	assert_int_equal(STATUS(&w, 0)->scrapes, scrapes); /* the same server */
	WORLD_UNTIL(&w, STATUS(&w, 0)->scrapes >= scrapes + 3);
	assert_non_null(strstr(s->last_head, "Bearer new\r\n"));
	assert_int_equal(s->peer->connections, 1);
	/* Another one: nothing that was known is left. */
	server_say(s, 500, "");
	WORLD_UNTIL(&w, !STATUS(&w, 0)->alive);
	t.url = other->url;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	assert_int_equal(endpoint_flags(w.endpoints, 0), 0);
	assert_true(world_view(&w, 0).foreign == 0);
	assert_int_equal(STATUS(&w, 0)->scrapes, 0);
	WORLD_UNTIL(&w, world_view(&w, 0).foreign == 1);
	/* Never asked at all. */
	t.engine = CONFIG_ENGINE_NONE;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	assert_int_equal(event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED) > 2, 0);
	for (int i = 0; i < 50; i++) {
		event_base_loop(w.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	assert_int_equal(STATUS(&w, 0)->scrapes, 0);
	assert_true(STATUS(&w, 0)->alive);
	world_close(&w);
	server_stop(s);
	server_stop(other);
}

static void test_deeds_in_callback(void **state)
{
	struct server *s = server_start(PAGE_OK), *h = server_start("");

	(void)state;
	h->hang = true;
	for (int what = CHANGE_REMOVE; what <= CHANGE_SET; what++) {
		struct world w = world_open();
		struct scrape_target t = world_target(s), other = world_target(h);

		w.what = what;
		w.target = &other;
		world_start(&w);
		/* One that hangs is under way while it happens. */
		assert_int_equal(scraper_set(w.scraper, 1, &other), 0);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		WORLD_UNTIL(&w, w.changes == 1);
		if (what == CHANGE_REMOVE)
			assert_null(STATUS(&w, 0));
		if (what == CHANGE_FREE)
			assert_null(w.scraper);
		if (what == CHANGE_SET)
			assert_int_equal(OUTCOMES(&w, 0, SCRAPE_TOLD), 0);
		for (int i = 0; i < 30; i++) {
			event_base_loop(w.base, EVLOOP_NONBLOCK);
			usleep(1000);
		}
		world_close(&w);
	}
	server_stop(s);
	server_stop(h);
}

static void once_done(uint32_t missing, void *arg)
{
	struct world *w = arg;

	w->done++;
	w->missing = missing;
}

static void once_free(uint32_t missing, void *arg)
{
	struct world *w = arg;

	once_done(missing, arg);
	w->scraper = scraper_free(w->scraper);
}

static void test_once(void **state)
{
	struct server *s = server_start(PAGE_OK), *h = server_start("");
	struct world w = world_open();
	struct scrape_target t = world_target(s), hung = world_target(h);

	(void)state;
	h->hang = true;
	t.interval_ms = hung.interval_ms = 3600000; /* only because it is asked to */
	world_start(&w);
	/* Nobody there to wait for. */
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), 0);
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), -EBUSY);
	assert_int_equal(w.done, 0);
	WORLD_UNTIL(&w, w.done == 1);
	assert_int_equal(w.missing, 0);
	for (uint32_t slot = 0; slot < 20; slot++)
		assert_int_equal(scraper_set(w.scraper, slot, &t), 0);
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), 0);
	WORLD_UNTIL(&w, w.done == 2);
	assert_int_equal(w.missing, 0);
	for (uint32_t slot = 0; slot < 20; slot++)
		assert_true(world_view(&w, slot).foreign == 7);
	/* One that hangs: the deadline, and how many are missing. */
	assert_int_equal(scraper_set(w.scraper, 20, &hung), 0);
	assert_int_equal(scraper_once(w.scraper, 500, once_done, &w), 0);
	WORLD_UNTIL(&w, w.done == 3);
	assert_int_equal(w.missing, 1);
	assert_int_equal(OUTCOMES(&w, 0, SCRAPE_TOLD), 2);
	/* Its removal is an end, too. */
	assert_int_equal(scraper_once(w.scraper, 60000, once_free, &w), 0);
	scraper_remove(w.scraper, 20);
	WORLD_UNTIL(&w, w.done == 4);
	assert_int_equal(w.missing, 0);
	assert_null(w.scraper);
	world_close(&w);
	server_stop(s);
	server_stop(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hang),      cmocka_unit_test(test_hanging_crowd),
	    cmocka_unit_test(test_set_again), cmocka_unit_test(test_deeds_in_callback),
	    cmocka_unit_test(test_once),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
