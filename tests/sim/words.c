/*
 * A prompt is cut every block_size x 4 bytes, as if each four bytes were a token, and each piece
 * gets a hash: the engine chains them into names of KV blocks. So two prompts share blocks exactly
 * as far as their bytes agree, in pieces of a block, and a test can tell by arithmetic how far.
 */
#include "words.h"

#include "draw.h"
#include "engine.h"

#include <string.h>

static const char *const list[] = {
    "the",     "model",   "of",     "a",      "server", "that",   "answers", "in",
    "words",   "and",     "every",  "word",   "is",     "one",    "token",   "long",
    "light",   "water",   "river",  "stone",  "tree",   "bird",   "cloud",   "field",
    "house",   "road",    "window", "table",  "paper",  "letter", "story",   "music",
    "morning", "evening", "winter", "summer", "night",  "day",    "hour",    "year",
    "slow",    "quick",   "small",  "large",  "green",  "blue",   "red",     "white",
    "open",    "closed",  "near",   "far",    "under",  "over",   "behind",  "before",
    "walks",   "runs",    "speaks", "reads",  "writes", "holds",  "turns",   "falls",
};

#define N_WORDS (sizeof(list) / sizeof(list[0]))

const char *words_at(uint64_t seed, uint32_t i)
{
	static char spaced[N_WORDS][12];
	uint64_t n = draw_mix(seed, i) % N_WORDS;

	if (i == 0)
		return list[n];
	if (!spaced[n][0]) {
		spaced[n][0] = ' ';
		strncpy(spaced[n] + 1, list[n], sizeof(spaced[n]) - 2);
	}
	return spaced[n];
}

void words_text(struct buf *b, uint64_t seed, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_puts(b, words_at(seed, i));
}

double words_number(uint64_t seed, uint32_t i)
{
	return (double)(draw_mix(seed, i) >> 11) / 4503599627370496.0 - 1;
}

static uint64_t hash_bytes(uint64_t h, const char *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		h = draw_mix(h, v);
	}
	if (len > 0) {
		uint64_t v = 0;

		memcpy(&v, p, len);
		h = draw_mix(h ^ len, v);
	}
	return h;
}

void prompt_init(struct prompt *p, uint32_t block_size, const char *salt)
{
	*p = (struct prompt){.block_bytes = block_size * 4};
	p->hash = hash_bytes(0, salt, strlen(salt));
}

static void add_id(struct prompt *p, const char *piece)
{
	p->hash = hash_bytes(p->hash, piece, p->block_bytes);
	buf_add(&p->ids, &p->hash, sizeof(p->hash));
}

void prompt_feed(struct prompt *p, const void *data, size_t len)
{
	const char *at = data;

	p->bytes += len;
	if (p->part.len > 0) {
		size_t room = p->block_bytes - p->part.len, n = len < room ? len : room;

		buf_add(&p->part, at, n);
		at += n;
		len -= n;
		if (p->part.len < p->block_bytes)
			return;
		add_id(p, p->part.p);
		p->part.len = 0;
	}
	for (; len >= p->block_bytes; at += p->block_bytes, len -= p->block_bytes)
		add_id(p, at);
	buf_add(&p->part, at, len);
}

void prompt_puts(struct prompt *p, const char *s)
{
	prompt_feed(p, s, strlen(s));
}

void prompt_feed_opaque(struct prompt *p, const char *s, uint32_t n)
{
	uint64_t h = hash_bytes(1, s, strlen(s));

	prompt_feed(p, &h, sizeof(h));
	p->extra += n > 2 ? n - 2 : 0;
}

void prompt_feed_token(struct prompt *p, uint32_t token)
{
	prompt_feed(p, &token, sizeof(token));
}

uint32_t prompt_tokens(const struct prompt *p)
{
	uint64_t n = (p->bytes + 3) / 4 + p->extra;

	return n == 0 ? 1 : n < UINT32_MAX / 4 ? (uint32_t)n : UINT32_MAX / 4;
}

uint64_t prompt_hash(const struct prompt *p)
{
	return hash_bytes(p->hash, p->part.p, p->part.len);
}

void prompt_deinit(struct prompt *p)
{
	buf_deinit(&p->ids);
	buf_deinit(&p->part);
}
