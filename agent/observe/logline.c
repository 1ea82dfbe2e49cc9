/*
 * Reads what RFC 5424 §6 describes as far as the structured data: `<PRI>1 ` and five fields end in
 * a space each, then `-` or elements `[id name="value" …]`, where `"`, `\` and `]` in a value are
 * escaped by `\`. No value that is read here can hold an escape, so values are views; an escape in
 * another one is skipped over.
 *
 * There is a line for every request, so the parameters are read eight bytes at a time: what is
 * looked for is a byte of a word that becomes zero by an exclusive or, and a short name is a number
 * to switch over. Near the end of the line, bytes are read one by one. A line as haproxy.cfg has
 * it, with its names in their order, is read without looking for names: shipped() finds what
 * read_elements() would find, or leaves the line to it.
 */
#include "observe/logline.h"

#include <endian.h>
#include <errno.h>
#include <syslog.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* TIMESTAMP HOSTNAME APP-NAME PROCID MSGID */
#define HEADER_FIELDS 5
#define BEFORE_PROCID 3

struct scan {
	const char *pos, *end;
	bool has_ticket;
	struct view rt, ta; /* of the element that is read */
};

static bool skip_until(struct scan *s, char c)
{
	const char *at = memchr(s->pos, c, (size_t)(s->end - s->pos));

	if (!at)
		return false;
	s->pos = at + 1;
	return true;
}

/* Past the @n-th space. */
static inline bool skip_fields(struct scan *s, unsigned n)
{
	const char *p = s->pos;

#if defined(__SSE2__)
	for (; s->end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		unsigned hit = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')));

		for (; hit; hit &= hit - 1) {
			if (--n == 0) {
				s->pos = p + __builtin_ctz(hit) + 1;
				return true;
			}
		}
	}
#endif
	for (; p < s->end; p++) {
		if (*p == ' ' && --n == 0) {
			s->pos = p + 1;
			return true;
		}
	}
	return false;
}

static bool eat(struct scan *s, char c)
{
	if (s->pos == s->end || *s->pos != c)
		return false;
	s->pos++;
	return true;
}

#define EACH(c) (UINT64_C(0x0101010101010101) * (unsigned char)(c))

/* Eight bytes, the first one lowest. */
static inline uint64_t eight(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* The highest bit of each byte that is @c; above the first such byte there may be wrong ones. */
static inline uint64_t bytes_equal(uint64_t v, char c)
{
	v ^= EACH(c);
	return (v - EACH(1)) & ~v & EACH(0x80);
}

static inline unsigned first_byte(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits) / 8;
}

/* The first @a or @b, or the end. */
static inline const char *find(const char *p, const char *end, char a, char b)
{
#if defined(__SSE2__)
	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i same = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(a)),
					    _mm_cmpeq_epi8(v, _mm_set1_epi8(b)));
		unsigned hit = (unsigned)_mm_movemask_epi8(same);

		if (hit)
			return p + __builtin_ctz(hit);
	}
#endif
	for (; end - p >= 8; p += 8) {
		uint64_t v = eight(p), hit = bytes_equal(v, a) | bytes_equal(v, b);

		if (hit)
			return p + first_byte(hit);
	}
	while (p < end && *p != a && *p != b)
		p++;
	return p;
}

/* The value behind an opening quote, up to and past the closing one. */
static inline bool quoted(struct scan *s, struct view *ret)
{
	const char *p = find(s->pos, s->end, '"', '\\');

	while (p < s->end && *p == '\\')
		p = s->end - p > 1 ? find(p + 2, s->end, '"', '\\') : s->end;
	*ret = (struct view){s->pos, (size_t)(p - s->pos)};
	s->pos = p;
	return eat(s, '"');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Eight digits as a number, pairwise: tens, hundreds, ten thousands. False: not all are digits. */
static inline bool eight_digits(const char *p, int64_t *ret)
{
	uint64_t v = eight(p);

	/* '0' to '9' are 30 to 39: adding 6 does not change the upper half. */
	if (((v & EACH(0xf0)) | ((v + EACH(6)) & EACH(0xf0)) >> 4) != EACH(0x33))
		return false;
	v -= EACH('0');
	v = (v * 10 + (v >> 8)) & UINT64_C(0x00ff00ff00ff00ff);
	v = (v * 100 + (v >> 16)) & UINT64_C(0x0000ffff0000ffff);
	*ret = (int64_t)((v * 10000 + (v >> 32)) & UINT32_MAX);
	return true;
}

/* So many digits are no overflow yet. */
#define DIGITS_SAFE 18

static int64_t number(struct view v, int64_t otherwise)
{
	int64_t n = 0, part;
	size_t i = 0, safe;
	bool negative = v.len > 1 && v.ptr[0] == '-';

	/* HAProxy puts a + before times and sizes that were not final (option logasap). */
	if (negative || (v.len > 1 && v.ptr[0] == '+'))
		i = 1;
	if (i == v.len || v.len > DIGITS_SAFE + 1)
		return otherwise;
	safe = v.len - i > DIGITS_SAFE ? v.len - 1 : v.len;
	for (; safe - i >= 8; i += 8) {
		if (!eight_digits(v.ptr + i, &part))
			return otherwise;
		n = n * 100000000 + part;
	}
	for (; i < safe; i++) {
		if (!is_digit(v.ptr[i]))
			return otherwise;
		n = n * 10 + (v.ptr[i] - '0');
	}
	if (i < v.len && (!is_digit(v.ptr[i]) || __builtin_mul_overflow(n, 10, &n) ||
			  __builtin_add_overflow(n, v.ptr[i] - '0', &n)))
		return otherwise;
	return negative ? -n : n;
}

uint64_t logline_key_of_number(uint64_t n)
{
	return (n & UINT32_MAX) + 1;
}

uint64_t logline_key(struct view id)
{
	uint64_t n = 0, hash = UINT64_C(0xcbf29ce484222325);
	size_t i = 0;

	while (i < id.len && is_digit(id.ptr[i]))
		n = n * 10 + (uint64_t)(id.ptr[i++] - '0');
	if (id.len == 0)
		return 0;
	if (i == id.len && id.len < 20)
		return logline_key_of_number(n);
	for (i = 0; i < id.len; i++)
		hash = (hash ^ (unsigned char)id.ptr[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return hash | UINT64_C(1) << 63;
}

static int status_of(struct view value)
{
	int64_t status = number(value, -1);

	return status >= 0 && status <= 999 ? (int)status : -1;
}

/* A name of up to seven letters, the first one lowest. */
#define NAME(a, b, c, d, e, f, g)                                                                  \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 |          \
	 (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48)

/* The name from @p to its '=', which is returned; *ret is 0 for one that nobody here asks for. */
static inline const char *read_name(const char *p, const char *end, uint64_t *ret)
{
	uint64_t v, hit = 0;

	*ret = 0;
	if (end - p >= 8) {
		v = eight(p);
		hit = bytes_equal(v, '=');
		if (hit) {
			*ret = v & (((hit & -hit) >> 7) - 1);
			return p + first_byte(hit);
		}
		return find(p + 8, end, '=', '=');
	}
	for (unsigned i = 0; p < end && *p != '='; i += 8)
		*ret |= (uint64_t)(unsigned char)*p++ << i;
	return p;
}

static inline void take(struct scan *s, struct logline *l, uint64_t name, struct view value)
{
	switch (name) {
	case NAME('t', 'i', 'c', 'k', 'e', 't', 0):
		s->has_ticket = true;
		l->ticket = number(value, 0);
		if (l->ticket < 0)
			l->ticket = 0;
		break;
	case NAME('b', 'a', 'c', 'k', 'e', 'n', 'd'):
		l->backend = value;
		break;
	case NAME('s', 'e', 'r', 'v', 'e', 'r', 0):
		l->server = value;
		break;
	case NAME('s', 't', 'a', 't', 'u', 's', 0):
		l->status = status_of(value);
		break;
	case NAME('t', 's', 0, 0, 0, 0, 0):
		l->state = value;
		break;
	case NAME('t', 'a', 0, 0, 0, 0, 0):
		s->ta = value;
		break;
	case NAME('r', 't', 0, 0, 0, 0, 0):
		s->rt = value;
		break;
	default:
		break;
	}
}

/* One element behind its '['; false when it breaks off. */
static bool element(struct scan *s, struct logline *l)
{
	l->ticket = 0;
	l->backend = l->server = l->state = s->rt = s->ta = VIEW_NULL;
	l->status = -1;
	s->pos = find(s->pos, s->end, ' ', ']');
	while (eat(s, ' ')) {
		struct view value;
		uint64_t name;

		if (s->pos < s->end && *s->pos == ']')
			break;
		s->pos = read_name(s->pos, s->end, &name);
		if (!eat(s, '=') || !eat(s, '"') || !quoted(s, &value))
			return false;
		take(s, l, name, value);
	}
	return eat(s, ']');
}

/* Whether the line goes on with @word, of 4 to 16 letters; passes over it then. */
static inline __attribute__((always_inline)) bool goes_on(struct scan *s, const char *word,
							  size_t n)
{
	const size_t part = n < 8 ? 4 : 8; /* known when this is compiled: two compares of words */

	if ((size_t)(s->end - s->pos) < n || memcmp(s->pos, word, part) != 0 ||
	    memcmp(s->pos + n - part, word + n - part, part) != 0)
		return false;
	s->pos += n;
	return true;
}

/* The parameter of that name, if it is the next one; no escape is read here. */
#define NEXT(s, name, ret) (goes_on(s, " " name "=\"", sizeof(name) + 2) && plainly_quoted(s, ret))

static inline bool plainly_quoted(struct scan *s, struct view *ret)
{
	const char *p = find(s->pos, s->end, '"', '\\');

	*ret = (struct view){s->pos, (size_t)(p - s->pos)};
	s->pos = p + 1;
	return p < s->end && *p == '"';
}

/* The element as haproxy.cfg has it, from its '[' on. False: read_elements() must; @s is used up.
 */
static bool shipped(struct scan *s, struct logline *l)
{
	struct view ticket, status;

	if (!goes_on(s, "[inference@32473", 16) || !NEXT(s, "ticket", &ticket) ||
	    !NEXT(s, "rt", &s->rt) || !NEXT(s, "backend", &l->backend) ||
	    !NEXT(s, "server", &l->server) || !NEXT(s, "status", &status) ||
	    !NEXT(s, "ts", &l->state) || !NEXT(s, "ta", &s->ta) || !eat(s, ']'))
		return false;
	l->ticket = number(ticket, 0);
	if (l->ticket < 0)
		l->ticket = 0;
	l->status = status_of(status);
	return true;
}

static bool read_elements(struct scan *s, struct logline *l)
{
	bool any = false;

	while (!s->has_ticket && eat(s, '[')) {
		if (!element(s, l))
			return false;
		any = true;
	}
	return any;
}

/* Behind VERSION. */
static inline bool is_line(struct scan *s)
{
	return s->pos < s->end && eat(s, '<') && skip_until(s, '>') && eat(s, '1') && eat(s, ' ');
}

bool logline_is_notice(struct view line)
{
	struct scan s = {.pos = line.ptr, .end = line.ptr + line.len};
	struct view pri;
	int64_t level;

	if (!is_line(&s) || !skip_fields(&s, HEADER_FIELDS) || !eat(&s, '-') ||
	    (s.pos < s.end && *s.pos != ' '))
		return false;
	pri.ptr = line.ptr + 1;
	pri.len = (size_t)((const char *)memchr(pri.ptr, '>', line.len - 1) - pri.ptr);
	level = number(pri, -1) % 8;
	return level >= 0 && level != LOG_INFO && level != LOG_ERR && level != LOG_DEBUG;
}

uint32_t logline_pid(struct view line)
{
	struct scan s = {.pos = line.ptr, .end = line.ptr + line.len};
	struct view pid;
	int64_t n;

	if (!is_line(&s) || !skip_fields(&s, BEFORE_PROCID))
		return 0;
	pid.ptr = s.pos;
	if (!skip_until(&s, ' '))
		return 0;
	pid.len = (size_t)(s.pos - 1 - pid.ptr);
	n = number(pid, 0);
	return n > 0 && n <= INT32_MAX ? (uint32_t)n : 0;
}

int logline_parse(struct view line, struct logline *ret)
{
	struct scan s = {.pos = line.ptr, .end = line.ptr + line.len};
	struct scan again;

	if (!is_line(&s) || !skip_fields(&s, HEADER_FIELDS))
		return -EINVAL;
	again = s;
	if (!shipped(&s, ret)) {
		s = again;
		if (!read_elements(&s, ret))
			return -EINVAL;
	}
	ret->key = ret->ticket ? 0 : logline_key(s.rt);
	ret->ta_ms = ret->ticket ? -1 : number(s.ta, -1);
	return 0;
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
