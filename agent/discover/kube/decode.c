/*
 * What is common to all kinds: names, digests, labels, the way to each kind's decoder.
 *
 * Names come into URLs, into HAProxy's configuration and its runtime commands, so nothing but what
 * Kubernetes allows in them is let in here, once for all.
 *
 * A digest covers what the decoders look at: for a pod a handful of fields, so that heartbeats and
 * restarts of sidecars cost a hash and no more; for the rest the whole spec. It is taken over the
 * tree in the order it was sent: the API server writes an unchanged object in an unchanged order.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <stdlib.h>
#include <xxhash.h>

/* --- names --- */

static bool name_valid(struct view v, size_t max)
{
	if (v.len == 0 || v.len > max)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];
		bool edge = i == 0 || i + 1 == v.len;

		if ((c < 'a' || c > 'z') && (c < '0' || c > '9') &&
		    (edge || (c != '-' && c != '.')))
			return false;
	}
	return true;
}

static struct view text_of(const cJSON *parent, const char *key)
{
	const cJSON *item = kube_reader_any(parent, key);

	return cJSON_IsString(item) ? view_str(item->valuestring) : VIEW_NULL;
}

bool kube_decode_meta(enum kube_kind kind, const cJSON *object, struct kube_meta *ret)
{
	const cJSON *meta = kube_reader_any(object, "metadata");
	const cJSON *generation = kube_reader_any(meta, "generation");

	*ret = (struct kube_meta){
	    .namespace = VIEW_LIT(""),
	    .name = text_of(meta, "name"),
	    .uid = text_of(meta, "uid"),
	    .version = text_of(meta, "resourceVersion"),
	    .created = kube_reader_time(text_of(meta, "creationTimestamp")),
	};
	if (cJSON_IsNumber(generation) && generation->valuedouble >= 0 &&
	    generation->valuedouble <= 9007199254740992.0)
		ret->generation = (int64_t)generation->valuedouble;
	if (kube_kind_info(kind)->namespaced) {
		ret->namespace = text_of(meta, "namespace");
		if (!name_valid(ret->namespace, 63))
			return false;
	}
	return name_valid(ret->name, 253);
}

/* --- digests --- */

static void mix(uint64_t h[2], const void *bytes, size_t len)
{
	XXH128_hash_t x = XXH3_128bits_withSeed(bytes, len, h[0] ^ len);

	h[1] = (h[1] << 23 | h[1] >> 41) ^ x.high64;
	h[0] = x.low64 + h[1];
}

static void mix_text(uint64_t h[2], struct view v)
{
	mix(h, v.ptr ? v.ptr : "\xff", v.ptr ? v.len : 1);
}

/* cJSON bounds how deep its trees are. */
static void mix_tree(uint64_t h[2], const cJSON *item)
{
	const cJSON *child;
	int type = item ? item->type & 0xff : 0;

	mix(h, &type, sizeof(type));
	if (item && cJSON_IsString(item))
		mix_text(h, view_str(item->valuestring));
	else if (item && cJSON_IsNumber(item))
		mix(h, &item->valuedouble, sizeof(item->valuedouble));
	else if (cJSON_IsArray(item) || cJSON_IsObject(item)) {
		cJSON_ArrayForEach(child, item)
		{
			if (child->string)
				mix_text(h, view_str(child->string));
			mix_tree(h, child);
		}
		mix(h, "]", 1);
	}
}

static const cJSON *under(const cJSON *o, const char *first, const char *second)
{
	return kube_reader_any(kube_reader_any(o, first), second);
}

static void mix_pod(uint64_t h[2], const cJSON *o)
{
	const cJSON *status = kube_reader_any(o, "status"), *condition;
	const cJSON *conditions = kube_reader_any(status, "conditions");
	bool leaving = under(o, "metadata", "deletionTimestamp") != NULL;

	mix(h, &leaving, sizeof(leaving));
	mix_tree(h, under(o, "metadata", "labels"));
	mix_tree(h, kube_reader_any(under(o, "metadata", "annotations"),
				    "inference.networking.k8s.io/active-ports"));
	mix_tree(h, kube_reader_any(status, "phase"));
	mix_tree(h, kube_reader_any(status, "podIP"));
	mix_tree(h, kube_reader_any(status, "podIPs"));
	if (!cJSON_IsArray(conditions))
		mix_tree(h, conditions);
	else
		cJSON_ArrayForEach(condition, conditions)
		{
			if (view_eq(text_of(condition, "type"), VIEW_LIT("Ready")))
				mix_tree(h, kube_reader_any(condition, "status"));
		}
}

void kube_decode_digest(enum kube_kind kind, const cJSON *object, struct kube_digest *ret)
{
	const cJSON *generation = under(object, "metadata", "generation");
	struct kube_digest d = {{kind, 1}, {kind, 2}};

	mix_text(d.spec, text_of(kube_reader_any(object, "metadata"), "uid"));
	if (kind == KUBE_POD) {
		mix_pod(d.spec, object);
	} else {
		if (kube_kind_info(kind)->status) {
			mix_tree(d.spec, generation);
			mix_tree(d.status, kube_reader_any(object, "status"));
		}
		mix_tree(d.spec, under(object, "metadata", "creationTimestamp"));
		mix_tree(d.spec, kube_reader_any(object, "spec"));
		if (kind == KUBE_POOL)
			mix_tree(d.spec, under(object, "metadata", "annotations"));
		if (kind == KUBE_NAMESPACE || kind == KUBE_CONFIGMAP)
			mix_tree(d.spec, under(object, "metadata", "labels"));
		if (kind == KUBE_CONFIGMAP)
			mix_tree(d.spec, kube_reader_any(object, "data"));
		if (kind == KUBE_SERVICE)
			mix_tree(d.spec, under(object, "status", "loadBalancer"));
	}
	*ret = d;
}

/* --- labels --- */

#define LABELS_MAX 1024

static int by_key(const void *a, const void *b)
{
	const struct kube_label *x = a, *y = b;

	return strcmp(x->key.ptr, y->key.ptr);
}

static uint64_t label_bit(const struct kube_label *l)
{
	uint64_t h = XXH3_64bits(l->key.ptr, l->key.len);

	return UINT64_C(1) << (XXH3_64bits_withSeed(l->value.ptr, l->value.len, h) & 63);
}

void kube_decode_labels(struct kube_reader *r, const cJSON *parent, const char *key,
			struct kube_labels *ret)
{
	const cJSON *map = kube_reader_map(r, parent, key), *item;
	size_t n = 0, i = 0, before = kube_reader_enter(r, key);
	struct kube_label *labels;

	*ret = (struct kube_labels){NULL, 0, 0};
	cJSON_ArrayForEach(item, map)
	{
		n++;
		if (!cJSON_IsString(item))
			kube_reader_fail(r, item->string, "not a string");
	}
	if (n > LABELS_MAX)
		kube_reader_fail(r, NULL, "more items than any such object has");
	labels = r->failed ? NULL : kube_reader_array(r, n, sizeof(*labels));
	if (labels) {
		cJSON_ArrayForEach(item, map)
		{
			labels[i].key = kube_pack_dup(r->pack, view_str(item->string));
			labels[i].value = kube_pack_dup(r->pack, view_str(item->valuestring));
			if (labels[i].key.ptr && labels[i].value.ptr)
				ret->mask |= label_bit(&labels[i++]);
		}
		qsort(labels, i, sizeof(*labels), by_key);
		ret->items = labels;
		ret->n = i;
	}
	kube_reader_leave(r, before);
}

/* --- objects --- */

static void decode_kind(struct kube_object *o, const cJSON *json, bool header_rules,
			struct kube_reader *r)
{
	switch (o->kind) {
	case KUBE_POD:
		kube_decode_pod(json, &o->pod, r);
		break;
	case KUBE_NAMESPACE:
		kube_decode_namespace(json, &o->space, r);
		break;
	case KUBE_SERVICE:
		kube_decode_service(json, &o->service, r);
		break;
	case KUBE_CONFIGMAP:
		kube_decode_configmap(json, &o->configmap, r);
		break;
	case KUBE_CLASS:
		kube_decode_class(json, &o->class, r);
		break;
	case KUBE_GATEWAY:
		kube_decode_gateway(json, o->namespace, &o->gateway, r);
		break;
	case KUBE_ROUTE:
		kube_decode_route(json, o->namespace, header_rules, &o->route, r);
		break;
	case KUBE_GRANT:
		kube_decode_grant(json, &o->grant, r);
		break;
	case KUBE_POOL:
		kube_decode_pool(json, &o->pool, r);
		break;
	case KUBE_KINDS:
		break;
	}
}

const struct kube_object *kube_decode(enum kube_kind kind, const cJSON *object,
				      const struct kube_meta *meta, bool header_rules,
				      struct kube_reader *r)
{
	struct kube_object *o = kube_pack_get(r->pack, sizeof(*o));

	if (!o)
		return NULL;
	o->kind = kind;
	/* The store's entry holds the names too, for as long as any version of the object. */
	o->namespace = meta->namespace;
	o->name = meta->name;
	o->generation = meta->generation;
	o->created = meta->created;
	decode_kind(o, object, header_rules, r);
	return r->failed || kube_pack_failed(r->pack) ? NULL : o;
}

size_t kube_decode_hint(enum kube_kind kind, const cJSON *object)
{
	const cJSON *item;
	size_t n = sizeof(struct kube_object) + 32; /* what alignment may cost */

	if (kind == KUBE_POD || kind == KUBE_NAMESPACE) {
		cJSON_ArrayForEach(item, under(object, "metadata", "labels"))
		{
			n += sizeof(struct kube_label) + 2;
			n += (item->string ? strlen(item->string) : 0) +
			     (cJSON_IsString(item) ? strlen(item->valuestring) : 0);
		}
		return n;
	}
	return n + 512;
}
