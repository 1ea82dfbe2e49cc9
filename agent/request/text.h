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

/* What text_plain() passes over: all but '"', '\', bytes below 0x20 and above 0x7f. */
extern const uint8_t text_is_plain[256];

/* First byte that is not plain, or @end. For long runs: text_plain() looks at the near bytes. */
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

static inline const char *text_blank(const char *p, const char *end)
{
	if (p == end || (unsigned char)*p > ' ')
		return p;
	if (*p == ' ' && end - p > 1 && (unsigned char)p[1] > ' ')
		return p + 1;
	return text_blank_far(p, end);
}

static inline const char *text_plain(const char *p, const char *end)
{
#if defined(__SSE2__)
	if (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i stop = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
					    _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		unsigned mask;

		/* signed: what is above 0x7f is below zero */
		stop = _mm_or_si128(stop, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
		mask = (unsigned)_mm_movemask_epi8(stop);
		if (mask)
			return p + __builtin_ctz(mask);
		return text_plain_far(p + 16, end);
	}
#endif
	return text_plain_far(p, end);
}

#endif
