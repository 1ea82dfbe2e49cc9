/* A file that other programs read at any moment: replaced as a whole. */
#ifndef DISCOVER_FILE_H
#define DISCOVER_FILE_H

#include "base/view.h"

/*
 * Makes @path hold @text, by a file beside it and rename(), with the old one's mode and owner; a
 * symbolic link is followed. 1: written; 0: it was so already; -errno: *ret_what says which step
 * failed (a constant).
 */
int file_replace(const char *path, struct view text, const char **ret_what)
    __attribute__((warn_unused_result));

#endif
