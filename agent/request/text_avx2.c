#include "request/text.h"

#if TEXT_HAS_AVX2
#include <immintrin.h>

/*
 * The inside of JSON strings, 64 bytes at a time. A block always begins where a character begins,
 * and what is consumed of it ends where one does, so nothing is carried from block to block: a
 * trailing half escape or half character is left for the next block, which begins there.
 *
 * In a block, one bit per byte:
 *  - backslashes that escape, and the bytes they escape, by the subtraction that simdjson uses to
 *    tell odd runs from even ones (Langdale and Lemire, "Parsing gigabytes of JSON per second",
 *    2019, section 3.1.1);
 *  - a quote that is not escaped ends the string, and what follows it does not count;
 *  - escaped bytes must be one of "\/bfnrtu, and four hexadecimal digits must follow a u; sets of
 *    bytes by two table look-ups, one per half byte;
 *  - UTF-8 by three such look-ups (Keiser and Lemire, "Validating UTF-8 in less than one
 *    instruction per byte", 2021).
 *
 * Whatever is not right is left at the block's beginning for the scalar code, which knows where
 * exactly and why.
 */

#define AVX2 __attribute__((target("avx2")))

struct block {
	__m256i lo, hi;
};

static AVX2 inline uint64_t bits(__m256i lo, __m256i hi)
{
	return (uint32_t)_mm256_movemask_epi8(lo) | (uint64_t)(uint32_t)_mm256_movemask_epi8(hi)
							<< 32;
}

static AVX2 inline uint64_t equal(struct block b, char c)
{
	const __m256i want = _mm256_set1_epi8(c);

	return bits(_mm256_cmpeq_epi8(b.lo, want), _mm256_cmpeq_epi8(b.hi, want));
}

static AVX2 inline __m256i table(const uint8_t t[16])
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
}

static AVX2 inline __m256i high_nibble(__m256i v)
{
	return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
}

/* Bytes whose half bytes have a bit in common: low[b & 15] & high[b >> 4]. For ASCII. */
static AVX2 inline uint64_t in_set(struct block b, const uint8_t low[16], const uint8_t high[16])
{
	const __m256i l = table(low), h = table(high), zero = _mm256_setzero_si256();
	__m256i lo = _mm256_and_si256(_mm256_shuffle_epi8(l, b.lo),
				      _mm256_shuffle_epi8(h, high_nibble(b.lo)));
	__m256i hi = _mm256_and_si256(_mm256_shuffle_epi8(l, b.hi),
				      _mm256_shuffle_epi8(h, high_nibble(b.hi)));

	return ~bits(_mm256_cmpeq_epi8(lo, zero), _mm256_cmpeq_epi8(hi, zero));
}

/* " 22, / 2f | \ 5c | b 62, f 66, n 6e | r 72, t 74, u 75 */
static const uint8_t escape_low[16] = {0, 0, 1 | 4 | 8, 0, 8, 8, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1};
static const uint8_t escape_high[16] = {0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0};
/* 0-9 30..39 | A-F 41..46 | a-f 61..66 */
static const uint8_t hex_low[16] = {1, 3, 3, 3, 3, 3, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0};
static const uint8_t hex_high[16] = {0, 0, 0, 1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0};

/* What a pair of neighbouring bytes can be wrong in; a bit stays where all three tables agree. */
enum {
	TOO_SHORT = 1,   /* a lead, then no continuation */
	TOO_LONG = 2,    /* ASCII, then a continuation */
	OVERLONG_3 = 4,  /* E0 80..9F */
	TOO_LARGE = 8,   /* F4 90.., F5.. */
	SURROGATE = 16,  /* ED A0..BF */
	OVERLONG_2 = 32, /* C0, C1 */
	LARGE_OR_4 = 64, /* F5.. 80..8F, and F0 80..8F: overlong */
	TWO_CONTS = 128, /* two continuations: right only behind E0.. or F0.. */
	CARRY = TOO_SHORT | TOO_LONG | TWO_CONTS,
	LARGE = CARRY | TOO_LARGE | LARGE_OR_4,
	SECOND = TOO_LONG | OVERLONG_2 | TWO_CONTS,
};
static const uint8_t first_high[16] = {
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TWO_CONTS,
    TWO_CONTS,
    TWO_CONTS,
    TWO_CONTS,
    TOO_SHORT | OVERLONG_2,
    TOO_SHORT,
    TOO_SHORT | OVERLONG_3 | SURROGATE,
    TOO_SHORT | TOO_LARGE | LARGE_OR_4,
};
static const uint8_t first_low[16] = {
    CARRY | OVERLONG_3 | OVERLONG_2 | LARGE_OR_4,
    CARRY | OVERLONG_2,
    CARRY,
    CARRY,
    CARRY | TOO_LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE | SURROGATE,
    LARGE,
    LARGE,
};
static const uint8_t second_high[16] = {
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    SECOND | OVERLONG_3 | LARGE_OR_4,
    SECOND | OVERLONG_3 | TOO_LARGE,
    SECOND | SURROGATE | TOO_LARGE,
    SECOND | SURROGATE | TOO_LARGE,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
};

/* Non-zero where @v, with @before in front of it, goes wrong. */
static AVX2 inline __m256i utf8_wrong(__m256i v, __m256i before)
{
	const __m256i seam = _mm256_permute2x128_si256(before, v, 0x21);
	const __m256i prev1 = _mm256_alignr_epi8(v, seam, 15);
	const __m256i prev2 = _mm256_alignr_epi8(v, seam, 14);
	const __m256i prev3 = _mm256_alignr_epi8(v, seam, 13);
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i pair = _mm256_and_si256(
	    _mm256_shuffle_epi8(table(first_high), high_nibble(prev1)),
	    _mm256_shuffle_epi8(table(first_low), _mm256_and_si256(prev1, nibble)));
	__m256i third = _mm256_or_si256(_mm256_subs_epu8(prev2, _mm256_set1_epi8(0xe0 - 0x80)),
					_mm256_subs_epu8(prev3, _mm256_set1_epi8(0xf0 - 0x80)));

	pair = _mm256_and_si256(pair, _mm256_shuffle_epi8(table(second_high), high_nibble(v)));
	third = _mm256_and_si256(third, _mm256_set1_epi8((char)0x80));
	return _mm256_xor_si256(third, pair);
}

static AVX2 inline uint64_t utf8_bits(struct block b)
{
	const __m256i zero = _mm256_setzero_si256();

	return ~bits(_mm256_cmpeq_epi8(utf8_wrong(b.lo, zero), zero),
		     _mm256_cmpeq_epi8(utf8_wrong(b.hi, b.lo), zero));
}

/* Bytes of the block before a character that the block cuts off. */
static inline unsigned whole_characters(const char *p)
{
	if ((unsigned char)p[61] >= 0xf0)
		return 61;
	if ((unsigned char)p[62] >= 0xe0)
		return 62;
	return (unsigned char)p[63] >= 0xc0 ? 63 : 64;
}

static inline uint64_t below(unsigned n)
{
	return n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
}

/* Neither a quote nor a backslash, a control or a byte above 0x7f: zero bits. */
static AVX2 inline __m256i stops(__m256i v)
{
	static const uint8_t marks[16] = {[2] = '"', [12] = '\\'};

	/* a byte is a mark if the table has it at its low half byte */
	return _mm256_or_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), v),
			       _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table(marks), v), v));
}

static AVX2 inline const char *plain(const char *p, const char *end)
{
	while (end - p >= 128) {
		const __m256i *at = (const __m256i *)(const void *)p;
		__m256i a = stops(_mm256_loadu_si256(at));
		__m256i b = stops(_mm256_loadu_si256(at + 1));
		__m256i c = stops(_mm256_loadu_si256(at + 2));
		__m256i d = stops(_mm256_loadu_si256(at + 3));

		a = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
		if (_mm256_movemask_epi8(a))
			break;
		p += 128;
	}
	return p;
}

AVX2 const char *text_string_avx2(const char *p, const char *end, bool *escaped)
{
	const uint64_t odd = 0xaaaaaaaaaaaaaaaa;
	const __m256i space = _mm256_set1_epi8(0x20);

	p = plain(p, end);
	while (end - p >= 64) {
		const __m256i *at = (const __m256i *)(const void *)p;
		const struct block b = {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
		/* signed: above 0x7f is below zero */
		uint64_t low = bits(_mm256_cmpgt_epi8(space, b.lo), _mm256_cmpgt_epi8(space, b.hi));
		uint64_t quotes = equal(b, '"');
		uint64_t slashes = equal(b, '\\');
		uint64_t high, seen;
		unsigned n = 64;
		bool escape = false;

		if (!(low | quotes | slashes)) {
			p = plain(p + 64, end);
			continue;
		}
		if (slashes) {
			uint64_t runs = ((slashes << 1 | odd) - slashes) ^ odd;
			uint64_t targets = runs ^ slashes; /* escaped bytes */
			uint64_t u;

			quotes &= ~targets;
			if (runs & slashes & (uint64_t)1 << 63)
				n = 63;
			if (quotes)
				n = (unsigned)__builtin_ctzll(quotes);
			u = targets & equal(b, 'u');
			if (u & below(n)) {
				uint64_t digits;

				u &= below(n);
				if (!quotes && u >> 60) {
					n = 63 - (unsigned)__builtin_clzll(u) - 1;
					u &= below(n);
				}
				digits = u << 1 | u << 2 | u << 3 | u << 4;
				if (digits & ~(in_set(b, hex_low, hex_high) & below(n)))
					return p;
			}
			targets &= below(n);
			if (targets & ~in_set(b, escape_low, escape_high))
				return p;
			escape = targets != 0;
		} else if (quotes) {
			n = (unsigned)__builtin_ctzll(quotes);
		}
		high = bits(b.lo, b.hi);
		seen = below(n);
		if (low & ~high & seen)
			return p;
		if (high & seen) {
			if (n == 64) {
				n = whole_characters(p);
				seen = below(n);
			}
			/* half a character before a quote shows at the quote */
			if (utf8_bits(b) & (seen << 1 | 1))
				return p;
		}
		*escaped |= escape;
		p += n;
		if (quotes)
			return p;
	}
	return p;
}

#endif
