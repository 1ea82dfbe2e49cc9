/*
 * Names → small integers that stay the same for the life of the process: the indices of counters
 * by pool and by model. 0 is "other", which everybody shares once the table is full, so what a
 * /metrics page costs is bounded however many names come and go.
 */
#ifndef DISCOVER_INTERN_H
#define DISCOVER_INTERN_H

#include <stdint.h>
#include "base/view.h"

struct intern;

/* Indices 1 to @max are given out. NULL when memory is short. */
struct intern *intern_new(uint32_t max);
struct intern *intern_free(struct intern *t);

/* The index of @name; a new one when it is new and there is room, else 0. Control thread only. */
uint32_t intern_index(struct intern *t, struct view name);

uint32_t intern_count(const struct intern *t); /* given out; the highest index */
/* "other" for 0; NULL past intern_count(). Good as long as the table. */
const char *intern_name(const struct intern *t, uint32_t index);
uint64_t intern_refused(const struct intern *t); /* look-ups that ended at 0 */

#endif
