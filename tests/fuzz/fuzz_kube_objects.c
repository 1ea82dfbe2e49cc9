/*
 * Objects of the API server, all that a controller holds: lines of a letter and JSON. The letter is
 * the kind, in lower case for a removal; each line goes into the store. Then all of it is resolved,
 * what is wanted is compared with what is there, and the patch is applied, twice: the plan keeps
 * what it promises, statuses settle.
 */
#include <assert.h>
#include <cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "discover/kube/resolve.h"
#include "discover/kube/status.h"
#include "discover/kube/store.h"
#include "discover/plan.h"
#include "route/rule.h"

#define CONTROLLER  "spoa-inference/gateway-controller"
#define OBJECTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char letters[] = "PNSMCGRTI";
static const enum kube_kind kinds[] = {KUBE_POD,       KUBE_NAMESPACE, KUBE_SERVICE,
				       KUBE_CONFIGMAP, KUBE_CLASS,     KUBE_GATEWAY,
				       KUBE_ROUTE,     KUBE_GRANT,     KUBE_POOL};

/* What the server holds: the last version of each line's object that the store took. */
struct server {
	struct {
		enum kube_kind kind;
		cJSON *json;
	} objects[OBJECTS_MAX];
	size_t n;
};

static const char *text(const cJSON *o, const char *key)
{
	const cJSON *v =
	    cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, "metadata"), key);

	return cJSON_IsString(v) ? v->valuestring : "";
}

static void line(struct kube_store *s, struct server *srv, const char *bytes, size_t len)
{
	const char *letter = len ? memchr(letters, bytes[0] & ~0x20, sizeof(letters) - 1) : NULL;
	enum kube_change change;
	const char *error = "";
	enum kube_kind kind;
	cJSON *json;
	int r;

	if (!letter || srv->n == OBJECTS_MAX)
		return;
	kind = kinds[letter - letters];
	json = cJSON_ParseWithLength(bytes + 1, len - 1);
	if (!json)
		return;
	if (bytes[0] & 0x20) {
		kube_store_remove(s, kind, text(json, "namespace"), text(json, "name"));
		cJSON_Delete(json);
		return;
	}
	r = kube_store_upsert(s, kind, json, &change, &error);
	assert(r == 0 || error[0] == '\0');
	if (r == 0) {
		/* The same again is nothing new. */
		r = kube_store_upsert(s, kind, json, &change, &error);
		assert(r == 0 && change == KUBE_SAME);
		srv->objects[srv->n].kind = kind;
		srv->objects[srv->n++].json = json;
	} else {
		cJSON_Delete(json);
	}
}

static int compare(struct view a, struct view b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static void check_plan(const struct plan *p)
{
	struct rules *rules;

	for (size_t i = 0; i < p->npools; i++) {
		const struct plan_pool *pool = &p->pools[i];

		assert(i == 0 || compare(p->pools[i - 1].name, pool->name) < 0);
		for (size_t k = 1; k < pool->nmembers; k++)
			assert(compare(pool->members[k - 1].name, pool->members[k].name) < 0);
	}
	for (size_t i = 0; i < p->nrules; i++)
		for (size_t k = 0; k < p->rules[i].nbackends; k++)
			assert(p->rules[i].backends[k].pool >= -1 &&
			       p->rules[i].backends[k].pool < (int32_t)p->npools);
	for (size_t i = 1; i < p->nadapters; i++)
		assert(compare(p->adapters[i - 1].model, p->adapters[i].model) < 0);
	rules = rules_new(p->rules, p->nrules);
	assert(rules);
	rules_free(rules);
}

/* A merge patch of the status: whole lists take the place of what is there. */
static void apply(struct kube_store *s, struct server *srv, const struct kube_wanted *w,
		  const char *patch)
{
	cJSON *json = cJSON_Parse(patch), *status = cJSON_GetObjectItem(json, "status"), *item;
	enum kube_change change;
	const char *error;
	size_t at = srv->n;
	int r;

	assert(json && status);
	while (at-- > 0)
		if (srv->objects[at].kind == w->kind &&
		    (w->namespace.len == 0 ||
		     strcmp(text(srv->objects[at].json, "namespace"), w->namespace.ptr) == 0) &&
		    strcmp(text(srv->objects[at].json, "name"), w->name.ptr) == 0)
			break;
	assert(at < srv->n);
	item = cJSON_GetObjectItemCaseSensitive(srv->objects[at].json, "status");
	if (!cJSON_IsObject(item)) {
		while (item) {
			cJSON_DeleteItemFromObjectCaseSensitive(srv->objects[at].json, "status");
			item = cJSON_GetObjectItemCaseSensitive(srv->objects[at].json, "status");
		}
		item = cJSON_AddObjectToObject(srv->objects[at].json, "status");
	}
	while (status->child) {
		cJSON *member = cJSON_DetachItemViaPointer(status, status->child);

		while (cJSON_HasObjectItem(item, member->string))
			cJSON_DeleteItemFromObject(item, member->string);
		cJSON_AddItemToObject(item, member->string, member);
	}
	cJSON_Delete(json);
	r = kube_store_upsert(s, w->kind, srv->objects[at].json, &change, &error);
	assert(r == 0 && change != KUBE_SAME);
}

static size_t write_statuses(struct kube_store *s, struct server *srv,
			     const struct kube_settings *set, struct kube_resolved *r)
{
	char *patches[OBJECTS_MAX] = {NULL};
	size_t n = 0;

	assert(r->nwanted <= OBJECTS_MAX);
	for (size_t i = 0; i < r->nwanted; i++) {
		int d =
		    kube_status_diff(s, set, &r->wanted[i], "2026-11-22T12:00:00Z", &patches[i]);

		assert(d >= 0);
		assert((d == KUBE_DIFF_PATCH) == (patches[i] != NULL));
		n += d == KUBE_DIFF_PATCH;
	}
	for (size_t i = 0; i < r->nwanted; i++) {
		/* Its names are the entry's; the rest of it is not looked at any more. */
		if (patches[i])
			apply(s, srv, &r->wanted[i], patches[i]);
		free(patches[i]);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct view addresses[] = {{"192.0.2.1", 9}}, secrets[] = {{"a/s", 3}};
	const struct kube_store_conf conf = {size % 2, VIEW_LIT(CONTROLLER)};
	struct kube_settings set = {
	    .controller = VIEW_LIT(CONTROLLER),
	    .namespace = VIEW_LIT("a"),
	    .header_rules = size % 2,
	    .all_namespaces = true,
	    .addresses = addresses,
	    .naddresses = 1,
	    .secrets = secrets,
	    .nsecrets = 1,
	};
	struct kube_store *s = kube_store_new(&conf);
	struct server srv = {.n = 0};
	struct plan *before = NULL;
	const char *at = (const char *)data, *end = at + size;

	assert(s);
	if (size % 3 == 0) {
		set.service_namespace = VIEW_LIT("a");
		set.service = VIEW_LIT("s");
	}
	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		stop = stop ? stop : end;
		line(s, &srv, at, (size_t)(stop - at));
		at = stop < end ? stop + 1 : end;
	}
	for (int round = 0; round < 2; round++) {
		struct kube_resolved *r = NULL;
		size_t written;

		if (kube_resolve(s, &set, before, &r) != 0)
			abort();
		check_plan(r->plan);
		if (before)
			assert(memcmp(before->hash, r->plan->hash, sizeof(before->hash)) == 0);
		plan_free(before);
		before = r->plan;
		r->plan = NULL;
		written = write_statuses(s, &srv, &set, r);
		/* What was written once is right. */
		assert(round == 0 || written == 0);
		kube_resolved_free(r);
	}
	plan_free(before);
	kube_store_free(s);
	for (size_t i = 0; i < srv.n; i++)
		cJSON_Delete(srv.objects[i].json);
	return 0;
}
