/*
 * The loops that touch every byte of a body: runs of plain bytes inside JSON strings, blanks,
 * UTF-8. Small functions from (p, end) to the first byte that is something else; none reads at or
 * past @end.
 */
#ifndef REQUEST_TEXT_H
#define REQUEST_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Ways to read 64 bytes at once are known (block.h); on x86-64 not every processor has them. */
#if (defined(__x86_64__) || defined(__AARCH64EL__)) && !defined(TEXT_PORTABLE)
#define TEXT_HAS_BLOCKS 1
#else
#define TEXT_HAS_BLOCKS 0
#endif
#if defined(__SSE2__) && !defined(TEXT_PORTABLE)
#define TEXT_HAS_SSE2 1
#else
#define TEXT_HAS_SSE2 0
#endif

struct json;

/*
 * A reader of blocks of 64 bytes. string() is text_string_far(), but may also stop before a plain
 * byte; json() is explained in json.h.
 */
struct text_blocks {
	const char *name;
	bool (*usable)(void);
	const char *(*string)(const char *p, const char *end, bool *escaped);
	const char *(*json)(struct json *j, const char *p, const char *end);
};

/* The best that this processor can run, found out when the program starts. NULL: none. */
extern const struct text_blocks *text_blocks;

/* For tests: "avx512", "avx2", "neon" or "none"; not while others read. False: not here. */
bool text_use_blocks(const char *name);

/* What text_plain_far() passes over: all but '"', '\', bytes below 0x20 and above 0x7f. */
extern const uint8_t text_is_plain[256];

/* First byte that is not plain, or @end. */
const char *text_plain_far(const char *p, const char *end);

/* First byte that is not a JSON blank, or @end. */
const char *text_blank_far(const char *p, const char *end);

/*
 * Passes over complete well-formed UTF-8 sequences (RFC 3629) of two to four bytes. Stops at an
 * ASCII byte, at @end, or at the lead of a sequence that is malformed or runs past @end.
 */
const char *text_utf8(const char *p, const char *end);

/* What may follow a lead byte: @need bytes, the first between @lo and @hi, the others 80..BF. */
struct text_lead {
	uint8_t need, lo, hi;
};

/* False when no sequence begins with @c. */
bool text_lead(unsigned char c, struct text_lead *ret);

/* All of @p..@end is well-formed UTF-8. */
bool text_valid(const char *p, const char *end);

static inline bool text_is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

#if TEXT_HAS_SSE2
/* A bit for each of 16 bytes that is a JSON blank. */
static inline unsigned text_blanks(const char *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i blank = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))),
				     _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')),
						  _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'))));

	return (unsigned)_mm_movemask_epi8(blank);
}
#endif

static inline const char *text_blank(const char *p, const char *end)
{
	if (p == end || (unsigned char)*p > ' ')
		return p;
	if (*p == ' ' && end - p > 1 && (unsigned char)p[1] > ' ')
		return p + 1;
#if TEXT_HAS_SSE2
	/* a line's end and its indentation */
	if (end - p >= 16) {
		unsigned mask = text_blanks(p) ^ 0xffffu;

		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	return text_blank_far(p, end);
}

/* First byte that is not a decimal digit, or @end. Without a branch per digit: lengths vary. */
static inline const char *text_digits(const char *p, const char *end)
{
#if TEXT_HAS_SSE2
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)),
					      _mm_cmplt_epi8(v, _mm_set1_epi8('9' + 1)));
		unsigned mask = (unsigned)_mm_movemask_epi8(digit) ^ 0xffffu;

		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/*
 * Inside a JSON string, @p where a character begins: passes over what is right for certain, plain
 * bytes and possibly escapes (then *escaped is set) and UTF-8. Stops at the closing quote, at @end,
 * or where the next unit, an escape or a character that is not plain, begins and was not judged.
 */
const char *text_string_far(const char *p, const char *end, bool *escaped);

#if TEXT_HAS_SSE2
/* A bit for each of 16 bytes that is not plain. */
static inline unsigned text_stops(const char *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i mark = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
				    _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));

	/* signed: what is above 0x7f is below zero */
	mark = _mm_or_si128(mark, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
	return (unsigned)_mm_movemask_epi8(mark);
}
#endif

static inline const char *text_string(const char *p, const char *end, bool *escaped)
{
#if TEXT_HAS_SSE2
	/* most strings are keys, words and short sentences */
	for (int i = 0; i < 2 && end - p >= 16; i++) {
		unsigned mask = text_stops(p);

		if (mask) {
			p += __builtin_ctz(mask);
			if (*p == '"')
				return p;
			break;
		}
		p += 16;
	}
#endif
	return text_string_far(p, end, escaped);
}

#endif
