/*
 * Where the errors of one reading go. `path` names the value that is looked at, as in
 * "pools.llama.scrape.interval"; it stands before every text.
 */
#ifndef CONFIG_MISTAKES_H
#define CONFIG_MISTAKES_H

#include "base/view.h"
#include "config/config.h"

#define MISTAKES_MAX 1000 /* the first by place are kept, the rest is counted */

struct mistakes {
	struct config_errors *errors;
	int err; /* -ENOMEM sticks; nothing is added after it */
	size_t hidden;
	size_t path_len;
	char path[512];
};

void mistakes_init(struct mistakes *r, struct config_errors *errors);
/* Goes one step down the path: ".key", or "[i]". Returns what mistakes_leave() takes. */
size_t mistakes_enter(struct mistakes *r, struct view key);
size_t mistakes_enter_item(struct mistakes *r, size_t i);
void mistakes_leave(struct mistakes *r, size_t before);
/* Kept in the order of the places; the same text at the same place once. */
void mistakes_add(struct mistakes *r, int line, int col, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* After the last error: adds how many were not kept. */
void mistakes_close(struct mistakes *r);

/* What stands in the file, in quotes, escaped and cut to a readable length. */
struct mistakes_quoted {
	char text[96];
};
struct mistakes_quoted mistakes_quote(struct view v);

#endif
