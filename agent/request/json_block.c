#include "request/json.h"

#include "request/block.h"

#if TEXT_HAS_BLOCKS

/*
 * The grammar of RFC 8259 as questions about 64 bytes.
 *
 * A block begins between tokens. Quotes that are not escaped tell what is inside strings (a bit is
 * the parity of the quotes up to it), the rest is brackets, commas, colons, blanks, and scalars:
 * numbers and words. A string or scalar that the block cuts off is left for the next one, which
 * begins with it; or, if it is long, to text_string(). What is left are whole tokens, and the
 * grammar is about which may follow which:
 *
 *  - "The next token after each of X" is (X << 1) + blanks, where the carry of the addition runs
 *    through a run of blanks and stops at the first byte behind it; what blanks it did not touch
 *    are masked out. The same addition runs from a string's opening quote to its closing one.
 *  - After a value or a key comes a comma, a colon or a closing bracket, after anything else comes
 *    none of these, but that a closing bracket may follow an opening one.
 *  - After the { and the commas of an object comes a string, a key; after a key, and only there,
 *    comes a colon.
 *  - Which commas are an object's is told by the brackets, the one thing that is walked bit by
 *    bit. Each is noted in the scanner's stack, as in json.c.
 *
 * Nothing is written down before the block is found right. A block that is not is left to the
 * scalar code at its first byte, and so is what this code cannot judge (a number of 64 digits), so
 * all errors, reasons and offsets are json.c's. So is what may be the top-level "model", and what
 * ends the top level.
 *
 * Time goes into instructions, some 250 a block, and into the branches that depend on what the
 * block holds: how many brackets, whether it cuts off a string. Both were tried without a branch,
 * which was slower.
 */

/* What the token before stands for. */
struct before {
	uint64_t value; /* a value or a key: now , : ] } */
	uint64_t key;   /* of these, a key: now a colon */
	uint64_t owes;  /* { or an object's comma: now a key */
	uint64_t opens; /* { or [: now perhaps } or ] */
};

static struct before before_of(enum json_state state)
{
	return (struct before){
	    .value = state == JSON_AFTER || state == JSON_COLON,
	    .key = state == JSON_COLON,
	    .owes = state == JSON_KEY || state == JSON_FIRST_KEY,
	    .opens = state == JSON_FIRST_KEY || state == JSON_FIRST_ELEMENT,
	};
}

static enum json_state state_of(struct before b)
{
	if (b.value)
		return b.key ? JSON_COLON : JSON_AFTER;
	if (b.opens)
		return b.owes ? JSON_FIRST_KEY : JSON_FIRST_ELEMENT;
	return b.owes ? JSON_KEY : JSON_VALUE;
}

/*
 * The innermost open levels in a register, the lowest bit for the innermost: levels from @base on,
 * while the depth stays from @low to @high. walk_brackets() needs two bits for itself.
 */
#define HELD_MAX 62
struct stack {
	uint64_t objects;
	unsigned base, depth, low, high;
};

static struct stack stack_load(const struct json *j, unsigned depth)
{
	struct stack s = {.base = depth > 32 ? depth - 32 : 0, .depth = depth};

	for (unsigned i = s.base; i < depth; i++)
		s.objects = s.objects << 1 | json_is_object(j, i);
	s.low = s.base + 1;
	s.high = s.base + HELD_MAX < j->max_depth ? s.base + HELD_MAX : j->max_depth;
	return s;
}

static void stack_store(struct stack s, struct json *j)
{
	for (unsigned i = s.depth; i > s.base; i--, s.objects >>= 1)
		json_mark(j, i - 1, s.objects & 1);
}

/* Another part of the stack is needed to go on. */
static inline bool must_reload(const struct stack *s, unsigned max_depth)
{
	return (s->depth == s->low && s->base > 0) || (s->depth == s->high && s->depth < max_depth);
}

/* Of the first n bytes. */
struct tokens {
	uint64_t inside;      /* strings with their opening quotes */
	uint64_t begin, end;  /* opening and closing quotes */
	uint64_t open, close; /* brackets */
	uint64_t comma, colon;
	uint64_t blank, scalar;
	uint64_t escaped;
	unsigned n;  /* at most 63: one place is kept for what the next token would be */
	bool string; /* the next token is a string */
	bool model;  /* the next token is perhaps the top-level key "model" */
};

BLOCK_FN struct tokens find_tokens(struct block b)
{
	const uint64_t last = (uint64_t)1 << 63;
	const struct block folded = block_fold(b);
	uint64_t quotes = block_equal(b, '"'), slashes = block_equal(b, '\\');
	uint64_t outside;
	struct tokens t = {.n = 63};

	if (slashes) {
		t.escaped = block_escaped(slashes);
		quotes &= ~t.escaped;
	}
	t.inside = block_parity(quotes);
	t.begin = quotes & t.inside;
	t.end = quotes & ~t.inside;
	outside = ~(t.inside | t.end);
	if ((t.inside | t.end) & last) {
		t.n = block_last(t.begin);
		t.string = true;
		t.inside &= block_below(t.n);
		t.begin &= t.inside;
		t.end &= block_below(t.n);
		outside &= block_below(t.n);
	}
	t.open = block_equal(folded, '{');
	t.close = block_equal(folded, '}');
	t.comma = block_equal(b, ',');
	t.colon = block_equal(b, ':');
	t.blank = block_blanks(b);
	t.scalar = outside & ~(t.open | t.close | t.comma | t.colon | t.blank);
	if (t.scalar & last) {
		t.n = ~t.scalar ? block_last(~t.scalar) + 1 : 0;
		t.scalar &= block_below(t.n);
	}
	outside &= ~last;
	t.open &= outside;
	t.close &= outside;
	t.comma &= outside;
	t.colon &= outside;
	t.blank &= outside;
	return t;
}

static inline void cut_tokens(struct tokens *t)
{
	const uint64_t seen = block_below(t->n);

	t->inside &= seen;
	t->begin &= seen;
	t->end &= seen;
	t->open &= seen;
	t->close &= seen;
	t->comma &= seen;
	t->colon &= seen;
	t->blank &= seen;
	t->scalar &= seen;
	t->escaped &= seen;
}

/* Bytes of a block before the bracket that leaves what @s holds, or closes the top level. */
__attribute__((noinline)) static unsigned reach(uint64_t open, uint64_t close, struct stack s)
{
	for (uint64_t left = open | close; left; left &= left - 1) {
		unsigned at = block_first(left);
		bool opens = open >> at & 1;

		if (s.depth == (opens ? s.high : s.low))
			return at;
		s.depth += opens ? 1 : -1u;
	}
	return 64;
}

/* "model" with its quotes, in any case; reads 7 bytes. */
static inline bool spells_model(const char *p)
{
	uint32_t a, b, want_a, want_b, upper_a, upper_b;

	memcpy(&a, p, 4);
	memcpy(&b, p + 3, 4);
	memcpy(&want_a, "\"mod", 4);
	memcpy(&want_b, "del\"", 4);
	memcpy(&upper_a, "\0\x20\x20\x20", 4);
	memcpy(&upper_b, "\x20\x20\x20\0", 4);
	return (a | upper_a) == want_a && (b | upper_b) == want_b;
}

/*
 * Bytes of a block before a string that, if it is a key of the top level, json.c must see: "model",
 * in any case, also if it is written with escapes.
 */
BLOCK_FN unsigned before_model(const char *p, struct block b, const struct tokens *t)
{
	enum { LEN = 7 };
	/* one that ends in the block at the latest, so that nothing is read past it */
	uint64_t strings = t->begin & block_equal(block_fold(b), 'm') >> 1 & block_below(65 - LEN);
	unsigned n = 64;

	while (strings && !spells_model(p + block_first(strings)))
		strings &= strings - 1;
	if (strings)
		n = block_first(strings);
	if (t->escaped & block_below(n)) {
		strings = t->begin & block_below(block_first(t->escaped));
		n = strings ? block_last(strings) : 0;
	}
	return n;
}

/*
 * Brackets of the right kinds. *objects: where the innermost bracket is an object's. Places and
 * levels are one bit higher here than elsewhere, which saves instructions.
 */
BLOCK_FN bool walk_brackets(const struct tokens *t, uint64_t braces, struct stack *s,
			    uint64_t *objects)
{
	const uint64_t brackets = t->open | t->close;
	const uint64_t open = t->open << 1, brace = braces << 1;
	uint64_t levels = s->objects << 1, inside = s->objects & 1, wrong = 0;

	if (!brackets) {
		*objects = -inside;
		return true;
	}
	for (uint64_t left = brackets; left; left &= left - 1) {
		unsigned at = block_first(left);
		uint64_t opens = open >> at, is_brace = brace >> at;

		wrong |= (levels ^ is_brace) & ~opens;
		/* opening: two up and one down; closing: one down */
		levels = ((levels << (opens & 2)) + 2 * (opens & is_brace & 2)) >> 1 & ~UINT64_C(1);
		inside |= (levels & 2) << at;
	}
	s->objects = levels >> 1;
	*objects = ~brackets & ~(inside + ~brackets);
	return !(wrong & 2);
}

/* The places of the next token behind each of @x, and the first token if it is behind @before. */
static inline uint64_t next_token(const struct tokens *t, uint64_t x, uint64_t before)
{
	return (2 * x + before + t->blank) & ~t->blank;
}

/* Which token follows which. @before becomes what the last one stands for. */
BLOCK_FN bool order_is_right(const struct tokens *t, uint64_t objects, uint64_t braces,
			     struct before *before)
{
	const uint64_t scalar_end = t->scalar & ~(t->scalar >> 1);
	const uint64_t split = t->comma | t->colon;
	const uint64_t value = t->end | scalar_end | t->close;
	const uint64_t owes = (t->comma & objects) | (t->open & braces);
	const uint64_t after_value = next_token(t, value, before->value);
	const uint64_t after_open = next_token(t, t->open, before->opens);
	const uint64_t after_owes = next_token(t, owes, before->owes);
	const uint64_t key = ((t->begin & after_owes) + t->inside) & ~t->inside;
	const uint64_t after_key = next_token(t, key, before->key);
	uint64_t wrong;

	wrong = (after_value ^ (split | t->close)) & ~(after_open & t->close);
	wrong |= after_owes & ~(t->begin | t->close);
	wrong |= t->colon ^ after_key;
	/* nothing is beyond the place that was kept */
	*before = (struct before){after_value >> t->n, after_key >> t->n, after_owes >> t->n,
				  after_open >> t->n};
	return !(wrong & block_below(t->n));
}

static inline bool four_are(const char *p, const char *four)
{
	return memcmp(p, four, 4) == 0;
}

/* The places of the word at @at if it stands there alone; else none. */
static inline uint64_t word_at(const char *p, uint64_t scalar, unsigned at)
{
	const unsigned is_false = p[at] == 'f', len = 4 + is_false;
	bool right;

	if ((scalar >> at & block_below(len + 1)) != block_below(len))
		return 0;
	p += at + is_false;
	right = is_false ? four_are(p, "alse") : four_are(p, "true") || four_are(p, "null");
	return right ? block_below(len) << at : 0;
}

/* @begin: the first bytes of @number, which may have anything in it. */
BLOCK_FN bool numbers_are_right(struct block b, uint64_t number, uint64_t begin, uint64_t digit)
{
	const uint64_t e = block_equal(block_fold(b), 'e') & number;
	const uint64_t dot = block_equal(b, '.') & number;
	const uint64_t minus = block_equal(b, '-') & number;
	const uint64_t sign = (minus | block_equal(b, '+')) & number & e << 1; /* of exponents */
	const uint64_t negative = minus & begin;
	const uint64_t integer = (begin & ~minus) | negative << 1;
	const uint64_t exponent = ((e << 1 & ~sign) | sign << 1);
	uint64_t wrong = number & ~(digit | e | dot | sign | negative);

	/* digits stand where numbers begin, on both sides of a dot, before an e and behind it */
	wrong |= (integer | dot << 1 | dot >> 1 | e >> 1 | exponent) & ~digit;
	/* no digit follows a leading zero */
	wrong |= integer & block_equal(b, '0') & digit >> 1;
	/* no second dot follows the digits after a dot, and nothing those of an exponent */
	wrong |= ((dot << 1) + digit) & ~digit & dot;
	wrong |= ((exponent & digit) + digit) & ~digit & number;
	return !wrong;
}

BLOCK_FN bool scalars_are_right(const char *p, struct block b, uint64_t scalar)
{
	uint64_t digit = block_digits(b) & scalar;
	uint64_t begin = scalar & ~(scalar << 1);
	uint64_t words = begin & ~digit;

	if (digit != scalar) {
		words &= ~block_equal(b, '-');
		for (; words; words &= words - 1) {
			uint64_t word = word_at(p, scalar, block_first(words));

			if (!word)
				return false;
			scalar &= ~word;
		}
		begin &= scalar;
		if (digit != scalar)
			return numbers_are_right(b, scalar, begin, digit);
	}
	return !(begin & block_equal(b, '0') & digit >> 1);
}

BLOCK_FN bool strings_are_right(struct block b, const struct tokens *t)
{
	if (t->escaped && block_escapes_wrong(b, t->escaped & block_below(t->n)))
		return false;
	if (!(block_odd(b) & t->inside))
		return true;
	return !(block_control(b) & t->inside) && !(block_utf8_wrong(b) & block_below(t->n));
}

/* A block's tokens, from @p on: true and their number of bytes in t->n; or false. */
BLOCK_FN bool read_block(const char *p, struct tokens *t, struct stack *stack,
			 struct before *before)
{
	const struct block b = block_load(p);
	unsigned opens, closes, n = 64;
	uint64_t objects, braces = block_folds(b);

	*t = find_tokens(b);
	opens = (unsigned)__builtin_popcountll(t->open);
	closes = (unsigned)__builtin_popcountll(t->close);
	if (stack->depth + opens > stack->high || stack->depth < stack->low + closes)
		n = reach(t->open, t->close, *stack);
	if (stack->depth < 2 + closes) {
		unsigned model = before_model(p, b, t);

		t->model = model < n && model < t->n;
		n = model < n ? model : n;
	}
	if (n < t->n) {
		t->n = n;
		t->string = false;
		cut_tokens(t);
		opens = (unsigned)__builtin_popcountll(t->open);
		closes = (unsigned)__builtin_popcountll(t->close);
	}
	if (t->scalar && !scalars_are_right(p, b, t->scalar))
		return false;
	if (!strings_are_right(b, t) || !walk_brackets(t, braces, stack, &objects))
		return false;
	stack->depth += opens - closes;
	return order_is_right(t, objects, braces, before);
}

/* A string that begins this early in a block is no longer worth a block of its own. */
#define STRING_LONG 40

const char *BLOCK_JSON(struct json *j, const char *p, const char *end);

BLOCK_ENTRY const char *BLOCK_JSON(struct json *j, const char *p, const char *end)
{
	struct before before = before_of(j->state), new_before;
	struct stack stack, new_stack;
	struct tokens t;

	stack = stack_load(j, j->depth);
	while (end - p >= 64) {
		new_stack = stack;
		new_before = before;
		if (!read_block(p, &t, &new_stack, &new_before))
			break;
		stack = new_stack;
		before = new_before;
		p += t.n;
		if (t.model)
			break;
		if (t.n > STRING_LONG)
			continue;
		if (t.string && !before.value && !(before.owes && stack.depth == 1)) {
			j->in_key = before.owes;
			p = text_string(p + 1, end, &j->escaped);
			if (p == end || *p != '"') {
				j->state = JSON_STRING;
				goto leave;
			}
			p++;
			before = (struct before){.value = 1, .key = before.owes};
		} else if (must_reload(&stack, j->max_depth)) {
			stack_store(stack, j);
			stack = stack_load(j, stack.depth);
		} else if (t.n == 0) {
			break;
		}
	}
	j->state = state_of(before);
leave:
	j->depth = stack.depth;
	stack_store(stack, j);
	return p;
}

#endif
