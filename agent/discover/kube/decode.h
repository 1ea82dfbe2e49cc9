/* The API server's JSON → objects. Pure. */
#ifndef DISCOVER_KUBE_DECODE_H
#define DISCOVER_KUBE_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/kube/condition.h"
#include "discover/kube/kind.h"
#include "discover/kube/object.h"
#include "discover/kube/pack.h"
#include "discover/kube/reader.h"

struct cJSON;

/* What is known of every object, whatever else is wrong with it. Views into the JSON. */
struct kube_meta {
	struct view namespace, name, uid, version;
	int64_t generation, created;
};

/* False: no such names as Kubernetes gives; there is nothing to file the object under. */
bool kube_decode_meta(enum kube_kind kind, const struct cJSON *object, struct kube_meta *ret);

/* Equal when nothing of the object that is looked at here is another. */
struct kube_digest {
	uint64_t spec[2], status[2];
};
void kube_decode_digest(enum kube_kind kind, const struct cJSON *object, struct kube_digest *ret);

/*
 * Into @r->pack. NULL: @r->failed and @r->error say why, or memory is short
 * (kube_pack_failed(r->pack)). @header_rules as in struct kube_store_conf.
 */
const struct kube_object *kube_decode(enum kube_kind kind, const struct cJSON *object,
				      const struct kube_meta *meta, bool header_rules,
				      struct kube_reader *r);
/* About how much memory that will take. */
size_t kube_decode_hint(enum kube_kind kind, const struct cJSON *object);

/* The status as it stands; never fails but for memory. @controller: whose entries are ours. */
const struct kube_status *kube_decode_status(const struct cJSON *object, struct view controller,
					     struct kube_pack *pack);

/* --- one for each kind, in decode_*.c; they fill what they are given --- */

void kube_decode_pod(const struct cJSON *o, struct kube_pod *ret, struct kube_reader *r);
void kube_decode_namespace(const struct cJSON *o, struct kube_namespace *ret,
			   struct kube_reader *r);
void kube_decode_service(const struct cJSON *o, struct kube_service *ret, struct kube_reader *r);
void kube_decode_configmap(const struct cJSON *o, struct kube_configmap *ret,
			   struct kube_reader *r);
void kube_decode_class(const struct cJSON *o, struct kube_class *ret, struct kube_reader *r);
void kube_decode_gateway(const struct cJSON *o, struct view namespace, struct kube_gateway *ret,
			 struct kube_reader *r);
void kube_decode_route(const struct cJSON *o, struct view namespace, bool header_rules,
		       struct kube_route *ret, struct kube_reader *r);
void kube_decode_grant(const struct cJSON *o, struct kube_grant *ret, struct kube_reader *r);
void kube_decode_pool(const struct cJSON *o, struct kube_pool *ret, struct kube_reader *r);
/* A copy in lower case. */
struct view kube_decode_hostname(struct kube_reader *r, struct view text);
/* A reference to another object; @group, @kind and @namespace stand in for what it leaves out.
 * True: it names its namespace itself. */
bool kube_decode_ref(struct kube_reader *r, const struct cJSON *item, const char *group,
		     const char *kind, struct view namespace, struct kube_ref *ret);
/* metadata.labels and the like: a map of strings. */
void kube_decode_labels(struct kube_reader *r, const struct cJSON *parent, const char *key,
			struct kube_labels *ret);

#endif
