/* A map of the file whose keys are the rows of one section. */
#ifndef CONFIG_SECTION_H
#define CONFIG_SECTION_H

#include "config/option.h"

/* Where each row of the one-of-a-kind sections was written; line 0: not at all. */
struct section_place {
	int line, col;
};

/* Called for custom rows, and with @o NULL for the keys of @extra. */
typedef void section_custom(const struct option *o, const struct tree_item *item, void *arg);

struct section {
	enum option_section rows;
	void *base;               /* what the rows' offsets count from */
	const char *const *extra; /* other keys that may stand here, NULL at the end; or NULL */
	section_custom *custom;   /* may be NULL where there is nothing custom */
	void *arg;
	struct section_place *places; /* option_count of them, or NULL */
};

/* Reads what is given, refuses unknown keys, demands required ones. No value at all (`llama:`) is
 * an empty map. */
void section_read(const struct section *s, struct mistakes *r, const struct tree_node *map);

#endif
