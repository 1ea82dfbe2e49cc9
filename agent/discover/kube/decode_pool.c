/*
 * InferencePools. What the API's definition would have refused (ports, the protocol) is looked at
 * again, as definitions of different age accept different things.
 *
 * endpointPickerRef: this agent is the picker, so the reference is not followed and need not lead
 * anywhere; its failureMode is honoured, since it says what is to happen when the picker is away.
 *
 * Annotations set options of the pool for which the configuration file is the place without
 * Kubernetes, under the same words. One that is not understood leaves the default and is remarked.
 */
#include "discover/kube/decode.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include "config/config.h"
#include "config/syntax.h"
#include "discover/models.h"

#define PREFIX     "spoa-inference/"
#define MODELS_MAX 1024

struct notes {
	const cJSON *map;
	char remarks[KUBE_TEXT_MAX * 2];
	size_t used;
};

static void remark(struct notes *n, const char *key, const char *what)
{
	int more = snprintf(n->remarks + n->used, sizeof(n->remarks) - n->used,
			    "%sannotation " PREFIX "%s: %.120s", n->used ? "; " : "", key, what);

	if (more > 0)
		n->used += (size_t)more;
	if (n->used >= sizeof(n->remarks))
		n->used = sizeof(n->remarks) - 1;
}

static struct view note(struct notes *n, const char *key)
{
	char name[64];
	const cJSON *item;

	snprintf(name, sizeof(name), PREFIX "%s", key);
	item = kube_reader_any(n->map, name);
	if (!item)
		return VIEW_NULL;
	if (cJSON_IsString(item))
		return view_str(item->valuestring);
	remark(n, key, "not a string");
	return VIEW_NULL;
}

static bool word(struct notes *n, const char *key, const char *const *words, int *ret)
{
	struct view v = note(n, key);
	char what[200] = "one of";

	if (!v.ptr)
		return false;
	for (int i = 0; words[i]; i++) {
		if (strcmp(v.ptr, words[i]) == 0) {
			*ret = i;
			return true;
		}
		strncat(what, i ? ", " : " ", sizeof(what) - strlen(what) - 1);
		strncat(what, words[i], sizeof(what) - strlen(what) - 1);
	}
	remark(n, key, what);
	return false;
}

static bool number(struct notes *n, const char *key, uint32_t min, uint32_t max, uint32_t *ret)
{
	struct view v = note(n, key);
	unsigned long long value;
	char what[64], *end;

	if (!v.ptr)
		return false;
	value = strtoull(v.ptr, &end, 10);
	if (v.len && v.len < 12 && v.ptr[0] >= '0' && v.ptr[0] <= '9' && *end == '\0' &&
	    value >= min && value <= max) {
		*ret = (uint32_t)value;
		return true;
	}
	snprintf(what, sizeof(what), "a number of %u to %u", min, max);
	remark(n, key, what);
	return false;
}

static void read_models(struct notes *n, struct kube_pool *p, struct kube_reader *r)
{
	struct view left = note(n, "models"), *models;
	size_t room = 1, used = 0;

	if (!left.len)
		return;
	for (size_t i = 0; i < left.len; i++)
		room += left.ptr[i] == ',';
	models = kube_reader_array(r, room < MODELS_MAX ? room : MODELS_MAX, sizeof(*models));
	while (models && left.ptr && used < MODELS_MAX) {
		const char *comma = memchr(left.ptr, ',', left.len);
		struct view name = {left.ptr, comma ? (size_t)(comma - left.ptr) : left.len};

		left = comma ? (struct view){comma + 1, left.len - name.len - 1} : VIEW_NULL;
		while (name.len && name.ptr[0] == ' ') {
			name.ptr++;
			name.len--;
		}
		while (name.len && name.ptr[name.len - 1] == ' ')
			name.len--;
		if (!name.len)
			continue;
		if (models_name_valid(name))
			models[used++] = kube_pack_dup(r->pack, name);
		else
			remark(n, "models", "a name that is none of a model");
	}
	p->models = models;
	p->nmodels = used;
}

static void read_notes(const cJSON *meta, struct kube_pool *p, struct kube_reader *r)
{
	struct notes n = {.map = kube_reader_any(meta, "annotations")};
	struct plan_options *o = &p->options;
	struct view path = note(&n, "metrics-path");
	struct syntax_why why;

	o->has_policy = word(&n, "policy", config_enum_policy, &o->policy);
	o->has_when_full = word(&n, "when-full", config_enum_when_full, &o->when_full);
	o->has_engine = word(&n, "engine", config_enum_engine, &o->engine);
	o->has_scheme = word(&n, "scheme", config_enum_scheme, &o->scheme);
	o->has_max_inflight = number(&n, "max-inflight", 0, 1000000, &o->max_inflight);
	o->has_retry_after = number(&n, "retry-after", 1, 3600, &o->retry_after);
	if (path.ptr && path.len <= 1024 && syntax_urlpath(path, &why))
		o->metrics_path = kube_pack_dup(r->pack, path);
	else if (path.ptr)
		remark(&n, "metrics-path", "a path of a URL");
	read_models(&n, p, r);
	if (n.used)
		p->remarks = kube_pack_dup(r->pack, (struct view){n.remarks, n.used});
}

static void read_ports(const cJSON *spec, struct kube_pool *p, struct kube_reader *r)
{
	size_t n, at = 0, before;
	const cJSON *list = kube_reader_list(r, spec, "targetPorts", 1024, &n), *item;

	if (n == 0 || n > KUBE_PORTS_MAX) {
		p->wrong = kube_reader_text(r, "targetPorts", "1 to %d ports", KUBE_PORTS_MAX);
		return;
	}
	before = kube_reader_enter(r, "targetPorts");
	cJSON_ArrayForEach(item, list)
	{
		size_t inner = kube_reader_enter_item(r, at++);
		uint16_t port = (uint16_t)kube_reader_integer(r, item, "number", 1, 65535, 0);
		bool seen = false;

		for (size_t i = 0; i < p->nports; i++)
			seen |= p->ports[i] == port;
		if (!port)
			p->wrong = kube_reader_text(r, "number", "missing");
		else if (!seen)
			p->ports[p->nports++] = port;
		kube_reader_leave(r, inner);
	}
	kube_reader_leave(r, before);
}

/* In a selector it may be there to keep pods out. */
static void read_unknown(const cJSON *spec, const cJSON *selector, struct kube_pool *p,
			 struct kube_reader *r)
{
	static const char *const fields[] = {"selector", "targetPorts", "appProtocol",
					     "endpointPickerRef", NULL};
	static const char *const labels[] = {"matchLabels", NULL};
	const char *other = kube_reader_unknown(spec, fields);

	if (other)
		p->wrong = kube_reader_text(r, other, "not supported");
	other = kube_reader_unknown(selector, labels);
	if (other)
		p->wrong = kube_reader_text(r, "selector", "%.40s is not supported", other);
}

void kube_decode_pool(const cJSON *o, struct kube_pool *ret, struct kube_reader *r)
{
	const cJSON *spec = kube_reader_map(r, o, "spec");
	const cJSON *selector = kube_reader_map(r, spec, "selector");
	const cJSON *picker = kube_reader_map(r, spec, "endpointPickerRef");
	size_t before = kube_reader_enter(r, "spec"), inner = kube_reader_enter(r, "selector");
	struct view protocol;

	kube_decode_labels(r, selector, "matchLabels", &ret->selector);
	kube_reader_leave(r, inner);
	read_ports(spec, ret, r);
	/* An empty selector would take every pod of the namespace, which nobody means. */
	if (!ret->selector.n)
		ret->wrong = kube_reader_text(r, "selector.matchLabels", "at least one label");
	protocol = kube_reader_peek(r, spec, "appProtocol");
	ret->h2c = view_eq(protocol, VIEW_LIT("kubernetes.io/h2c"));
	if (protocol.len && !ret->h2c && !view_eq(protocol, VIEW_LIT("http")))
		ret->wrong =
		    kube_reader_text(r, "appProtocol", "neither http nor kubernetes.io/h2c");
	read_unknown(spec, selector, ret, r);
	ret->fail_open = view_eq(kube_reader_peek(r, picker, "failureMode"), VIEW_LIT("FailOpen"));
	kube_reader_leave(r, before);
	read_notes(kube_reader_any(o, "metadata"), ret, r);
}
