#include "request/text.h"

#include "request/block.h"

#if TEXT_HAS_BLOCKS

/*
 * The inside of JSON strings, 64 bytes at a time. A block always begins where a character begins,
 * and what is consumed of it ends where one does, so nothing is carried from block to block: a
 * trailing half escape or half character is left for the next block, which begins there. A quote
 * that is not escaped ends the string, and what follows it does not count.
 *
 * Whatever is not right is left at the block's beginning for the scalar code, which knows where
 * exactly and why.
 */

/* Bytes of the block before a character that the block cuts off. */
static inline unsigned whole_characters(const char *p)
{
	if ((unsigned char)p[61] >= 0xf0)
		return 61;
	if ((unsigned char)p[62] >= 0xe0)
		return 62;
	return (unsigned char)p[63] >= 0xc0 ? 63 : 64;
}

/* Bytes of the block before an escape that the block cuts off. */
BLOCK_FN unsigned whole_escapes(struct block b, uint64_t slashes, uint64_t targets)
{
	uint64_t u = targets & block_equal(b, 'u') & ~block_below(60);

	if (u)
		return block_first(u) - 1;
	return slashes & ~targets & (uint64_t)1 << 63 ? 63 : 64;
}

/* Its whole escapes and characters up to @n are right. */
BLOCK_FN bool is_right(struct block b, uint64_t targets, unsigned n)
{
	const uint64_t seen = block_below(n);
	const uint64_t next = seen << 1 | 1; /* what half an escape or character shows at */

	if (block_control(b) & seen)
		return false;
	if ((targets & next) && block_escapes_wrong(b, targets & next))
		return false;
	return !(block_high(b) & seen) || !(block_utf8_wrong(b) & next);
}

BLOCK_ENTRY static const char *string(const char *p, const char *end, bool *escaped)
{
	p = block_skip_plain(p, end);
	while (end - p >= 64) {
		const struct block b = block_load(p);
		uint64_t slashes = block_equal(b, '\\');
		uint64_t targets = slashes ? block_escaped(slashes) : 0;
		uint64_t quotes = block_equal(b, '"') & ~targets;
		unsigned n = 64;

		if (quotes) {
			n = block_first(quotes);
		} else {
			if (slashes)
				n = whole_escapes(b, slashes, targets);
			if (n == 64 && block_high(b))
				n = whole_characters(p);
		}
		if (!is_right(b, targets, n))
			return p;
		*escaped |= (targets & block_below(n)) != 0;
		p += n;
		if (quotes)
			return p;
		if (!(slashes | block_high(b)))
			p = block_skip_plain(p, end);
	}
	return p;
}

const char *BLOCK_JSON(struct json *j, const char *p, const char *end);
extern const struct text_blocks BLOCK_READER;

const struct text_blocks BLOCK_READER = {BLOCK_NAME, block_usable, string, BLOCK_JSON};

#endif
