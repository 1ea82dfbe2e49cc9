/*
 * Structured log lines: one event, one line, `event=NAME key=value …`, written where the decision
 * is taken. Values are quoted and escaped where they need it, so nothing a client or a model
 * server sends can start a line or a field of its own. Bodies, prompts and keys are never logged.
 * Safe from every thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* Where lines go and from which level on. Before the first call: stderr, info. The program ignores
 * SIGPIPE, so that a reader of stderr that goes away costs lines and nothing else. */
void log_init(enum log_target target, enum log_level level);
enum log_level log_get_level(void);

/*
 * A line under construction on the caller's stack; too long a line is cut and ends in "…".
 * Every function accepts a line that log_begin() switched off (level too low) and does nothing.
 *
 *   struct log_line l;
 *   log_begin(&l, LOG_LEVEL_WARNING, "scrape_failed");
 *   log_str(&l, "endpoint", name);
 *   log_int(&l, "failures", n);
 *   log_end(&l);
 */
struct log_line {
	int off; /* not 0: no more fields; log_begin() and log.c know why */
	enum log_level level;
	size_t len;
	char text[1024];
};

void log_begin(struct log_line *l, enum log_level level, const char *event);
/* A NULL value leaves the field out. Keys and events are literals of ours and not escaped. */
void log_str(struct log_line *l, const char *key, const char *value);
void log_view(struct log_line *l, const char *key, struct view value);
void log_int(struct log_line *l, const char *key, int64_t value);
void log_double(struct log_line *l, const char *key, double value);
/* key="strerror(err)"; err is a positive errno. */
void log_errno(struct log_line *l, const char *key, int err);
void log_end(struct log_line *l);

/* Lines that nobody took (disk full, reader or daemon gone, stopped or too slow), since the start.
 */
uint64_t log_dropped(void);

/* The common short form: log_event(LOG_LEVEL_INFO, "started", "config", path, NULL): pairs of
 * strings, ended by NULL. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

#endif
