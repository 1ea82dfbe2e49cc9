#include "request/text.h"

#include <string.h>

/*
 * SSE2 is part of every x86-64, so it needs no asking at run time; what reads blocks (block.h) has
 * files of its own, and is asked for before main() (not by an ifunc: those run before a sanitizer
 * or a static binary is ready for them). A portable loop does the rest of each run and everything
 * elsewhere (and everything under TEXT_PORTABLE). All are compared with the plainest code there is
 * in the tests.
 */

const struct text_blocks *text_blocks;

/* Best first. */
#if TEXT_HAS_BLOCKS && defined(__x86_64__)
extern const struct text_blocks text_avx512, text_avx2;
static const struct text_blocks *const readers[] = {&text_avx512, &text_avx2, NULL};
#elif TEXT_HAS_BLOCKS
extern const struct text_blocks text_neon;
static const struct text_blocks *const readers[] = {&text_neon, NULL};
#else
static const struct text_blocks *const readers[] = {NULL};
#endif

bool text_use_blocks(const char *name)
{
	const struct text_blocks *const *r = readers;

	if (strcmp(name, "none") == 0) {
		text_blocks = NULL;
		return true;
	}
	while (*r && (strcmp(name, (*r)->name) != 0 || !(*r)->usable()))
		r++;
	if (*r)
		text_blocks = *r;
	return *r != NULL;
}

__attribute__((constructor)) static void choose(void)
{
	const struct text_blocks *const *r = readers;

	while (*r && !(*r)->usable())
		r++;
	text_blocks = *r;
}

#define P8   1, 1, 1, 1, 1, 1, 1, 1
#define P16  P8, P8
#define N8   0, 0, 0, 0, 0, 0, 0, 0
#define N128 N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8, N8

const uint8_t text_is_plain[256] = {
    N8,   N8,  N8, N8,                 /* 00: controls */
    1,    1,   0,  1,  1, 1, 1, 1, P8, /* 20: the quote */
    P16,                               /* 30 */
    P16,                               /* 40 */
    P8,   1,   1,  1,  1, 0, 1, 1, 1,  /* 50: the backslash */
    P16,  P16,                         /* 60, 70: DEL is plain in JSON */
    N128,
};

const char *text_plain_far(const char *p, const char *end)
{
#if TEXT_HAS_SSE2
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i slash = _mm_set1_epi8('\\');
	const __m128i space = _mm_set1_epi8(0x20);

	while (end - p >= 64) {
		__m128i stop[4];
		__m128i any;

		for (int i = 0; i < 4; i++) {
			__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));

			stop[i] = _mm_or_si128(
			    _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
			    _mm_cmplt_epi8(v, space));
		}
		any = _mm_or_si128(_mm_or_si128(stop[0], stop[1]), _mm_or_si128(stop[2], stop[3]));
		if (_mm_movemask_epi8(any)) {
			uint64_t lo = (unsigned)_mm_movemask_epi8(stop[0]) |
				      (uint64_t)_mm_movemask_epi8(stop[1]) << 16;
			uint64_t hi = (unsigned)_mm_movemask_epi8(stop[2]) |
				      (uint64_t)_mm_movemask_epi8(stop[3]) << 16;

			return p + __builtin_ctzll(lo | hi << 32);
		}
		p += 64;
	}
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i stop =
		    _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
				 _mm_cmplt_epi8(v, space));
		unsigned mask = (unsigned)_mm_movemask_epi8(stop);

		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	while (p < end && text_is_plain[(unsigned char)*p])
		p++;
	return p;
}

const char *text_string_far(const char *p, const char *end, bool *escaped)
{
	if (text_blocks && end - p >= 64) {
		p = text_blocks->string(p, end, escaped);
		if (p < end && !text_is_plain[(unsigned char)*p])
			return p;
	}
	return text_plain_far(p, end);
}

const char *text_blank_far(const char *p, const char *end)
{
#if TEXT_HAS_SSE2
	while (end - p >= 16) {
		unsigned mask = text_blanks(p) ^ 0xffffu;

		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	while (p < end && text_is_blank(*p))
		p++;
	return p;
}

bool text_lead(unsigned char c, struct text_lead *ret)
{
	if (c < 0xc2 || c > 0xf4)
		return false; /* continuation, overlong, or past U+10FFFF */
	ret->lo = 0x80;
	ret->hi = 0xbf;
	if (c < 0xe0) {
		ret->need = 1;
	} else if (c < 0xf0) {
		ret->need = 2;
		if (c == 0xe0)
			ret->lo = 0xa0; /* overlong */
		if (c == 0xed)
			ret->hi = 0x9f; /* surrogates */
	} else {
		ret->need = 3;
		if (c == 0xf0)
			ret->lo = 0x90;
		if (c == 0xf4)
			ret->hi = 0x8f;
	}
	return true;
}

static inline bool cont(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

const char *text_utf8(const char *p, const char *end)
{
	struct text_lead lead;

	while (p < end && (unsigned char)*p >= 0x80) {
		unsigned char c = (unsigned char)*p;

		/* the two ranges without exceptions: most of the world's letters */
		if (c >= 0xe1 && c <= 0xec && end - p >= 3) {
			if (!cont(p[1]) || !cont(p[2]))
				return p;
			p += 3;
			continue;
		}
		if (c >= 0xc2 && c <= 0xdf && end - p >= 2) {
			if (!cont(p[1]))
				return p;
			p += 2;
			continue;
		}
		if (!text_lead(c, &lead) || end - p <= lead.need)
			return p;
		if ((unsigned char)p[1] < lead.lo || (unsigned char)p[1] > lead.hi)
			return p;
		for (int i = 2; i <= lead.need; i++) {
			if (!cont(p[i]))
				return p;
		}
		p += 1 + lead.need;
	}
	return p;
}

bool text_valid(const char *p, const char *end)
{
	while (p < end) {
		if ((unsigned char)*p < 0x80) {
			p++;
			continue;
		}
		p = text_utf8(p, end);
		if (p < end && (unsigned char)*p >= 0x80)
			return false;
	}
	return true;
}
