/*
 * The bearer token that model servers want, out of a file, read again when the file changes.
 */
#ifndef DISCOVER_TOKEN_H
#define DISCOVER_TOKEN_H

#include "base/view.h"

#define TOKEN_MAX 8192

struct tokens;

struct tokens *tokens_new(void);
struct tokens *tokens_free(struct tokens *t);

/*
 * The token in @path without the white space around it; a file replaced under the same name, or
 * written anew, is noticed by its inode, size and times. NULL and *ret_error (a constant) when it
 * cannot be read, is empty, longer than TOKEN_MAX or holds control characters; that is logged once
 * each time it changes. Good until the next call.
 */
const char *token_get(struct tokens *t, const char *path, const char **ret_error);

#endif
