/*
 * The control thread.
 *
 * Life: everything is built before anything listens, and listening is the last thing that can
 * fail, so a start that fails has told nobody that it began. A reload builds the new configuration
 * whole and swaps; what cannot change without a restart is named in a warning and stays. The end
 * begins with SIGTERM: health checks are refused so that HAProxy looks elsewhere, requests are
 * answered for `drain` longer, and a second signal ends that wait.
 */
#include "serve/control.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "serve/admin.h"
#include "serve/page.h"

#define TICK_MS        1000
#define BEAT_MISSED_NS (5 * CLOCK_NS_PER_S)

static void tell_systemd(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
}

/* --- what the workers need of the configuration --- */

static struct worker_conf *worker_conf_new(const struct config *conf)
{
	struct worker_conf *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct worker_conf){
	    .decide = decide_conf_of(conf),
	    .max_frame = (uint32_t)conf->limits.frame,
	    .max_output = conf->limits.output,
	    .max_partial = conf->limits.partial,
	    .hello_ns = conf->timeouts.hello_ms * CLOCK_NS_PER_MS,
	    .frame_ns = conf->timeouts.frame_ms * CLOCK_NS_PER_MS,
	};
	for (size_t i = 0; i < conf->variables.n; i++)
		w->variables |= variable_bit(conf->variables.items[i]);
	return w;
}

static void publish_conf_consume(struct control *c, struct worker_conf *new)
{
	struct worker_conf *old = c->worker_conf;

	grace_publish(&c->worker_conf, new);
	if (old) {
		grace_wait();
		free(old);
	}
}

/* --- the way up --- */

static int make_tables(struct control *c)
{
	const struct config *conf = c->conf;
	uint32_t instance = 0;

	if (getrandom(&instance, sizeof(instance), 0) != sizeof(instance))
		instance = (uint32_t)clock_wall_ns() ^ (uint32_t)getpid();
	c->endpoints = endpoints_new(conf->limits.endpoints);
	if (!c->endpoints)
		return -ENOMEM;
	c->tickets = tickets_new(c->endpoints, conf->workers, conf->limits.tickets, instance);
	c->shared.cursors = calloc(conf->limits.pools + 1, sizeof(*c->shared.cursors));
	if (!c->tickets || !c->shared.cursors)
		return -ENOMEM;
	c->worker_conf = worker_conf_new(conf);
	return c->worker_conf ? 0 : -ENOMEM;
}

static int make_watch(struct control *c)
{
	const struct watch_env env = {.base = c->base, .endpoints = c->endpoints};

	c->watch = watch_new(&env, c->conf);
	if (!c->watch)
		return -ENOMEM;
	c->discover = watch_discover(c->watch);
	return 0;
}

/* Counters are the workers' to write: they go on, and what they have counted so far is taken off
 * where they are told. */
static void model_reused(uint32_t index, void *arg)
{
	struct control *c = arg;

	for (int v = 0; index < c->begun->nmodels && v < VERDICT_COUNT; v++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < c->nworkers; i++)
			n += stat_get(&c->workers[i].stats->models[index].verdicts[v]);
		atomic_store_explicit(&c->begun->models[index].verdicts[v], n,
				      memory_order_relaxed);
	}
}

static int make_workers(struct control *c)
{
	const struct config *conf = c->conf;

	c->shared.snapshot = discover_published(c->discover);
	c->shared.conf = &c->worker_conf;
	c->shared.endpoints = c->endpoints;
	c->shared.tickets = c->tickets;
	c->workers = calloc(conf->workers, sizeof(*c->workers));
	c->beats = calloc(conf->workers, sizeof(*c->beats));
	c->beat_ns = calloc(conf->workers, sizeof(*c->beat_ns));
	c->begun = stats_new(conf->limits.model_labels + 1);
	if (!c->workers || !c->beats || !c->beat_ns || !c->begun)
		return -ENOMEM;
	for (unsigned i = 0; i < conf->workers; i++) {
		int r = worker_start(&c->workers[i], i, &c->shared, conf->limits.model_labels + 1);

		c->nworkers = i + 1;
		if (r < 0)
			return r;
	}
	discover_on_model_reuse(c->discover, model_reused, c);
	return 0;
}

static const struct place *place_at(void *arg, uint32_t slot)
{
	return discover_place(((struct control *)arg)->discover, slot);
}

static int64_t place_find(void *arg, struct view backend, struct view server)
{
	return discover_find_server(((struct control *)arg)->discover, backend, server);
}

static int make_doors(struct control *c)
{
	const struct feedback_env feedback = {
	    .base = c->base,
	    .endpoints = c->endpoints,
	    .tickets = c->tickets,
	    .place = place_at,
	    .find = place_find,
	    .arg = c,
	    .peers = &c->shared.peers,
	};
	struct nudge_env nudge = {.base = c->base};
	const struct listener_env listener = {
	    .base = c->base,
	    .workers = c->workers,
	    .nworkers = c->nworkers,
	    .shared = &c->shared,
	};

	c->feedback = feedback_new(&feedback, c->conf);
	if (!c->feedback)
		return -EIO;
	nudge.ports = feedback_ports(c->feedback, &nudge.nports);
	c->nudge = nudge_new(&nudge);
	if (!c->nudge)
		return -ENOMEM;
	c->silent = silent_new(c->endpoints, c->tickets);
	c->models_page = models_page_new(c->started_ns);
	if (!c->silent || !c->models_page)
		return -ENOMEM;
	c->admin = admin_new(c->base, c->conf, page_table, c);
	if (!c->admin)
		return -EIO;
	c->listener = listener_new(&listener, c->conf);
	return c->listener ? 0 : -EIO;
}

/* --- signals and the clock --- */

static void stop(struct control *c)
{
	event_base_loopbreak(c->base);
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stop(arg);
}

static uint64_t checks_answered(const struct control *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->nworkers; i++)
		n += stat_get(&c->workers[i].stats->health_checks);
	return n;
}

static void on_terminate(evutil_socket_t sig, short what, void *arg)
{
	struct control *c = arg;
	const struct timeval wait = {.tv_sec = c->conf->drain_ms / 1000,
				     .tv_usec = c->conf->drain_ms % 1000 * 1000};
	struct log_line l;

	(void)what;
	if (c->stopping) {
		stop(c);
		return;
	}
	c->stopping = true;
	atomic_store(&c->shared.draining, true);
	tell_systemd("STOPPING=1");
	log_begin(&l, LOG_LEVEL_INFO, "draining");
	log_int(&l, "signal", sig);
	log_int(&l, "for_ms", c->conf->drain_ms);
	log_int(&l, "connections", atomic_load(&c->shared.connections));
	log_end(&l);
	if (atomic_load(&c->shared.connections) == 0 && checks_answered(c) == 0)
		stop(c);
	else
		event_add(c->drained, &wait);
}

static void report_fixed(const char *key, void *arg)
{
	(void)arg;
	log_event(LOG_LEVEL_WARNING, "reload_needs_restart", "option", key, NULL);
}

static void reload_failed(struct control *c, const struct config_errors *errors)
{
	struct log_line l;

	c->reload_failures++;
	for (size_t i = 0; i < errors->n; i++) {
		log_begin(&l, LOG_LEVEL_ERROR, "config_error");
		log_str(&l, "file", c->conf->path);
		log_int(&l, "line", errors->items[i].line);
		log_int(&l, "col", errors->items[i].col);
		log_str(&l, "text", errors->items[i].text);
		log_end(&l);
	}
	log_event(LOG_LEVEL_ERROR, "reload_failed", "file", c->conf->path, "remedy",
		  "the configuration that was running goes on", NULL);
}

static void reload(struct control *c)
{
	struct config_errors errors = {0};
	struct config *old = c->conf, *new = NULL;
	struct worker_conf *fresh;

	if (config_load(old->path, &new, &errors) < 0 ||
	    config_keep_fixed(old, new, report_fixed, NULL) < 0) {
		reload_failed(c, &errors);
		config_free(new);
		config_errors_deinit(&errors);
		return;
	}
	/* Everything that can fail comes first: until then the old one is in force, whole. */
	fresh = worker_conf_new(new);
	if (!fresh || watch_reload(c->watch, new) < 0) {
		reload_failed(c, &errors);
		config_errors_deinit(&errors);
		config_free(new);
		free(fresh);
		return;
	}
	config_errors_deinit(&errors);
	c->conf = new;
	publish_conf_consume(c, fresh);
	log_init((enum log_target) new->log.target, (enum log_level) new->log.level);
	listener_reload(c->listener, new);
	admin_reload(c->admin, new);
	config_free(old);
	c->reloads++;
	log_event(LOG_LEVEL_INFO, "reloaded", "file", new->path, NULL);
}

static void on_hangup(evutil_socket_t sig, short what, void *arg)
{
	struct control *c = arg;

	(void)sig;
	(void)what;
	if (c->stopping) {
		log_event(LOG_LEVEL_WARNING, "reload_failed", "why", "the agent is ending", NULL);
		return;
	}
	if (strcmp(c->conf->path, "-") == 0) {
		log_event(LOG_LEVEL_WARNING, "reload_failed", "remedy",
			  "the configuration came from standard input: restart instead", NULL);
		return;
	}
	tell_systemd("RELOADING=1");
	reload(c);
	tell_systemd("READY=1");
}

static void listen_to_beats(struct control *c)
{
	uint64_t now = clock_mono_ns();

	for (unsigned i = 0; i < c->nworkers; i++) {
		uint64_t beats = stat_get(&c->workers[i].stats->beats);

		if (beats != c->beats[i] || c->beat_ns[i] == 0)
			c->beat_ns[i] = now;
		c->beats[i] = beats;
	}
}

bool control_alive(const struct control *c)
{
	uint64_t now = clock_mono_ns();

	/* A beat since our own last tick counts: it may be us who slept. */
	for (unsigned i = 0; i < c->nworkers; i++)
		if (c->beat_ns[i] && now - c->beat_ns[i] > BEAT_MISSED_NS &&
		    stat_get(&c->workers[i].stats->beats) == c->beats[i])
			return false;
	return true;
}

bool control_ready(const struct control *c)
{
	return !c->stopping && discover_snapshot(c->discover)->ready;
}

/* When the HAProxy process that answered the runtime socket last began; 0: not known. */
static uint64_t haproxy_start(const struct haproxy_status *h)
{
	if (!h->good || h->uptime_s > h->last_good_ns / CLOCK_NS_PER_S)
		return 0;
	return h->last_good_ns - h->uptime_s * CLOCK_NS_PER_S;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	uint64_t now = clock_mono_ns();
	struct discover_status s;

	(void)fd;
	(void)what;
	discover_status(c->discover, &s);
	feedback_tick(c->feedback, now, c->conf->timeouts.ticket_ms * CLOCK_NS_PER_MS,
		      &(struct feedback_haproxy){s.haproxy.pid, s.haproxy.former_pid,
						 haproxy_start(&s.haproxy), s.haproxy.last_good_ns,
						 silent_given_up(c->silent)});
	retired_tick(&c->retired, c->tickets,
		     &(struct retired_haproxy){s.haproxy.pid, s.haproxy.former_pid,
					       s.haproxy.last_good_ns,
					       feedback_by_datagrams(c->feedback)},
		     now);
	silent_tick(c->silent, s.haproxy.pid, s.haproxy.asked_ns);
	nudge_tick(c->nudge, c->conf, s.haproxy.version, feedback_missing(c->feedback), now);
	watch_tick(c->watch);
	listen_to_beats(c);
}

static int make_events(struct control *c)
{
	const struct timeval period = {.tv_sec = TICK_MS / 1000};
	static const int ends[] = {SIGTERM, SIGINT};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		c->signals[n++] = evsignal_new(c->base, ends[i], on_terminate, c);
	c->signals[n++] = evsignal_new(c->base, SIGHUP, on_hangup, c);
	c->tick = event_new(c->base, -1, EV_PERSIST, on_tick, c);
	c->drained = event_new(c->base, -1, 0, on_drained, c);
	if (!c->tick || !c->drained || event_add(c->tick, &period) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!c->signals[i] || event_add(c->signals[i], NULL) < 0)
			return -ENOMEM;
	return 0;
}

/* --- life --- */

/* libevent's own warnings, as lines of ours. */
static void on_libevent(int severity, const char *text)
{
	static const enum log_level levels[] = {
	    [EVENT_LOG_DEBUG] = LOG_LEVEL_DEBUG,
	    [EVENT_LOG_MSG] = LOG_LEVEL_INFO,
	    [EVENT_LOG_WARN] = LOG_LEVEL_WARNING,
	    [EVENT_LOG_ERR] = LOG_LEVEL_ERROR,
	};

	log_event(severity >= 0 && severity <= EVENT_LOG_ERR ? levels[severity] : LOG_LEVEL_ERROR,
		  "libevent", "text", text, NULL);
}

static int build(struct control *c)
{
	int r;

	event_set_log_callback(on_libevent);
	c->base = event_base_new();
	if (!c->base)
		return -ENOMEM;
	r = make_events(c);
	if (r == 0)
		r = make_tables(c);
	if (r == 0)
		r = make_watch(c);
	if (r == 0)
		r = make_workers(c);
	if (r == 0)
		r = make_doors(c);
	return r;
}

struct control *control_new_consume(struct config *conf)
{
	struct control *c = calloc(1, sizeof(*c));
	struct log_line l;
	int r = -ENOMEM;

	if (c) {
		c->conf = conf;
		c->started_ns = clock_mono_ns();
		r = build(c);
	} else {
		config_free(conf);
	}
	if (r < 0) {
		log_begin(&l, LOG_LEVEL_ERROR, "start_failed");
		/* -EIO: a line that says more was written. */
		if (r == -EIO)
			log_str(&l, "error", "see the line above");
		else
			log_errno(&l, "error", -r);
		log_end(&l);
		return control_free(c);
	}
	log_begin(&l, LOG_LEVEL_INFO, "started");
	log_str(&l, "version", SPOA_VERSION);
	log_str(&l, "config", conf->path);
	log_int(&l, "pools", (int64_t)conf->npools);
	log_int(&l, "workers", conf->workers);
	for (size_t i = 0; i < conf->listen.spop.n; i++)
		log_str(&l, "spop", conf->listen.spop.items[i]);
	for (size_t i = 0; i < conf->listen.admin.n; i++)
		log_str(&l, "admin", conf->listen.admin.items[i]);
	log_end(&l);
	tell_systemd("READY=1");
	return c;
}

void control_run(struct control *c)
{
	event_base_dispatch(c->base);
}

static void free_events(struct control *c)
{
	for (size_t i = 0; i < sizeof(c->signals) / sizeof(c->signals[0]); i++)
		if (c->signals[i])
			event_free(c->signals[i]);
	if (c->tick)
		event_free(c->tick);
	if (c->drained)
		event_free(c->drained);
}

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	c->listener = listener_free(c->listener);
	for (unsigned i = 0; i < c->nworkers; i++)
		worker_stop(&c->workers[i]);
	free(c->workers);
	free(c->beats);
	free(c->beat_ns);
	if (c->discover)
		discover_on_model_reuse(c->discover, NULL, NULL);
	stats_free(c->begun);
	c->admin = admin_free(c->admin);
	c->silent = silent_free(c->silent);
	c->nudge = nudge_free(c->nudge);
	c->models_page = models_page_free(c->models_page);
	c->feedback = feedback_free(c->feedback);
	c->watch = watch_free(c->watch);
	free_events(c);
	if (c->base)
		event_base_free(c->base);
	free(c->worker_conf);
	free((void *)c->shared.cursors);
	tickets_free(c->tickets);
	endpoints_free(c->endpoints);
	if (c->started_ns)
		log_event(LOG_LEVEL_INFO, "stopped", NULL);
	config_free(c->conf);
	free(c);
	return NULL;
}
