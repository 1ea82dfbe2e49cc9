/*
 * The two files that HAProxy loads beside haproxy.cfg, as text. Pure: the same want, the same
 * bytes.
 */
#ifndef DISCOVER_FOLLOW_GENERATE_H
#define DISCOVER_FOLLOW_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/follow/want.h"

/* The environment variable that holds want's stamp. */
#define GENERATE_STAMP "INFERENCE_FOLLOW"
/* The defaults section of backends that are added while HAProxy (3.4) runs, and the cookie by which
 * such a backend finds the server: it has no use-server rules. */
#define GENERATE_ADDED  "inference-added"
#define GENERATE_COOKIE "x-inference-server"

/* Each allocated, terminated, *ret_len without the terminator; NULL when memory is short. The
 * caller frees. */
char *generate_env(const struct want *w, size_t *ret_len);
char *generate_pools(const struct want *w, size_t *ret_len);

/* The names of the backends in a file that generate_pools() has made: takes lines off *@text. True
 * and a name, false at the end. */
bool generate_backends_next(struct view *text, struct view *ret);

#endif
