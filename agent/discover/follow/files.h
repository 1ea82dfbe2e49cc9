/*
 * The generated files in their folder, and which backends are ours by them.
 */
#ifndef DISCOVER_FOLLOW_FILES_H
#define DISCOVER_FOLLOW_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"
#include "discover/follow/want.h"

struct files;

/* @dir is borrowed until the next files_move() or files_free(). NULL when memory is short. */
struct files *files_new(const char *dir);
struct files *files_free(struct files *f);
void files_move(struct files *f, const char *dir);

/* Makes the files say what is wanted; what cannot be written is logged when it begins. False: they
 * are not as wanted. */
bool files_write(struct files *f, const struct want *w);
/* NULL: none. */
const char *files_error(const struct files *f);
uint64_t files_writes(const struct files *f);

/* This backend was wanted once, by this agent or by the one that had written the files before. */
bool files_owns(const struct files *f, struct view backend);

#endif
