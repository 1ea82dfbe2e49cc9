/*
 * A FILE whose bytes are kept in memory, and that tells when one of them was lost.
 */
#ifndef BASE_TEXTFILE_H
#define BASE_TEXTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct textfile {
	FILE *out; /* write here */
	char *text;
	size_t len, cap;
	bool lost;
};

/* False: out of memory, and nothing is to be closed. */
bool textfile_open(struct textfile *t) __attribute__((warn_unused_result));
/* Everything that was written and a NUL, to be freed; NULL when memory was short somewhere on the
 * way. */
char *textfile_close(struct textfile *t, size_t *ret_len) __attribute__((warn_unused_result));

#endif
