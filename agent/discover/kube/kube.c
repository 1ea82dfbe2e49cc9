/*
 * The controller's circle.
 *
 * The mirror tells that objects changed; what changes within kubernetes.settle joins in; then the
 * objects are resolved into a plan and into wanted statuses. A plan that differs from the one in
 * use goes first to our own HAProxy's follower, since a server that HAProxy does not know is better
 * not named to it, and then to discover, which publishes it. Statuses are compared after that, so
 * that they tell of what is.
 *
 * Resolving takes longer with more objects, and objects may change all the time: it is done at most
 * a fifth of a core's time.
 *
 * The plan in use is ours and lives until its successor is in use everywhere. It also outlives the
 * mirror: a reload that goes to another server, or asks it for other things, starts with an empty
 * store, and until that is filled what was served goes on.
 *
 * Everything that hangs on one configuration is a kube_next, made whole before it is put in place.
 */
#include "discover/kube/kube.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/option.h"
#include "discover/discover.h"
#include "discover/kube/scribe.h"
#include "discover/kube/status.h"
#include "net/timer.h"

#define RETRY_NS    CLOCK_NS_PER_S
#define PORTS_USUAL 2

/* A problem that was logged, by its hash; forgotten when it is gone, so that it is told again. */
struct told {
	UT_hash_handle hh;
	uint64_t hash;
	unsigned round;
};

struct kube_next {
	const struct config *conf;
	struct kube_mirror *mirror; /* NULL in one that is prepared: that in use stays */
	struct kube_scribe *scribe; /* NULL: nothing is written */
	struct follow *follow;      /* NULL: HAProxy is somebody else's */
	struct kube_settings settings;
	struct view *addresses, *secrets;
	struct kube_port_name *ports;
};

struct kube {
	struct kube_env env;
	struct kube_next now;
	struct plan *plan;              /* in use; NULL: none yet */
	struct kube_resolved *resolved; /* the last, without its plan */
	struct timer *settle;
	bool dirty; /* objects changed since they were resolved */
	struct told *told;
	unsigned round;
	uint64_t resolves, resolve_ns, resolve_sum_ns, resolve_cpu_ns, resolved_ns, plans;
};

/* --- settings --- */

static struct view *views_of(const struct config_list *list)
{
	struct view *views = calloc(list->n + 1, sizeof(*views));

	for (size_t i = 0; views && i < list->n; i++)
		views[i] = view_str(list->items[i]);
	return views;
}

/* What haproxy.cfg and the chart have, and what is configured in front of it: the first counts. */
static struct kube_port_name *ports_of(const struct config_list *list)
{
	static const struct kube_port_name usual[PORTS_USUAL] = {{VIEW_LIT("http"), 8080},
								 {VIEW_LIT("https"), 8443}};
	struct kube_port_name *ports = calloc(list->n + PORTS_USUAL, sizeof(*ports));

	for (size_t i = 0; ports && i < list->n; i++) {
		const char *equals = strchr(list->items[i], '=');

		ports[i].name = (struct view){list->items[i], (size_t)(equals - list->items[i])};
		ports[i].port = (uint16_t)strtoul(equals + 1, NULL, 10);
	}
	if (ports)
		memcpy(ports + list->n, usual, sizeof(usual));
	return ports;
}

/* All but the namespace, which the mirror knows. */
static int make_settings(struct kube_next *n)
{
	const struct config *conf = n->conf;
	const char *service = conf->kubernetes.service;
	const char *slash = service ? strchr(service, '/') : NULL;

	n->addresses = views_of(&conf->kubernetes.addresses);
	n->secrets = views_of(&conf->kubernetes.tls_secrets);
	n->ports = ports_of(&conf->kubernetes.ports);
	if (!n->addresses || !n->secrets || !n->ports)
		return -ENOMEM;
	n->settings = (struct kube_settings){
	    .controller = view_str(conf->kubernetes.controller),
	    .by_models = conf->kubernetes.routing == CONFIG_ROUTING_MODELS,
	    .header_rules = conf->kubernetes.haproxy_dir != NULL,
	    .all_namespaces = conf->kubernetes.namespaces.n == 0,
	    .addresses = n->addresses,
	    .naddresses = conf->kubernetes.addresses.n,
	    .secrets = n->secrets,
	    .nsecrets = conf->kubernetes.tls_secrets.n,
	    .ports = n->ports,
	    .nports = conf->kubernetes.ports.n + PORTS_USUAL,
	};
	if (slash) {
		n->settings.service_namespace = (struct view){service, (size_t)(slash - service)};
		n->settings.service = view_str(slash + 1);
	}
	return 0;
}

static struct follow_conf follow_conf_of(const struct config *conf)
{
	return (struct follow_conf){
	    .dir = conf->kubernetes.haproxy_dir,
	    .socket = conf->haproxy.socket,
	    .master = conf->kubernetes.haproxy_master,
	    .poll_ms = conf->haproxy.poll_ms,
	    .timeout_ms = conf->haproxy.timeout_ms,
	    .max_answer = conf->haproxy.max_answer,
	    .reload_ms = conf->kubernetes.reload_ms,
	    .keywords = conf->kubernetes.server_keywords,
	    .certificates = conf->kubernetes.tls_dir,
	};
}

/* --- what is told --- */

static void log_plan(const struct kube *k)
{
	size_t members = 0, draining = 0;
	struct log_line l;

	for (size_t i = 0; i < k->plan->npools; i++) {
		members += k->plan->pools[i].nmembers;
		for (size_t m = 0; m < k->plan->pools[i].nmembers; m++)
			draining += k->plan->pools[i].members[m].draining;
	}
	log_begin(&l, LOG_LEVEL_INFO, "kube_plan");
	log_int(&l, "pools", (int64_t)k->plan->npools);
	log_int(&l, "pods", (int64_t)members);
	log_int(&l, "draining", (int64_t)draining);
	log_int(&l, "rules", (int64_t)k->plan->nrules);
	log_int(&l, "adapters", (int64_t)k->plan->nadapters);
	log_end(&l);
}

static void log_problem(const struct kube_problem *p)
{
	struct log_line l;

	log_begin(&l, LOG_LEVEL_WARNING, "kube_problem");
	log_str(&l, "kind", kube_kind_info(p->kind)->name);
	if (p->namespace.len)
		log_view(&l, "namespace", p->namespace);
	log_view(&l, "name", p->name);
	log_view(&l, "text", p->text);
	log_end(&l);
}

static uint64_t hash_problem(const struct kube_problem *p)
{
	uint64_t h = XXH3_64bits_withSeed(p->text.ptr, p->text.len, (XXH64_hash_t)p->kind);

	h = XXH3_64bits_withSeed(p->namespace.ptr ? p->namespace.ptr : "", p->namespace.len, h);
	return XXH3_64bits_withSeed(p->name.ptr, p->name.len, h);
}

/* Each once, for as long as it is there. */
static void log_problems(struct kube *k)
{
	struct told *one, *next;

	k->round++;
	for (size_t i = 0; i < k->resolved->nproblems; i++) {
		const struct kube_problem *p = &k->resolved->problems[i];
		uint64_t hash = hash_problem(p);

		HASH_FIND(hh, k->told, &hash, sizeof(hash), one);
		if (!one) {
			log_problem(p);
			one = calloc(1, sizeof(*one));
			if (!one)
				continue;
			one->hash = hash;
			HASH_ADD(hh, k->told, hash, sizeof(hash), one);
			if (!one->hh.tbl) {
				free(one);
				continue;
			}
		}
		one->round = k->round;
	}
	HASH_ITER(hh, k->told, one, next)
	{
		if (one->round != k->round) {
			HASH_DEL(k->told, one);
			free(one);
		}
	}
}

/* --- the circle --- */

static void touch(struct kube *k)
{
	uint64_t delay = k->now.conf->kubernetes.settle_ms * CLOCK_NS_PER_MS;
	uint64_t now = clock_mono_ns(), due = k->resolved_ns + k->resolve_cpu_ns * 4;

	if (!timer_running(k->settle) &&
	    timer_start(k->settle, due > now + delay ? due - now : delay) < 0)
		log_event(LOG_LEVEL_ERROR, "kube_timer", "error", "out of memory", NULL);
}

/* Takes what was resolved into use. -ENOMEM: the plan before it stays. */
static int use_plan_consume(struct kube *k, struct plan *plan)
{
	struct plan *old = k->plan;
	int r = 0;

	if (old && memcmp(old->hash, plan->hash, sizeof(old->hash)) == 0) {
		plan_free(plan);
		return 0;
	}
	if (k->now.follow)
		r = follow_want(k->now.follow, plan);
	if (r == 0)
		r = discover_plan(k->env.discover, plan);
	if (r < 0) {
		plan_free(plan);
		return r;
	}
	k->plan = plan;
	plan_free(old);
	k->plans++;
	log_plan(k);
	return 0;
}

static int resolve(struct kube *k)
{
	struct kube_resolved *r = NULL;
	uint64_t begin = clock_mono_ns(), worked = clock_cpu_ns();
	struct plan *plan;
	int error = kube_resolve(kube_mirror_store(k->now.mirror), &k->now.settings, k->plan, &r);

	if (error < 0)
		return error;
	k->resolved_ns = clock_mono_ns();
	k->resolve_ns = k->resolved_ns - begin;
	k->resolve_cpu_ns = clock_cpu_ns() - worked;
	k->resolve_sum_ns += k->resolve_ns;
	k->resolves++;
	plan = r->plan;
	r->plan = NULL;
	kube_resolved_free(k->resolved);
	k->resolved = r;
	k->dirty = false;
	log_problems(k);
	return use_plan_consume(k, plan);
}

static void settle_due(void *arg)
{
	struct kube *k = arg;
	int r = 0;

	if (!kube_mirror_synced(k->now.mirror))
		return;
	if (k->dirty || !k->resolved)
		r = resolve(k);
	if (r == 0 && k->now.scribe)
		r = kube_scribe_compare(k->now.scribe, k->resolved, &k->now.settings);
	if (r == 0)
		return;
	log_event(LOG_LEVEL_ERROR, "kube_plan_failed", "error", "out of memory", NULL);
	k->dirty = true;
	if (timer_start(k->settle, RETRY_NS) < 0)
		log_event(LOG_LEVEL_ERROR, "kube_timer", "error", "out of memory", NULL);
}

static void on_changed(enum kube_kind kind, enum kube_change change, void *arg)
{
	struct kube *k = arg;

	(void)kind;
	k->dirty |= change == KUBE_SPEC;
	if (change == KUBE_SPEC || k->now.scribe)
		touch(k);
}

static void on_removed(enum kube_kind kind, const char *namespace, const char *name, void *arg)
{
	struct kube *k = arg;

	if (k->now.scribe && kube_kind_info(kind)->status)
		kube_scribe_removed(k->now.scribe, kind, namespace, name);
}

static void on_synced(void *arg)
{
	touch(arg);
}

static void on_again(void *arg)
{
	touch(arg);
}

/* --- our own HAProxy --- */

static void on_backends(void *arg)
{
	discover_refresh(((struct kube *)arg)->env.discover);
}

/* While HAProxy has not said what it has, the files that it starts from have everything. */
static bool has_backend(struct view backend, void *arg)
{
	const struct kube *k = arg;
	struct follow_status s;

	follow_status(k->now.follow, &s);
	return !s.version[0] || follow_has(k->now.follow, backend);
}

/* --- life --- */

/* Rows that change nothing about what is asked of which server. */
static bool is_asking(const struct option *o)
{
	static const char *const others[] = {"haproxy_master", "reload_interval", "settle",
					     "addresses",      "tls_secrets",     "ports",
					     "tls_dir",        "server_keywords"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(o->key, others[i]) == 0)
			return false;
	return true;
}

/* A kubeconfig may say something else by now. */
static bool asks_the_same(const struct config *a, const struct config *b)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];

		if (o->section == OPTION_KUBERNETES && is_asking(o) && !option_equal(o, a, b))
			return false;
	}
	return !a->kubernetes.kubeconfig;
}

static int make_mirror(struct kube *k, struct kube_next *n)
{
	const struct config *conf = n->conf;
	const struct kube_mirror_hooks hooks = {on_changed, on_removed, on_synced, k};
	const struct kube_writer_conf writer = {.max_wishes = conf->kubernetes.max_writes,
						.timeout_ms = conf->kubernetes.idle_ms,
						.retry_ms = conf->kubernetes.retry_ms,
						.retry_max_ms = conf->kubernetes.retry_max_ms};
	int r = kube_mirror_new(k->env.base, conf, &hooks, NULL, &n->mirror);

	if (r < 0 || k->env.read_only || !conf->kubernetes.status)
		return r;
	n->scribe = kube_scribe_new(kube_mirror_client(n->mirror), &writer,
				    kube_mirror_store(n->mirror), 0, on_again, k);
	return n->scribe ? 0 : -ENOMEM;
}

static int make_follow(struct kube *k, struct kube_next *n)
{
	const struct follow_hooks hooks = {on_backends, k};
	const struct follow_conf c = follow_conf_of(n->conf);

	if (k->env.read_only || !n->conf->kubernetes.haproxy_dir || k->now.follow)
		return 0;
	n->follow = follow_new(k->env.base, &hooks, &c);
	return n->follow ? 0 : -ENOMEM;
}

int kube_prepare(struct kube *k, const struct config *conf, struct kube_next **ret)
{
	struct kube_next *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->conf = conf;
	r = make_settings(n);
	if (r == 0 && (!k->now.conf || !asks_the_same(k->now.conf, conf)))
		r = make_mirror(k, n);
	if (r == 0)
		r = make_follow(k, n);
	if (r < 0) {
		kube_next_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

static void next_deinit(struct kube_next *n)
{
	if (n->follow)
		follow_free(n->follow);
	kube_scribe_free(n->scribe);
	kube_mirror_free(n->mirror);
	free(n->addresses);
	free(n->secrets);
	free(n->ports);
}

struct kube_next *kube_next_free(struct kube_next *n)
{
	if (n) {
		next_deinit(n);
		free(n);
	}
	return NULL;
}

/* Whatever @n does not bring and still wants is taken over from what is in use. */
static void inherit(struct kube *k, struct kube_next *n)
{
	const struct follow_conf c = follow_conf_of(n->conf);

	if (!n->mirror) {
		n->mirror = k->now.mirror;
		n->scribe = k->now.scribe;
		k->now.mirror = NULL;
		k->now.scribe = NULL;
	}
	if (!n->follow && n->conf->kubernetes.haproxy_dir && k->now.follow) {
		n->follow = k->now.follow;
		k->now.follow = NULL;
		follow_reload(n->follow, &c);
	}
	n->settings.namespace = view_str(kube_mirror_namespace(n->mirror));
}

void kube_commit_consume(struct kube *k, struct kube_next *n)
{
	bool fresh = n->mirror != NULL;

	inherit(k, n);
	next_deinit(&k->now);
	k->now = *n;
	free(n);
	discover_backends(k->env.discover, k->now.follow ? has_backend : NULL, k);
	if (fresh && k->resolved)
		k->resolved = kube_resolved_free(k->resolved);
	/* Server lines and certificates may be others, also for a plan that is the same. */
	if (k->now.follow && k->plan && follow_want(k->now.follow, k->plan) < 0)
		log_event(LOG_LEVEL_ERROR, "kube_plan_failed", "error", "out of memory", NULL);
	k->dirty = true;
	touch(k);
	log_event(LOG_LEVEL_INFO, fresh ? "kube_started" : "kube_reloaded", "server",
		  kube_mirror_server(k->now.mirror), "namespace",
		  kube_mirror_namespace(k->now.mirror), NULL);
}

int kube_new(const struct kube_env *env, const struct config *conf, struct kube **ret)
{
	struct kube *k = calloc(1, sizeof(*k));
	struct kube_next *first;
	int r = -ENOMEM;

	if (!k)
		return r;
	k->env = *env;
	k->settle = timer_new(env->base, settle_due, k);
	if (k->settle)
		r = kube_prepare(k, conf, &first);
	if (r < 0) {
		kube_free(k);
		return r;
	}
	kube_commit_consume(k, first);
	*ret = k;
	return 0;
}

struct kube *kube_free(struct kube *k)
{
	struct told *one, *next;

	if (!k)
		return NULL;
	if (k->now.follow)
		discover_backends(k->env.discover, NULL, NULL);
	next_deinit(&k->now);
	if (k->resolved)
		kube_resolved_free(k->resolved);
	plan_free(k->plan);
	HASH_ITER(hh, k->told, one, next)
	{
		HASH_DEL(k->told, one);
		free(one);
	}
	if (k->settle)
		timer_free(k->settle);
	free(k);
	return NULL;
}

int kube_check(const struct config *conf, FILE *err)
{
	return kube_mirror_check(conf, err);
}

/* --- answers --- */

void kube_report(const struct kube *k, struct kube_status_report *ret)
{
	*ret = (struct kube_status_report){
	    .server = kube_mirror_server(k->now.mirror),
	    .namespace = kube_mirror_namespace(k->now.mirror),
	    .synced = k->plan && kube_mirror_synced(k->now.mirror),
	    .following = k->now.follow != NULL,
	    .rules = k->plan ? k->plan->nrules : 0,
	    .resolves = k->resolves,
	    .resolve_ns = k->resolve_ns,
	    .resolve_sum_ns = k->resolve_sum_ns,
	    .plans = k->plans,
	    .left_out = kube_mirror_left_out(k->now.mirror),
	    .store_bytes = kube_store_bytes(kube_mirror_store(k->now.mirror)),
	    .writing = k->now.scribe != NULL,
	};
	for (size_t i = 0; k->plan && i < k->plan->npools; i++)
		ret->members += k->plan->pools[i].nmembers;
	if (k->resolved) {
		ret->counts = k->resolved->counts;
		ret->problems = k->resolved->nproblems;
	}
	if (k->now.scribe)
		ret->writer = kube_scribe_stats(k->now.scribe);
	if (k->now.follow)
		follow_status(k->now.follow, &ret->follow);
}

void kube_report_kind(const struct kube *k, enum kube_kind kind, struct kube_mirror_kind *ret)
{
	kube_mirror_kind(k->now.mirror, kind, ret);
}

const struct kube_problem *kube_report_problem(const struct kube *k, size_t i)
{
	return k->resolved && i < k->resolved->nproblems ? &k->resolved->problems[i] : NULL;
}
