/*
 * The fall-back map, model → backend, as HAProxy holds it and as a file for its next start.
 */
#ifndef DISCOVER_MAP_H
#define DISCOVER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/snapshot.h"

struct map_line {
	struct view model, backend; /* into text */
};

/* Sorted by model, each once. */
struct map {
	size_t n;
	struct map_line *lines;
	size_t left_out;  /* names that a map cannot hold, and aliases that need a rewrite */
	char *text;       /* the file: a comment, then "model backend\n" per line */
	size_t len, head; /* head: length of the comment */
};

/* NULL when memory is short. */
struct map *map_new(const struct snapshot *s);
struct map *map_free(struct map *m);
bool map_same(const struct map *a, const struct map *b);

/* True when "show map NAME" lists just these pairs, in any order. */
bool map_equals(const struct map *m, struct view shown);

/* The lines from @from on that fit into @max bytes, at least one: their text, and in *ret_next
 * where to go on. */
struct view map_batch(const struct map *m, size_t from, size_t max, size_t *ret_next);

/*
 * Makes @path hold the map's text: file_replace().
 */
int map_write(const struct map *m, const char *path, const char **ret_what)
    __attribute__((warn_unused_result));

#endif
