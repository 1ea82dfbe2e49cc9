/*
 * A scraper over pick/'s real table of endpoints, and model servers of the test that answer with
 * what they are told to.
 */
#ifndef UNIT_OBSERVE_WORLD_H
#define UNIT_OBSERVE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "observe/scrape.h"
#include "pick/endpoint.h"
#include "pick/live.h"
#include "unit/net/peer.h"

#define SLOTS    64
#define PATIENCE (180 * CLOCK_NS_PER_S)

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

static inline void server_serve(struct peer *p, int fd, int nth)
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

static inline struct server *server_start(const char *page)
{
	struct server *s = calloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	s->status = 200;
	strcpy(s->path, "/metrics");
	strcpy(s->page, page);
	s->peer = peer_start(server_serve, s);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", s->peer->port);
	return s;
}

static inline void server_say(struct server *s, int status, const char *page)
{
	pthread_mutex_lock(&s->lock);
	s->status = status;
	strcpy(s->page, page);
	pthread_mutex_unlock(&s->lock);
}

static inline void server_stop(struct server *s)
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

static inline void world_changed(uint32_t slot, bool alive, void *arg)
{
	struct world *w = arg;

	w->changes++;
	w->last_alive = alive;
	w->last_slot = slot;
	if (!alive)
		endpoint_set_flags(w->endpoints, slot, 0, ENDPOINT_SCRAPE_DEAD);
	if (w->what == CHANGE_REMOVE)
		scraper_remove(w->scraper, slot);
	if (w->what == CHANGE_FREE)
		w->scraper = scraper_free(w->scraper);
	if (w->what == CHANGE_SET)
		assert_int_equal(scraper_set(w->scraper, slot, w->target), 0);
}

static inline struct world world_open(void)
{
	struct world w = {.base = event_base_new(), .endpoints = endpoints_new(SLOTS)};

	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	for (int i = 0; i < SLOTS; i++)
		assert_int_equal(endpoint_alloc(w.endpoints), i);
	return w;
}

static inline void world_start(struct world *w)
{
	w->scraper = scraper_new(w->base, w->endpoints, world_changed, w);
	assert_non_null(w->scraper);
}

static inline void world_close(struct world *w)
{
	scraper_free(w->scraper);
	assert_int_equal(event_base_get_num_events(w->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(w->base);
	endpoints_free(w->endpoints);
}

static inline struct scrape_target world_target(const struct server *s)
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

#define WORLD_UNTIL(w, condition)                                                                  \
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

static inline struct endpoint_view world_view(const struct world *w, uint32_t slot)
{
	struct endpoint_view v;

	endpoint_view(w->endpoints, slot, &v);
	return v;
}

#endif
