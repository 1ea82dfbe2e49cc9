/* pools: of the file. */
#ifndef CONFIG_POOLCONF_H
#define CONFIG_POOLCONF_H

#include "config/section.h"

/* Fills c->pools in the order of the file; c->scrape is complete before. */
void poolconf_read(struct config *c, struct mistakes *r, const struct tree_node *pools);
void poolconf_deinit(struct config_pool *p);

#endif
