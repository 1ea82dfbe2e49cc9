/*
 * The Prometheus text format.
 *
 * Lines are found by memchr() and told apart by their first byte; that is all that is done for
 * most of them. A line is parsed by a cursor that only moves forward and always compares with the
 * line's end before it looks. What is not understood is one line's matter: promtext_parse() says
 * so and the caller decides, the next line is read as if nothing had been.
 *
 * Numbers: almost all are short decimals, read here; whatever has an exponent, more digits than a
 * double holds exactly, or a word, goes through strtod() in a copy on the stack, after its bytes
 * were checked, so that strtod()'s hexadecimal and its reading up to a NUL cannot come into play.
 */
#include "observe/promtext.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define NUMBER_MAX 64 /* longer ones are none */
#define EXACT      15 /* decimal digits that a double always holds */

struct promtext promtext_open(struct view page)
{
	const char *at = page.ptr ? page.ptr : "";

	return (struct promtext){at, at + page.len};
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == ':';
}

static bool is_name_start(char c)
{
	return is_name(c) && !(c >= '0' && c <= '9');
}

static struct view trim(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	while (at < end && (is_blank(end[-1]) || end[-1] == '\r'))
		end--;
	return (struct view){at, (size_t)(end - at)};
}

/* Cuts @word and the white space behind it off a comment's text. */
static bool cut_word(struct view *text, struct view word)
{
	if (text->len < word.len || memcmp(text->ptr, word.ptr, word.len) != 0)
		return false;
	if (text->len > word.len && !is_blank(text->ptr[word.len]))
		return false;
	*text = trim(text->ptr + word.len, text->ptr + text->len);
	return true;
}

bool promtext_next(struct promtext *p, enum promtext_kind *kind, struct view *line)
{
	while (p->at < p->end) {
		const char *at = p->at, *end = memchr(at, '\n', (size_t)(p->end - at));
		struct view text;

		p->at = end ? end + 1 : p->end;
		if (!end)
			end = p->end;
		/* Half of the comments, told apart at the byte that makes them so. */
		if (end - at > 2 && at[0] == '#' && at[1] == ' ' && at[2] == 'H')
			continue;
		if (at == end)
			continue;
		text = (struct view){at, (size_t)(end - at)};
		if (is_blank(at[0]) || is_blank(end[-1]) || end[-1] == '\r')
			text = trim(at, end);
		if (text.len == 0)
			continue;
		*line = text;
		*kind = PROMTEXT_SAMPLE;
		if (text.ptr[0] != '#')
			return true;
		text = trim(text.ptr + 1, text.ptr + text.len);
		if (cut_word(&text, VIEW_LIT("TYPE"))) {
			*line = text;
			*kind = PROMTEXT_TYPE;
			return true;
		}
		if (text.len == 3 && cut_word(&text, VIEW_LIT("EOF"))) {
			p->at = p->end;
			return false;
		}
	}
	return false;
}

bool promtext_is(struct view line, struct view name)
{
	if (line.len < name.len || memcmp(line.ptr, name.ptr, name.len) != 0)
		return false;
	return line.len == name.len || !is_name(line.ptr[name.len]);
}

/* Numbers */

static int number_slow(struct view text, double *ret)
{
	static const struct {
		struct view word;
		double value;
	} words[] = {
	    {VIEW_LIT("nan"), NAN}, {VIEW_LIT("inf"), INFINITY}, {VIEW_LIT("infinity"), INFINITY}};
	char copy[NUMBER_MAX + 1], *end;
	struct view word = text;
	bool negative = text.ptr[0] == '-';

	if (text.len > NUMBER_MAX)
		return -EINVAL;
	if (word.ptr[0] == '-' || word.ptr[0] == '+') {
		word.ptr++;
		word.len--;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (view_caseeq(word, words[i].word)) {
			*ret = negative ? -words[i].value : words[i].value;
			return 0;
		}
	}
	for (size_t i = 0; i < text.len; i++)
		if (!(text.ptr[i] >= '0' && text.ptr[i] <= '9') && !strchr("+-.eE", text.ptr[i]))
			return -EINVAL;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	*ret = strtod(copy, &end);
	return end != copy && *end == '\0' ? 0 : -EINVAL;
}

int promtext_number(struct view text, double *ret)
{
	static const double tenth[EXACT + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
						1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
	uint64_t digits = 0;
	size_t n = 0, behind = 0;
	bool point = false;
	double value;

	if (text.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '.' && !point) {
			point = true;
			continue;
		}
		if (c < '0' || c > '9' || n == EXACT)
			return number_slow(text, ret);
		digits = digits * 10 + (uint64_t)(c - '0');
		n++;
		behind += point;
	}
	if (n == 0)
		return -EINVAL;
	value = (double)digits / tenth[behind]; /* both exact: one rounding, as strtod() */
	*ret = value;
	return 0;
}

/* Labels */

/* Reads one label at @at: its name, its raw value. NULL when there is none that is whole. */
static const char *read_label(const char *at, const char *end, struct promtext_label *ret)
{
	const char *name = at;

	if (at == end || !is_name_start(*at))
		return NULL;
	while (at < end && is_name(*at))
		at++;
	ret->name = (struct view){name, (size_t)(at - name)};
	while (at < end && is_blank(*at))
		at++;
	if (at == end || *at++ != '=')
		return NULL;
	while (at < end && is_blank(*at))
		at++;
	if (at == end || *at++ != '"')
		return NULL;
	ret->value.ptr = at;
	while (at < end && *at != '"') {
		if (*at == '\\' && ++at == end)
			return NULL;
		at++;
	}
	if (at == end)
		return NULL;
	ret->value.len = (size_t)(at - ret->value.ptr);
	return at + 1;
}

static const char *skip_separator(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	if (at < end && *at == ',') {
		at++;
		while (at < end && is_blank(*at))
			at++;
	}
	return at;
}

bool promtext_label(struct view *labels, struct promtext_label *ret)
{
	const char *end = labels->ptr + labels->len, *at = labels->ptr;

	while (at < end && is_blank(*at))
		at++;
	at = read_label(at, end, ret);
	if (!at)
		return false;
	at = skip_separator(at, end);
	*labels = (struct view){at, (size_t)(end - at)};
	return true;
}

struct view promtext_label_find(struct view labels, struct view name)
{
	struct promtext_label l;

	while (promtext_label(&labels, &l))
		if (view_eq(l.name, name))
			return l.value;
	return (struct view){"", 0};
}

bool promtext_value_is(struct view value, struct view text)
{
	size_t n = 0;

	for (size_t i = 0; i < value.len; i++, n++) {
		char c = value.ptr[i];

		if (c == '\\' && i + 1 < value.len) {
			c = value.ptr[++i];
			if (c == 'n')
				c = '\n';
		}
		if (n == text.len || text.ptr[n] != c)
			return false;
	}
	return n == text.len;
}

/* Samples */

/* Past "{…}"; NULL when it is not closed or holds something else than labels. */
static const char *read_labels(const char *at, const char *end, struct view *ret)
{
	struct promtext_label l;

	ret->ptr = ++at;
	while (at < end && is_blank(*at))
		at++;
	while (at < end && *at != '}') {
		const char *next = read_label(at, end, &l);

		if (!next)
			return NULL;
		at = skip_separator(next, end);
		/* Labels are parted by commas; the last one may have one, too. */
		if (at < end && *at != '}' && !memchr(next, ',', (size_t)(at - next)))
			return NULL;
	}
	if (at == end)
		return NULL;
	ret->len = (size_t)(at - ret->ptr);
	return at + 1;
}

int promtext_parse(struct view line, struct promtext_sample *ret)
{
	const char *at = line.ptr, *end = line.ptr + line.len, *word;
	struct promtext_sample s = {.labels = {"", 0}};

	if (at == end || !is_name_start(*at))
		return -EINVAL;
	while (at < end && is_name(*at))
		at++;
	s.name = (struct view){line.ptr, (size_t)(at - line.ptr)};
	word = at;
	while (at < end && is_blank(*at))
		at++;
	if (at < end && *at == '{') {
		at = read_labels(at, end, &s.labels);
		if (!at)
			return -EINVAL;
	} else if (at == word) {
		return -EINVAL;
	}
	while (at < end && is_blank(*at))
		at++;
	word = at;
	while (at < end && !is_blank(*at))
		at++;
	/* What follows is a timestamp or an exemplar: not for us. */
	if (promtext_number((struct view){word, (size_t)(at - word)}, &s.value) < 0)
		return -EINVAL;
	*ret = s;
	return 0;
}
