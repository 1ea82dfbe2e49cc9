/*
 * The rows of config.def at run time: where each stands, how its value is read, compared, copied
 * and described.
 */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include "config/mistakes.h"
#include "config/syntax.h"
#include "config/tree.h"

enum option_section {
	OPTION_TOP,
	OPTION_HAPROXY,
	OPTION_LISTEN,
	OPTION_LOG,
	OPTION_LIMITS,
	OPTION_TIMEOUTS,
	OPTION_SCRAPE,
	OPTION_DNS,
	OPTION_KUBERNETES,
	OPTION_POOL,
	OPTION_ENDPOINT,
	OPTION_MODEL,
	OPTION_TARGET,
	OPTION_SECTIONS
};

enum option_kind {
	OPTION_BOOL,
	OPTION_UINT,
	OPTION_SIZE,
	OPTION_TIME,
	OPTION_MODE,
	OPTION_STR,
	OPTION_LIST,
	OPTION_ENUM,
	OPTION_CUSTOM /* read by poolconf.c */
};

struct option_type {
	enum option_kind kind;
	const char *name;         /* for people */
	const char *const *words; /* of an enum */
	syntax_check *check;      /* of a string, or of each string of a list; may be NULL */
	bool closed;              /* the items are words of the row's default */
};

struct option {
	enum option_section section;
	const char *key;
	const struct option_type *type;
	size_t offset; /* in the section's struct: config, config_scrape, config_pool … */
	const char *fallback;
	int64_t min, max;
	bool reload;
	const char *doc;
};

extern const struct option option_rows[];
extern const size_t option_count;

/* "haproxy", …; "" at the top level. */
const char *option_section_name(enum option_section s);
/* NULL: no such row. */
const struct option *option_find(enum option_section s, struct view key);
/* "scrape.interval"; for reports about a row without its node. */
const char *option_path(const struct option *o, char buf[64]);
/* "100ms to 1h", "1 to 64", "" where there is none. */
const char *option_range(const struct option *o, char buf[64]);

/* Sets every row of the section that is not custom to its default. -ENOMEM leaves some unset. */
int option_defaults(enum option_section s, void *base) __attribute__((warn_unused_result));
/* Has no default and must be given. */
bool option_required(const struct option *o);
bool option_equal(const struct option *o, const void *a, const void *b);
/* -ENOMEM: @to is as before. */
int option_copy(const struct option *o, void *to, const void *from)
    __attribute__((warn_unused_result));
/* Frees the strings of the section's rows, custom ones aside. */
void option_clear(enum option_section s, void *base);

#endif
