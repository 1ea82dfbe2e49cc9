/*
 * Rows → values.
 *
 * Each row knows the offset of its field; that the field has the type that its kind stores is
 * checked by the compiler below. Defaults go through the same reading as the file's words, so a
 * default that its own row refuses cannot exist (a test reads them all).
 */
#include "config/option.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "config/suggest.h"
#include "config/value.h"

/* SCRAPE rows stand in struct config and in struct config_pool; their base is the part. */
struct option_scrape_base {
	struct config_scrape scrape;
};

#define BASE_TOP        struct config
#define BASE_HAPROXY    struct config
#define BASE_LISTEN     struct config
#define BASE_LOG        struct config
#define BASE_LIMITS     struct config
#define BASE_TIMEOUTS   struct config
#define BASE_SCRAPE     struct option_scrape_base
#define BASE_DNS        struct config
#define BASE_KUBERNETES struct config
#define BASE_POOL       struct config_pool
#define BASE_ENDPOINT   struct config_endpoint
#define BASE_MODEL      struct config_model
#define BASE_TARGET     struct config_target

#define STORED_BOOL               bool
#define STORED_UINT               uint32_t
#define STORED_SIZE               uint64_t
#define STORED_TIME               uint32_t
#define STORED_MODE               uint32_t
#define STORED_STR                char *
#define STORED_NAME               char *
#define STORED_MODELNAME          char *
#define STORED_SOCKET             char *
#define STORED_URL                char *
#define STORED_URLPATH            char *
#define STORED_ADDRESS            char *
#define STORED_DNS                char *
#define STORED_NAMESPACE          char *
#define STORED_OBJECT             char *
#define STORED_LIST               struct config_list
#define STORED_NAMESPACES         struct config_list
#define STORED_OBJECTS            struct config_list
#define STORED_HOSTS              struct config_list
#define STORED_PORTS              struct config_list
#define STORED_KEYWORDS           char *
#define STORED_LISTENERS          struct config_list
#define STORED_NAMESERVERS        struct config_list
#define STORED_VARIABLES          struct config_list
#define STORED_MODELS             struct config_model *
#define STORED_ALIASES            struct config_alias *
#define STORED_ENDPOINTS          struct config_endpoint *
#define STORED_ENUM_body          int
#define STORED_ENUM_no_model      int
#define STORED_ENUM_unknown_model int
#define STORED_ENUM_log_target    int
#define STORED_ENUM_log_level     int
#define STORED_ENUM_engine        int
#define STORED_ENUM_scheme        int
#define STORED_ENUM_routing       int
#define STORED_ENUM_policy        int
#define STORED_ENUM_when_full     int

#define OPT(section, key, TYPE, field, fallback, min, max, reload, doc)                            \
	_Static_assert(_Generic(((BASE_##section *)0)->field, STORED_##TYPE : 1, default : 0),     \
		       #section "." #key " is stored as another type");                            \
	_Static_assert((min) + 0LL >= 0 && (max) + 0LL >= (min) &&                                 \
			   (max) + 0LL <= (sizeof(STORED_##TYPE) == 4 ? UINT32_MAX : INT64_MAX),   \
		       #section "." #key " has no range");
#include "config/config.def"
#undef OPT

#define TYPE(symbol, of_kind, for_people, ...)                                                     \
	static const struct option_type type_##symbol = {                                          \
	    .kind = of_kind, .name = for_people, ##__VA_ARGS__};
#define TYPE_ENUM(name) TYPE(ENUM_##name, OPTION_ENUM, "word", .words = config_enum_##name)
TYPE(BOOL, OPTION_BOOL, "true or false")
TYPE(UINT, OPTION_UINT, "number")
TYPE(SIZE, OPTION_SIZE, "size")
TYPE(TIME, OPTION_TIME, "time")
TYPE(MODE, OPTION_MODE, "mode")
TYPE(STR, OPTION_STR, "text")
TYPE(NAME, OPTION_STR, "name", .check = syntax_name)
TYPE(MODELNAME, OPTION_STR, "model name")
TYPE(SOCKET, OPTION_STR, "socket", .check = syntax_socket)
TYPE(URL, OPTION_STR, "URL", .check = syntax_url)
TYPE(URLPATH, OPTION_STR, "path", .check = syntax_urlpath)
TYPE(NAMESPACE, OPTION_STR, "namespace", .check = syntax_namespace)
TYPE(OBJECT, OPTION_STR, "NAMESPACE/NAME", .check = syntax_object)
TYPE(ADDRESS, OPTION_CUSTOM, "address")
TYPE(DNS, OPTION_CUSTOM, "HOST:PORT")
TYPE(LISTENERS, OPTION_LIST, "list of addresses", .check = syntax_listener)
TYPE(NAMESERVERS, OPTION_LIST, "list of addresses", .check = syntax_nameserver)
TYPE(NAMESPACES, OPTION_LIST, "list of namespaces", .check = syntax_namespace)
TYPE(OBJECTS, OPTION_LIST, "list of NAMESPACE/NAME", .check = syntax_object)
TYPE(HOSTS, OPTION_LIST, "list of addresses", .check = syntax_hostname)
TYPE(PORTS, OPTION_LIST, "list of NAME=PORT", .check = syntax_portname)
TYPE(KEYWORDS, OPTION_STR, "text", .check = syntax_keywords)
TYPE(VARIABLES, OPTION_LIST, "list of words", .closed = true)
TYPE(MODELS, OPTION_CUSTOM, "list of models")
TYPE(ALIASES, OPTION_CUSTOM, "map of aliases")
TYPE(ENDPOINTS, OPTION_CUSTOM, "list of endpoints")
TYPE_ENUM(body)
TYPE_ENUM(no_model)
TYPE_ENUM(unknown_model)
TYPE_ENUM(log_target)
TYPE_ENUM(log_level)
TYPE_ENUM(engine)
TYPE_ENUM(scheme)
TYPE_ENUM(routing)
TYPE_ENUM(policy)
TYPE_ENUM(when_full)

#define OPT(section, key, TYPE, field, fallback, min, max, reload, doc)                            \
	{                                                                                          \
	    OPTION_##section,                                                                      \
	    #key,                                                                                  \
	    &type_##TYPE,                                                                          \
	    offsetof(BASE_##section, field),                                                       \
	    fallback,                                                                              \
	    min,                                                                                   \
	    max,                                                                                   \
	    reload,                                                                                \
	    doc},
const struct option option_rows[] = {
#include "config/config.def"
};
#undef OPT
const size_t option_count = sizeof(option_rows) / sizeof(option_rows[0]);

const char *option_section_name(enum option_section s)
{
	static const char *const names[OPTION_SECTIONS] = {
	    "",    "haproxy",    "listen", "log",       "limits", "timeouts", "scrape",
	    "dns", "kubernetes", "pools",  "endpoints", "models", "aliases"};

	return names[s];
}

const struct option *option_find(enum option_section s, struct view key)
{
	for (size_t i = 0; i < option_count; i++)
		if (option_rows[i].section == s && view_eq(key, view_str(option_rows[i].key)))
			return &option_rows[i];
	return NULL;
}

const char *option_path(const struct option *o, char buf[64])
{
	const char *section = option_section_name(o->section);

	snprintf(buf, 64, "%s%s%s", section, *section ? "." : "", o->key);
	return buf;
}

bool option_required(const struct option *o)
{
	return o->min > 0 && o->fallback[0] == '\0' &&
	       (o->type->kind == OPTION_STR || o->type->kind == OPTION_CUSTOM);
}

/* The largest unit that leaves no rest. */
static int option_number(const struct option *o, int64_t value, char *buf, size_t size)
{
	static const struct {
		int64_t factor;
		const char *unit;
	} times[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
	  sizes[] = {{1 << 30, "g"}, {1 << 20, "m"}, {1 << 10, "k"}, {1, ""}};

	if (o->type->kind == OPTION_MODE)
		return snprintf(buf, size, "%04o", (unsigned)value);
	if (o->type->kind != OPTION_TIME && o->type->kind != OPTION_SIZE)
		return snprintf(buf, size, "%lld", (long long)value);
	for (size_t i = 0;; i++) {
		int64_t factor = o->type->kind == OPTION_TIME ? times[i].factor : sizes[i].factor;

		if (i == 3 || (value >= factor && value % factor == 0) ||
		    (!value && factor == 1000))
			return snprintf(buf, size, "%lld%s", (long long)(value / factor),
					o->type->kind == OPTION_TIME ? times[i].unit
								     : sizes[i].unit);
	}
}

const char *option_range(const struct option *o, char buf[64])
{
	int n;

	buf[0] = '\0';
	switch (o->type->kind) {
	case OPTION_UINT:
	case OPTION_SIZE:
	case OPTION_TIME:
	case OPTION_MODE:
		n = option_number(o, o->min, buf, 64);
		n += snprintf(buf + n, 64 - (size_t)n, " to ");
		option_number(o, o->max, buf + n, 64 - (size_t)n);
		break;
	case OPTION_STR:
		snprintf(buf, 64, "%lld to %lld bytes", (long long)o->min, (long long)o->max);
		break;
	default:
		break;
	}
	return buf;
}

static void *option_field(const struct option *o, const void *base)
{
	return (char *)base + o->offset;
}

int option_defaults(enum option_section s, void *base)
{
	struct config_errors errors;
	struct mistakes r;

	mistakes_init(&r, &errors);
	for (size_t i = 0; i < option_count && !r.err; i++) {
		const struct option *o = &option_rows[i];
		struct tree_node node = {.kind = TREE_WORD, .text = view_str(o->fallback)};

		if (o->section == s && o->type->kind != OPTION_CUSTOM && !option_required(o))
			value_read(o, option_field(o, base), &r, &node);
	}
	assert(errors.n == 0);
	config_errors_deinit(&errors);
	return r.err;
}

void option_clear(enum option_section s, void *base)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];

		if (o->section != s)
			continue;
		if (o->type->kind == OPTION_LIST)
			value_list_deinit(option_field(o, base));
		else if (o->type->kind == OPTION_STR)
			free(*(char **)option_field(o, base));
	}
}

static bool option_equal_lists(const struct config_list *a, const struct config_list *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return a->n == b->n;
}

bool option_equal(const struct option *o, const void *a, const void *b)
{
	const void *x = option_field(o, a), *y = option_field(o, b);

	switch (o->type->kind) {
	case OPTION_BOOL:
		return *(const bool *)x == *(const bool *)y;
	case OPTION_UINT:
	case OPTION_TIME:
	case OPTION_MODE:
		return *(const uint32_t *)x == *(const uint32_t *)y;
	case OPTION_SIZE:
		return *(const uint64_t *)x == *(const uint64_t *)y;
	case OPTION_ENUM:
		return *(const int *)x == *(const int *)y;
	case OPTION_LIST:
		return option_equal_lists(x, y);
	case OPTION_STR: {
		const char *s = *(char *const *)x, *t = *(char *const *)y;

		return s && t ? strcmp(s, t) == 0 : s == t;
	}
	case OPTION_CUSTOM:
		break;
	}
	return true;
}

static int option_copy_list(struct config_list *to, const struct config_list *from)
{
	struct config_list copy = {0};

	if (from->n) {
		copy.items = calloc(from->n, sizeof(char *));
		if (!copy.items)
			return -ENOMEM;
	}
	for (; copy.n < from->n; copy.n++) {
		copy.items[copy.n] = strdup(from->items[copy.n]);
		if (!copy.items[copy.n]) {
			value_list_deinit(&copy);
			return -ENOMEM;
		}
	}
	value_list_deinit(to);
	*to = copy;
	return 0;
}

int option_copy(const struct option *o, void *to, const void *from)
{
	void *x = option_field(o, to);
	const void *y = option_field(o, from);

	switch (o->type->kind) {
	case OPTION_BOOL:
		*(bool *)x = *(const bool *)y;
		break;
	case OPTION_UINT:
	case OPTION_TIME:
	case OPTION_MODE:
		*(uint32_t *)x = *(const uint32_t *)y;
		break;
	case OPTION_SIZE:
		*(uint64_t *)x = *(const uint64_t *)y;
		break;
	case OPTION_ENUM:
		*(int *)x = *(const int *)y;
		break;
	case OPTION_LIST:
		return option_copy_list(x, y);
	case OPTION_STR: {
		const char *text = *(char *const *)y;
		char *copy = text ? strdup(text) : NULL;

		if (text && !copy)
			return -ENOMEM;
		free(*(char **)x);
		*(char **)x = copy;
		break;
	}
	case OPTION_CUSTOM:
		break;
	}
	return 0;
}
