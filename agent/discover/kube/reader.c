/*
 * Typed access to cJSON's trees, with the path to each value for messages.
 *
 * cJSON looks keys up one after the other; the objects of the API server have few keys each, so
 * that is no matter. Integers are doubles in cJSON: a value that is not whole, or that a double
 * cannot hold exactly, is no integer.
 */
#include "discover/kube/reader.h"

#include <cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void kube_reader_init(struct kube_reader *r, struct kube_pack *pack)
{
	r->pack = pack;
	r->failed = false;
	r->error[0] = '\0';
	r->path[0] = '\0';
	r->path_len = 0;
}

static size_t step(struct kube_reader *r, const char *fmt, const char *key, size_t i)
{
	size_t before = r->path_len, room = sizeof(r->path) - before;
	int n = key ? snprintf(r->path + before, room, "%s%.60s", fmt, key)
		    : snprintf(r->path + before, room, "[%zu]", i);

	if (n > 0)
		r->path_len += (size_t)n < room ? (size_t)n : room - 1;
	return before;
}

size_t kube_reader_enter(struct kube_reader *r, const char *key)
{
	return step(r, r->path_len ? "." : "", key, 0);
}

size_t kube_reader_enter_item(struct kube_reader *r, size_t i)
{
	return step(r, "", NULL, i);
}

void kube_reader_leave(struct kube_reader *r, size_t before)
{
	r->path_len = before;
	r->path[before] = '\0';
}

void kube_reader_fail(struct kube_reader *r, const char *key, const char *what)
{
	size_t before;

	if (r->failed)
		return;
	r->failed = true;
	before = key ? kube_reader_enter(r, key) : r->path_len;
	snprintf(r->error, sizeof(r->error), "%.100s: %.90s", r->path, what);
	for (char *c = r->error; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	kube_reader_leave(r, before);
}

struct view kube_reader_text(struct kube_reader *r, const char *key, const char *fmt, ...)
{
	char text[KUBE_TEXT_MAX * 2];
	size_t before = key ? kube_reader_enter(r, key) : r->path_len;
	int n = snprintf(text, sizeof(text), "%s: ", r->path);
	size_t used = n > 0 && (size_t)n < sizeof(text) ? (size_t)n : 0;
	va_list args;

	kube_reader_leave(r, before);
	va_start(args, fmt);
	vsnprintf(text + used, sizeof(text) - used, fmt, args);
	va_end(args);
	/* What was quoted may be anything, and may be cut within a character. */
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	return kube_pack_dup(r->pack, view_str(text));
}

const cJSON *kube_reader_any(const cJSON *parent, const char *key)
{
	const cJSON *item =
	    cJSON_IsObject(parent) ? cJSON_GetObjectItemCaseSensitive(parent, key) : NULL;

	return cJSON_IsNull(item) ? NULL : item;
}

const cJSON *kube_reader_map(struct kube_reader *r, const cJSON *parent, const char *key)
{
	const cJSON *item = kube_reader_any(parent, key);

	if (!item || cJSON_IsObject(item))
		return item;
	kube_reader_fail(r, key, "not an object");
	return NULL;
}

const cJSON *kube_reader_list(struct kube_reader *r, const cJSON *parent, const char *key,
			      size_t max, size_t *ret_n)
{
	const cJSON *list = kube_reader_any(parent, key), *item;
	size_t n = 0;

	*ret_n = 0;
	if (!list)
		return NULL;
	if (!cJSON_IsArray(list)) {
		kube_reader_fail(r, key, "not a list");
		return NULL;
	}
	cJSON_ArrayForEach(item, list) n++;
	if (n > max) {
		kube_reader_fail(r, key, "more items than any such object has");
		return NULL;
	}
	*ret_n = n;
	return list;
}

struct view kube_reader_peek(struct kube_reader *r, const cJSON *parent, const char *key)
{
	const cJSON *item = kube_reader_any(parent, key);

	if (cJSON_IsString(item))
		return view_str(item->valuestring);
	if (item)
		kube_reader_fail(r, key, "not a string");
	return VIEW_NULL;
}

struct view kube_reader_string(struct kube_reader *r, const cJSON *parent, const char *key)
{
	return kube_pack_dup(r->pack, kube_reader_peek(r, parent, key));
}

struct view kube_reader_string_or(struct kube_reader *r, const cJSON *parent, const char *key,
				  const char *fallback)
{
	struct view v = kube_reader_peek(r, parent, key);

	/* Constants need no copy. */
	return v.ptr ? kube_pack_dup(r->pack, v) : view_str(fallback);
}

int64_t kube_reader_integer(struct kube_reader *r, const cJSON *parent, const char *key,
			    int64_t min, int64_t max, int64_t fallback)
{
	const cJSON *item = kube_reader_any(parent, key);
	double v;

	if (!item)
		return fallback;
	if (!cJSON_IsNumber(item)) {
		kube_reader_fail(r, key, "not a number");
		return fallback;
	}
	v = item->valuedouble;
	if (!(fabs(v) <= 9007199254740992.0) || v != floor(v) || (int64_t)v < min ||
	    (int64_t)v > max) {
		kube_reader_fail(r, key, "not an integer in its range");
		return fallback;
	}
	return (int64_t)v;
}

bool kube_reader_bool(struct kube_reader *r, const cJSON *parent, const char *key, bool fallback)
{
	const cJSON *item = kube_reader_any(parent, key);

	if (item && !cJSON_IsBool(item))
		kube_reader_fail(r, key, "neither true nor false");
	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

void *kube_reader_array(struct kube_reader *r, size_t n, size_t size)
{
	return n ? kube_pack_get(r->pack, n * size) : NULL;
}

const struct view *kube_reader_strings(struct kube_reader *r, const cJSON *parent, const char *key,
				       size_t max, size_t *ret_n)
{
	size_t n, i = 0, before;
	const cJSON *list = kube_reader_list(r, parent, key, max, &n), *item;
	struct view *strings = kube_reader_array(r, n, sizeof(*strings));

	*ret_n = 0;
	if (!strings)
		return NULL;
	before = kube_reader_enter(r, key);
	cJSON_ArrayForEach(item, list)
	{
		if (cJSON_IsString(item)) {
			strings[i] = kube_pack_dup(r->pack, view_str(item->valuestring));
		} else {
			size_t list_path = kube_reader_enter_item(r, i);

			kube_reader_fail(r, NULL, "not a string");
			kube_reader_leave(r, list_path);
		}
		i++;
	}
	kube_reader_leave(r, before);
	*ret_n = r->failed || kube_pack_failed(r->pack) ? 0 : n;
	return strings;
}

/* @n digits from @at on; -1: others. */
static int digits(const char *at, size_t n)
{
	int v = 0;

	for (size_t i = 0; i < n; i++) {
		if (at[i] < '0' || at[i] > '9')
			return -1;
		v = v * 10 + (at[i] - '0');
	}
	return v;
}

int64_t kube_reader_time(struct view text)
{
	/* metav1.Time is whole seconds of UTC. */
	static const char form[] = "0000-00-00T00:00:00Z";
	struct tm tm = {0};
	time_t t;

	if (text.len != sizeof(form) - 1)
		return 0;
	for (size_t i = 0; i < text.len; i++)
		if (form[i] != '0' && text.ptr[i] != form[i])
			return 0;
	tm.tm_year = digits(text.ptr, 4) - 1900;
	tm.tm_mon = digits(text.ptr + 5, 2) - 1;
	tm.tm_mday = digits(text.ptr + 8, 2);
	tm.tm_hour = digits(text.ptr + 11, 2);
	tm.tm_min = digits(text.ptr + 14, 2);
	tm.tm_sec = digits(text.ptr + 17, 2);
	if (tm.tm_year < 0 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
	    tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return 0;
	t = timegm(&tm);
	return t == (time_t)-1 ? 0 : (int64_t)t;
}

const char *kube_reader_unknown(const struct cJSON *parent, const char *const *known)
{
	const cJSON *object = cJSON_IsObject(parent) ? parent : NULL, *item;

	cJSON_ArrayForEach(item, object)
	{
		size_t i = 0;

		while (known[i] && strcmp(known[i], item->string) != 0)
			i++;
		if (!known[i] && !cJSON_IsNull(item))
			return item->string;
	}
	return NULL;
}
