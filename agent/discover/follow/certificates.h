/* Whether HAProxy's certificates are others than before, without reading them. */
#ifndef DISCOVER_FOLLOW_CERTIFICATES_H
#define DISCOVER_FOLLOW_CERTIFICATES_H

#include <stdint.h>

/*
 * What the file at @path, or all files of that folder, look like from outside: names, sizes, times
 * and inodes. Another value than before: something was replaced. 0: nothing is there.
 */
uint64_t certificates_print(const char *path);

#endif
