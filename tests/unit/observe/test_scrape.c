/* The scraper against servers of the test, with pick/'s real table of endpoints behind it. */
#include "observe/scrape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "pick/endpoint.h"
#include "pick/live.h"
#include "unit/net/peer.h"

#define SLOTS    64
#define PATIENCE (30 * CLOCK_NS_PER_S)

/* A model server: answers with what it is told to. */
struct server {
	struct peer *peer;
	pthread_mutex_t lock;
	int status;
	char path[64]; /* where the page is; elsewhere it is 404 */
	char headers[128];
	char page[4096];
	bool hang;
	char last_head[2048];
	_Atomic int elsewhere;
	char url[64];
};

static void serve(struct peer *p, int fd, int nth)
{
	struct server *s = p->arg;
	char head[2048];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		char page[4096], headers[128], wanted[80];
		bool hang, here;
		int status;

		pthread_mutex_lock(&s->lock);
		strcpy(page, s->page);
		strcpy(headers, s->headers);
		strcpy(s->last_head, head);
		snprintf(wanted, sizeof(wanted), "GET %s ", s->path);
		here = strncmp(head, wanted, strlen(wanted)) == 0;
		status = s->status;
		hang = s->hang;
		pthread_mutex_unlock(&s->lock);
		if (hang) {
			int open = ++p->open;

			if (open > p->most_open)
				p->most_open = open;
			peer_hang(p, fd);
			p->open--;
			return;
		}
		if (!here)
			s->elsewhere++;
		if (!(here ? peer_answer(fd, status, headers, page, strlen(page))
			   : peer_answer(fd, 404, "", "", 0)))
			return;
	}
}

static struct server *server_start(const char *page)
{
	struct server *s = calloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	s->status = 200;
	strcpy(s->path, "/metrics");
	strcpy(s->page, page);
	s->peer = peer_start(serve, s);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", s->peer->port);
	return s;
}

static void server_say(struct server *s, int status, const char *page)
{
	pthread_mutex_lock(&s->lock);
	s->status = status;
	strcpy(s->page, page);
	pthread_mutex_unlock(&s->lock);
}

static void server_stop(struct server *s)
{
	peer_stop(s->peer);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct world {
	struct event_base *base;
	struct endpoints *endpoints;
	struct scraper *scraper;
	int changes, last_alive;
	uint32_t last_slot;
	enum { CHANGE_NOTE, CHANGE_REMOVE, CHANGE_FREE, CHANGE_SET } what;
	const struct scrape_target *target; /* for CHANGE_SET */
	int done;
	uint32_t missing;
};

static void changed(uint32_t slot, bool alive, void *arg)
{
	struct world *w = arg;

	w->changes++;
	w->last_alive = alive;
	w->last_slot = slot;
	if (w->what == CHANGE_REMOVE)
		scraper_remove(w->scraper, slot);
	if (w->what == CHANGE_FREE)
		w->scraper = scraper_free(w->scraper);
	if (w->what == CHANGE_SET)
		assert_int_equal(scraper_set(w->scraper, slot, w->target), 0);
}

static struct world world_open(void)
{
	struct world w = {.base = event_base_new(), .endpoints = endpoints_new(SLOTS)};

	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	for (int i = 0; i < SLOTS; i++)
		assert_int_equal(endpoint_alloc(w.endpoints), i);
	return w;
}

static void world_start(struct world *w)
{
	w->scraper = scraper_new(w->base, w->endpoints, changed, w);
	assert_non_null(w->scraper);
}

static void world_close(struct world *w)
{
	scraper_free(w->scraper);
	assert_int_equal(event_base_get_num_events(w->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(w->base);
	endpoints_free(w->endpoints);
}

static struct scrape_target target(const struct server *s)
{
	return (struct scrape_target){
	    .name = "one",
	    .url = s ? s->url : NULL,
	    .tls_verify = true,
	    .engine = CONFIG_ENGINE_AUTO,
	    .interval_ms = 10,
	    .timeout_ms = 5000,
	    .stale_ms = 60000,
	    .failures = 3,
	    .max_page = 1 << 20,
	};
}

#define RUN_UNTIL(w, condition)                                                                    \
	do {                                                                                       \
		uint64_t began_ = clock_mono_ns();                                                 \
                                                                                                   \
		/* Both flags: one turn, so that the condition is seen between any two rounds. */  \
		while (!(condition)) {                                                             \
			event_base_loop((w)->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);                 \
			usleep(500);                                                               \
			if (clock_mono_ns() - began_ > PATIENCE)                                   \
				fail_msg("never: %s", #condition);                                 \
		}                                                                                  \
	} while (0)

#define STATUS(w, slot)      scraper_status((w)->scraper, slot)
#define OUTCOMES(w, slot, o) (STATUS(w, slot)->outcomes[o])

#define PAGE_OK                                                                                    \
	"vllm:num_requests_running{engine=\"0\"} 5\nvllm:num_requests_waiting{engine=\"0\"} 2\n"   \
	"vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n"

static struct endpoint_view view(const struct world *w, uint32_t slot)
{
	struct endpoint_view v;

	endpoint_view(w->endpoints, slot, &v);
	return v;
}

static void test_figures(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = target(s);

	(void)state;
	world_start(&w);
	atomic_fetch_add(&w.endpoints->open[3], 4); /* ours, of the 7 there */
	t.bearer = "token";
	assert_int_equal(scraper_set(w.scraper, 3, &t), 0);
	assert_int_equal(w.changes, 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 3, SCRAPE_TOLD) >= 10);
	assert_true(view(&w, 3).waiting == 2 && view(&w, 3).running == 5);
	assert_true(view(&w, 3).kv_usage == 0.25 && view(&w, 3).foreign == 3);
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
		struct scrape_target t = target(s);
		struct endpoint_view before;

		t.max_page = strlen(PAGE_OK);
		world_start(&w);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 1);
		strcpy(s->headers, cases[i].headers);
		server_say(s, cases[i].status, cases[i].page);
		RUN_UNTIL(&w, STATUS(&w, 0)->failing == 1);
		assert_int_equal(endpoint_flags(w.endpoints, 0), 0); /* once is no reason */
		before = view(&w, 0);
		RUN_UNTIL(&w, w.changes == 2);
		assert_false(w.last_alive);
		assert_int_equal(endpoint_flags(w.endpoints, 0), ENDPOINT_SCRAPE_DEAD);
		assert_int_equal(STATUS(&w, 0)->failing, 3);
		assert_int_equal(OUTCOMES(&w, 0, cases[i].outcome), 3);
		assert_int_equal(STATUS(&w, 0)->last, cases[i].outcome);
		assert_true(STATUS(&w, 0)->error[0] != '\0');
		assert_false(STATUS(&w, 0)->alive);
		/* What failed was never a load. */
		assert_true(view(&w, 0).observed_ns == before.observed_ns);
		RUN_UNTIL(&w, STATUS(&w, 0)->failing >= 5);
		assert_int_equal(w.changes, 2);
		s->headers[0] = '\0';
		server_say(s, 200, PAGE_OK);
		RUN_UNTIL(&w, w.changes == 3);
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
	struct scrape_target t = target(NULL);
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
	RUN_UNTIL(&w, w.changes == 3);
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
		struct scrape_target t = target(s);
		int scrapes;

		server_say(s, cases[i].status, cases[i].page);
		world_start(&w);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_NONE) >= 4);
		assert_int_equal(s->elsewhere, OUTCOMES(&w, 0, SCRAPE_NONE));
		assert_int_equal(endpoint_flags(w.endpoints, 0), 0);
		assert_true(STATUS(&w, 0)->alive);
		assert_int_equal(w.changes, 1);
		assert_true(w.last_alive);
		assert_true(view(&w, 0).observed_ns == 0);
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
			RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 20);
		}
		world_close(&w);
		server_stop(s);
	}
}

static void test_second_path(void **state)
{
	struct server *s = server_start("trtllm_num_requests_running 3\n");
	struct world w = world_open();
	struct scrape_target t = target(s);
	int elsewhere;

	(void)state;
	strcpy(s->path, "/prometheus/metrics");
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 5);
	assert_int_equal(s->elsewhere, 1); /* found out once */
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_TRTLLM);
	assert_non_null(strstr(STATUS(&w, 0)->url, "/prometheus/metrics"));
	/* Where it is said what the server is, the first path is not even tried. */
	t.engine = CONFIG_ENGINE_TRTLLM;
	elsewhere = s->elsewhere;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	assert_int_equal(s->elsewhere, elsewhere);
	/* A path or a whole URL of one's own is the only one. */
	t.metrics_path = "prometheus/metrics";
	t.engine = CONFIG_ENGINE_AUTO;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	t.metrics_path = "/elsewhere";
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_NONE) >= 3);
	world_close(&w);
	server_stop(s);
}

static void test_stale(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = target(s);

	(void)state;
	t.stale_ms = 200;
	t.failures = 1000000;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, view(&w, 0).foreign == 7);
	server_say(s, 500, "");
	RUN_UNTIL(&w, view(&w, 0).foreign == 0);
	assert_true(view(&w, 0).kv_usage == -1);
	assert_int_equal(endpoint_flags(w.endpoints, 0), 0); /* unknown, not dead */
	/* Once: what somebody else says of it afterwards stays. */
	endpoint_observe(w.endpoints, 0, 9, 0, 0, 0, clock_mono_ns());
	RUN_UNTIL(&w, STATUS(&w, 0)->failing >= 30);
	assert_true(view(&w, 0).waiting == 9);
	server_say(s, 200, PAGE_OK);
	RUN_UNTIL(&w, view(&w, 0).foreign == 7);
	world_close(&w);
	server_stop(s);
}

static void test_hang(void **state)
{
	struct server *s = server_start(PAGE_OK);
	struct world w = world_open();
	struct scrape_target t = target(s);

	(void)state;
	s->hang = true;
	t.timeout_ms = 100;
	t.failures = 2;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, w.changes == 1);
	assert_false(w.last_alive);
	assert_int_equal(OUTCOMES(&w, 0, SCRAPE_TIMEOUT), 2);
	assert_true(STATUS(&w, 0)->skipped > 2); /* not asked again while it was hanging */
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
	struct scrape_target bad = target(h), good = target(s);

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
	RUN_UNTIL(&w, STATUS(&w, CROWD - 1)->failing >= 2);
	/* The crowd has places of its own by now: the good ones get on while it hangs. */
	for (uint32_t slot = CROWD; slot < CROWD + GOOD; slot++) {
		uint64_t told = OUTCOMES(&w, slot, SCRAPE_TOLD);

		RUN_UNTIL(&w, OUTCOMES(&w, slot, SCRAPE_TOLD) >= told + 5);
		assert_true(STATUS(&w, slot)->alive);
	}
	world_close(&w);
	server_stop(s);
	server_stop(h);
}

static void test_fresh_then_figures(void **state)
{
	struct server *s = server_start("# TYPE sglang:num_running_reqs gauge\n");
	struct world w = world_open();
	struct scrape_target t = target(s);

	(void)state;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_SILENT) >= 10);
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_SGLANG);
	assert_true(view(&w, 0).observed_ns == 0);
	assert_int_equal(s->elsewhere, 0);
	server_say(s, 200, "sglang:num_running_reqs 3\n");
	RUN_UNTIL(&w, view(&w, 0).foreign == 3);
	/* Another engine in the same place is found out without being told. */
	server_say(s, 200, "llamacpp:requests_processing 1\n");
	RUN_UNTIL(&w, view(&w, 0).foreign == 1);
	assert_int_equal(STATUS(&w, 0)->engine, ENGINE_LLAMACPP);
	assert_int_equal(w.changes, 1);
	world_close(&w);
	server_stop(s);
}

static void test_set_again(void **state)
{
	struct server *s = server_start(PAGE_OK),
		      *other = server_start("llamacpp:requests_deferred 1\n");
	struct world w = world_open();
	struct scrape_target t = target(s);
	uint64_t scrapes;

	(void)state;
	world_start(&w);
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	RUN_UNTIL(&w, OUTCOMES(&w, 0, SCRAPE_TOLD) >= 3);
	scrapes = STATUS(&w, 0)->scrapes;
	t.bearer = "new";
	t.interval_ms = 20;
	t.name = "renamed";
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	assert_int_equal(STATUS(&w, 0)->scrapes, scrapes); /* the same server */
	RUN_UNTIL(&w, STATUS(&w, 0)->scrapes >= scrapes + 3);
	assert_non_null(strstr(s->last_head, "Bearer new\r\n"));
	assert_int_equal(s->peer->connections, 1);
	/* Another one: nothing that was known is left. */
	server_say(s, 500, "");
	RUN_UNTIL(&w, !STATUS(&w, 0)->alive);
	t.url = other->url;
	assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
	assert_int_equal(endpoint_flags(w.endpoints, 0), 0);
	assert_true(view(&w, 0).foreign == 0);
	assert_int_equal(STATUS(&w, 0)->scrapes, 0);
	RUN_UNTIL(&w, view(&w, 0).foreign == 1);
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
		struct scrape_target t = target(s), other = target(h);

		w.what = what;
		w.target = &other;
		world_start(&w);
		/* One that hangs is under way while it happens. */
		assert_int_equal(scraper_set(w.scraper, 1, &other), 0);
		assert_int_equal(scraper_set(w.scraper, 0, &t), 0);
		RUN_UNTIL(&w, w.changes == 1);
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
	struct scrape_target t = target(s), hung = target(h);

	(void)state;
	h->hang = true;
	t.interval_ms = hung.interval_ms = 3600000; /* only because it is asked to */
	world_start(&w);
	/* Nobody there to wait for. */
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), 0);
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), -EBUSY);
	assert_int_equal(w.done, 0);
	RUN_UNTIL(&w, w.done == 1);
	assert_int_equal(w.missing, 0);
	for (uint32_t slot = 0; slot < 20; slot++)
		assert_int_equal(scraper_set(w.scraper, slot, &t), 0);
	assert_int_equal(scraper_once(w.scraper, 60000, once_done, &w), 0);
	RUN_UNTIL(&w, w.done == 2);
	assert_int_equal(w.missing, 0);
	for (uint32_t slot = 0; slot < 20; slot++)
		assert_true(view(&w, slot).foreign == 7);
	/* One that hangs: the deadline, and how many are missing. */
	assert_int_equal(scraper_set(w.scraper, 20, &hung), 0);
	assert_int_equal(scraper_once(w.scraper, 500, once_done, &w), 0);
	RUN_UNTIL(&w, w.done == 3);
	assert_int_equal(w.missing, 1);
	assert_int_equal(OUTCOMES(&w, 0, SCRAPE_TOLD), 2);
	/* Its removal is an end, too. */
	assert_int_equal(scraper_once(w.scraper, 60000, once_free, &w), 0);
	scraper_remove(w.scraper, 20);
	RUN_UNTIL(&w, w.done == 4);
	assert_int_equal(w.missing, 0);
	assert_null(w.scraper);
	world_close(&w);
	server_stop(s);
	server_stop(h);
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
	    cmocka_unit_test(test_hang),
	    cmocka_unit_test(test_hanging_crowd),
	    cmocka_unit_test(test_fresh_then_figures),
	    cmocka_unit_test(test_set_again),
	    cmocka_unit_test(test_deeds_in_callback),
	    cmocka_unit_test(test_once),
	    cmocka_unit_test(test_names),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
