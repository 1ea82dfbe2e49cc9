/*
 * The poller of HAProxy's runtime socket.
 *
 * A socket that is missing, refuses, hangs, answers in part, or answers something else: all end in
 * failed(), which keeps what was known and tries again in its time. HAProxy may so start after the
 * agent, reload and restart as it likes. An old worker that still answers while it drains says
 * "Stopping: 1"; its states are those of a process that takes no new requests, and are ignored.
 */
#include "discover/haproxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "discover/census.h"
#include "discover/runtime.h"
#include "net/ask.h"
#include "net/timer.h"

#define MISSING_POLL_MS 250

struct haproxy {
	struct event_base *base;
	struct roster *roster;
	struct endpoints *endpoints;
	struct haproxy_hooks hooks;
	const struct config *conf;
	struct timer *timer;
	struct ask *ask;
	uint64_t since_ns; /* of the last good answer, or of the start */
	uint64_t asked_ns; /* the question under way */
	bool logged_failure;
	struct haproxy_status status;
};

static void due(void *arg);

static void again(struct haproxy *h, uint64_t ms)
{
	if (timer_start(h->timer, ms * CLOCK_NS_PER_MS) < 0)
		log_event(LOG_LEVEL_ERROR, "haproxy_timer", "error", "out of memory", NULL);
}

static void grow_stale(struct haproxy *h)
{
	uint64_t limit = (uint64_t)h->conf->haproxy.poll_ms * 10;

	if (limit < HAPROXY_STALE_MS)
		limit = HAPROXY_STALE_MS;
	if (h->status.stale || clock_mono_ns() - h->since_ns < limit * CLOCK_NS_PER_MS)
		return;
	h->status.stale = true;
	if (h->status.answered)
		log_event(LOG_LEVEL_WARNING, "haproxy_stale", "socket", h->conf->haproxy.socket,
			  "effect", "server states of HAProxy no longer count", NULL);
	census_forget(h->roster, h->endpoints);
}

/* What an operator can do about it; NULL: wait, or the error says it. */
static const char *remedy_of(const char *error)
{
	if (strstr(error, "Permission denied"))
		return "in haproxy.cfg `stats socket PATH group haproxy mode 660 level admin`, and "
		       "this user in that group, with a way into the socket's folder";
	if (strstr(error, "No such file"))
		return "haproxy.socket is the path of a `stats socket` line in haproxy.cfg, "
		       "and HAProxy has to run";
	return NULL;
}

static void failed(struct haproxy *h, const char *error)
{
	struct log_line l;
	bool news = h->status.good || !h->logged_failure || strcmp(h->status.error, error) != 0;

	h->status.failures++;
	h->status.good = false;
	snprintf(h->status.error, sizeof(h->status.error), "%s", error);
	if (news) {
		log_begin(&l, LOG_LEVEL_WARNING, "haproxy_socket_failed");
		log_str(&l, "socket", h->conf->haproxy.socket);
		log_str(&l, "error", error);
		log_str(&l, "remedy", remedy_of(error));
		log_end(&l);
	}
	h->logged_failure = true;
	grow_stale(h);
	if (h->hooks.failed)
		h->hooks.failed(h->hooks.arg);
}

static void log_missing(struct haproxy *h, struct view stat, bool all)
{
	struct group *g;

	for (g = roster_groups(h->roster); g; g = g->hh.next) {
		char names[400];

		if (g->listed_here)
			g->missed = false;
		/* Who made the plan makes its backends, too, or none is wanted. */
		if (g->listed_here || g->source == ROSTER_KUBE || (g->missed && !all))
			continue;
		g->missed = true;
		census_backends(stat, view_str(g->backend), names, sizeof(names));
		log_event(LOG_LEVEL_WARNING, "backend_missing", "pool", g->pool->name, "backend",
			  g->backend, "haproxy_has", names, "remedy",
			  "pools.NAME, or its backend, is the name of a backend in haproxy.cfg",
			  NULL);
	}
}

static void succeeded(struct haproxy *h, const struct runtime_info *info, struct view stat,
		      bool changed)
{
	bool restarted = info->pid != h->status.pid;
	struct log_line l;

	if (!h->status.good || restarted) {
		log_begin(&l, LOG_LEVEL_INFO, "haproxy_found");
		log_str(&l, "socket", h->conf->haproxy.socket);
		log_view(&l, "version", info->version);
		log_int(&l, "pid", info->pid);
		log_int(&l, "uptime_s", (int64_t)info->uptime_s);
		log_end(&l);
	}
	h->status.good = h->status.answered = true;
	h->status.stale = false;
	h->status.error[0] = '\0';
	if (restarted)
		h->status.former_pid = h->status.pid;
	h->status.pid = info->pid;
	h->status.uptime_s = info->uptime_s;
	snprintf(h->status.version, sizeof(h->status.version), "%.*s", (int)info->version.len,
		 info->version.ptr ? info->version.ptr : "");
	h->since_ns = h->status.last_good_ns = clock_mono_ns();
	h->status.asked_ns = h->asked_ns;
	log_missing(h, stat, restarted);
	if (h->hooks.polled)
		h->hooks.polled(changed, restarted, h->hooks.arg);
}

static void read_answer(struct haproxy *h, struct view text)
{
	struct runtime_answer parts;
	struct runtime_info info;
	char error[160];
	bool changed;
	int r = runtime_split(text, &parts);

	if (parts.info.ptr && runtime_info(parts.info, &info) == 0 && info.stopping) {
		/* Its successor may be up already, or come; what is known stays. */
		h->status.ignored++;
		grow_stale(h);
		return;
	}
	if (r == 0)
		r = runtime_info(parts.info, &info);
	if (r == 0)
		r = census_apply(h->roster, h->endpoints, parts.servers, parts.stat, &changed);
	if (r == 0) {
		succeeded(h, &info, parts.stat, changed);
	} else if (parts.error.ptr) {
		snprintf(error, sizeof(error), "HAProxy says: %.*s%s",
			 (int)(parts.error.len < 100 ? parts.error.len : 100), parts.error.ptr,
			 r == -EACCES ? " (the socket needs level operator)" : "");
		failed(h, error);
	} else {
		failed(h, text.len == 0  ? "closed without an answer"
			  : r == -EAGAIN ? "the answer was cut off"
			  : r == -ENOMEM ? "out of memory"
					 : "the answer is not one of HAProxy's runtime socket");
	}
}

/* Somebody waits for HAProxy to come (back), and a socket that is not there costs nothing. */
static uint32_t pause_ms(const struct haproxy *h)
{
	uint32_t poll = h->conf->haproxy.poll_ms;

	return h->status.good || poll < MISSING_POLL_MS ? poll : MISSING_POLL_MS;
}

static void answered(const struct ask_answer *answer, void *arg)
{
	struct haproxy *h = arg;
	char error[160];

	h->ask = NULL;
	if (answer->error == ASK_OK) {
		read_answer(h, answer->text);
	} else if (answer->err) {
		snprintf(error, sizeof(error), "%s: %s", ask_error_name(answer->error),
			 strerror(answer->err));
		failed(h, error);
	} else {
		failed(h, ask_error_name(answer->error));
	}
	again(h, pause_ms(h));
}

static void due(void *arg)
{
	struct haproxy *h = arg;
	int r;

	if (h->ask || !h->conf->haproxy.socket)
		return;
	h->status.polls++;
	h->asked_ns = clock_mono_ns();
	r = ask(h->base, h->conf->haproxy.socket, VIEW_LIT(RUNTIME_QUESTION),
		h->conf->haproxy.timeout_ms, h->conf->haproxy.max_answer, answered, h, &h->ask);
	if (r == 0)
		return;
	h->ask = NULL;
	failed(h, r == -EINVAL ? "not an address of a runtime socket" : "out of memory");
	again(h, pause_ms(h));
}

struct haproxy *haproxy_new(struct event_base *base, struct roster *r, struct endpoints *e,
			    const struct haproxy_hooks *hooks, const struct config *conf)
{
	struct haproxy *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base = base;
	h->roster = r;
	h->endpoints = e;
	h->hooks = *hooks;
	h->conf = conf;
	h->since_ns = clock_mono_ns();
	h->status.configured = conf->haproxy.socket != NULL;
	h->timer = timer_new(base, due, h);
	if (!h->timer || timer_start(h->timer, 0) < 0)
		return haproxy_free(h);
	return h;
}

struct haproxy *haproxy_free(struct haproxy *h)
{
	if (h) {
		if (h->ask)
			ask_cancel(h->ask);
		timer_free(h->timer);
		free(h);
	}
	return NULL;
}

void haproxy_reload(struct haproxy *h, const struct config *conf)
{
	const char *was = h->conf->haproxy.socket, *is = conf->haproxy.socket;
	bool moved = was && is ? strcmp(was, is) != 0 : was != is;

	h->conf = conf;
	if (h->ask)
		ask_cancel(h->ask);
	h->ask = NULL;
	if (moved) {
		census_forget(h->roster, h->endpoints);
		h->status = (struct haproxy_status){.configured = is != NULL};
		h->since_ns = clock_mono_ns();
		h->logged_failure = false;
	}
	timer_stop(h->timer);
	if (is)
		again(h, 0);
}

void haproxy_poll(struct haproxy *h)
{
	if (!h->ask && h->conf->haproxy.socket)
		again(h, 0);
}

void haproxy_status(const struct haproxy *h, struct haproxy_status *ret)
{
	*ret = h->status;
}
