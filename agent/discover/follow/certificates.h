/* Whether HAProxy's certificates are others than before, without reading them. */
#ifndef DISCOVER_FOLLOW_CERTIFICATES_H
#define DISCOVER_FOLLOW_CERTIFICATES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the file at @path, or all files of that folder, look like from outside: names, sizes, times
 * and inodes. Another value than before: something was replaced. 0: nothing is there.
 */
uint64_t certificates_print(const char *path);
/* True: that is another than *@seen, which becomes it. While nothing is there, as in the middle of
 * a change, what was before counts. @path NULL: never. */
bool certificates_look(const char *path, uint64_t *seen);

#endif
