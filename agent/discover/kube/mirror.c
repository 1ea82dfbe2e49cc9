/*
 * Reflectors and the store.
 *
 * Which kinds are watched follows from the configuration: with routing: models nothing of the
 * Gateway API is looked at, so no right to it is needed; ConfigMaps where a selector is given; the
 * one Service that is named, by its name, so that the right can be bound to it.
 *
 * A kind that the server does not know is an answer: there are no such objects (yet). One that we
 * may not read is none: nothing is resolved until the right is there, since references would lead
 * nowhere that lead somewhere.
 *
 * A kind is logged when its state changes between well and not well, once each time, whatever the
 * number of tries in between.
 *
 * What found no room under kubernetes.max_objects is not kept anywhere, so when others have gone
 * its kind is listed anew.
 */
#include "discover/kube/mirror.h"

#include <errno.h>
#include <stdlib.h>

#include <cJSON.h>

#include "base/log.h"
#include "discover/kube/access.h"
#include "net/timer.h"

#define REFILL_NS 2000000000u /* many that go together make room for one list */

struct watched {
	struct kube_mirror *mirror;
	struct kube_reflector *reflector;
	enum kube_kind kind;
	bool left_out;     /* something, for kubernetes.max_objects, since it was listed last */
	bool ill;          /* what was logged last */
	uint64_t failures; /* all there were; the reflector counts those in a row */
	unsigned in_a_row;
	enum kube_reflector_state state;
};

struct kube_mirror {
	struct kube_mirror_hooks hooks;
	struct kube_access *access;
	struct kube_client *client;
	struct kube_store *store;
	char *namespace;
	size_t n;
	struct watched *watched;
	size_t max_objects;
	uint64_t left_out;
	struct timer *timer; /* of refill() */
};

/* --- what reflectors tell --- */

static struct view text_at(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsString(item) ? view_str(item->valuestring) : VIEW_NULL;
}

static void name_of(const cJSON *object, struct view *ret_namespace, struct view *ret_name)
{
	const cJSON *meta = cJSON_GetObjectItemCaseSensitive(object, "metadata");

	*ret_namespace = text_at(meta, "namespace");
	*ret_name = text_at(meta, "name");
}

static size_t count_all(const struct kube_mirror *m)
{
	size_t n = 0;

	for (int k = 0; k < KUBE_KINDS; k++)
		n += kube_store_count(m->store, (enum kube_kind)k);
	return n;
}

/* Past the maximum nobody new comes in. */
static bool is_left_out(struct watched *w, const cJSON *object)
{
	struct kube_mirror *m = w->mirror;
	enum kube_kind kind = w->kind;
	struct view namespace, name;
	struct log_line l;

	if (count_all(m) < m->max_objects)
		return false;
	name_of(object, &namespace, &name);
	if (name.ptr &&
	    kube_store_find(m->store, kind, namespace.ptr ? namespace : VIEW_LIT(""), name))
		return false;
	w->left_out = true;
	if (m->left_out++)
		return true;
	log_begin(&l, LOG_LEVEL_ERROR, "kube_full");
	log_str(&l, "kind", kube_kind_info(kind)->name);
	log_view(&l, "namespace", namespace);
	log_view(&l, "name", name);
	log_int(&l, "objects", (int64_t)m->max_objects);
	log_str(&l, "remedy", "raise kubernetes.max_objects");
	log_end(&l);
	return true;
}

static void refill_soon(struct kube_mirror *m)
{
	bool any = false;

	for (size_t i = 0; i < m->n; i++)
		any |= m->watched[i].left_out;
	if (!any || timer_running(m->timer) || count_all(m) >= m->max_objects)
		return;
	if (timer_start(m->timer, REFILL_NS) < 0)
		return; /* the next removal tries again */
}

/* Lists again what was left out, now that there is room. Who lists already ends that first. */
static void refill(void *arg)
{
	struct kube_mirror *m = arg;

	for (size_t i = 0; i < m->n && count_all(m) < m->max_objects; i++) {
		struct watched *w = &m->watched[i];

		if (!w->left_out ||
		    kube_reflector_status(w->reflector)->state == KUBE_REFLECTOR_LISTING)
			continue;
		w->left_out = false;
		kube_reflector_distrust(w->reflector);
	}
	refill_soon(m);
}

static void log_refused(enum kube_kind kind, const cJSON *object, const char *error)
{
	struct view namespace, name;
	struct log_line l;

	name_of(object, &namespace, &name);
	log_begin(&l, LOG_LEVEL_WARNING, "kube_object_refused");
	log_str(&l, "kind", kube_kind_info(kind)->name);
	log_view(&l, "namespace", namespace);
	log_view(&l, "name", name);
	log_str(&l, "error", error);
	log_end(&l);
}

static void on_upsert(const cJSON *object, void *arg)
{
	struct watched *w = arg;
	struct kube_mirror *m = w->mirror;
	enum kube_change change = KUBE_SAME;
	const char *error = NULL;
	int r;

	if (is_left_out(w, object))
		return;
	r = kube_store_upsert(m->store, w->kind, object, &change, &error);
	if (r < 0)
		error = r == -ENOMEM ? "out of memory" : "it has no name";
	if (error && (r < 0 || change == KUBE_SPEC))
		log_refused(w->kind, object, error);
	if (r == 0 && change != KUBE_SAME)
		m->hooks.changed(w->kind, change, m->hooks.arg);
}

static void on_remove(const char *namespace, const char *name, void *arg)
{
	struct watched *w = arg;
	struct kube_mirror *m = w->mirror;
	enum kube_change change = kube_store_remove(m->store, w->kind, namespace, name);

	refill_soon(m);
	m->hooks.removed(w->kind, namespace, name, m->hooks.arg);
	if (change != KUBE_SAME)
		m->hooks.changed(w->kind, change, m->hooks.arg);
}

static void on_synced(void *arg)
{
	struct kube_mirror *m = ((struct watched *)arg)->mirror;

	m->hooks.synced(m->hooks.arg);
}

static bool is_ill(enum kube_reflector_state s)
{
	return s == KUBE_REFLECTOR_FAILING || s == KUBE_REFLECTOR_ABSENT ||
	       s == KUBE_REFLECTOR_FORBIDDEN;
}

static const char *remedy(enum kube_reflector_state s)
{
	return s == KUBE_REFLECTOR_FORBIDDEN ? "grant the right to list and watch it"
	       : s == KUBE_REFLECTOR_ABSENT  ? "install its definition (CRD)"
					     : NULL;
}

static void log_state(const struct watched *w, const struct kube_reflector_status *s)
{
	struct log_line l;

	if (is_ill(s->state)) {
		log_begin(&l, LOG_LEVEL_WARNING, "kube_watch_failed");
		log_str(&l, "resource", kube_kind_info(w->kind)->resource.plural);
		log_str(&l, "state", kube_reflector_state_name(s->state));
		log_str(&l, "verb", s->verb);
		log_str(&l, "why", kube_failure_name(s->last.failure));
		log_str(&l, "error", s->last.message);
		log_str(&l, "remedy", remedy(s->state));
	} else {
		log_begin(&l, LOG_LEVEL_INFO, "kube_watching");
		log_str(&l, "resource", kube_kind_info(w->kind)->resource.plural);
		log_int(&l, "objects", (int64_t)s->objects);
	}
	log_end(&l);
}

static void on_state(const struct kube_reflector_status *s, void *arg)
{
	struct watched *w = arg;
	bool ill = is_ill(s->state), well = s->state == KUBE_REFLECTOR_WATCHING;
	bool news = (ill && (!w->ill || s->state != w->state)) || (well && w->ill);

	if (s->failures > w->in_a_row)
		w->failures += s->failures - w->in_a_row;
	w->in_a_row = s->failures;
	if (news) {
		log_state(w, s);
		w->ill = ill;
	}
	w->state = s->state;
	/* That a kind does not exist is an answer too. */
	if (s->state == KUBE_REFLECTOR_ABSENT)
		w->mirror->hooks.synced(w->mirror->hooks.arg);
}

static void on_went_back(void *arg)
{
	struct watched *w = arg;

	for (size_t i = 0; i < w->mirror->n; i++)
		if (&w->mirror->watched[i] != w)
			kube_reflector_distrust(w->mirror->watched[i].reflector);
}

/* --- what is watched --- */

static bool is_watched(const struct config *conf, enum kube_kind kind)
{
	switch (kind) {
	case KUBE_POD:
	case KUBE_POOL:
		return true;
	case KUBE_CONFIGMAP:
		return conf->kubernetes.configmaps != NULL;
	case KUBE_SERVICE:
		return conf->kubernetes.service &&
		       conf->kubernetes.routing == CONFIG_ROUTING_HTTPROUTES;
	default:
		return conf->kubernetes.routing == CONFIG_ROUTING_HTTPROUTES;
	}
}

static int watch(struct kube_mirror *m, const struct config *conf, enum kube_kind kind,
		 const char *namespace, const char *field)
{
	static const struct kube_reflector_hooks hooks = {
	    .upsert = on_upsert,
	    .remove = on_remove,
	    .synced = on_synced,
	    .state = on_state,
	    .went_back = on_went_back,
	};
	const struct kube_reflector_conf c = {
	    .resource = kube_kind_info(kind)->resource,
	    .namespace = namespace,
	    .label_selector = kind == KUBE_CONFIGMAP ? conf->kubernetes.configmaps : NULL,
	    .field_selector = field,
	    .page = conf->kubernetes.page,
	    .max_object = conf->kubernetes.max_object,
	    .watch_s = conf->kubernetes.watch_ms / 1000,
	    .idle_ms = conf->kubernetes.idle_ms,
	    .retry_ms = conf->kubernetes.retry_ms,
	    .retry_max_ms = conf->kubernetes.retry_max_ms,
	};
	struct watched *w = &m->watched[m->n];

	w->mirror = m;
	w->kind = kind;
	w->reflector = kube_reflector_new(m->client, &c, &hooks, w);
	if (!w->reflector)
		return -ENOMEM;
	m->n++;
	return 0;
}

static int watch_service(struct kube_mirror *m, const struct config *conf)
{
	const char *slash = strchr(conf->kubernetes.service, '/');
	char namespace[64], field[300];

	snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - conf->kubernetes.service),
		 conf->kubernetes.service);
	snprintf(field, sizeof(field), "metadata.name=%s", slash + 1);
	return watch(m, conf, KUBE_SERVICE, namespace, field);
}

static int watch_all(struct kube_mirror *m, const struct config *conf)
{
	const struct config_list *namespaces = &conf->kubernetes.namespaces;
	int r = 0;

	m->watched = calloc(KUBE_KINDS * (namespaces->n + 1), sizeof(*m->watched));
	if (!m->watched)
		return -ENOMEM;
	for (int k = 0; k < KUBE_KINDS && r == 0; k++) {
		enum kube_kind kind = (enum kube_kind)k;

		if (!is_watched(conf, kind))
			continue;
		if (kind == KUBE_SERVICE)
			r = watch_service(m, conf);
		else if (!kube_kind_info(kind)->namespaced || namespaces->n == 0)
			r = watch(m, conf, kind, NULL, NULL);
		else
			for (size_t i = 0; i < namespaces->n && r == 0; i++)
				r = watch(m, conf, kind, namespaces->items[i], NULL);
	}
	return r;
}

/* --- life --- */

static void tell_errors(const struct kube_access_conf *conf, const struct config_errors *errors,
			FILE *err)
{
	const char *path = conf->kubeconfig ? conf->kubeconfig : KUBE_ACCESS_DIR;
	struct log_line l;

	if (err) {
		config_errors_print(errors, path, err);
		return;
	}
	for (size_t i = 0; i < errors->n; i++) {
		log_begin(&l, LOG_LEVEL_ERROR, "kube_access_failed");
		log_str(&l, "file", path);
		if (errors->items[i].line)
			log_int(&l, "line", errors->items[i].line);
		log_str(&l, "text", errors->items[i].text);
		log_end(&l);
	}
}

static int reach(const struct config *conf, FILE *err, struct kube_access **ret)
{
	const struct kube_access_conf c = {.kubeconfig = conf->kubernetes.kubeconfig,
					   .context = conf->kubernetes.context};
	struct config_errors errors = {0};
	int r = kube_access_new(&c, &errors, ret);

	if (r < 0)
		tell_errors(&c, &errors, err);
	config_errors_deinit(&errors);
	return r;
}

int kube_mirror_check(const struct config *conf, FILE *err)
{
	struct kube_access *access;
	int r = reach(conf, err, &access);

	if (r == 0)
		kube_access_free(access);
	return r;
}

static char *own_namespace(const struct kube_mirror *m, const struct config *conf)
{
	const char *env = getenv("POD_NAMESPACE");
	const char *told = kube_access_namespace(m->access);

	if (conf->kubernetes.namespace && *conf->kubernetes.namespace)
		return strdup(conf->kubernetes.namespace);
	return strdup(env && *env ? env : told ? told : "default");
}

int kube_mirror_new(struct event_base *base, const struct config *conf,
		    const struct kube_mirror_hooks *hooks, FILE *err, struct kube_mirror **ret)
{
	const struct kube_store_conf store = {
	    .header_rules = conf->kubernetes.haproxy_dir != NULL,
	    .controller = view_str(conf->kubernetes.controller),
	};
	struct kube_mirror *m = calloc(1, sizeof(*m));
	int r = m ? reach(conf, err, &m->access) : -ENOMEM;

	if (r < 0) {
		kube_mirror_free(m);
		return r;
	}
	m->hooks = *hooks;
	m->max_objects = conf->kubernetes.max_objects;
	m->namespace = own_namespace(m, conf);
	m->store = kube_store_new(&store);
	m->client = kube_client_new(base, m->access);
	m->timer = timer_new(base, refill, m);
	r = m->namespace && m->store && m->client && m->timer ? watch_all(m, conf) : -ENOMEM;
	if (r < 0) {
		kube_mirror_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct kube_mirror *kube_mirror_free(struct kube_mirror *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n; i++)
		kube_reflector_free(m->watched[i].reflector);
	free(m->watched);
	timer_free(m->timer);
	if (m->client)
		kube_client_free(m->client);
	if (m->store)
		kube_store_free(m->store);
	if (m->access)
		kube_access_free(m->access);
	free(m->namespace);
	free(m);
	return NULL;
}

/* --- answers --- */

static bool is_known(const struct watched *w)
{
	const struct kube_reflector_status *s = kube_reflector_status(w->reflector);

	return s->synced || s->state == KUBE_REFLECTOR_ABSENT;
}

bool kube_mirror_synced(const struct kube_mirror *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (!is_known(&m->watched[i]))
			return false;
	return true;
}

struct kube_store *kube_mirror_store(const struct kube_mirror *m)
{
	return m->store;
}

struct kube_client *kube_mirror_client(const struct kube_mirror *m)
{
	return m->client;
}

const char *kube_mirror_namespace(const struct kube_mirror *m)
{
	return m->namespace;
}

const char *kube_mirror_server(const struct kube_mirror *m)
{
	return kube_access_server(m->access);
}

uint64_t kube_mirror_left_out(const struct kube_mirror *m)
{
	return m->left_out;
}

void kube_mirror_kind(const struct kube_mirror *m, enum kube_kind kind,
		      struct kube_mirror_kind *ret)
{
	*ret = (struct kube_mirror_kind){.name = kube_kind_info(kind)->resource.plural,
					 .synced = true,
					 .state = KUBE_REFLECTOR_WATCHING,
					 .objects = kube_store_count(m->store, kind)};
	for (size_t i = 0; i < m->n; i++) {
		const struct watched *w = &m->watched[i];
		const struct kube_reflector_status *s;

		if (w->kind != kind)
			continue;
		s = kube_reflector_status(w->reflector);
		if (!ret->watched || s->in_step_ns < ret->in_step_ns)
			ret->in_step_ns = s->in_step_ns;
		ret->watched = true;
		ret->synced &= is_known(w);
		ret->lists += s->lists;
		ret->watches += s->watches;
		ret->events += s->events;
		ret->refused += s->refused;
		ret->failures += w->failures;
		if (s->state == KUBE_REFLECTOR_WATCHING)
			continue;
		if (ret->state != KUBE_REFLECTOR_FORBIDDEN)
			ret->state = s->state;
		if (is_ill(s->state))
			snprintf(ret->error, sizeof(ret->error), "%s", s->last.message);
	}
}
