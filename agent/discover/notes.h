/* What a snapshot left out, told in the log when it differs from what was told before. */
#ifndef DISCOVER_NOTES_H
#define DISCOVER_NOTES_H

#include "discover/builder.h"

void notes_log(const struct builder_notes *n, struct builder_notes *told);

#endif
