/*
 * One server that is asked.
 *
 * It has a slot, one or two URLs to try, one timer and at most one transfer. The timer wakes it for
 * whichever comes first: its next turn, or the moment its figures become stale. Turns lie on a grid
 * of their own (grid + n × interval), so a slow answer delays nothing but itself. The grid is one
 * of TICKS points of the interval, chosen from the slot by the golden ratio, which spreads any run
 * of slots evenly over them; the points are the same for all targets of one interval, so that those
 * who share one also share the loop's waking up, which costs more than the asking. Only the first
 * turn is sooner than the grid says, where the interval is long.
 *
 * A round is one transfer, or two where the server has no page at the first path. Each round ends
 * in conclude(), the only place that moves the state, counts, logs and calls pick/. It is reached
 * from the loop only: a transfer that cannot even be started is kept as `unsent` until the timer
 * wakes the target. The last thing conclude() does is to tell its owner, who may free the target.
 *
 * Logging: one line when a target begins to fail, one when it is taken out, one when it is back.
 * What flaps without being taken out says so at most every LOG_AGAIN_NS; the counters have the
 * rest.
 */
#include "observe/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/http.h"
#include "net/timer.h"
#include "pick/endpoint.h"

#define FIRST_WITHIN CLOCK_NS_PER_S /* the first turn, whatever the interval */
#define LOG_AGAIN_NS (60 * CLOCK_NS_PER_S)
#define TICKS_LOG2   3
#define TICKS        (1 << TICKS_LOG2)

struct target {
	const struct target_env *env;
	uint32_t slot;
	struct scrape_conf conf;
	struct timer *timer;
	struct http_transfer *transfer;
	bool under_way;
	int unsent;           /* -errno: the transfer could not be started */
	unsigned path, tried; /* the URL in use; how many had no page this round */
	uint64_t grid_ns, due_ns, began_ns;
	uint64_t backoff_ns; /* a server without metrics is asked again after this; 0: as usual */
	bool answered;       /* was alive at least once */
	bool figures;        /* pick/ has figures that are not stale */
	bool spell_logged;   /* the present failures were logged */
	uint64_t logged_ns;  /* when the last line of those that may repeat was written */
	enum engine engine_logged;
	struct scrape_status status;
};

/* Logs */

static void log_target(struct log_line *l, enum log_level level, const char *event,
		       const struct target *t)
{
	log_begin(l, level, event);
	log_str(l, "endpoint", t->conf.name);
	log_str(l, "url", t->status.url);
}

static bool may_log(struct target *t, uint64_t now)
{
	if (t->logged_ns && now - t->logged_ns < LOG_AGAIN_NS)
		return false;
	t->logged_ns = now;
	return true;
}

static void log_failure(struct target *t, const char *event)
{
	struct log_line l;

	t->spell_logged = true; /* so that its coming back is told as well */
	log_target(&l, LOG_LEVEL_WARNING, event, t);
	log_int(&l, "failures", t->status.failing);
	log_str(&l, "reason", scrape_outcome_name(t->status.last));
	log_str(&l, "detail", t->status.error);
	log_end(&l);
}

static void log_recovered(struct target *t, uint32_t failing)
{
	struct log_line l;

	if (!t->spell_logged)
		return;
	t->spell_logged = false;
	log_target(&l, LOG_LEVEL_INFO, "scrape_recovered", t);
	log_int(&l, "failures", failing);
	log_end(&l);
}

static void log_engine(struct target *t)
{
	struct log_line l;

	if (t->engine_logged == t->status.engine)
		return;
	t->engine_logged = t->status.engine;
	log_target(&l, LOG_LEVEL_INFO, "scrape_engine", t);
	log_str(&l, "engine", engine_name(t->status.engine));
	log_end(&l);
}

static void log_none(struct target *t, uint64_t now)
{
	bool expected = t->conf.engine == CONFIG_ENGINE_AUTO;
	struct log_line l;

	if (!may_log(t, now))
		return;
	log_target(&l, expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "scrape_no_metrics", t);
	log_str(&l, "detail", t->status.error);
	log_end(&l);
}

/* Turns */

static void begin_transfer(struct target *t);
static void conclude(struct target *t, enum scrape_outcome o, const struct engine_report *r,
		     const char *error);

static int arm(struct target *t)
{
	uint64_t now = clock_mono_ns(), next = t->due_ns;

	if (t->figures && t->status.told_ns + t->conf.stale_ns < next)
		next = t->status.told_ns + t->conf.stale_ns;
	if (t->unsent)
		next = now;
	return timer_start(t->timer, next > now ? next - now : 0);
}

/* The loop has no memory for a timer: said, since nothing else would show it. */
static void rearm(struct target *t)
{
	if (arm(t) < 0)
		log_event(LOG_LEVEL_ERROR, "scrape_stopped", "endpoint", t->conf.name, NULL);
}

/* A point of a span, below it. */
static uint64_t phase(uint32_t slot, uint64_t span_ns)
{
	return span_ns / TICKS * ((slot * UINT32_C(2654435769)) >> (32 - TICKS_LOG2));
}

/* The next point of the grid; later where the server is asked less often. */
static void set_next_turn(struct target *t, uint64_t now)
{
	uint64_t interval = t->conf.interval_ns;

	t->due_ns = t->grid_ns;
	if (now >= t->grid_ns)
		t->due_ns += ((now - t->grid_ns) / interval + 1) * interval;
	if (t->due_ns < now + t->backoff_ns)
		t->due_ns = now + t->backoff_ns;
}

static void set_grid(struct target *t, uint64_t now)
{
	uint64_t interval = t->conf.interval_ns;

	t->grid_ns = now / interval * interval + phase(t->slot, interval);
	t->due_ns = now + phase(t->slot, interval < FIRST_WITHIN ? interval : FIRST_WITHIN);
}

static void begin_round(struct target *t, uint64_t now)
{
	t->under_way = true;
	t->tried = 0;
	t->began_ns = now;
	t->status.scrapes++;
	begin_transfer(t);
}

static void wake(void *arg)
{
	struct target *t = arg;
	uint64_t now = clock_mono_ns();

	if (t->figures && now - t->status.told_ns >= t->conf.stale_ns) {
		t->figures = false;
		endpoint_forget(t->env->endpoints, t->slot);
	}
	if (t->unsent) {
		bool memory = t->unsent == -ENOMEM;

		t->unsent = 0;
		conclude(t, memory ? SCRAPE_MEMORY : SCRAPE_PROTOCOL, NULL,
			 memory ? "out of memory" : "the URL or the token cannot be sent");
		return;
	}
	if (now >= t->due_ns) {
		set_next_turn(t, now);
		if (t->under_way)
			t->status.skipped++;
		else
			begin_round(t, now);
	}
	rearm(t);
}

/* Outcomes */

static bool is_alive(enum scrape_outcome o)
{
	return o == SCRAPE_TOLD || o == SCRAPE_SILENT || o == SCRAPE_NONE;
}

/* First asked again as usual, then half as often each time. */
static void back_off(struct target *t)
{
	uint64_t next = t->backoff_ns ? t->backoff_ns * 2 : t->conf.interval_ns;

	if (next > SCRAPE_NONE_MAX_NS)
		next = SCRAPE_NONE_MAX_NS;
	t->backoff_ns = next > t->conf.interval_ns ? next : t->conf.interval_ns;
}

static void stop_backing_off(struct target *t, uint64_t now)
{
	if (t->backoff_ns) {
		t->backoff_ns = 0;
		set_next_turn(t, now);
	}
}

/* True: it is back, or has answered for the first time. */
static bool note_alive(struct target *t)
{
	uint32_t failing = t->status.failing;
	bool news = !t->status.alive || !t->answered;

	if (!t->status.alive)
		endpoint_set_flags(t->env->endpoints, t->slot, ENDPOINT_SCRAPE_DEAD, 0);
	t->answered = true;
	t->status.alive = true;
	t->status.failing = 0;
	if (failing)
		log_recovered(t, failing);
	return news;
}

/* True: it is taken out. */
static bool note_failure(struct target *t, uint64_t now)
{
	bool dead;

	t->status.failing++;
	stop_backing_off(t, now);
	dead = t->status.alive && t->status.failing >= t->conf.failures;
	if (dead) {
		t->status.alive = false;
		log_failure(t, "scrape_dead");
	} else if (!t->spell_logged && may_log(t, now)) {
		log_failure(t, "scrape_failed");
	}
	return dead;
}

static void note_engine(struct target *t, const struct engine_report *r, uint64_t now)
{
	stop_backing_off(t, now);
	t->status.engine = r->engine;
	t->status.kv_blocks = r->kv_blocks;
	t->status.kv_block_size = r->kv_block_size;
	log_engine(t);
}

static void note_none(struct target *t, bool before, uint64_t now)
{
	t->path = 0;
	t->status.engine = ENGINE_NONE;
	back_off(t);
	if (!before)
		log_none(t, now);
}

/* The only mover of the state. The target may be gone afterwards. */
static void conclude(struct target *t, enum scrape_outcome o, const struct engine_report *r,
		     const char *error)
{
	uint64_t now = clock_mono_ns();
	bool none_before = t->status.asked && t->status.last == SCRAPE_NONE;
	bool news = false;

	t->under_way = false;
	t->status.outcomes[o]++;
	t->status.duration_ns = now - t->began_ns;
	t->status.ended_ns = now;
	snprintf(t->status.error, sizeof(t->status.error), "%s", error);
	if (o != SCRAPE_MEMORY) {
		t->status.last = o;
		t->status.asked = true;
		news = is_alive(o) ? note_alive(t) : note_failure(t, now);
	}
	if (o == SCRAPE_TOLD || o == SCRAPE_SILENT)
		note_engine(t, r, now);
	if (o == SCRAPE_NONE)
		note_none(t, none_before, now);
	rearm(t);
	t->env->concluded(t->env->arg, t->slot, news, t->status.alive);
}

static enum scrape_outcome outcome_of(enum http_error error)
{
	switch (error) {
	case HTTP_OK:
		return SCRAPE_TOLD;
	case HTTP_CONNECT:
		return SCRAPE_CONNECT;
	case HTTP_TIMEOUT:
		return SCRAPE_TIMEOUT;
	case HTTP_TLS:
		return SCRAPE_TLS;
	case HTTP_TOO_LARGE:
		return SCRAPE_TOO_LARGE;
	case HTTP_MEMORY:
		return SCRAPE_MEMORY;
	case HTTP_PROTOCOL:
	case HTTP_CANCELLED:
		break;
	}
	return SCRAPE_PROTOCOL;
}

/* No page at this path: on to the next, or that was all. */
static void no_page(struct target *t, const char *why)
{
	t->tried++;
	if (t->tried < t->conf.nurls) {
		t->path = (t->path + 1) % t->conf.nurls;
		begin_transfer(t);
	} else {
		conclude(t, SCRAPE_NONE, NULL, why);
	}
}

static void read_page(struct target *t, struct view page, uint32_t open)
{
	struct engine_report r;
	char why[160];

	switch (engine_read(t->conf.engine, t->status.engine, page, &r)) {
	case ENGINE_TOLD:
		t->figures = true;
		t->status.told_ns = clock_mono_ns();
		endpoint_observe(t->env->endpoints, t->slot, r.waiting, r.running, r.kv_usage, open,
				 t->status.told_ns);
		conclude(t, SCRAPE_TOLD, &r, "");
		break;
	case ENGINE_SILENT:
		conclude(t, SCRAPE_SILENT, &r, "");
		break;
	case ENGINE_ABSENT:
		no_page(t, "the page has no metrics of a known engine");
		break;
	case ENGINE_BAD:
		snprintf(why, sizeof(why), "%s has a value that cannot be", r.bad);
		conclude(t, SCRAPE_BAD_VALUE, NULL, why);
		break;
	}
}

static void answered(const struct http_answer *answer, void *arg)
{
	struct target *t = arg;
	/* Now, before anything else happens: what the page says is as old as this. */
	uint32_t open = endpoint_open(t->env->endpoints, t->slot);
	char why[64];

	t->transfer = NULL;
	if (answer->error != HTTP_OK) {
		conclude(t, outcome_of(answer->error), NULL, answer->detail);
		return;
	}
	if (answer->status == 200) {
		read_page(t, answer->body, open);
		return;
	}
	snprintf(why, sizeof(why), "the answer's status is %d", answer->status);
	if (answer->status >= 500)
		conclude(t, SCRAPE_STATUS, NULL, why);
	else
		no_page(t, why);
}

static void begin_transfer(struct target *t)
{
	struct http_request req = {
	    .url = t->conf.urls[t->path],
	    .bearer = t->conf.bearer,
	    .ca_file = t->conf.ca_file,
	    .tls_verify = t->conf.tls_verify,
	    .timeout_ms = t->conf.timeout_ms,
	    .max_body = t->conf.max_page,
	    .connect_to = t->conf.connect_to,
	};
	int r;

	t->status.url = t->conf.urls[t->path];
	r = http_get(t->status.failing ? t->env->failing : t->env->good, &req, answered, t,
		     &t->transfer);
	if (r < 0) {
		t->transfer = NULL;
		t->unsent = r;
		rearm(t);
	}
}

/* Life */

struct target *target_new(const struct target_env *env, uint32_t slot,
			  const struct scrape_conf *conf)
{
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->env = env;
	t->slot = slot;
	t->status.alive = true;
	t->timer = timer_new(env->base, wake, t);
	if (!t->timer) {
		free(t);
		return NULL;
	}
	t->conf = *conf;
	set_grid(t, clock_mono_ns());
	if (t->conf.engine != CONFIG_ENGINE_NONE && arm(t) < 0) {
		timer_free(t->timer);
		free(t);
		return NULL;
	}
	return t;
}

struct target *target_free(struct target *t)
{
	if (t) {
		if (!t->status.alive)
			endpoint_set_flags(t->env->endpoints, t->slot, ENDPOINT_SCRAPE_DEAD, 0);
		if (t->figures)
			endpoint_forget(t->env->endpoints, t->slot);
		http_cancel(t->transfer);
		timer_free(t->timer);
		scrape_conf_deinit(&t->conf);
		free(t);
	}
	return NULL;
}

void target_reconfigure(struct target *t, const struct scrape_conf *conf)
{
	struct scrape_conf old = t->conf;
	uint64_t now = clock_mono_ns();

	t->conf = *conf;
	if (t->status.url)
		t->status.url = t->conf.urls[t->path];
	if (old.interval_ns != conf->interval_ns)
		set_grid(t, now);
	/* A new token may be what a server without metrics has waited for. */
	if (!scrape_conf_same_bearer(&old, conf))
		stop_backing_off(t, now);
	scrape_conf_deinit(&old);
	if (t->conf.engine != CONFIG_ENGINE_NONE)
		rearm(t);
}

bool target_ask_now(struct target *t)
{
	if (t->conf.engine == CONFIG_ENGINE_NONE)
		return false;
	if (!t->under_way) {
		t->due_ns = clock_mono_ns();
		rearm(t);
	}
	return true;
}

const struct scrape_conf *target_conf(const struct target *t)
{
	return &t->conf;
}

const struct scrape_status *target_status(const struct target *t)
{
	return &t->status;
}
