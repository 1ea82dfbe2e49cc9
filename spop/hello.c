/* HAPROXY-HELLO and AGENT-HELLO: the same list of keys and values in two dialects.
 *
 * Keys are compared whole. HAProxy compares prefixes ("version2" would be read as "version"), so
 * neither side here ever sends a key that another one begins. Of the mandatory keys none may be
 * missing; HAProxy's own mux lets two of them pass, its spop-check none. Spaces in the two lists
 * are "ignored, if any" (SPOE.txt §3.2.4), which is taken to the letter: any of them, anywhere.
 */
#include "spop/hello.h"

#include "cursor.h"
#include "frame.h"
#include "value.h"

#define KEY_VERSIONS     SPOP_VIEW_LIT("supported-versions")
#define KEY_VERSION      SPOP_VIEW_LIT("version")
#define KEY_MAX_FRAME    SPOP_VIEW_LIT("max-frame-size")
#define KEY_CAPABILITIES SPOP_VIEW_LIT("capabilities")
#define KEY_ENGINE_ID    SPOP_VIEW_LIT("engine-id")
#define KEY_HEALTHCHECK  SPOP_VIEW_LIT("healthcheck")

static const struct {
	uint32_t bit;
	const char *name;
} capabilities[] = {
    {SPOP_CAP_PIPELINING, "pipelining"},
    {SPOP_CAP_ASYNC, "async"},
    {SPOP_CAP_FRAGMENTATION, "fragmentation"},
};
#define N_CAPABILITIES (sizeof(capabilities) / sizeof(capabilities[0]))

/* What both payloads have, and which keys were there. */
struct fields {
	struct spop_view versions; /* ptr NULL until seen, as all views here */
	struct spop_view capabilities;
	struct spop_view engine_id;
	uint64_t max_frame_size;
	bool has_max_frame_size;
	bool healthcheck;
};

/* Takes the next item of a comma separated list off *list; false after the last. */
static bool next_item(struct spop_cursor *list, struct spop_view *ret)
{
	struct spop_view rest;
	size_t n = 0;

	rest.len = spop_cursor_left(list);
	if (rest.len == 0)
		return false;
	rest.ptr = list->pos;
	while (n < rest.len && rest.ptr[n] != ',')
		n++;
	*ret = spop_cursor_bytes(list, n);
	if (n < rest.len)
		(void)spop_cursor_u8(list);
	return true;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whether item is want once its spaces are taken out. */
static bool item_is(struct spop_view item, const char *want)
{
	size_t matched = 0;

	for (size_t i = 0; i < item.len; i++) {
		if (is_space(item.ptr[i]))
			continue;
		if (want[matched] == '\0' || (uint8_t)want[matched] != item.ptr[i])
			return false;
		matched++;
	}
	return want[matched] == '\0';
}

/* "Major.Minor", spaces ignored. 0, or -1 when it is anything else; numbers end at 999. */
static int read_version(struct spop_view item, unsigned int *ret_major, unsigned int *ret_minor)
{
	unsigned int part[2] = {0, 0};
	unsigned int digits[2] = {0, 0};
	size_t at = 0;

	for (size_t i = 0; i < item.len; i++) {
		uint8_t c = item.ptr[i];

		if (is_space(c))
			continue;
		if (c == '.' && at == 0) {
			at = 1;
			continue;
		}
		if (c < '0' || c > '9' || part[at] > 99)
			return -1;
		part[at] = part[at] * 10 + (c - '0');
		digits[at]++;
	}
	if (digits[0] == 0 || digits[1] == 0)
		return -1;
	*ret_major = part[0];
	*ret_minor = part[1];
	return 0;
}

static bool list_has_2_0(struct spop_view versions)
{
	struct spop_cursor list;
	struct spop_view item;
	unsigned int major, minor;

	spop_cursor_init(&list, versions);
	while (next_item(&list, &item))
		if (read_version(item, &major, &minor) == 0 && major == 2)
			return true;
	return false;
}

static uint32_t list_capabilities(struct spop_view text)
{
	struct spop_cursor list;
	struct spop_view item;
	uint32_t bits = 0;

	spop_cursor_init(&list, text);
	while (next_item(&list, &item))
		for (size_t i = 0; i < N_CAPABILITIES; i++)
			if (item_is(item, capabilities[i].name))
				bits |= capabilities[i].bit;
	return bits;
}

/* A known key of the wrong type fails the cursor at its value. */
static void read_str(struct spop_cursor *c, struct spop_view *ret)
{
	const uint8_t *start = c->pos;
	struct spop_value v;

	spop_value_read(c, &v);
	if (v.type == SPOP_DATA_T_STR)
		*ret = v.bytes;
	else
		spop_cursor_fail(c, start, "a key's value is no string");
}

static void read_size(struct spop_cursor *c, struct fields *f)
{
	const uint8_t *start = c->pos;
	struct spop_value v;
	int64_t n;

	spop_value_read(c, &v);
	if (v.type == SPOP_DATA_T_UINT64)
		f->max_frame_size = v.uint;
	else if (spop_value_integer(&v, &n) == 0)
		f->max_frame_size = n < 0 ? 0 : (uint64_t)n;
	else
		spop_cursor_fail(c, start, "max-frame-size is no integer");
	f->has_max_frame_size = true;
}

static void read_healthcheck(struct spop_cursor *c, struct fields *f)
{
	const uint8_t *start = c->pos;
	struct spop_value v;

	spop_value_read(c, &v);
	if (v.type == SPOP_DATA_T_BOOL)
		f->healthcheck = v.boolean;
	else
		spop_cursor_fail(c, start, "healthcheck is no boolean");
}

static void read_fields(struct spop_cursor *c, struct spop_view key_version, struct fields *f)
{
	while (spop_cursor_left(c) > 0) {
		const uint8_t *start = c->pos;
		struct spop_view key = spop_string_read(c);
		struct spop_value skipped;

		if (key.len == 0)
			spop_cursor_fail(c, start, "an empty key");
		else if (spop_view_eq(key, key_version))
			read_str(c, &f->versions);
		else if (spop_view_eq(key, KEY_MAX_FRAME))
			read_size(c, f);
		else if (spop_view_eq(key, KEY_CAPABILITIES))
			read_str(c, &f->capabilities);
		else if (spop_view_eq(key, KEY_ENGINE_ID))
			read_str(c, &f->engine_id);
		else if (spop_view_eq(key, KEY_HEALTHCHECK))
			read_healthcheck(c, f);
		else
			spop_value_read(c, &skipped);
	}
}

/* The checks both sides share, in the order of their codes. */
static int parse(struct spop_view payload, struct spop_view key_version, struct fields *f,
		 struct spop_fault *ret_fault)
{
	struct spop_cursor c;
	enum spop_error code;

	*f = (struct fields){0};
	spop_cursor_init(&c, payload);
	read_fields(&c, key_version, f);
	if (spop_cursor_failed(&c))
		return spop_cursor_fault(&c, SPOP_ERR_INVALID, 0, ret_fault);
	if (!f->versions.ptr)
		code = SPOP_ERR_NO_VSN;
	else if (!f->has_max_frame_size)
		code = SPOP_ERR_NO_FRAME_SIZE;
	else if (!f->capabilities.ptr)
		code = SPOP_ERR_NO_CAP;
	else if (f->max_frame_size < SPOP_MAX_FRAME_MIN || f->max_frame_size > UINT32_MAX)
		code = SPOP_ERR_BAD_FRAME_SIZE;
	else
		return 0;
	return spop_cursor_fault(&c, code, 0, ret_fault);
}

static uint32_t bounded(uint64_t max_frame_size)
{
	return max_frame_size > SPOP_MAX_FRAME_MAX ? SPOP_MAX_FRAME_MAX : (uint32_t)max_frame_size;
}

int spop_hello_parse(struct spop_view payload, struct spop_hello *ret, struct spop_fault *ret_fault)
{
	struct fields f;
	int r = parse(payload, KEY_VERSIONS, &f, ret_fault);

	if (r < 0)
		return r;
	if (!list_has_2_0(f.versions)) {
		*ret_fault = (struct spop_fault){SPOP_ERR_BAD_VSN,
						 spop_error_text(SPOP_ERR_BAD_VSN), payload.len};
		return -SPOP_ERR_BAD_VSN;
	}
	*ret = (struct spop_hello){
	    .versions = f.versions,
	    .max_frame_size = bounded(f.max_frame_size),
	    .capabilities = list_capabilities(f.capabilities),
	    .engine_id = f.engine_id,
	    .healthcheck = f.healthcheck,
	};
	return 0;
}

int spop_agent_hello_parse(struct spop_view payload, struct spop_agent_hello *ret,
			   struct spop_fault *ret_fault)
{
	struct fields f;
	unsigned int major, minor;
	enum spop_error code;
	int r = parse(payload, KEY_VERSION, &f, ret_fault);

	if (r < 0)
		return r;
	if (read_version(f.versions, &major, &minor) < 0)
		code = SPOP_ERR_INVALID;
	else if (major != 2 || minor != 0)
		code = SPOP_ERR_BAD_VSN;
	else
		code = SPOP_ERR_NONE;
	if (code != SPOP_ERR_NONE) {
		*ret_fault = (struct spop_fault){code, spop_error_text(code), payload.len};
		return -(int)code;
	}
	*ret = (struct spop_agent_hello){
	    .version = f.versions,
	    .max_frame_size = bounded(f.max_frame_size),
	    .capabilities = list_capabilities(f.capabilities),
	};
	return 0;
}

static void write_kv(struct spop_writer *w, struct spop_view key, struct spop_value value)
{
	spop_string_write(w, key);
	spop_value_write(w, &value);
}

static void write_capabilities(struct spop_writer *w, uint32_t bits)
{
	char text[sizeof("pipelining,async,fragmentation")];
	struct spop_writer list;

	spop_writer_init(&list, text, sizeof(text));
	for (size_t i = 0; i < N_CAPABILITIES; i++) {
		if (!(bits & capabilities[i].bit))
			continue;
		if (spop_writer_len(&list) > 0)
			spop_writer_u8(&list, ',');
		spop_writer_bytes(&list, spop_view_str(capabilities[i].name));
	}
	write_kv(w, KEY_CAPABILITIES, spop_value_str(spop_view_of(text, spop_writer_len(&list))));
}

size_t spop_hello_write(void *buf, size_t cap, const struct spop_hello *h)
{
	struct spop_writer w;

	spop_frame_begin(&w, buf, cap, SPOP_FRM_T_HAPROXY_HELLO, 0, 0);
	write_kv(&w, KEY_VERSIONS, spop_value_str(h->versions));
	write_kv(&w, KEY_MAX_FRAME, spop_value_uint32(h->max_frame_size));
	write_capabilities(&w, h->capabilities);
	if (h->engine_id.ptr)
		write_kv(&w, KEY_ENGINE_ID, spop_value_str(h->engine_id));
	if (h->healthcheck)
		write_kv(&w, KEY_HEALTHCHECK, spop_value_bool(true));
	return spop_frame_end(&w);
}

size_t spop_agent_hello_write(void *buf, size_t cap, const struct spop_agent_hello *h)
{
	struct spop_writer w;

	spop_frame_begin(&w, buf, cap, SPOP_FRM_T_AGENT_HELLO, 0, 0);
	write_kv(&w, KEY_VERSION, spop_value_str(h->version));
	write_kv(&w, KEY_MAX_FRAME, spop_value_uint32(h->max_frame_size));
	write_capabilities(&w, h->capabilities);
	return spop_frame_end(&w);
}
