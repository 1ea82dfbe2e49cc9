/*
 * ConfigMaps that say which adapters a base model has, as Body-Based Routing knows them: the keys
 * baseModel, a name, and adapters, the YAML of a list of names. Blanks around names do not count;
 * blank entries are nothing; a list without entries is fine.
 *
 * The label that makes a ConfigMap one of these has had three names. Whichever is there counts.
 * One without is decoded as empty: taking the label off takes the mapping back.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <ctype.h>
#include "config/tree.h"
#include "discover/models.h"

#define ADAPTERS_MAX 100000 /* the API server's limit of 1 MB comes first */

static bool is_managed(const cJSON *meta)
{
	static const char *const labels[] = {
	    "inference.networking.k8s.io/bbr-managed",
	    "inference-gateway.k8s.io/managed",
	    "inference.llm-d.ai/ipp-managed",
	};

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		const cJSON *l = kube_reader_any(kube_reader_any(meta, "labels"), labels[i]);

		if (cJSON_IsString(l) && strcmp(l->valuestring, "true") == 0)
			return true;
	}
	return false;
}

static struct view trim(struct view v)
{
	while (v.len && isspace((unsigned char)v.ptr[0])) {
		v.ptr++;
		v.len--;
	}
	while (v.len && isspace((unsigned char)v.ptr[v.len - 1]))
		v.len--;
	return v;
}

static void take_list(struct kube_configmap *m, const struct tree_node *list, struct kube_reader *r)
{
	struct view *names;
	size_t n = 0;

	if (list->n > ADAPTERS_MAX) {
		kube_reader_fail(r, "adapters", "too many entries");
		return;
	}
	names = kube_reader_array(r, list->n, sizeof(*names));
	for (const struct tree_item *i = list->first; names && i; i = i->next) {
		struct view name = trim(i->value->text);

		if (i->value->kind == TREE_NULL || (i->value->kind == TREE_WORD && !name.len))
			continue;
		if (i->value->kind != TREE_WORD || !models_name_valid(name)) {
			kube_reader_fail(r, "adapters", "an entry that is no name of a model");
			return;
		}
		names[n++] = kube_pack_dup(r->pack, name);
	}
	m->adapters = names;
	m->nadapters = n;
}

static void read_adapters(struct kube_configmap *m, struct view text, struct kube_reader *r)
{
	struct config_errors errors = {0, NULL};
	struct mistakes mistakes;
	struct tree_node *root = NULL;
	struct tree *tree = NULL;

	mistakes_init(&mistakes, &errors);
	if (tree_parse(text, &mistakes, &tree, &root) != 0)
		kube_reader_fail(r, "adapters", "memory is short");
	else if (errors.n)
		kube_reader_fail(r, "adapters", errors.items[0].text);
	else if (root && root->kind == TREE_LIST)
		take_list(m, root, r);
	else if (root && root->kind != TREE_NULL)
		kube_reader_fail(r, "adapters", "not a YAML list of names");
	tree_free(tree);
	config_errors_deinit(&errors);
}

void kube_decode_configmap(const cJSON *o, struct kube_configmap *ret, struct kube_reader *r)
{
	const cJSON *data;
	struct view base, adapters;
	size_t before;

	ret->managed = is_managed(kube_reader_any(o, "metadata"));
	if (!ret->managed)
		return;
	data = kube_reader_map(r, o, "data");
	before = kube_reader_enter(r, "data");
	base = trim(kube_reader_peek(r, data, "baseModel"));
	adapters = kube_reader_peek(r, data, "adapters");
	if (!base.len)
		kube_reader_fail(r, "baseModel", "missing or blank");
	else if (!models_name_valid(base))
		kube_reader_fail(r, "baseModel", "no name of a model");
	if (!r->failed) {
		ret->base = kube_pack_dup(r->pack, base);
		if (trim(adapters).len)
			read_adapters(ret, adapters, r);
	}
	kube_reader_leave(r, before);
}
