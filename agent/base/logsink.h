/*
 * Where finished log lines go: stderr, or the system's log daemon. Neither makes its caller wait:
 * what a reader that is stopped or slow does not take is lost, and told so. Safe from every thread.
 */
#ifndef BASE_LOGSINK_H
#define BASE_LOGSINK_H

#include <stdbool.h>
#include <stddef.h>

/* @text: one line with its line break, shorter than PIPE_BUF less a byte. False: lost, whole or
 * in part; then the next line begins with a line break of its own. */
bool logsink_stderr(const char *text, size_t len);

/* From now on logsink_syslog() sends to the socket at @path, a literal: datagrams, or a stream
 * where the daemon wants one. Nobody there yet is no error. */
void logsink_open(const char *path);
void logsink_close(void);

/* RFC 3164, as syslog(3) sends it: facility daemon, @priority one of syslog.h's LOG_ERR to
 * LOG_DEBUG; @text without a line break, at most 1,024 bytes. False: lost. */
bool logsink_syslog(int priority, const char *text, size_t len);

#endif
