/* What holds between options. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/section.h"

/* @places: where the rows of the one-of-a-kind sections stand. @whole: nothing was refused so far;
 * if not, what follows from a missing value is not said. */
void check_config(const struct config *c, struct mistakes *r, const struct section_place *places,
		  bool whole);

#endif
