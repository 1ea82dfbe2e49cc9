/* How often a place was added, changed and removed. */
#ifndef UNIT_DISCOVER_PLACES_H
#define UNIT_DISCOVER_PLACES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "discover/place.h"

struct places {
	int added, changed, removed;
};

static inline void places_added(const struct place *p, void *arg)
{
	assert_non_null(p->name);
	((struct places *)arg)->added++;
}

static inline void places_changed(const struct place *p, void *arg)
{
	(void)p;
	((struct places *)arg)->changed++;
}

static inline void places_removed(const struct place *p, void *arg)
{
	(void)p;
	((struct places *)arg)->removed++;
}

static inline struct place_hooks places_hooks(struct places *places)
{
	return (struct place_hooks){places_added, places_changed, places_removed, places};
}

#endif
