/*
 * Log lines.
 *
 * A line is built in one buffer on the caller's stack, its time in front, and is handed over as a
 * whole (logsink.h), so lines of several threads do not mix. It is shorter than PIPE_BUF: a pipe
 * takes it whole or not at all. Where a file takes a part only (disk full), the next line starts
 * with a line break of its own, so a torn line never grows into another's fields. A reader that is
 * slow, or stopped, costs lines and never the loop its time.
 *
 * A value stands bare when all its bytes are harmless, in quotes otherwise. Within quotes `"` and
 * `\` are escaped, and every byte of what is no printable UTF-8 is \xNN: control characters (C0,
 * DEL, C1), line and paragraph separators and direction marks, which terminals and other readers
 * of logs would act upon, and whatever is no UTF-8 at all. So a line break in a log is always
 * ours.
 *
 * Room for "…", a closing quote and the line break is kept back from the start: a line that has to
 * be cut ends between two characters or escapes, and closes its quote.
 */
#include "base/log.h"

#include <errno.h>
#include <paths.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>

#include "base/clock.h"
#include "base/logsink.h"

#define LOG_TIME_LEN 25 /* "2026-11-22T15:04:05.123Z " */
#define LOG_CUT_MARK "\xe2\x80\xa6"
#define LOG_RESERVE  5 /* the mark, a quote, a line break */
#define LOG_ROOM     (sizeof(((struct log_line *)0)->text) - LOG_RESERVE)

enum log_off { LOG_ON, LOG_OFF, LOG_CUT };

static const char *const log_names[] = {"error", "warning", "info", "debug"};
static const int log_priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

static atomic_int log_to = LOG_TARGET_STDERR;
static atomic_int log_upto = LOG_LEVEL_INFO;
static atomic_ullong log_lost;

void log_init(enum log_target target, enum log_level level)
{
	if (target == LOG_TARGET_SYSLOG)
		logsink_open(_PATH_LOG);
	atomic_store(&log_to, (int)target);
	atomic_store(&log_upto, (int)level);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&log_upto, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load(&log_lost);
}

/* All of @text or nothing. */
static bool log_put(struct log_line *l, const char *text, size_t len)
{
	if (l->len > LOG_ROOM || len > LOG_ROOM - l->len)
		return false;
	memcpy(l->text + l->len, text, len);
	l->len += len;
	return true;
}

/* Uses the reserve, once: nothing is put after it. */
static void log_cut(struct log_line *l)
{
	memcpy(l->text + l->len, LOG_CUT_MARK, 3);
	l->len += 3;
	l->off = LOG_CUT;
}

static bool log_put_key(struct log_line *l, const char *key)
{
	size_t before = l->len;

	if (log_put(l, " ", 1) && log_put(l, key, strlen(key)) && log_put(l, "=", 1))
		return true;
	l->len = before;
	log_cut(l);
	return false;
}

static bool log_is_bare(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("_./:@+-,[]", c));
}

/* Bytes of the printable UTF-8 character at @p, 0 when there is none. */
static size_t log_printable(const unsigned char *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];
	size_t n = 0;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	if (c >= 0xc2 && c <= 0xdf)
		n = 2;
	else if (c >= 0xe0 && c <= 0xef)
		n = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 4;
	if (n == 0 || len < n)
		return 0;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	if (c < 0xa0 || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069))
		return 0;
	return n;
}

static bool log_put_escaped(struct log_line *l, const unsigned char *p, size_t len, size_t *ret_n)
{
	static const char hex[] = "0123456789abcdef";
	char escape[4] = {'\\', 'x', hex[*p >> 4], hex[*p & 15]};
	size_t n = log_printable(p, len);

	*ret_n = 1;
	if (n == 0)
		return log_put(l, escape, 4);
	if (*p == '"' || *p == '\\')
		return log_put(l, (const char[]){'\\', (char)*p}, 2);
	*ret_n = n;
	return log_put(l, (const char *)p, n);
}

void log_view(struct log_line *l, const char *key, struct view value)
{
	const unsigned char *p = (const unsigned char *)value.ptr;
	size_t bare = 0;

	if (l->off || !p || !log_put_key(l, key))
		return;
	while (bare < value.len && bare < LOG_ROOM && log_is_bare(p[bare]))
		bare++;
	if (value.len > 0 && (bare == value.len || bare == LOG_ROOM)) {
		size_t room = LOG_ROOM - l->len;

		log_put(l, value.ptr, value.len < room ? value.len : room);
		if (value.len > room)
			log_cut(l);
		return;
	}
	if (!log_put(l, "\"", 1)) {
		log_cut(l);
		return;
	}
	for (size_t i = 0, n; i < value.len; i += n) {
		if (!log_put_escaped(l, p + i, value.len - i, &n)) {
			log_cut(l);
			break;
		}
	}
	l->text[l->len++] =
	    '"'; /* at worst out of the reserve; then nothing but the mark follows */
}

void log_str(struct log_line *l, const char *key, const char *value)
{
	if (!l->off)
		log_view(l, key, view_str(value));
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
	char text[24];

	if (l->off)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)value);
	log_str(l, key, text);
}

void log_double(struct log_line *l, const char *key, double value)
{
	char text[32];

	if (l->off)
		return;
	snprintf(text, sizeof(text), "%.6g", value);
	log_str(l, key, text);
}

void log_errno(struct log_line *l, const char *key, int err)
{
	char text[128];

	if (!l->off)
		log_str(l, key, strerror_r(err, text, sizeof(text)));
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
	uint64_t ns;
	time_t s;
	struct tm tm;
	char now[64];

	l->off = level > log_get_level() ? LOG_OFF : LOG_ON;
	l->level = level;
	l->len = 0;
	if (l->off)
		return;
	ns = clock_wall_ns();
	s = (time_t)(ns / CLOCK_NS_PER_S);
	gmtime_r(&s, &tm);
	snprintf(now, sizeof(now), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (int)(ns % CLOCK_NS_PER_S / CLOCK_NS_PER_MS));
	log_put(l, now, LOG_TIME_LEN);
	log_put(l, "level=", 6);
	log_put(l, log_names[level], strlen(log_names[level]));
	log_str(l, "event", event);
}

void log_end(struct log_line *l)
{
	int err = errno;
	bool taken;

	if (l->off == LOG_OFF)
		return;
	if (atomic_load_explicit(&log_to, memory_order_relaxed) == LOG_TARGET_SYSLOG) {
		/* The daemon has a time of its own in front. */
		taken = logsink_syslog(log_priorities[l->level], l->text + LOG_TIME_LEN,
				       l->len - LOG_TIME_LEN);
	} else {
		l->text[l->len++] = '\n';
		taken = logsink_stderr(l->text, l->len);
	}
	if (!taken)
		atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
	l->off = LOG_OFF;
	errno = err;
}

void log_event(enum log_level level, const char *event, ...)
{
	struct log_line l;
	const char *key;
	va_list args;

	log_begin(&l, level, event);
	if (l.off == LOG_OFF)
		return;
	va_start(args, event);
	while ((key = va_arg(args, const char *)))
		log_str(&l, key, va_arg(args, const char *));
	va_end(args);
	log_end(&l);
}
