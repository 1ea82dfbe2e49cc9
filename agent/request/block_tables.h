/* What bytes mean, by half bytes: the tables of struct block's look-ups. */
#ifndef REQUEST_BLOCK_TABLES_H
#define REQUEST_BLOCK_TABLES_H

#include <stdint.h>

/*
 * Some bytes 64 times, those that block_equal() is asked for. In memory, where an instruction of
 * x86 finds it: compilers build constants that they know anew in each block, by three instructions.
 */
extern const uint8_t block_byte[128][64];

/* A byte is one of these if it stands at its low half byte. At 0 stands one that is elsewhere. */
static const uint8_t block_blank[16] = {[0] = ' ', [9] = '\t', [10] = '\n', [13] = '\r'};
static const uint8_t block_quote_slash[16] = {[0] = 0xff, [2] = '"', [12] = '\\'};

/* The bytes below 0x80 whose half bytes have a bit in common: low[b & 15] & high[b >> 4]. */
struct block_set {
	uint8_t low[16], high[16];
};

/* " 22, / 2f | \ 5c | b 62, f 66, n 6e | r 72, t 74, u 75 */
static const struct block_set block_escapes = {
    {0, 0, 1 | 4 | 8, 0, 8, 8, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1},
    {0, 0, 1, 0, 0, 2, 4, 8},
};
/* 0-9 30..39 | A-F 41..46, a-f 61..66 */
static const struct block_set block_hex = {
    {1, 3, 3, 3, 3, 3, 3, 1, 1, 1},
    {0, 0, 0, 1, 2, 0, 2},
};

/*
 * UTF-8 (Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte", 2021): what
 * a pair of neighbouring bytes can be wrong in; a bit stays where all three tables agree.
 */
enum {
	UTF8_TOO_SHORT = 1,   /* a lead, then no continuation */
	UTF8_TOO_LONG = 2,    /* ASCII, then a continuation */
	UTF8_OVERLONG_3 = 4,  /* E0 80..9F */
	UTF8_TOO_LARGE = 8,   /* F4 90.., F5.. */
	UTF8_SURROGATE = 16,  /* ED A0..BF */
	UTF8_OVERLONG_2 = 32, /* C0, C1 */
	UTF8_LARGE_OR_4 = 64, /* F5.. 80..8F, and F0 80..8F: overlong */
	UTF8_TWO_CONTS = 128, /* two continuations: right only behind E0.. or F0.. */
	UTF8_CARRY = UTF8_TOO_SHORT | UTF8_TOO_LONG | UTF8_TWO_CONTS,
	UTF8_LARGE = UTF8_CARRY | UTF8_TOO_LARGE | UTF8_LARGE_OR_4,
	UTF8_SECOND = UTF8_TOO_LONG | UTF8_OVERLONG_2 | UTF8_TWO_CONTS,
};
static const uint8_t utf8_first_high[16] = {
    [0 ... 7] = UTF8_TOO_LONG,
    [8 ... 11] = UTF8_TWO_CONTS,
    [12] = UTF8_TOO_SHORT | UTF8_OVERLONG_2,
    [13] = UTF8_TOO_SHORT,
    [14] = UTF8_TOO_SHORT | UTF8_OVERLONG_3 | UTF8_SURROGATE,
    [15] = UTF8_TOO_SHORT | UTF8_TOO_LARGE | UTF8_LARGE_OR_4,
};
static const uint8_t utf8_first_low[16] = {
    [0] = UTF8_CARRY | UTF8_OVERLONG_3 | UTF8_OVERLONG_2 | UTF8_LARGE_OR_4,
    [1] = UTF8_CARRY | UTF8_OVERLONG_2,
    [2 ... 3] = UTF8_CARRY,
    [4] = UTF8_CARRY | UTF8_TOO_LARGE,
    [5 ... 12] = UTF8_LARGE,
    [13] = UTF8_LARGE | UTF8_SURROGATE,
    [14 ... 15] = UTF8_LARGE,
};
static const uint8_t utf8_second_high[16] = {
    [0 ... 7] = UTF8_TOO_SHORT,
    [8] = UTF8_SECOND | UTF8_OVERLONG_3 | UTF8_LARGE_OR_4,
    [9] = UTF8_SECOND | UTF8_OVERLONG_3 | UTF8_TOO_LARGE,
    [10 ... 11] = UTF8_SECOND | UTF8_SURROGATE | UTF8_TOO_LARGE,
    [12 ... 15] = UTF8_TOO_SHORT,
};

#endif
