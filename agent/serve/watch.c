/*
 * The wiring of discover/ and observe/, which may not know of each other.
 *
 * A place with a URL becomes a target; its token is read here, again each second by its file's
 * times, so that a rotated secret reaches the scraper without a reload.
 */
#include "serve/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "discover/kube/kube.h"
#include "discover/token.h"
#include "net/dns.h"
#include "net/http.h"

/* Inquiries of /v1/models at a time. */
#define HTTP_CONNECTIONS 64

struct watch {
	struct event_base *base;
	bool read_only;
	struct endpoints *endpoints;
	const struct config *conf;
	struct tokens *tokens;
	struct dns *dns;
	struct http_client *http;
	struct http_room room; /* of all pages and answers */
	struct scraper *scraper;
	struct discover *discover;
	struct kube *kube; /* NULL: not configured */
};

static const char *text_or_null(const char *s)
{
	return s && *s ? s : NULL;
}

static void follow(struct watch *w, const struct place *p)
{
	const struct config_scrape *s = p->scrape;
	const char *error = NULL;
	struct scrape_target target = {
	    .name = p->name,
	    .url = p->url,
	    .metrics = text_or_null(p->metrics),
	    .metrics_path = text_or_null(s->metrics_path),
	    .connect_to = p->connect_to,
	    .ca_file = text_or_null(s->tls_ca_file),
	    .tls_verify = s->tls_verify,
	    .engine = s->engine,
	    .interval_ms = s->interval_ms,
	    .timeout_ms = s->timeout_ms,
	    .stale_ms = s->stale_ms,
	    .failures = s->failures,
	    .max_page = w->conf->limits.metrics_page,
	};

	if (!p->url) {
		scraper_remove(w->scraper, p->slot);
		return;
	}
	if (s->api_key_file)
		target.bearer = token_get(w->tokens, s->api_key_file, &error);
	if (scraper_set(w->scraper, p->slot, &target) < 0)
		log_event(LOG_LEVEL_ERROR, "scrape_not_begun", "endpoint", p->name, "why",
			  "out of memory", NULL);
}

static void on_place(const struct place *p, void *arg)
{
	follow(arg, p);
}

static void on_removed(const struct place *p, void *arg)
{
	scraper_remove(((struct watch *)arg)->scraper, p->slot);
}

static void on_scrape_changed(uint32_t slot, bool alive, void *arg)
{
	struct watch *w = arg;

	if (alive)
		discover_endpoint_back(w->discover, slot);
	else
		discover_endpoint_dead(w->discover, slot);
}

static int start_kube(struct watch *w, const struct config *conf, struct kube **ret)
{
	const struct kube_env env = {
	    .base = w->base, .discover = w->discover, .read_only = w->read_only};

	return conf->kubernetes.here ? kube_new(&env, conf, ret) : 0;
}

static int start(struct watch *w, const struct watch_env *env)
{
	const struct config *conf = w->conf;
	struct discover_env discover = {
	    .base = env->base,
	    .endpoints = env->endpoints,
	    .places = {.added = on_place, .changed = on_place, .removed = on_removed, .arg = w},
	    .read_only = env->read_only,
	};
	int r = dns_new(env->base, (const char *const *)conf->dns.servers.items,
			conf->dns.servers.n, conf->dns.timeout_ms, &w->dns);

	if (r == -EINVAL)
		log_event(LOG_LEVEL_ERROR, "dns_failed", "option", "dns.servers", "remedy",
			  "write name servers as IP:PORT", NULL);
	if (r < 0)
		return r;
	w->tokens = tokens_new();
	w->http = http_client_new(env->base, HTTP_CONNECTIONS);
	w->scraper = scraper_new(env->base, env->endpoints, on_scrape_changed, w);
	if (!w->tokens || !w->http || !w->scraper)
		return -ENOMEM;
	w->room.max = conf->limits.pages;
	http_client_share(w->http, &w->room);
	scraper_share(w->scraper, &w->room);
	discover.http = w->http;
	discover.dns = w->dns;
	w->discover = discover_new(&discover, conf);
	return w->discover ? start_kube(w, conf, &w->kube) : -ENOMEM;
}

struct watch *watch_new(const struct watch_env *env, const struct config *conf)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->base = env->base;
	w->read_only = env->read_only;
	w->endpoints = env->endpoints;
	w->conf = conf;
	return start(w, env) < 0 ? watch_free(w) : w;
}

struct watch *watch_free(struct watch *w)
{
	if (w) {
		w->kube = kube_free(w->kube);
		w->discover = discover_free(w->discover);
		w->scraper = scraper_free(w->scraper);
		w->http = http_client_free(w->http);
		w->dns = dns_free(w->dns);
		tokens_free(w->tokens);
		free(w);
	}
	return NULL;
}

static void follow_all(struct watch *w, bool tokens_only)
{
	for (uint32_t slot = 0; slot < endpoints_max(w->endpoints); slot++) {
		const struct place *p = discover_place(w->discover, slot);

		if (p && (!tokens_only || p->scrape->api_key_file))
			follow(w, p);
	}
}

int watch_reload(struct watch *w, const struct config *conf)
{
	struct kube_next *next = NULL;
	struct kube *fresh = NULL;
	int r = 0;

	if (w->kube && conf->kubernetes.here)
		r = kube_prepare(w->kube, conf, &next);
	else if (conf->kubernetes.here)
		r = start_kube(w, conf, &fresh);
	if (r == 0)
		r = discover_reload(w->discover, conf);
	if (r < 0) {
		kube_next_free(next);
		kube_free(fresh);
		return r;
	}
	w->conf = conf;
	w->room.max = conf->limits.pages;
	if (next)
		kube_commit_consume(w->kube, next);
	else if (w->kube)
		w->kube = kube_free(w->kube);
	else
		w->kube = fresh;
	/* Limits of pages are no part of a place: it is not told that they changed. */
	follow_all(w, false);
	return 0;
}

void watch_tick(struct watch *w)
{
	follow_all(w, true);
}

struct discover *watch_discover(const struct watch *w)
{
	return w->discover;
}

struct kube *watch_kube(const struct watch *w)
{
	return w->kube;
}

struct scraper *watch_scraper(const struct watch *w)
{
	return w->scraper;
}
