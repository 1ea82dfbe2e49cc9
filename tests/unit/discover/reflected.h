/*
 * A reflector and the API server of the test that it follows: what is held here must be what the
 * server holds in the end, and nothing that exists may ever be told as removed.
 */
#ifndef UNIT_DISCOVER_REFLECTED_H
#define UNIT_DISCOVER_REFLECTED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cJSON.h>
#include <event2/event.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/access.h"
#include "discover/kube/reflector.h"
#include "net/timer.h"
#include "unit/discover/apiserver.h"
#include "unit/folder.h"
#include "unit/valgrind.h"

struct reflected {
	struct api *api;
	struct event_base *base;
	struct kube_access *access;
	struct kube_client *client;
	struct kube_reflector *r;
	struct timer *tick;
	bool (*until)(struct reflected *w);
	long deadline_ms;

	long held[API_OBJECTS];
	int begins, syncs, upserts, removes, states, odd, went_back;
	bool trusting; /* a removal is not compared with the server */
	enum kube_reflector_state state, seen[8];
};

static inline int reflected_number(const char *name)
{
	assert_int_equal(name[0], 'o');
	return atoi(name + 1);
}

static inline void reflected_begin(void *arg)
{
	((struct reflected *)arg)->begins++;
}

static inline void reflected_upsert(const struct cJSON *object, void *arg)
{
	struct reflected *w = arg;
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
	w->held[reflected_number(name)] =
	    atol(cJSON_GetObjectItem(m, "resourceVersion")->valuestring);
}

static inline void reflected_remove(const char *namespace, const char *name, void *arg)
{
	struct reflected *w = arg;
	int n = reflected_number(name);
	bool there;

	assert_string_equal(namespace, "ns");
	w->removes++;
	w->held[n] = 0;
	/* It may have come back by now, but then under a later version. */
	API_WITH(w->api, there = w->api->held[n] && w->api->held[n] < w->api->version - 50);
	if (there && !w->trusting)
		fail_msg("o%d exists", n);
}

static inline void reflected_synced(void *arg)
{
	((struct reflected *)arg)->syncs++;
}

static inline void reflected_state(const struct kube_reflector_status *s, void *arg)
{
	struct reflected *w = arg;

	w->states++;
	w->state = s->state;
	w->seen[s->state]++;
}

static inline void reflected_tick(void *arg)
{
	struct reflected *w = arg;

	if (w->until(w) || api_ms() > w->deadline_ms)
		event_base_loopbreak(w->base);
}

static inline struct reflected *reflected_new(void)
{
	struct reflected *w = calloc(1, sizeof(*w));
	struct kube_access_conf conf = {0};
	struct config_errors errors;
	char text[512];

	w->api = api_start();
	w->base = event_base_new();
	snprintf(text, sizeof(text),
		 "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
		 "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u'}}]\n"
		 "users: [{name: u, user: {tokenFile: token}}]\n",
		 w->api->peer->port);
	folder_put("token", "one");
	conf.kubeconfig = folder_put("config", text);
	assert_int_equal(kube_access_new(&conf, &errors, &w->access), 0);
	config_errors_deinit(&errors);
	w->client = kube_client_new(w->base, w->access);
	w->tick = timer_new(w->base, reflected_tick, w);
	assert_int_equal(timer_every(w->tick, 2 * CLOCK_NS_PER_MS), 0);
	return w;
}

static inline struct kube_reflector_conf reflected_conf(void)
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

static inline void reflected_went_back(void *arg)
{
	((struct reflected *)arg)->went_back++;
}

static inline void reflected_start(struct reflected *w, struct kube_reflector_conf conf)
{
	static const struct kube_reflector_hooks hooks = {reflected_begin,  reflected_upsert,
							  reflected_remove, reflected_synced,
							  reflected_state,  reflected_went_back};

	w->r = kube_reflector_new(w->client, &conf, &hooks, w);
	assert_non_null(w->r);
}

static inline void reflected_free(struct reflected *w)
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
static inline void reflected_run(struct reflected *w, bool (*until)(struct reflected *w))
{
	w->until = until;
	w->deadline_ms = api_ms() + (under_valgrind() ? 1200000 : 120000);
	event_base_dispatch(w->base);
	if (!until(w)) {
		const struct kube_reflector_status *s = kube_reflector_status(w->r);

		fail_msg("never: state %s, version %s, objects %zu, last %s %s: %s",
			 kube_reflector_state_name(s->state), s->version, s->objects, s->verb,
			 kube_failure_name(s->last.failure), s->last.message);
	}
}

static inline bool reflected_same(struct reflected *w)
{
	bool same;

	API_WITH(w->api, same = memcmp(w->held, w->api->held, sizeof(w->held)) == 0);
	return same && w->state == KUBE_REFLECTOR_WATCHING;
}

static inline bool reflected_nothing(struct reflected *w)
{
	(void)w;
	return false;
}

/* For so long, whatever happens. */
static inline void reflected_pass(struct reflected *w, int ms)
{
	w->until = reflected_nothing;
	w->deadline_ms = api_ms() + ms;
	event_base_dispatch(w->base);
}

static inline void reflected_populate(struct reflected *w, int n)
{
	for (int i = 0; i < n; i++)
		api_event(w->api, 'A', i, NULL);
}

/* The n-th request whose target holds @text. */
static inline const char *reflected_asked(struct reflected *w, const char *text, int n)
{
	const char *found = NULL;

	API_WITH(
	    w->api, for (int i = 0; i < w->api->nasked && !found; i++) {
		    if (strstr(w->api->asked[i], text) && n-- == 0)
			    found = w->api->asked[i];
	    });
	return found;
}

static inline bool reflected_ill(struct reflected *w)
{
	return w->state == KUBE_REFLECTOR_FAILING || w->state == KUBE_REFLECTOR_FORBIDDEN ||
	       w->state == KUBE_REFLECTOR_ABSENT;
}

static inline int reflected_setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return folder_make(state);
}

#endif
