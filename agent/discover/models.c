/*
 * The list of models of one server.
 *
 * Replicas of one model answer alike but for times and random ids, and a thousand of them with ten
 * thousand adapters each must not be ten million strings. So a list is reduced to what routing
 * needs, put in one order, hashed, and shared by all servers that say the same (discover/asker.c
 * keeps the shared ones together).
 *
 * cJSON makes a node of 64 bytes of every value, so an answer of bare commas would grow thirtyfold;
 * a first look over the text refuses what holds more values than any list of models does. cJSON's
 * strings end at NUL, so an escaped NUL is refused there as well: what it cut off would make one
 * name look like another.
 */
#include "discover/models.h"

#include <cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

bool models_name_valid(struct view name)
{
	const unsigned char *p = (const unsigned char *)name.ptr, *end;

	if (name.len == 0 || name.len > MODELS_NAME_MAX)
		return false;
	for (end = p + name.len; p < end;) {
		unsigned more = *p < 0x80 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
		uint32_t c = *p;

		if ((*p >= 0x80 && *p < 0xc2) || *p > 0xf4 || (size_t)(end - p) <= more)
			return false;
		if (more)
			c &= 0x3fu >> more;
		for (p++; more; more--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3fu);
			/* Overlong forms and what is beyond Unicode show in the second byte. */
			if ((more == 2 && c < 0x20) || (more == 3 && c < 0x10) || c > 0x10ffff)
				return false;
		}
		if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xe000))
			return false;
	}
	return true;
}

/* NULL, or why the text is not worth a parser's memory. */
static const char *look_over(struct view body)
{
	size_t values = 0;
	bool string = false;

	for (size_t i = 0; i < body.len; i++) {
		char c = body.ptr[i];

		if (string && c == '\\') {
			if (body.len - i > 5 && memcmp(body.ptr + i, "\\u0000", 6) == 0)
				return "a string holds NUL";
			i++;
		} else if (c == '"') {
			string = !string;
		} else if (!string && (c == ',' || c == '[' || c == '{')) {
			values++;
		}
	}
	return values > body.len / 4 + 64 ? "too many values for its size" : NULL;
}

static struct view text_of(const cJSON *item)
{
	return cJSON_IsString(item) ? view_str(item->valuestring) : VIEW_NULL;
}

static struct view member(const cJSON *object, const char *key)
{
	return text_of(cJSON_GetObjectItemCaseSensitive(object, key));
}

static struct view id_of(const cJSON *entry)
{
	static const char *const keys[] = {"id", "name", "model"};

	if (!cJSON_IsObject(entry))
		return text_of(entry);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct view v = member(entry, keys[i]);

		if (v.ptr)
			return v;
	}
	return VIEW_NULL;
}

static const cJSON *list_of(const cJSON *top)
{
	const cJSON *list;

	if (cJSON_IsArray(top))
		return top;
	list = cJSON_GetObjectItemCaseSensitive(top, "data");
	if (cJSON_IsArray(list))
		return list;
	list = cJSON_GetObjectItemCaseSensitive(top, "models");
	return cJSON_IsArray(list) ? list : NULL;
}

/* A model as it is collected: views into cJSON's strings. */
struct found {
	struct view id, parent, root;
	size_t at; /* place in the answer: of two entries of one name the first counts */
};

static int compare_views(struct view a, struct view b)
{
	int r = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int by_id(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int r = compare_views(x->id, y->id);

	return r ? r : (x->at > y->at) - (x->at < y->at);
}

static int by_kind(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int r = (x->parent.ptr != NULL) - (y->parent.ptr != NULL);

	return r ? r : compare_views(x->id, y->id);
}

static bool has_id(const struct found *all, size_t n, struct view id)
{
	struct found key = {.id = id};
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int r = compare_views(all[middle].id, key.id);

		if (r == 0)
			return true;
		if (r < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Sorts, drops repetitions, and settles who is whose adapter. Returns how many are left. */
static size_t settle(struct found *all, size_t n)
{
	size_t kept = 0;

	qsort(all, n, sizeof(*all), by_id);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !view_eq(all[kept - 1].id, all[i].id))
			all[kept++] = all[i];
	for (size_t i = 0; i < kept; i++) {
		struct found *f = &all[i];

		if (f->parent.ptr && (view_eq(f->parent, f->id) || !models_name_valid(f->parent)))
			f->parent = VIEW_NULL;
		if (!f->parent.ptr && f->root.len && !view_eq(f->root, f->id) &&
		    has_id(all, kept, f->root))
			f->parent = f->root;
	}
	qsort(all, kept, sizeof(*all), by_kind);
	return kept;
}

static struct view keep(char **at, struct view v)
{
	struct view kept = {*at, v.len};

	if (!v.ptr)
		return VIEW_NULL;
	memcpy(*at, v.ptr, v.len);
	*at += v.len;
	*(*at)++ = '\0';
	return kept;
}

static struct models *make(const struct found *all, size_t n, size_t skipped)
{
	size_t bytes = 0;
	struct models *m;
	char *strings, *at;
	XXH128_hash_t hash;

	for (size_t i = 0; i < n; i++)
		bytes += all[i].id.len + all[i].parent.len + 2;
	m = malloc(sizeof(*m) + n * sizeof(*m->items) + bytes + 1);
	if (!m)
		return NULL;
	*m = (struct models){.refs = 1, .n = n, .skipped = skipped};
	m->items = (struct model *)(m + 1);
	at = strings = (char *)(m->items + n);
	for (size_t i = 0; i < n; i++) {
		m->items[i].id = keep(&at, all[i].id);
		*at = '\0'; /* tells a name without a parent from a name followed by one */
		m->items[i].parent = keep(&at, all[i].parent);
		if (!m->items[i].parent.ptr)
			at++;
	}
	hash = XXH3_128bits(strings, (size_t)(at - strings));
	m->hash[0] = hash.low64;
	m->hash[1] = hash.high64;
	return m;
}

/* What is filled while the answer is walked. */
struct collection {
	struct found *all;
	size_t n, max, skipped;
};

static void add(struct collection *c, struct view id, const cJSON *entry, bool alias)
{
	struct found *f = &c->all[c->n];

	if (c->n == c->max || !models_name_valid(id)) {
		c->skipped++;
		return;
	}
	*f = (struct found){.id = id, .at = c->n++};
	if (!cJSON_IsObject(entry))
		return;
	f->parent = member(entry, "parent");
	if (!alias)
		f->root = member(entry, "root");
}

static const cJSON *aliases_of(const cJSON *entry)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(entry, "aliases");

	return cJSON_IsArray(list) ? list : NULL;
}

static int collect(const cJSON *list, size_t max, struct models **ret)
{
	struct collection c = {.max = max};
	const cJSON *entry, *alias;
	size_t names = 0;

	cJSON_ArrayForEach(entry, list)
	{
		names++;
		cJSON_ArrayForEach(alias, aliases_of(entry)) names++;
	}
	c.all = calloc((names < max ? names : max) + 1, sizeof(*c.all));
	if (!c.all)
		return -ENOMEM;
	cJSON_ArrayForEach(entry, list) add(&c, id_of(entry), entry, false);
	/* Behind all ids: what is a model's id is nobody's alias. */
	cJSON_ArrayForEach(entry, list)
	{
		cJSON_ArrayForEach(alias, aliases_of(entry)) add(&c, text_of(alias), entry, true);
	}
	c.n = settle(c.all, c.n);
	*ret = make(c.all, c.n, c.skipped);
	free(c.all);
	return *ret ? 0 : -ENOMEM;
}

static const char *parse(struct view body, cJSON **ret)
{
	const char *end = NULL;

	*ret = cJSON_ParseWithLengthOpts(body.ptr, body.len, &end, false);
	if (!*ret)
		return "it is not JSON";
	for (; end < body.ptr + body.len; end++)
		if (*end != ' ' && *end != '\t' && *end != '\r' && *end != '\n')
			return "something stands behind the JSON";
	return list_of(*ret) ? NULL : "neither \"data\" nor \"models\" is an array";
}

int models_parse(struct view body, size_t max, struct models **ret, const char **ret_error)
{
	const char *error = body.len ? look_over(body) : "it is empty";
	struct models *m = NULL;
	cJSON *top = NULL;
	int r = -EINVAL;

	if (!error)
		error = parse(body, &top);
	if (!error)
		r = collect(list_of(top), max, &m);
	cJSON_Delete(top);
	if (error)
		*ret_error = error;
	if (r == 0)
		*ret = m;
	return r;
}

struct models *models_ref(struct models *m)
{
	m->refs++;
	return m;
}

struct models *models_unref(struct models *m)
{
	if (m && --m->refs == 0)
		free(m);
	return NULL;
}

bool models_equal(const struct models *a, const struct models *b)
{
	return a->n == b->n && a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

const struct model *models_find(const struct models *m, struct view id)
{
	size_t low = 0, high = m->n, plain = 0;

	/* Two sorted stretches: first those without a parent, then the adapters. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->items[middle].parent.ptr)
			high = middle;
		else
			low = middle + 1;
	}
	plain = low;
	for (int stretch = 0; stretch < 2; stretch++) {
		low = stretch ? plain : 0;
		high = stretch ? m->n : plain;
		while (low < high) {
			size_t middle = low + (high - low) / 2;
			int r = compare_views(m->items[middle].id, id);

			if (r == 0)
				return &m->items[middle];
			if (r < 0)
				low = middle + 1;
			else
				high = middle;
		}
	}
	return NULL;
}
