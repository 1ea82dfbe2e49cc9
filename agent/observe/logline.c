/*
 * Reads what RFC 5424 §6 describes as far as the structured data: `<PRI>1 ` and five fields end in
 * a space each, then `-` or elements `[id name="value" …]`, where `"`, `\` and `]` in a value are
 * escaped by `\`. No value that is read here can hold an escape, so values are views; an escape in
 * another one is skipped over.
 */
#include "observe/logline.h"

#include <errno.h>

/* TIMESTAMP HOSTNAME APP-NAME PROCID MSGID */
#define HEADER_FIELDS 5

struct scan {
	const char *pos, *end;
};

static bool skip_until(struct scan *s, char c)
{
	const char *at = memchr(s->pos, c, (size_t)(s->end - s->pos));

	if (!at)
		return false;
	s->pos = at + 1;
	return true;
}

static bool eat(struct scan *s, char c)
{
	if (s->pos == s->end || *s->pos != c)
		return false;
	s->pos++;
	return true;
}

/* The value behind an opening quote, up to and past the closing one. */
static bool quoted(struct scan *s, struct view *ret)
{
	const char *begin = s->pos;

	while (s->pos < s->end && *s->pos != '"')
		s->pos += *s->pos == '\\' && s->end - s->pos > 1 ? 2 : 1;
	*ret = (struct view){begin, (size_t)(s->pos - begin)};
	return eat(s, '"');
}

static int64_t number(struct view v, int64_t otherwise)
{
	int64_t n = 0;
	size_t i = 0;
	bool negative = v.len > 1 && v.ptr[0] == '-';

	/* HAProxy puts a + before times and sizes that were not final (option logasap). */
	if (negative || (v.len > 1 && v.ptr[0] == '+'))
		i = 1;
	if (i == v.len || v.len > 19)
		return otherwise;
	for (; i < v.len; i++) {
		if (v.ptr[i] < '0' || v.ptr[i] > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, v.ptr[i] - '0', &n))
			return otherwise;
	}
	return negative ? -n : n;
}

uint64_t logline_key_of_number(uint64_t n)
{
	return (n & UINT32_MAX) + 1;
}

uint64_t logline_key(struct view id)
{
	uint64_t n = 0, hash = UINT64_C(0xcbf29ce484222325);
	bool digits = id.len > 0 && id.len < 20;

	for (size_t i = 0; i < id.len; i++) {
		unsigned char c = (unsigned char)id.ptr[i];

		digits = digits && c >= '0' && c <= '9';
		n = n * 10 + (c - '0');
		hash = (hash ^ c) * UINT64_C(0x100000001b3); /* FNV-1a */
	}
	if (id.len == 0)
		return 0;
	return digits ? logline_key_of_number(n) : hash | UINT64_C(1) << 63;
}

static void take(struct logline *l, struct view name, struct view value, bool *has_ticket)
{
	if (view_eq(name, VIEW_LIT("ticket"))) {
		*has_ticket = true;
		l->ticket = number(value, 0);
		if (l->ticket < 0)
			l->ticket = 0;
	} else if (view_eq(name, VIEW_LIT("backend"))) {
		l->backend = value;
	} else if (view_eq(name, VIEW_LIT("server"))) {
		l->server = value;
	} else if (view_eq(name, VIEW_LIT("ts"))) {
		l->state = value;
	} else if (view_eq(name, VIEW_LIT("status"))) {
		int64_t status = number(value, -1);

		l->status = status >= 0 && status <= 999 ? (int)status : -1;
	} else if (view_eq(name, VIEW_LIT("tr"))) {
		l->tr_ms = number(value, -1);
	} else if (view_eq(name, VIEW_LIT("ta"))) {
		l->ta_ms = number(value, -1);
	} else if (view_eq(name, VIEW_LIT("rt"))) {
		l->key = logline_key(value);
	} else if (view_eq(name, VIEW_LIT("bytes"))) {
		l->bytes = number(value, -1);
	}
}

/* One element behind its '['; false when it breaks off. */
static bool element(struct scan *s, struct logline *l, bool *has_ticket)
{
	while (s->pos < s->end && *s->pos != ' ' && *s->pos != ']')
		s->pos++;
	while (eat(s, ' ')) {
		struct view name = {s->pos, 0}, value;

		if (s->pos < s->end && *s->pos == ']')
			break;
		while (s->pos < s->end && *s->pos != '=')
			s->pos++;
		name.len = (size_t)(s->pos - name.ptr);
		if (!eat(s, '=') || !eat(s, '"') || !quoted(s, &value))
			return false;
		take(l, name, value, has_ticket);
	}
	return eat(s, ']');
}

int logline_parse(struct view line, struct logline *ret)
{
	struct scan s = {line.ptr, line.ptr + line.len};
	bool has_ticket = false, any = false;

	*ret = (struct logline){.status = -1, .tr_ms = -1, .ta_ms = -1, .bytes = -1};
	if (!line.len || !eat(&s, '<') || !skip_until(&s, '>') || !eat(&s, '1') || !eat(&s, ' '))
		return -EINVAL;
	for (unsigned i = 0; i < HEADER_FIELDS; i++)
		if (!skip_until(&s, ' '))
			return -EINVAL;
	while (!has_ticket && eat(&s, '[')) {
		*ret = (struct logline){.status = -1, .tr_ms = -1, .ta_ms = -1, .bytes = -1};
		if (!element(&s, ret, &has_ticket))
			return -EINVAL;
		any = true;
	}
	return any ? 0 : -EINVAL;
}

/* The message behind an octet count. */
static ssize_t counted(struct view stream, size_t max, struct view *ret)
{
	size_t n = 0, i = 0;

	while (i < stream.len && stream.ptr[i] >= '0' && stream.ptr[i] <= '9') {
		n = n * 10 + (size_t)(stream.ptr[i++] - '0');
		if (n > max)
			return -EMSGSIZE;
	}
	if (i == stream.len)
		return 0;
	if (stream.ptr[i++] != ' ' || n == 0)
		return -EINVAL;
	if (stream.len - i < n)
		return 0;
	*ret = (struct view){stream.ptr + i, n};
	return (ssize_t)(i + n);
}

ssize_t logline_next(struct view stream, size_t max, struct view *ret)
{
	const char *feed;

	if (stream.len == 0)
		return 0;
	if (stream.ptr[0] >= '1' && stream.ptr[0] <= '9')
		return counted(stream, max, ret);
	if (stream.ptr[0] != '<' && stream.ptr[0] != '\n')
		return -EINVAL;
	feed = memchr(stream.ptr, '\n', stream.len < max + 1 ? stream.len : max + 1);
	if (!feed)
		return stream.len > max ? -EMSGSIZE : 0;
	*ret = (struct view){stream.ptr, (size_t)(feed - stream.ptr)};
	return feed - stream.ptr + 1;
}
