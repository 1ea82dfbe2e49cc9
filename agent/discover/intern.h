/*
 * Names → small integers that stay the same for as long as the name is used: the indices of
 * counters by pool and by model. 0 is "other", which everybody shares once the table is full, so
 * what a /metrics page costs is bounded however many names come and go. An index is given to
 * another name only when the table is full, and its own has gone longer than any other's.
 */
#ifndef DISCOVER_INTERN_H
#define DISCOVER_INTERN_H

#include <stdint.h>
#include "base/view.h"

struct intern;

/* Indices 1 to @max are given out. NULL when memory is short. */
struct intern *intern_new(uint32_t max);
struct intern *intern_free(struct intern *t);
/* @index is about to become another name's; nobody counts by it at that moment. */
void intern_on_reuse(struct intern *t, void (*reused)(uint32_t index, void *arg), void *arg);

/*
 * One set of names after the other: all that are looked up between intern_begin() and intern_keep()
 * are used from then on, and those of the set before are not any more unless they are among them. A
 * set that is begun and not kept takes nothing away.
 */
void intern_begin(struct intern *t);
void intern_keep(struct intern *t);

/* The index of @name; a new one when it is new and there is room, or a name in nobody's use, else
 * 0. Control thread only. */
uint32_t intern_index(struct intern *t, struct view name);

uint32_t intern_count(const struct intern *t); /* given out; the highest index */
/* "other" for 0; NULL past intern_count(). Good until the next intern_index(). */
const char *intern_name(const struct intern *t, uint32_t index);
uint64_t intern_refused(const struct intern *t); /* look-ups that ended at 0 */

#endif
