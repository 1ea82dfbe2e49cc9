/* struct block with AVX2; see block.h. */
#ifndef REQUEST_BLOCK_AVX2_H
#define REQUEST_BLOCK_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include "request/block_tables.h"

#define BLOCK_READER text_avx2
#define BLOCK_JSON   json_avx2
#define BLOCK_NAME   "avx2"
#define BLOCK_ENTRY  __attribute__((target("avx2,bmi,bmi2,popcnt,pclmul")))
#define BLOCK_FN     BLOCK_ENTRY static inline

/* Whether this processor has what BLOCK_FN asks for. */
static inline bool block_usable(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	       __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
	       __builtin_cpu_supports("pclmul");
}

struct block {
	__m256i lo, hi;
};

BLOCK_FN struct block block_load(const char *p)
{
	const __m256i *at = (const __m256i *)(const void *)p;

	return (struct block){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}

BLOCK_FN uint64_t block_bits(__m256i lo, __m256i hi)
{
	return (uint32_t)_mm256_movemask_epi8(lo) | (uint64_t)(uint32_t)_mm256_movemask_epi8(hi)
							<< 32;
}

BLOCK_FN __m256i block_all(char c)
{
	return _mm256_load_si256((const __m256i *)(const void *)block_byte[(unsigned char)c]);
}

BLOCK_FN uint64_t block_equal(struct block b, char c)
{
	const __m256i want = block_all(c);

	return block_bits(_mm256_cmpeq_epi8(b.lo, want), _mm256_cmpeq_epi8(b.hi, want));
}

BLOCK_FN struct block block_fold(struct block b)
{
	const __m256i bit = block_all(0x20);

	return (struct block){_mm256_or_si256(b.lo, bit), _mm256_or_si256(b.hi, bit)};
}

BLOCK_FN uint64_t block_folds(struct block b)
{
	return block_bits(_mm256_slli_epi16(b.lo, 2), _mm256_slli_epi16(b.hi, 2));
}

BLOCK_FN uint64_t block_high(struct block b)
{
	return block_bits(b.lo, b.hi);
}

BLOCK_FN uint64_t block_odd(struct block b)
{
	/* signed: what is above 0x7f is below zero */
	return block_bits(_mm256_cmpgt_epi8(block_all(0x20), b.lo),
			  _mm256_cmpgt_epi8(block_all(0x20), b.hi));
}

BLOCK_FN __m256i block_at_most(__m256i v, char limit)
{
	return _mm256_cmpeq_epi8(_mm256_min_epu8(v, block_all(limit)), v);
}

BLOCK_FN uint64_t block_control(struct block b)
{
	return block_bits(block_at_most(b.lo, 0x1f), block_at_most(b.hi, 0x1f));
}

BLOCK_FN uint64_t block_digits(struct block b)
{
	const __m256i zero = block_all('0');

	return block_bits(block_at_most(_mm256_sub_epi8(b.lo, zero), 9),
			  block_at_most(_mm256_sub_epi8(b.hi, zero), 9));
}

BLOCK_FN __m256i block_table(const uint8_t t[16])
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
}

/* Bytes that stand in the table at their low half byte. Those above 0x7f do not. */
BLOCK_FN __m256i block_marked(__m256i v, const uint8_t t[16])
{
	return _mm256_cmpeq_epi8(_mm256_shuffle_epi8(block_table(t), v), v);
}

BLOCK_FN uint64_t block_blanks(struct block b)
{
	return block_bits(block_marked(b.lo, block_blank), block_marked(b.hi, block_blank));
}

BLOCK_FN __m256i block_high_nibble(__m256i v)
{
	return _mm256_and_si256(_mm256_srli_epi16(v, 4), block_all(0x0f));
}

BLOCK_FN __m256i block_set_bits(__m256i v, struct block_set set)
{
	return _mm256_and_si256(_mm256_shuffle_epi8(block_table(set.low), v),
				_mm256_shuffle_epi8(block_table(set.high), block_high_nibble(v)));
}

BLOCK_FN uint64_t block_in(struct block b, struct block_set set)
{
	const __m256i zero = _mm256_setzero_si256();

	return ~block_bits(_mm256_cmpeq_epi8(block_set_bits(b.lo, set), zero),
			   _mm256_cmpeq_epi8(block_set_bits(b.hi, set), zero));
}

/* Non-zero where @v, with @before in front of it, goes wrong. */
BLOCK_FN __m256i block_utf8_step(__m256i v, __m256i before)
{
	const __m256i seam = _mm256_permute2x128_si256(before, v, 0x21);
	const __m256i prev1 = _mm256_alignr_epi8(v, seam, 15);
	const __m256i prev2 = _mm256_alignr_epi8(v, seam, 14);
	const __m256i prev3 = _mm256_alignr_epi8(v, seam, 13);
	const __m256i nibble = block_all(0x0f);
	__m256i pair = _mm256_and_si256(
	    _mm256_shuffle_epi8(block_table(utf8_first_high), block_high_nibble(prev1)),
	    _mm256_shuffle_epi8(block_table(utf8_first_low), _mm256_and_si256(prev1, nibble)));
	__m256i third = _mm256_or_si256(_mm256_subs_epu8(prev2, _mm256_set1_epi8(0xe0 - 0x80)),
					_mm256_subs_epu8(prev3, _mm256_set1_epi8(0xf0 - 0x80)));

	pair = _mm256_and_si256(
	    pair, _mm256_shuffle_epi8(block_table(utf8_second_high), block_high_nibble(v)));
	third = _mm256_and_si256(third, _mm256_set1_epi8((char)0x80));
	return _mm256_xor_si256(third, pair);
}

BLOCK_FN uint64_t block_utf8_wrong(struct block b)
{
	const __m256i zero = _mm256_setzero_si256();

	return ~block_bits(_mm256_cmpeq_epi8(block_utf8_step(b.lo, zero), zero),
			   _mm256_cmpeq_epi8(block_utf8_step(b.hi, b.lo), zero));
}

BLOCK_FN uint64_t block_parity(uint64_t bits)
{
	__m128i product =
	    _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)bits), _mm_set1_epi8((char)0xff), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Zero for each byte that is plain. */
BLOCK_FN __m256i block_stops(__m256i v)
{
	/* signed: what is above 0x7f is below zero */
	return _mm256_or_si256(_mm256_cmpgt_epi8(block_all(0x20), v),
			       block_marked(v, block_quote_slash));
}

BLOCK_FN const char *block_skip_plain(const char *p, const char *end)
{
	while (end - p >= 128) {
		const struct block x = block_load(p), y = block_load(p + 64);
		__m256i any =
		    _mm256_or_si256(_mm256_or_si256(block_stops(x.lo), block_stops(x.hi)),
				    _mm256_or_si256(block_stops(y.lo), block_stops(y.hi)));

		if (_mm256_movemask_epi8(any))
			break;
		p += 128;
	}
	return p;
}

#endif
