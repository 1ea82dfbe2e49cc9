/* The text of answers and the reading of prompts: both deterministic, one word is one token out,
 * four bytes are one token in. */
#ifndef SIM_WORDS_H
#define SIM_WORDS_H

#include "buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Token i of the answer with this seed: a word, with a space before it unless i is 0. */
const char *words_at(uint64_t seed, uint32_t i);
void words_text(struct buf *b, uint64_t seed, uint32_t n);
/* A number in [-1, 1) for (seed, i). */
double words_number(uint64_t seed, uint32_t i);

/* A prompt as it is fed: ids of whole KV blocks, tokens, and a hash of everything. */
struct prompt {
	uint32_t block_bytes;
	uint64_t hash;
	uint64_t bytes;
	uint32_t extra; /* tokens that are no text, as images */
	struct buf ids; /* uint64_t each */
	struct buf part;
};

/* salt tells prompts apart that share no KV, as those of different adapters. */
void prompt_init(struct prompt *p, uint32_t block_size, const char *salt);
void prompt_feed(struct prompt *p, const void *data, size_t len);
void prompt_puts(struct prompt *p, const char *s);
/* Counts as n tokens, whatever its length. */
void prompt_feed_opaque(struct prompt *p, const char *s, uint32_t n);
void prompt_feed_token(struct prompt *p, uint32_t token);
/* At least 1. */
uint32_t prompt_tokens(const struct prompt *p);
uint64_t prompt_hash(const struct prompt *p);
void prompt_deinit(struct prompt *p);

#endif
