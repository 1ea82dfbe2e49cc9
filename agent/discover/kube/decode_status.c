/*
 * A status as it stands, to be compared with what is wanted. It is other programs' writing as well
 * as ours, so nothing in it is an error: what cannot be read is taken as not there, and is written
 * anew when we have something to say in its place. Entries that may be another controller's are
 * kept as the JSON they are, as a patch has to repeat them.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <math.h>

#define ITEMS_MAX 1024

struct source {
	struct kube_pack *pack;
	struct view controller;
};

static struct view text(const struct source *s, const cJSON *parent, const char *key)
{
	const cJSON *item = kube_reader_any(parent, key);

	return kube_pack_dup(s->pack,
			     cJSON_IsString(item) ? view_str(item->valuestring) : VIEW_NULL);
}

static int64_t number(const cJSON *parent, const char *key)
{
	const cJSON *item = kube_reader_any(parent, key);
	double v = cJSON_IsNumber(item) ? item->valuedouble : 0;

	return v >= 0 && v <= 9007199254740992.0 && v == floor(v) ? (int64_t)v : 0;
}

static const cJSON *list_of(const cJSON *parent, const char *key, size_t *ret_n)
{
	const cJSON *list = kube_reader_any(parent, key), *item;
	size_t n = 0;

	if (!cJSON_IsArray(list))
		list = NULL;
	cJSON_ArrayForEach(item, list) n++;
	*ret_n = n > ITEMS_MAX ? ITEMS_MAX : n;
	return list;
}

static struct kube_conditions read_conditions(const struct source *s, const cJSON *parent)
{
	size_t n, i = 0;
	const cJSON *list = list_of(parent, "conditions", &n), *item;
	struct kube_condition *c = n ? kube_pack_get(s->pack, n * sizeof(*c)) : NULL;

	if (!c)
		return (struct kube_conditions){NULL, 0};
	cJSON_ArrayForEach(item, list)
	{
		struct view status;
		const cJSON *value = kube_reader_any(item, "status");

		if (i == n)
			break;
		status = cJSON_IsString(value) ? view_str(value->valuestring) : VIEW_NULL;
		c[i].type = text(s, item, "type");
		if (!c[i].type.ptr)
			continue;
		c[i].status = view_eq(status, VIEW_LIT("True"))    ? KUBE_TRUE
			      : view_eq(status, VIEW_LIT("False")) ? KUBE_FALSE
								   : KUBE_UNKNOWN;
		c[i].reason = text(s, item, "reason");
		c[i].message = text(s, item, "message");
		c[i].since = text(s, item, "lastTransitionTime");
		c[i++].generation = number(item, "observedGeneration");
	}
	return (struct kube_conditions){c, i};
}

static void read_addresses(const struct source *s, const cJSON *status, struct kube_status *ret)
{
	size_t n;
	const cJSON *list = list_of(status, "addresses", &n), *item;
	struct kube_status_address *a = n ? kube_pack_get(s->pack, n * sizeof(*a)) : NULL;

	cJSON_ArrayForEach(item, list)
	{
		if (!a || ret->naddresses == n)
			break;
		a[ret->naddresses].type = text(s, item, "type");
		a[ret->naddresses++].value = text(s, item, "value");
	}
	ret->addresses = a;
}

/* Exactly what we would write: HTTPRoute, or nothing. */
static bool reads_kinds(const cJSON *listener, bool *ret_takes)
{
	const cJSON *kinds = kube_reader_any(listener, "supportedKinds");
	const cJSON *first = cJSON_IsArray(kinds) ? kinds->child : NULL;
	const cJSON *kind = kube_reader_any(first, "kind");
	const cJSON *group = kube_reader_any(first, "group");

	*ret_takes = first != NULL;
	if (!first)
		return true;
	return !first->next && cJSON_IsString(kind) &&
	       strcmp(kind->valuestring, "HTTPRoute") == 0 &&
	       (!group ||
		(cJSON_IsString(group) && strcmp(group->valuestring, KUBE_GATEWAY_GROUP) == 0));
}

static void read_listeners(const struct source *s, const cJSON *status, struct kube_status *ret)
{
	size_t n;
	const cJSON *list = list_of(status, "listeners", &n), *item;
	struct kube_status_listener *l = n ? kube_pack_get(s->pack, n * sizeof(*l)) : NULL;

	cJSON_ArrayForEach(item, list)
	{
		struct kube_status_listener *to;

		if (!l || ret->nlisteners == n)
			break;
		to = &l[ret->nlisteners++];
		to->name = text(s, item, "name");
		to->attached = (uint32_t)number(item, "attachedRoutes");
		to->conditions = read_conditions(s, item);
		/* Other kinds than ours: a number that cannot be wanted makes the entry differ. */
		if (!reads_kinds(item, &to->takes_routes))
			to->attached = UINT32_MAX;
	}
	ret->listeners = l;
}

static struct view print(const struct source *s, const cJSON *item)
{
	char *json = cJSON_PrintUnformatted(item);
	struct view copy = kube_pack_dup(s->pack, view_str(json));

	cJSON_free(json);
	return copy;
}

static void read_parents(const struct source *s, const cJSON *status, struct kube_status *ret)
{
	size_t n;
	const cJSON *list = list_of(status, "parents", &n), *item;
	struct kube_status_parent *p = n ? kube_pack_get(s->pack, n * sizeof(*p)) : NULL;

	cJSON_ArrayForEach(item, list)
	{
		const cJSON *ref = kube_reader_any(item, "parentRef");
		struct kube_status_parent *to;

		if (!p || ret->nparents == n)
			break;
		to = &p[ret->nparents++];
		to->controller = text(s, item, "controllerName");
		to->group = text(s, ref, "group");
		to->kind = text(s, ref, "kind");
		to->namespace = text(s, ref, "namespace");
		to->name = text(s, ref, "name");
		to->section = text(s, ref, "sectionName");
		to->port = (uint16_t)(number(ref, "port") & 0xffff);
		to->conditions = read_conditions(s, item);
		if (!to->controller.ptr || !view_eq(to->controller, s->controller))
			to->raw = print(s, item);
	}
	ret->parents = p;
}

const struct kube_status *kube_decode_status(const cJSON *object, struct view controller,
					     struct kube_pack *pack)
{
	const struct source s = {pack, controller};
	const cJSON *status = kube_reader_any(object, "status");
	struct kube_status *ret = kube_pack_get(pack, sizeof(*ret));

	if (!ret)
		return NULL;
	ret->conditions = read_conditions(&s, status);
	read_addresses(&s, status, ret);
	read_listeners(&s, status, ret);
	read_parents(&s, status, ret);
	return kube_pack_failed(pack) ? NULL : ret;
}
