/* struct block with AVX-512; see block.h. */
#ifndef REQUEST_BLOCK_AVX512_H
#define REQUEST_BLOCK_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include "request/block_tables.h"

#define BLOCK_READER text_avx512
#define BLOCK_JSON   json_avx512
#define BLOCK_NAME   "avx512"
#define BLOCK_ENTRY  __attribute__((target("avx512f,avx512bw,bmi,bmi2,popcnt,pclmul")))
#define BLOCK_FN     BLOCK_ENTRY static inline

/*
 * VBMI2 is not used: it tells the processors (Ice Lake, Zen 4 and later) that do not lower their
 * frequency, and with it everybody's work, for 512 bits.
 */
static inline bool block_usable(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi") &&
	       __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
	       __builtin_cpu_supports("pclmul");
}

struct block {
	__m512i v;
};

BLOCK_FN struct block block_load(const char *p)
{
	return (struct block){_mm512_loadu_si512((const void *)p)};
}

BLOCK_FN __m512i block_all(char c)
{
	return _mm512_load_si512((const void *)block_byte[(unsigned char)c]);
}

BLOCK_FN uint64_t block_equal(struct block b, char c)
{
	return _mm512_cmpeq_epi8_mask(b.v, block_all(c));
}

BLOCK_FN struct block block_fold(struct block b)
{
	return (struct block){_mm512_or_si512(b.v, block_all(0x20))};
}

BLOCK_FN uint64_t block_folds(struct block b)
{
	return _mm512_test_epi8_mask(b.v, block_all(0x20));
}

BLOCK_FN uint64_t block_high(struct block b)
{
	return _mm512_movepi8_mask(b.v);
}

BLOCK_FN uint64_t block_control(struct block b)
{
	return _mm512_cmplt_epu8_mask(b.v, block_all(0x20));
}

BLOCK_FN uint64_t block_odd(struct block b)
{
	/* signed: what is above 0x7f is below zero */
	return _mm512_cmplt_epi8_mask(b.v, block_all(0x20));
}

BLOCK_FN uint64_t block_digits(struct block b)
{
	return _mm512_cmple_epu8_mask(_mm512_sub_epi8(b.v, block_all('0')), block_all(9));
}

BLOCK_FN __m512i block_table(const uint8_t t[16])
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)t));
}

/* Bytes that stand in the table at their low half byte. Those above 0x7f do not. */
BLOCK_FN uint64_t block_marked(__m512i v, const uint8_t t[16])
{
	return _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(block_table(t), v), v);
}

BLOCK_FN uint64_t block_blanks(struct block b)
{
	return block_marked(b.v, block_blank);
}

BLOCK_FN __m512i block_high_nibble(__m512i v)
{
	return _mm512_and_si512(_mm512_srli_epi16(v, 4), block_all(0x0f));
}

BLOCK_FN uint64_t block_in(struct block b, struct block_set set)
{
	return _mm512_test_epi8_mask(
	    _mm512_shuffle_epi8(block_table(set.low), b.v),
	    _mm512_shuffle_epi8(block_table(set.high), block_high_nibble(b.v)));
}

BLOCK_FN uint64_t block_utf8_wrong(struct block b)
{
	const __m512i seam = _mm512_alignr_epi64(b.v, _mm512_setzero_si512(), 6);
	const __m512i prev1 = _mm512_alignr_epi8(b.v, seam, 15);
	const __m512i prev2 = _mm512_alignr_epi8(b.v, seam, 14);
	const __m512i prev3 = _mm512_alignr_epi8(b.v, seam, 13);
	__m512i pair = _mm512_and_si512(
	    _mm512_shuffle_epi8(block_table(utf8_first_high), block_high_nibble(prev1)),
	    _mm512_shuffle_epi8(block_table(utf8_first_low),
				_mm512_and_si512(prev1, block_all(0x0f))));
	__m512i third = _mm512_or_si512(_mm512_subs_epu8(prev2, _mm512_set1_epi8(0xe0 - 0x80)),
					_mm512_subs_epu8(prev3, _mm512_set1_epi8(0xf0 - 0x80)));
	__m512i wrong;

	pair = _mm512_and_si512(
	    pair, _mm512_shuffle_epi8(block_table(utf8_second_high), block_high_nibble(b.v)));
	third = _mm512_and_si512(third, _mm512_set1_epi8((char)0x80));
	wrong = _mm512_xor_si512(third, pair);
	return _mm512_test_epi8_mask(wrong, wrong);
}

BLOCK_FN uint64_t block_parity(uint64_t bits)
{
	__m128i product =
	    _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)bits), _mm_set1_epi8((char)0xff), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

BLOCK_FN uint64_t block_stops(struct block b)
{
	return block_odd(b) | block_marked(b.v, block_quote_slash);
}

BLOCK_FN const char *block_skip_plain(const char *p, const char *end)
{
	while (end - p >= 128) {
		if (block_stops(block_load(p)) | block_stops(block_load(p + 64)))
			break;
		p += 128;
	}
	return p;
}

#endif
