/*
 * 64 bytes of text in registers, and questions about all of them at once. An answer is a uint64_t,
 * a bit per byte, the first byte lowest. AVX2 or AVX-512 where the processor has them (asked once,
 * when the program starts: text_blocks in text.h), NEON on every little-endian AArch64, else none
 * at all. A file that includes this is compiled for AVX2 or NEON, and once more for AVX-512 by one
 * that defines BLOCK_WIDE and includes it.
 * To be called from functions that are BLOCK_FN themselves:
 *
 *   block_load(p)         reads p[0..63]
 *   block_equal(b, c)     bytes that are c
 *   block_fold(b)         every byte with bit 0x20 set: { for [, } for ], e for E
 *   block_folds(b)        bytes that have that bit: { and }, not [ and ]
 *   block_control(b)      below 0x20
 *   block_high(b)         above 0x7f
 *   block_odd(b)          one or the other
 *   block_digits(b)       0 to 9
 *   block_blanks(b)       JSON's white space
 *   block_in(b, set)      bytes of a set of block_tables.h
 *   block_utf8_wrong(b)   where UTF-8 that begins with the block is seen to be malformed: at the
 *                         byte after the first that cannot follow, so a sequence that the block's
 *                         end cuts off is not wrong yet
 *   block_parity(bits)    each bit: whether an odd number of bits are set up to it
 *   block_skip_plain(p, end)  the first place, in steps of a block or two, with a byte near it that
 *                         is a quote, a backslash, a control or above 0x7f
 */
#ifndef REQUEST_BLOCK_H
#define REQUEST_BLOCK_H

#include "request/text.h"

#if TEXT_HAS_BLOCKS

#if defined(BLOCK_WIDE)
#include "request/block_avx512.h"
#elif defined(__x86_64__)
#include "request/block_avx2.h"
#else
#include "request/block_neon.h"
#endif

/* The lowest @n bits, 0 to 64. */
static inline uint64_t block_below(unsigned n)
{
	return n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
}

static inline unsigned block_first(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits);
}

static inline unsigned block_last(uint64_t bits)
{
	return 63 - (unsigned)__builtin_clzll(bits);
}

/*
 * The bytes that backslashes escape, where the first byte is not escaped itself: those behind runs
 * of an odd length, by one subtraction (Langdale and Lemire, "Parsing gigabytes of JSON per
 * second", 2019, section 3.1.1; this shorter form is from simdjson).
 */
static inline uint64_t block_escaped(uint64_t slashes)
{
	const uint64_t odd = 0xaaaaaaaaaaaaaaaa;
	uint64_t runs = ((slashes << 1 | odd) - slashes) ^ odd;

	return runs ^ slashes;
}

/*
 * Where escapes go wrong: @targets are the escaped bytes. The four digits of an u may lie past
 * the block; that is for the caller to see.
 */
BLOCK_FN uint64_t block_escapes_wrong(struct block b, uint64_t targets)
{
	uint64_t u = targets & block_equal(b, 'u');
	uint64_t wrong = targets & ~block_in(b, block_escapes);

	if (u)
		wrong |= (u << 1 | u << 2 | u << 3 | u << 4) & ~block_in(b, block_hex);
	return wrong;
}

#endif
#endif
