/*
 * Wanted status against the status as it stands.
 *
 * A merge patch replaces lists whole, so a list that we have something to say in is written as it
 * will be: entries of others as they were read, ours with what is kept of them. The resource
 * version in the patch makes the server refuse it when somebody wrote in between.
 *
 * That two replicas do not fight rests on three things: what is wanted is a function of the
 * objects alone; times are not compared; and a status that speaks of a newer generation than
 * the object we hold is left alone until our watch has caught up.
 */
#include "discover/kube/status.h"

#include <cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "discover/kube/owner.h"
#include "discover/kube/resolve.h"
#include "discover/kube/store.h"

#define PARENTS_MAX 32 /* what the definitions allow */

struct writing {
	const struct kube_store *s;
	const struct kube_settings *set;
	const struct kube_entry *entry;
	const struct kube_status *have;
	const char *now;
	bool differs, stale, failed;
};

/* --- JSON that may fail --- */

static cJSON *keep(struct writing *w, cJSON *item)
{
	w->failed |= item == NULL;
	return item;
}

static void put(struct writing *w, cJSON *object, const char *key, cJSON *item)
{
	if (!object || !item || !cJSON_AddItemToObject(object, key, item)) {
		cJSON_Delete(item);
		w->failed = true;
	}
}

static void put_text(struct writing *w, cJSON *object, const char *key, struct view v)
{
	/* Every view here ends in NUL. */
	put(w, object, key, cJSON_CreateString(v.ptr ? v.ptr : ""));
}

static void push(struct writing *w, cJSON *list, cJSON *item)
{
	if (!list || !item || !cJSON_AddItemToArray(list, item)) {
		cJSON_Delete(item);
		w->failed = true;
	}
}

/* --- conditions --- */

/* Types that we write at all: one of them that is there and not wanted is taken away. */
static bool is_type(struct view type)
{
	static const char *const types[] = {"Accepted", "Programmed", "ResolvedRefs", "Conflicted",
					    "PartiallyInvalid"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (view_eq(type, view_str(types[i])))
			return true;
	return false;
}

static bool says_the_same(const struct kube_condition *a, const struct kube_condition *b)
{
	return a->status == b->status && view_eq(a->reason, b->reason) &&
	       view_eq(a->message, b->message) && a->generation == b->generation;
}

static cJSON *print_condition(struct writing *w, const struct kube_condition *c, struct view since)
{
	static const char *const words[] = {
	    [KUBE_FALSE] = "False", [KUBE_TRUE] = "True", [KUBE_UNKNOWN] = "Unknown"};
	cJSON *o = keep(w, cJSON_CreateObject());

	put_text(w, o, "type", c->type);
	put_text(w, o, "status", view_str(words[c->status]));
	put_text(w, o, "reason", c->reason);
	put_text(w, o, "message", c->message);
	if (c->generation)
		put(w, o, "observedGeneration", cJSON_CreateNumber((double)c->generation));
	put_text(w, o, "lastTransitionTime", since.len ? since : view_str(w->now));
	return o;
}

/* Those that are there, in their order, then those that are new. */
static cJSON *merge(struct writing *w, const struct kube_conditions *have,
		    const struct kube_conditions *want)
{
	cJSON *list = keep(w, cJSON_CreateArray());

	for (size_t i = 0; i < have->n; i++) {
		const struct kube_condition *old = &have->items[i];
		const struct kube_condition *wish = kube_conditions_find(want, old->type);

		if (is_type(old->type) && old->generation > w->entry->generation)
			w->stale = true;
		if (!wish && is_type(old->type)) {
			w->differs = true;
			continue;
		}
		if (kube_conditions_find(have, old->type) != old) {
			w->differs = true;
			continue;
		}
		if (wish && !says_the_same(old, wish))
			w->differs = true;
		push(
		    w, list,
		    print_condition(w, wish ? wish : old,
				    !wish || wish->status == old->status ? old->since : VIEW_NULL));
	}
	for (size_t i = 0; i < want->n; i++) {
		if (kube_conditions_find(have, want->items[i].type))
			continue;
		w->differs = true;
		push(w, list, print_condition(w, &want->items[i], VIEW_NULL));
	}
	return list;
}

/* --- Gateways --- */

static cJSON *print_addresses(struct writing *w, const struct kube_status *want)
{
	cJSON *list = keep(w, cJSON_CreateArray());

	w->differs |= w->have->naddresses != want->naddresses;
	for (size_t i = 0; i < want->naddresses; i++) {
		const struct kube_status_address *a = &want->addresses[i];
		cJSON *o = keep(w, cJSON_CreateObject());

		if (i < w->have->naddresses)
			w->differs |= !view_eq(w->have->addresses[i].type, a->type) ||
				      !view_eq(w->have->addresses[i].value, a->value);
		put_text(w, o, "type", a->type);
		put_text(w, o, "value", a->value);
		push(w, list, o);
	}
	return list;
}

static const struct kube_status_listener *listener_named(const struct kube_status *s,
							 struct view name)
{
	for (size_t i = 0; i < s->nlisteners; i++)
		if (view_eq(s->listeners[i].name, name))
			return &s->listeners[i];
	return NULL;
}

static cJSON *print_listener(struct writing *w, const struct kube_status_listener *l)
{
	static const struct kube_status_listener none;
	const struct kube_status_listener *old = listener_named(w->have, l->name);
	cJSON *o = keep(w, cJSON_CreateObject()), *kinds = keep(w, cJSON_CreateArray());

	w->differs |= !old || old->attached != l->attached || old->takes_routes != l->takes_routes;
	put_text(w, o, "name", l->name);
	if (l->takes_routes) {
		cJSON *kind = keep(w, cJSON_CreateObject());

		put_text(w, kind, "group", VIEW_LIT(KUBE_GATEWAY_GROUP));
		put_text(w, kind, "kind", VIEW_LIT("HTTPRoute"));
		push(w, kinds, kind);
	}
	put(w, o, "supportedKinds", kinds);
	put(w, o, "attachedRoutes", cJSON_CreateNumber(l->attached));
	put(w, o, "conditions",
	    merge(w, old ? &old->conditions : &none.conditions, &l->conditions));
	return o;
}

static cJSON *print_listeners(struct writing *w, const struct kube_status *want)
{
	cJSON *list = keep(w, cJSON_CreateArray());

	w->differs |= w->have->nlisteners != want->nlisteners;
	for (size_t i = 0; i < want->nlisteners; i++)
		push(w, list, print_listener(w, &want->listeners[i]));
	return list;
}

/* --- HTTPRoutes and InferencePools --- */

static cJSON *print_parent(struct writing *w, const struct kube_status_parent *p,
			   const struct kube_conditions *have)
{
	cJSON *o = keep(w, cJSON_CreateObject()), *ref = keep(w, cJSON_CreateObject());

	put_text(w, ref, "group", p->group);
	put_text(w, ref, "kind", p->kind);
	if (p->namespace.ptr)
		put_text(w, ref, "namespace", p->namespace);
	put_text(w, ref, "name", p->name);
	if (p->section.ptr)
		put_text(w, ref, "sectionName", p->section);
	if (p->port)
		put(w, ref, "port", cJSON_CreateNumber(p->port));
	put(w, o, "parentRef", ref);
	put_text(w, o, "controllerName", p->controller);
	put(w, o, "conditions", merge(w, have, &p->conditions));
	return o;
}

/* The wanted entry for @old, or NULL. */
static const struct kube_status_parent *wanted_for(const struct writing *w,
						   const struct kube_status *want,
						   const struct kube_status_parent *old)
{
	for (size_t i = 0; i < want->nparents; i++)
		if (kube_owner_same(&want->parents[i], old, w->entry->namespace))
			return &want->parents[i];
	return NULL;
}

/* The first of our entries that stands for @p. */
static const struct kube_status_parent *ours(const struct writing *w,
					     const struct kube_status_parent *p)
{
	for (size_t i = 0; i < w->have->nparents; i++) {
		const struct kube_status_parent *old = &w->have->parents[i];

		if (kube_owner_parent(w->s, w->set, w->entry->kind, w->entry->namespace, old) ==
			KUBE_OURS &&
		    kube_owner_same(old, p, w->entry->namespace))
			return old;
	}
	return NULL;
}

static void keep_or_drop(struct writing *w, cJSON *list, const struct kube_status *want,
			 const struct kube_status_parent *old)
{
	static const struct kube_conditions none;
	const struct kube_status_parent *wish = wanted_for(w, want, old);

	switch (kube_owner_parent(w->s, w->set, w->entry->kind, w->entry->namespace, old)) {
	case KUBE_OTHERS:
		push(w, list, cJSON_CreateRaw(old->raw.ptr ? old->raw.ptr : "{}"));
		break;
	case KUBE_OURS:
		if (wish && ours(w, wish) == old) {
			push(w, list, print_parent(w, wish, &old->conditions));
			break;
		}
		/* Looked at for what it was written of, then dropped. */
		cJSON_Delete(merge(w, &old->conditions, &none));
		w->differs = true;
		break;
	case KUBE_UNREADABLE:
		push(w, list,
		     old->raw.ptr ? cJSON_CreateRaw(old->raw.ptr)
				  : print_parent(w, old, &old->conditions));
		break;
	case KUBE_NOBODY:
		w->differs = true;
		break;
	case KUBE_BLANK:
		break;
	}
}

static cJSON *print_parents(struct writing *w, const struct kube_status *want)
{
	static const struct kube_conditions none;
	cJSON *list = keep(w, cJSON_CreateArray());

	for (size_t i = 0; i < w->have->nparents; i++)
		keep_or_drop(w, list, want, &w->have->parents[i]);
	for (size_t i = 0; i < want->nparents; i++) {
		if (ours(w, &want->parents[i]))
			continue;
		if (cJSON_GetArraySize(list) >= PARENTS_MAX)
			break;
		w->differs = true;
		push(w, list, print_parent(w, &want->parents[i], &none));
	}
	return list;
}

/* --- the patch --- */

static cJSON *print_status(struct writing *w, enum kube_kind kind, const struct kube_status *want)
{
	cJSON *status = keep(w, cJSON_CreateObject());

	if (kind == KUBE_ROUTE || kind == KUBE_POOL) {
		put(w, status, "parents", print_parents(w, want));
	} else {
		put(w, status, "conditions", merge(w, &w->have->conditions, &want->conditions));
		if (kind == KUBE_GATEWAY) {
			put(w, status, "addresses", print_addresses(w, want));
			put(w, status, "listeners", print_listeners(w, want));
		}
	}
	return status;
}

static char *print_patch(struct writing *w, cJSON *status)
{
	cJSON *patch = keep(w, cJSON_CreateObject()), *meta = keep(w, cJSON_CreateObject());
	char *text;

	put_text(w, meta, "resourceVersion", w->entry->version);
	put(w, patch, "metadata", meta);
	put(w, patch, "status", status);
	text = w->failed ? NULL : cJSON_PrintUnformatted(patch);
	cJSON_Delete(patch);
	return text;
}

int kube_status_diff(const struct kube_store *s, const struct kube_settings *set,
		     const struct kube_wanted *wanted, const char *now, char **ret_patch)
{
	static const struct kube_status nothing;
	struct writing w = {.s = s, .set = set, .now = now};
	cJSON *status;
	char *patch;

	w.entry = kube_store_find(s, wanted->kind, wanted->namespace, wanted->name);
	if (!w.entry || !kube_kind_info(wanted->kind)->status)
		return KUBE_DIFF_NONE;
	w.have = w.entry->status ? w.entry->status : &nothing;
	status = print_status(&w, wanted->kind, &wanted->status);
	if (w.failed || w.stale || !w.differs) {
		cJSON_Delete(status);
		return w.failed ? -ENOMEM : w.stale ? KUBE_DIFF_STALE : KUBE_DIFF_NONE;
	}
	patch = print_patch(&w, status);
	if (!patch)
		return -ENOMEM;
	*ret_patch = patch;
	return KUBE_DIFF_PATCH;
}

void kube_status_time(int64_t seconds, char ret[static 21])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(ret, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(ret, "1970-01-01T00:00:00Z", 21);
}
