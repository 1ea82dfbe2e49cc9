/*
 * One array per kind, sorted by namespace and name. Lists come from the API server in that order,
 * so they are appended; a look-up is a binary search; the pods of a namespace stand next to each
 * other, which is how the resolver wants them.
 *
 * A version of an object has memory of its own (spec), its status another, because statuses
 * change without the spec and the other way round. `good` is the memory of an older version that
 * serves on while the newest one cannot.
 *
 * Invariants: entries are unique and sorted; entry.serving points into spec or into good, and good
 * is kept only then; the names of an entry live as long as it, so that objects may point to them.
 */
#include "discover/kube/store.h"

#include <cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "discover/kube/decode.h"

#define VERSION_MAX 63 /* bytes of a resource version; etcd's have 20 */

struct held {
	struct kube_entry entry;
	struct kube_pack *spec, *good, *status;
	struct kube_digest digest;
	uint64_t uid;
	unsigned epoch; /* of the list in which it came up last */
	char *error;
	size_t bytes; /* of this and its names */
	char version[VERSION_MAX + 1];
	char names[]; /* namespace and name, terminated */
};

struct table {
	struct kube_entry **items; /* each the first member of a held */
	size_t n, room;
	unsigned epoch;
};

struct kube_store {
	struct table tables[KUBE_KINDS];
	bool header_rules;
	char *controller;
	size_t bytes;
};

static struct held *held_at(const struct table *t, size_t i)
{
	_Static_assert(offsetof(struct held, entry) == 0, "a held object begins with its entry");
	return (struct held *)t->items[i];
}

struct kube_store *kube_store_new(const struct kube_store_conf *conf)
{
	struct kube_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->header_rules = conf->header_rules;
	s->controller = view_dup(conf->controller.ptr ? conf->controller : VIEW_LIT(""));
	return s->controller ? s : kube_store_free(s);
}

/* --- entries --- */

static size_t pack_size(const struct kube_pack *p)
{
	return p ? kube_pack_bytes(p) : 0;
}

static size_t held_size(const struct held *h)
{
	return h->bytes + pack_size(h->spec) + pack_size(h->good) + pack_size(h->status) +
	       (h->error ? strlen(h->error) + 1 : 0);
}

static struct held *held_free(struct held *h)
{
	if (h) {
		kube_pack_free(h->spec);
		kube_pack_free(h->good);
		kube_pack_free(h->status);
		free(h->error);
		free(h);
	}
	return NULL;
}

static struct held *held_new(enum kube_kind kind, const struct kube_meta *meta)
{
	size_t size = sizeof(struct held) + meta->namespace.len + meta->name.len + 2;
	struct held *h = calloc(1, size);

	if (!h)
		return NULL;
	h->bytes = size;
	memcpy(h->names, meta->namespace.ptr, meta->namespace.len);
	memcpy(h->names + meta->namespace.len + 1, meta->name.ptr, meta->name.len);
	h->entry.kind = kind;
	h->entry.namespace = (struct view){h->names, meta->namespace.len};
	h->entry.name = (struct view){h->names + meta->namespace.len + 1, meta->name.len};
	h->entry.version = (struct view){h->version, 0};
	return h;
}

struct kube_store *kube_store_free(struct kube_store *s)
{
	if (!s)
		return NULL;
	for (size_t k = 0; k < KUBE_KINDS; k++) {
		for (size_t i = 0; i < s->tables[k].n; i++)
			held_free(held_at(&s->tables[k], i));
		free(s->tables[k].items);
	}
	free(s->controller);
	free(s);
	return NULL;
}

/* --- order --- */

static int compare_views(struct view a, struct view b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.ptr, b.ptr, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int compare(const struct kube_entry *e, struct view namespace, struct view name)
{
	int r = compare_views(e->namespace, namespace);

	return r ? r : compare_views(e->name, name);
}

/* Where it stands, or would: the first that is not less. */
static size_t place(const struct table *t, struct view namespace, struct view name)
{
	size_t low = 0, high = t->n;

	/* Lists come in order. */
	if (t->n && compare(t->items[t->n - 1], namespace, name) < 0)
		return t->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare(t->items[mid], namespace, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct held *find(const struct table *t, struct view namespace, struct view name,
			 size_t *ret_at)
{
	size_t at = place(t, namespace, name);

	*ret_at = at;
	return at < t->n && compare(t->items[at], namespace, name) == 0 ? held_at(t, at) : NULL;
}

static int insert(struct table *t, size_t at, struct held *h)
{
	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 16;
		struct kube_entry **more = realloc(t->items, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->items = more;
		t->room = room;
	}
	memmove(t->items + at + 1, t->items + at, (t->n - at) * sizeof(*t->items));
	t->items[at] = &h->entry;
	t->n++;
	return 0;
}

/* --- a new version --- */

/* Takes over from the version before: what can be served, or what could. */
static void settle(struct held *h, struct kube_pack *spec, const struct kube_object *newest)
{
	bool usable = newest && kube_object_usable(newest);

	if (usable) {
		kube_pack_free(h->spec);
		h->good = kube_pack_free(h->good);
		h->entry.serving = newest;
	} else if (h->entry.serving && h->entry.serving == h->entry.newest) {
		h->good = h->spec;
	} else {
		kube_pack_free(h->spec);
	}
	h->spec = spec;
	h->entry.newest = newest;
}

static int set_error(struct held *h, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return -ENOMEM;
	free(h->error);
	h->error = copy;
	h->entry.error = copy;
	return 0;
}

/* Another object of the same name: nothing of the one before is to serve on. */
static void replace(struct held *h)
{
	h->entry.newest = NULL;
	h->entry.serving = NULL;
	h->good = kube_pack_free(h->good);
}

static int read_spec(struct kube_store *s, struct held *h, const cJSON *object,
		     const struct kube_meta *meta)
{
	struct kube_pack *pack = kube_pack_new(kube_decode_hint(h->entry.kind, object));
	struct kube_meta own = *meta;
	struct kube_reader r;
	const struct kube_object *o;
	uint64_t uid = XXH3_64bits(meta->uid.ptr ? meta->uid.ptr : "", meta->uid.len);

	if (!pack)
		return -ENOMEM;
	own.namespace = h->entry.namespace;
	own.name = h->entry.name;
	kube_reader_init(&r, pack);
	o = kube_decode(h->entry.kind, object, &own, s->header_rules, &r);
	if (kube_pack_failed(pack) || set_error(h, o ? NULL : r.error) < 0) {
		kube_pack_free(pack);
		return -ENOMEM;
	}
	if (h->uid != uid)
		replace(h);
	h->uid = uid;
	if (!o)
		pack = kube_pack_free(pack);
	settle(h, pack, o);
	return 0;
}

static int read_status(struct kube_store *s, struct held *h, const cJSON *object)
{
	struct kube_pack *pack = kube_pack_new(0);
	const struct kube_status *status;

	if (!pack)
		return -ENOMEM;
	status = kube_decode_status(object, view_str(s->controller), pack);
	if (!status) {
		kube_pack_free(pack);
		return -ENOMEM;
	}
	kube_pack_free(h->status);
	h->status = pack;
	h->entry.status = status;
	return 0;
}

static bool same(const uint64_t a[2], const uint64_t b[2])
{
	return a[0] == b[0] && a[1] == b[1];
}

static void set_meta(struct held *h, const struct kube_meta *meta, unsigned epoch)
{
	h->epoch = epoch;
	h->entry.generation = meta->generation;
	h->entry.created = meta->created;
	memcpy(h->version, meta->version.ptr ? meta->version.ptr : "", meta->version.len);
	h->version[meta->version.len] = '\0';
	h->entry.version.len = meta->version.len;
}

/* A ConfigMap that is none of ours matters only where it was one. */
static bool matters(const struct held *h, bool was_managed)
{
	const struct kube_object *o = h->entry.newest;

	return h->entry.kind != KUBE_CONFIGMAP || was_managed || !o || o->configmap.managed;
}

static bool is_managed(const struct held *h)
{
	return h->entry.kind == KUBE_CONFIGMAP && h->entry.serving &&
	       h->entry.serving->configmap.managed;
}

/* @h is new when it has no digest yet. */
static int update(struct kube_store *s, struct held *h, const cJSON *object,
		  const struct kube_meta *meta, bool fresh, enum kube_change *ret)
{
	struct kube_digest d;
	bool managed = is_managed(h);
	bool status = kube_kind_info(h->entry.kind)->status;

	*ret = KUBE_SAME;
	kube_decode_digest(h->entry.kind, object, &d);
	if (status && (fresh || !same(d.status, h->digest.status))) {
		if (read_status(s, h, object) < 0)
			return -ENOMEM;
		memcpy(h->digest.status, d.status, sizeof(d.status));
		*ret = KUBE_STATUS;
	}
	if (fresh || !same(d.spec, h->digest.spec)) {
		if (read_spec(s, h, object, meta) < 0)
			return -ENOMEM;
		memcpy(h->digest.spec, d.spec, sizeof(d.spec));
		*ret = matters(h, managed) ? KUBE_SPEC : KUBE_SAME;
	}
	return 0;
}

int kube_store_upsert(struct kube_store *s, enum kube_kind kind, const cJSON *object,
		      enum kube_change *ret_change, const char **ret_error)
{
	struct table *t = &s->tables[kind];
	struct kube_meta meta;
	struct held *h;
	size_t at, before;
	bool fresh;
	int r;

	if (!kube_decode_meta(kind, object, &meta) || meta.version.len > VERSION_MAX)
		return -EINVAL;
	h = find(t, meta.namespace, meta.name, &at);
	fresh = !h;
	if (fresh) {
		h = held_new(kind, &meta);
		if (!h)
			return -ENOMEM;
	}
	before = fresh ? 0 : held_size(h);
	r = update(s, h, object, &meta, fresh, ret_change);
	if (r == 0 && fresh)
		r = insert(t, at, h);
	if (r < 0) {
		if (fresh)
			held_free(h);
		else
			s->bytes += held_size(h) - before;
		return r;
	}
	set_meta(h, &meta, t->epoch);
	s->bytes += held_size(h) - before;
	*ret_error = *ret_change == KUBE_SPEC ? h->entry.error : NULL;
	return 0;
}

/* --- removal --- */

static void drop(struct kube_store *s, struct held *h)
{
	s->bytes -= held_size(h);
	held_free(h);
}

enum kube_change kube_store_remove(struct kube_store *s, enum kube_kind kind, const char *namespace,
				   const char *name)
{
	struct table *t = &s->tables[kind];
	size_t at;
	struct held *h = find(t, view_str(namespace ? namespace : ""), view_str(name), &at);
	enum kube_change change = KUBE_SPEC;

	if (!h)
		return KUBE_SAME;
	if (kind == KUBE_CONFIGMAP && !is_managed(h))
		change = KUBE_SAME;
	memmove(t->items + at, t->items + at + 1, (t->n - at - 1) * sizeof(*t->items));
	t->n--;
	drop(s, h);
	return change;
}

void kube_store_begin(struct kube_store *s, enum kube_kind kind)
{
	s->tables[kind].epoch++;
}

size_t kube_store_sweep(struct kube_store *s, enum kube_kind kind)
{
	struct table *t = &s->tables[kind];
	size_t kept = 0, n = t->n;

	for (size_t i = 0; i < n; i++) {
		if (held_at(t, i)->epoch == t->epoch)
			t->items[kept++] = t->items[i];
		else
			drop(s, held_at(t, i));
	}
	t->n = kept;
	return n - kept;
}

/* --- looking --- */

const struct kube_entry *kube_store_find(const struct kube_store *s, enum kube_kind kind,
					 struct view namespace, struct view name)
{
	size_t at;
	const struct held *h = find(&s->tables[kind], namespace, name, &at);

	return h ? &h->entry : NULL;
}

const struct kube_entry *const *kube_store_all(const struct kube_store *s, enum kube_kind kind,
					       size_t *ret_n)
{
	*ret_n = s->tables[kind].n;
	return (const struct kube_entry *const *)s->tables[kind].items;
}

size_t kube_store_range(const struct kube_store *s, enum kube_kind kind, struct view namespace,
			size_t *ret_n)
{
	const struct table *t = &s->tables[kind];
	size_t low = place(t, namespace, VIEW_LIT("")), high = t->n, first = low;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (view_eq(t->items[mid]->namespace, namespace))
			low = mid + 1;
		else
			high = mid;
	}
	*ret_n = low - first;
	return first;
}

size_t kube_store_count(const struct kube_store *s, enum kube_kind kind)
{
	return s->tables[kind].n;
}

size_t kube_store_bytes(const struct kube_store *s)
{
	size_t n = s->bytes;

	for (size_t k = 0; k < KUBE_KINDS; k++)
		n += s->tables[k].room * sizeof(*s->tables[k].items);
	return n;
}
