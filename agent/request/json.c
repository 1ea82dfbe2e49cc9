#include "request/json.h"

#include "request/name.h"
#include "request/text.h"

/*
 * One function is the grammar: each label is a state of the enum in json.h, each goto a step of
 * RFC 8259, and `leave` writes the state down when the bytes end. That a scan can stop anywhere
 * costs nothing while it runs, and lets a body that came as head and tail be read as if it were
 * one piece: a string, an escape, a number or a UTF-8 sequence may lie across the seam.
 *
 * What follows a value depends only on whether the innermost bracket is an object, so a bit per
 * open level is all the memory there is; depth needs no recursion and costs no stack.
 *
 * Time goes into strings. Their inner loop is text_string(), which may also judge escapes and
 * UTF-8 in bulk; what it leaves is judged here, one by one; keys are looked at only at depth 1.
 *
 * Duplicates: the second top-level "model" is an error where its key ends, whatever its value,
 * because servers differ in which of two they obey. So is "Model" beside it, which Go's readers
 * take for the same; alone it is another key.
 */

void json_init(struct json *j, unsigned max_depth)
{
	j->key = j->like = j->model = j->model_escaped = false;
	j->top = 0;
	j->model_at = j->model_len = j->at = -1;
	j->why = NULL;
	j->state = JSON_VALUE;
	j->in_key = j->in_model = j->escaped = false;
	j->need = 0;
	j->word = NULL;
	j->string_at = -1;
	j->depth = 0;
	j->max_depth = max_depth < JSON_DEPTH_MAX ? max_depth : JSON_DEPTH_MAX;
}

enum key { KEY_OTHER, KEY_MODEL, KEY_LIKE };

/* The key whose @len raw bytes begin at body offset @at. */
static enum key read_key(const struct span *text, int64_t at, int64_t len, bool escaped)
{
	char scratch[30], out[30];
	struct view key;

	if (len < 5 || len > (escaped ? 30 : 5))
		return KEY_OTHER;
	key = span_view(text, at, (size_t)len, scratch);
	if (escaped && name_unescape(key, out, sizeof(out), &key) != NAME_OK)
		return KEY_OTHER;
	if (view_eq(key, VIEW_LIT("model")))
		return KEY_MODEL;
	return view_caseeq(key, VIEW_LIT("model")) ? KEY_LIKE : KEY_OTHER;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static inline bool begins_value(char c)
{
	return c == '{' || c == '[' || c == '-' || is_digit(c) || c == 't' || c == 'f' || c == 'n';
}

/*
 * Whether to read on in blocks. They read many short tokens at once, but one alone slowly; so where
 * they came to nothing several times, the next ones wait.
 */
struct patience {
	unsigned poor; /* visits in a row */
	unsigned wait; /* for so many occasions */
};

static inline bool blocks_pay(struct patience *patience, unsigned depth, const char *p,
			      const char *end)
{
	if (depth == 0 || end - p < 64 || !text_blocks)
		return false;
	if (patience->wait == 0)
		return true;
	patience->wait--;
	return false;
}

static inline void blocks_paid(struct patience *patience, int64_t bytes)
{
	if (bytes >= 64)
		patience->poor = 0;
	else if (patience->poor < 7)
		patience->poor++;
	patience->wait = (1u << patience->poor) - 1;
}

/* One piece of @text: @p..@end, whose first byte is the body's byte @base. */
static enum json_result run(struct json *j, const struct span *text, const char *p, const char *end,
			    int64_t base)
{
	const char *const seg = p;
	const char *why, *from;
	unsigned depth = j->depth;
	bool object = depth > 0 && json_is_object(j, depth - 1);
	bool escaped = j->escaped;
	bool in_key = j->in_key;
	int64_t string_at = j->string_at;
	enum json_state state = j->state;
	struct text_lead lead = {0, 0, 0};
	struct patience patience = {0, 0};
	char c;

#define OFFSET(q) (base + ((q)-seg))
#define LEAVE_AT_END(s)                                                                            \
	do {                                                                                       \
		if (p == end) {                                                                    \
			state = (s);                                                               \
			goto leave;                                                                \
		}                                                                                  \
	} while (0)
#define BAD(text_)                                                                                 \
	do {                                                                                       \
		why = (text_);                                                                     \
		goto bad;                                                                          \
	} while (0)

resume:
	switch (state) {
	case JSON_VALUE:
		if (depth == 0)
			goto top;
		if (j->in_model)
			goto model;
		goto value;
	case JSON_FIRST_ELEMENT:
		goto first_element;
	case JSON_FIRST_KEY:
		goto first_key;
	case JSON_KEY:
		goto key;
	case JSON_COLON:
		goto colon;
	case JSON_AFTER:
		goto after_block;
	case JSON_STRING:
		goto string;
	case JSON_ESCAPE:
		goto escape;
	case JSON_HEX:
		lead.need = j->need;
		goto hex;
	case JSON_UTF8:
		lead = (struct text_lead){j->need, j->lo, j->hi};
		goto utf8_rest;
	case JSON_MINUS:
		goto minus;
	case JSON_ZERO:
		goto zero;
	case JSON_INT:
		goto integer;
	case JSON_DOT:
		goto dot;
	case JSON_FRACTION:
		goto fraction;
	case JSON_E:
		goto e;
	case JSON_E_SIGN:
		goto e_sign;
	case JSON_E_INT:
		goto e_int;
	case JSON_WORD:
		goto word;
	}

top:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_VALUE);
	j->top = *p;
	goto value;
model:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_VALUE);
	if (begins_value(*p))
		BAD("the model is not a string");
	goto value;

first_element:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_FIRST_ELEMENT);
	if (*p == ']')
		goto close;
value:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_VALUE);
	c = *p;
	if (c == '"') {
		in_key = false;
		goto string_begin;
	}
	if (c >= '1' && c <= '9') {
		p++;
		goto integer;
	}
	switch (c) {
	case '{':
	case '[':
		if (depth >= j->max_depth)
			BAD("nested too deep");
		object = c == '{';
		json_mark(j, depth++, object);
		p++;
		if (blocks_pay(&patience, depth, p, end)) {
			state = object ? JSON_FIRST_KEY : JSON_FIRST_ELEMENT;
			goto blocks;
		}
		if (object)
			goto first_key;
		goto first_element;
	case 't':
		j->word = "rue";
		p++;
		goto word;
	case 'f':
		j->word = "alse";
		p++;
		goto word;
	case 'n':
		j->word = "ull";
		p++;
		goto word;
	case '-':
		p++;
		goto minus;
	case '0':
		p++;
		goto zero;
	default:
		BAD(c == '\xef' && OFFSET(p) == 0 ? "a byte order mark before the JSON"
						  : "not a JSON value");
	}

first_key:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_FIRST_KEY);
	if (*p == '}')
		goto close;
key:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_KEY);
	if (*p != '"')
		BAD("not a key in double quotes");
	in_key = true;
string_begin:
	p++;
	string_at = OFFSET(p);
	escaped = false;
string:
	p = text_string(p, end, &escaped);
	LEAVE_AT_END(JSON_STRING);
	c = *p;
	if (c == '"')
		goto string_end;
	if (c == '\\') {
		escaped = true;
		p++;
		goto escape;
	}
	if ((unsigned char)c < 0x20)
		BAD("a control character in a string");
	p = text_utf8(p, end);
	if (p == end || (unsigned char)*p < 0x80)
		goto string;
	if (!text_lead((unsigned char)*p, &lead))
		BAD("invalid UTF-8");
	p++;
utf8_rest:
	/* malformed, or cut off by the end of this piece */
	while (lead.need > 0) {
		LEAVE_AT_END(JSON_UTF8);
		if ((unsigned char)*p < lead.lo || (unsigned char)*p > lead.hi)
			BAD("invalid UTF-8");
		lead = (struct text_lead){(uint8_t)(lead.need - 1), 0x80, 0xbf};
		p++;
	}
	goto string;

escape:
	LEAVE_AT_END(JSON_ESCAPE);
	switch (*p++) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		goto string;
	case 'u':
		lead.need = 4;
		goto hex;
	default:
		p--;
		BAD("an unknown escape");
	}
hex:
	while (lead.need > 0) {
		LEAVE_AT_END(JSON_HEX);
		if (!is_hex(*p))
			BAD("not four hexadecimal digits after \\u");
		lead.need--;
		p++;
	}
	goto string;

string_end:
	if (in_key) {
		enum key key = KEY_OTHER;

		if (depth == 1 && string_at >= 0)
			key = read_key(text, string_at, OFFSET(p) - string_at, escaped);
		if (key != KEY_OTHER) {
			if (j->key || (j->like && key == KEY_MODEL)) {
				p = seg + (string_at - 1 - base);
				BAD("a second top-level \"model\"");
			}
			j->key = j->in_model = key == KEY_MODEL;
			j->like = j->like || key == KEY_LIKE;
		}
		p++;
		goto colon;
	}
	if (j->in_model) {
		j->in_model = false;
		j->model = true;
		j->model_escaped = escaped;
		j->model_at = string_at;
		j->model_len = OFFSET(p) - string_at;
	}
	p++;
	goto after;

colon:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_COLON);
	if (*p != ':')
		BAD("no colon after a key");
	p++;
	if (j->in_model)
		goto model;
	goto value;

after:
	if (blocks_pay(&patience, depth, p, end)) {
		state = JSON_AFTER;
		goto blocks;
	}
after_block:
	p = text_blank(p, end);
	LEAVE_AT_END(JSON_AFTER);
	if (depth == 0)
		BAD("bytes after the end of the JSON");
	if (*p == ',') {
		p++;
		if (object)
			goto key;
		goto value;
	}
	if (*p != (object ? '}' : ']'))
		BAD(object ? "no comma or } after a member" : "no comma or ] after an element");
close:
	p++;
	depth--;
	object = depth > 0 && json_is_object(j, depth - 1);
	goto after_block; /* brackets that close come together */

blocks:
	/* before they are asked again, the states below read one token at least */
	j->state = state;
	j->depth = depth;
	from = p;
	p = text_blocks->json(j, p, end);
	blocks_paid(&patience, p - from);
	state = j->state;
	depth = j->depth;
	in_key = j->in_key;
	object = json_is_object(j, depth - 1);
	goto resume;

minus:
	LEAVE_AT_END(JSON_MINUS);
	if (!is_digit(*p))
		BAD("a number without digits");
	if (*p++ != '0')
		goto integer;
zero:
	LEAVE_AT_END(JSON_ZERO);
	goto after_integer;
integer:
	p = text_digits(p, end);
	LEAVE_AT_END(JSON_INT);
after_integer:
	if (*p == '.') {
		p++;
		goto dot;
	}
after_fraction:
	if (*p != 'e' && *p != 'E')
		goto after;
	p++;
	goto e;
dot:
	LEAVE_AT_END(JSON_DOT);
	if (!is_digit(*p))
		BAD("a number without digits after the point");
fraction:
	p = text_digits(p, end);
	LEAVE_AT_END(JSON_FRACTION);
	goto after_fraction;
e:
	LEAVE_AT_END(JSON_E);
	if (*p == '+' || *p == '-')
		p++;
e_sign:
	LEAVE_AT_END(JSON_E_SIGN);
	if (!is_digit(*p))
		BAD("a number without digits in its exponent");
e_int:
	p = text_digits(p, end);
	LEAVE_AT_END(JSON_E_INT);
	goto after;

word:
	while (*j->word) {
		LEAVE_AT_END(JSON_WORD);
		if (*p != *j->word)
			BAD("not a JSON value");
		j->word++;
		p++;
	}
	goto after;

bad:
	j->why = why;
	j->at = OFFSET(p);
	return JSON_BAD;

leave:
	j->state = state;
	j->depth = depth;
	j->escaped = escaped;
	j->in_key = in_key;
	j->string_at = string_at;
	j->need = lead.need;
	j->lo = lead.lo;
	j->hi = lead.hi;
	if (depth > 0)
		return JSON_OPEN;
	switch (state) {
	case JSON_AFTER:
	case JSON_ZERO:
	case JSON_INT:
	case JSON_FRACTION:
	case JSON_E_INT:
		return JSON_CLOSED;
	case JSON_WORD:
		return *j->word ? JSON_OPEN : JSON_CLOSED;
	default:
		return JSON_OPEN;
	}
#undef OFFSET
#undef LEAVE_AT_END
#undef BAD
}

enum json_result json_scan(struct json *j, const struct span *text)
{
	const char *a = text->a.len ? text->a.ptr : "";
	enum json_result result = run(j, text, a, a + text->a.len, text->at);

	if (result != JSON_BAD && text->b.len)
		result = run(j, text, text->b.ptr, text->b.ptr + text->b.len,
			     text->at + (int64_t)text->a.len);
	return result;
}
