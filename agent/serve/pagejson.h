/*
 * JSON pages: cJSON's objects, with a word on whether memory was short anywhere on the way.
 */
#ifndef SERVE_PAGEJSON_H
#define SERVE_PAGEJSON_H

#include <cJSON.h>
#include <stdbool.h>

#include "base/view.h"

/* A new root object. One page at a time, on the control thread. */
cJSON *pagejson_begin(void);
/* The text of @root, which is freed: to be freed with free(). NULL: something is missing in it. */
char *pagejson_end_consume(cJSON *root, bool pretty) __attribute__((warn_unused_result));

/* Views are not terminated; none of ours holds a NUL. */
void pagejson_add_view(cJSON *object, const char *key, struct view v);
/* Frees @item when memory is short, as cJSON's own function does not. */
void pagejson_append_consume(cJSON *array, cJSON *item);
void pagejson_append_view(cJSON *array, struct view v);

#endif
