/* One value of the file, read as its row says. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/option.h"

/* Stores it in @field, or reports what is wrong and leaves the field as it was. Rows that are not
 * custom. */
void value_read(const struct option *o, void *field, struct mistakes *r,
		const struct tree_node *node);
/* Is @node of that kind? If not, reports it; @what is what belongs here. */
bool value_expect(struct mistakes *r, const struct tree_node *node, enum tree_kind kind,
		  const char *what);
void value_list_deinit(struct config_list *list);

#endif
