/* struct block with NEON, which every AArch64 has; see block.h. */
#ifndef REQUEST_BLOCK_NEON_H
#define REQUEST_BLOCK_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include "request/block_tables.h"

#define BLOCK_READER text_neon
#define BLOCK_JSON   json_neon
#define BLOCK_NAME   "neon"
#define BLOCK_ENTRY
#define BLOCK_FN static inline

static inline bool block_usable(void)
{
	return true;
}

struct block {
	uint8x16_t v[4];
};

BLOCK_FN struct block block_load(const char *p)
{
	const uint8_t *at = (const uint8_t *)p;

	return (struct block){
	    {vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)}};
}

/* One bit for each byte, which is 0 or 0xff: pairs of bytes are added until eight make one. */
BLOCK_FN uint64_t block_bits(struct block b)
{
	static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128,
					   1, 2, 4, 8, 16, 32, 64, 128};
	const uint8x16_t place = vld1q_u8(places);
	uint8x16_t lo = vpaddq_u8(vandq_u8(b.v[0], place), vandq_u8(b.v[1], place));
	uint8x16_t hi = vpaddq_u8(vandq_u8(b.v[2], place), vandq_u8(b.v[3], place));

	lo = vpaddq_u8(lo, hi);
	return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(lo, lo)), 0);
}

#define BLOCK_EACH(b, expression)                                                                  \
	do {                                                                                       \
		for (int i_ = 0; i_ < 4; i_++) {                                                   \
			const uint8x16_t v = (b).v[i_];                                            \
			(b).v[i_] = (expression);                                                  \
		}                                                                                  \
	} while (0)

BLOCK_FN uint64_t block_equal(struct block b, char c)
{
	const uint8x16_t want = vdupq_n_u8((uint8_t)c);

	BLOCK_EACH(b, vceqq_u8(v, want));
	return block_bits(b);
}

BLOCK_FN struct block block_fold(struct block b)
{
	const uint8x16_t bit = vdupq_n_u8(0x20);

	BLOCK_EACH(b, vorrq_u8(v, bit));
	return b;
}

BLOCK_FN uint64_t block_folds(struct block b)
{
	const uint8x16_t bit = vdupq_n_u8(0x20);

	BLOCK_EACH(b, vtstq_u8(v, bit));
	return block_bits(b);
}

BLOCK_FN uint64_t block_high(struct block b)
{
	const uint8x16_t limit = vdupq_n_u8(0x80);

	BLOCK_EACH(b, vcgeq_u8(v, limit));
	return block_bits(b);
}

BLOCK_FN uint64_t block_control(struct block b)
{
	const uint8x16_t limit = vdupq_n_u8(0x20);

	BLOCK_EACH(b, vcltq_u8(v, limit));
	return block_bits(b);
}

BLOCK_FN uint64_t block_odd(struct block b)
{
	const int8x16_t limit = vdupq_n_s8(0x20);

	/* signed: what is above 0x7f is below zero */
	BLOCK_EACH(b, vcltq_s8(vreinterpretq_s8_u8(v), limit));
	return block_bits(b);
}

BLOCK_FN uint64_t block_digits(struct block b)
{
	const uint8x16_t zero = vdupq_n_u8('0'), nine = vdupq_n_u8(9);

	BLOCK_EACH(b, vcleq_u8(vsubq_u8(v, zero), nine));
	return block_bits(b);
}

BLOCK_FN uint8x16_t block_low_nibble(uint8x16_t v)
{
	return vandq_u8(v, vdupq_n_u8(0x0f));
}

/* Bytes that stand in the table at their low half byte. */
BLOCK_FN uint8x16_t block_marked(uint8x16_t v, const uint8_t t[16])
{
	return vceqq_u8(vqtbl1q_u8(vld1q_u8(t), block_low_nibble(v)), v);
}

BLOCK_FN uint64_t block_blanks(struct block b)
{
	BLOCK_EACH(b, block_marked(v, block_blank));
	return block_bits(b);
}

BLOCK_FN uint64_t block_in(struct block b, struct block_set set)
{
	const uint8x16_t low = vld1q_u8(set.low), high = vld1q_u8(set.high);

	BLOCK_EACH(
	    b, vtstq_u8(vqtbl1q_u8(low, block_low_nibble(v)), vqtbl1q_u8(high, vshrq_n_u8(v, 4))));
	return block_bits(b);
}

/* Non-zero where @v, with @before in front of it, goes wrong. */
BLOCK_FN uint8x16_t block_utf8_step(uint8x16_t v, uint8x16_t before)
{
	const uint8x16_t prev1 = vextq_u8(before, v, 15);
	const uint8x16_t prev2 = vextq_u8(before, v, 14);
	const uint8x16_t prev3 = vextq_u8(before, v, 13);
	uint8x16_t pair = vandq_u8(vqtbl1q_u8(vld1q_u8(utf8_first_high), vshrq_n_u8(prev1, 4)),
				   vqtbl1q_u8(vld1q_u8(utf8_first_low), block_low_nibble(prev1)));
	uint8x16_t third = vorrq_u8(vqsubq_u8(prev2, vdupq_n_u8(0xe0 - 0x80)),
				    vqsubq_u8(prev3, vdupq_n_u8(0xf0 - 0x80)));

	pair = vandq_u8(pair, vqtbl1q_u8(vld1q_u8(utf8_second_high), vshrq_n_u8(v, 4)));
	return veorq_u8(vandq_u8(third, vdupq_n_u8(0x80)), pair);
}

BLOCK_FN uint64_t block_utf8_wrong(struct block b)
{
	uint8x16_t before = vdupq_n_u8(0);

	for (int i = 0; i < 4; i++) {
		const uint8x16_t wrong = block_utf8_step(b.v[i], before);

		before = b.v[i];
		b.v[i] = vtstq_u8(wrong, wrong);
	}
	return block_bits(b);
}

BLOCK_FN uint64_t block_parity(uint64_t bits)
{
	for (unsigned n = 1; n < 64; n *= 2)
		bits ^= bits << n;
	return bits;
}

/* Zero for each byte that is plain. */
BLOCK_FN uint8x16_t block_stops(uint8x16_t v)
{
	/* signed: what is above 0x7f is below zero */
	return vorrq_u8(vcltq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(0x20)),
			block_marked(v, block_quote_slash));
}

BLOCK_FN const char *block_skip_plain(const char *p, const char *end)
{
	while (end - p >= 64) {
		const struct block b = block_load(p);
		uint8x16_t any = vorrq_u8(vorrq_u8(block_stops(b.v[0]), block_stops(b.v[1])),
					  vorrq_u8(block_stops(b.v[2]), block_stops(b.v[3])));

		if (vmaxvq_u8(any))
			break;
		p += 64;
	}
	return p;
}

#endif
