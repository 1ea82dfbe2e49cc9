/*
 * Words of the file → values.
 *
 * Numbers are digits and, for times and sizes, a unit; signs, exponents, hexadecimal and leading
 * zeros are refused, since readers of YAML disagree about them. A time always has its unit: a bare
 * 5 has been seconds to one program and milliseconds to the next.
 *
 * Each function either stores or reports; what is reported leaves the old value in place.
 */
#include "config/value.h"

#include <errno.h>
#include <stdlib.h>
#include "config/suggest.h"

#define VALUE_ITEMS_MAX 256 /* of a list */

/* One value of the file: the row, the words, their place. */
struct value {
	const struct option *o;
	void *field;
	struct mistakes *r;
	struct view text;
	int line, col;
};

#define VALUE_ERROR(v, fmt, ...)                                                                   \
	mistakes_add((v)->r, (v)->line, (v)->col, "%s " fmt, mistakes_quote((v)->text).text,       \
		     ##__VA_ARGS__)

static bool value_in_range(const struct value *v, int64_t number)
{
	char range[64];

	if (number >= v->o->min && number <= v->o->max)
		return true;
	VALUE_ERROR(v, "is out of range: %s", option_range(v->o, range));
	return false;
}

static bool value_all_digits(struct view text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
	return text.len > 0;
}

/* Digits of @text as a number; past the end of int64 the largest, which no row allows. */
static int64_t value_digits(struct view text)
{
	int64_t number = syntax_number(text, INT64_MAX);

	return number < 0 ? INT64_MAX : number;
}

static void value_set_uint(const struct value *v)
{
	char range[64];
	int64_t number;

	if (!value_all_digits(v->text) || (v->text.ptr[0] == '0' && v->text.len > 1)) {
		VALUE_ERROR(v, "is no whole number: write digits alone, without a leading 0 (%s)",
			    option_range(v->o, range));
		return;
	}
	number = value_digits(v->text);
	if (value_in_range(v, number))
		*(uint32_t *)v->field = (uint32_t)number;
}

/* DIGITS UNIT into the number; false where it is not that. */
static bool value_with_unit(struct view text, struct view *digits, struct view *unit)
{
	size_t n = 0;

	while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
		n++;
	*digits = (struct view){text.ptr, n};
	*unit = (struct view){text.ptr + n, text.len - n};
	return n > 0 && (n == 1 || text.ptr[0] != '0');
}

static int64_t value_times(int64_t number, int64_t factor)
{
	return number > INT64_MAX / factor ? INT64_MAX : number * factor;
}

static void value_set_time(const struct value *v)
{
	struct view digits, unit;
	int64_t factor = 0, number;
	char range[64];

	if (value_with_unit(v->text, &digits, &unit)) {
		if (unit.len == 0) {
			VALUE_ERROR(v, "has no unit: write %.*ss or %.*sms (%s)",
				    (int)(digits.len < 20 ? digits.len : 20), digits.ptr,
				    (int)(digits.len < 20 ? digits.len : 20), digits.ptr,
				    option_range(v->o, range));
			return;
		}
		if (view_eq(unit, VIEW_LIT("ms")))
			factor = 1;
		else if (view_eq(unit, VIEW_LIT("s")))
			factor = 1000;
		else if (view_eq(unit, VIEW_LIT("m")))
			factor = 60000;
		else if (view_eq(unit, VIEW_LIT("h")))
			factor = 3600000;
	}
	if (!factor) {
		VALUE_ERROR(v, "is no time: write a whole number with ms, s, m or h (%s)",
			    option_range(v->o, range));
		return;
	}
	number = value_times(value_digits(digits), factor);
	if (value_in_range(v, number))
		*(uint32_t *)v->field = (uint32_t)number;
}

static void value_set_size(const struct value *v)
{
	struct view digits, unit;
	int64_t factor = 0, number;
	char range[64];

	if (value_with_unit(v->text, &digits, &unit)) {
		if (unit.len == 0)
			factor = 1;
		else if (view_caseeq(unit, VIEW_LIT("k")))
			factor = 1 << 10;
		else if (view_caseeq(unit, VIEW_LIT("m")))
			factor = 1 << 20;
		else if (view_caseeq(unit, VIEW_LIT("g")))
			factor = 1 << 30;
	}
	if (!factor) {
		VALUE_ERROR(v,
			    "is no size: write a whole number of bytes, or one with k, m or g "
			    "(%s)",
			    option_range(v->o, range));
		return;
	}
	number = value_times(value_digits(digits), factor);
	if (value_in_range(v, number))
		*(uint64_t *)v->field = (uint64_t)number;
}

static void value_set_mode(const struct value *v)
{
	int64_t mode = v->text.len >= 3 && v->text.len <= 4 ? 0 : -1;
	char range[64];

	for (size_t i = 0; mode >= 0 && i < v->text.len; i++)
		mode = v->text.ptr[i] >= '0' && v->text.ptr[i] <= '7'
			   ? mode * 8 + (v->text.ptr[i] - '0')
			   : -1;
	if (mode < 0)
		VALUE_ERROR(v, "is no mode: write three or four octal digits, like 0660 (%s)",
			    option_range(v->o, range));
	else if (value_in_range(v, mode))
		*(uint32_t *)v->field = (uint32_t)mode;
}

static void value_set_bool(const struct value *v)
{
	static const struct view words[] = {VIEW_LIT("false"), VIEW_LIT("true"), VIEW_LIT("no"),
					    VIEW_LIT("yes"),   VIEW_LIT("off"),  VIEW_LIT("on")};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (view_caseeq(v->text, words[i])) {
			*(bool *)v->field = i % 2;
			return;
		}
	}
	VALUE_ERROR(v, "is neither true nor false");
}

/* "a, b, c" for messages; cut where it does not fit. */
static void value_join(const char *const *words, size_t n, char *buf, size_t size)
{
	buf[0] = '\0';
	for (size_t i = 0, len = 0; i < n && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? ", " : "", words[i]);
}

static void value_unknown_word(const struct value *v, const char *const *words, size_t n)
{
	const char *nearest = suggest_nearest(v->text, words, n);
	char all[512];

	value_join(words, n, all, sizeof(all));
	if (nearest)
		VALUE_ERROR(v, "is unknown: did you mean \"%s\"? (one of %s)", nearest, all);
	else
		VALUE_ERROR(v, "is unknown: one of %s", all);
}

static void value_set_enum(const struct value *v)
{
	const char *const *words = v->o->type->words;
	size_t n = 0;

	for (; words[n]; n++) {
		if (view_eq(v->text, view_str(words[n]))) {
			*(int *)v->field = (int)n;
			return;
		}
	}
	value_unknown_word(v, words, n);
}

/* What every string must be: no control characters, the length of its row, the form of its type. */
static bool value_is_string(const struct value *v)
{
	struct syntax_why why;

	for (size_t i = 0; i < v->text.len; i++) {
		unsigned char c = (unsigned char)v->text.ptr[i];

		if (c < 0x20 || c == 0x7f ||
		    (c == 0xc2 && (unsigned char)v->text.ptr[i + 1] < 0xa0)) {
			VALUE_ERROR(v, "holds a control character: remove it");
			return false;
		}
	}
	if (v->o->max > 0 && v->text.len > (uint64_t)v->o->max) {
		VALUE_ERROR(v, "is %zu bytes long: at most %lld", v->text.len,
			    (long long)v->o->max);
		return false;
	}
	if (v->text.len < (uint64_t)v->o->min) {
		VALUE_ERROR(v, "is empty: write a %s", v->o->type->name);
		return false;
	}
	if (v->text.len && v->o->type->check && !v->o->type->check(v->text, &why)) {
		VALUE_ERROR(v, "%s", why.text);
		return false;
	}
	return true;
}

static void value_set_str(const struct value *v)
{
	char **field = v->field, *copy = NULL;

	if (!value_is_string(v))
		return;
	if (v->text.len) {
		copy = view_dup(v->text);
		if (!copy) {
			v->r->err = -ENOMEM;
			return;
		}
	}
	free(*field);
	*field = copy;
}

/* Takes nothing; the list is as before when memory is short. */
static void value_list_add(const struct value *v, struct config_list *list)
{
	char **items = realloc(list->items, (list->n + 1) * sizeof(char *)), *copy;

	if (items)
		list->items = items;
	copy = items ? view_dup(v->text) : NULL;
	if (copy)
		list->items[list->n++] = copy;
	else
		v->r->err = -ENOMEM;
}

/* The default of a closed list is its vocabulary. */
static bool value_is_known(const struct value *v)
{
	const char *words[64];
	char text[1024];
	size_t n = 0;

	snprintf(text, sizeof(text), "%s", v->o->fallback);
	for (char *save, *word = strtok_r(text, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		if (view_eq(v->text, view_str(word)))
			return true;
		if (n < sizeof(words) / sizeof(words[0]))
			words[n++] = word;
	}
	value_unknown_word(v, words, n);
	return false;
}

static void value_list_item(const struct value *v, struct config_list *list)
{
	if (v->text.len == 0) {
		mistakes_add(v->r, v->line, v->col, "an empty item: remove it");
		return;
	}
	if (!value_is_string(v) || (v->o->type->closed && !value_is_known(v)))
		return;
	for (size_t i = 0; i < list->n; i++) {
		if (view_eq(v->text, view_str(list->items[i]))) {
			VALUE_ERROR(v, "is given twice: keep one");
			return;
		}
	}
	if (list->n == VALUE_ITEMS_MAX)
		mistakes_add(v->r, v->line, v->col, "more than %d items", VALUE_ITEMS_MAX);
	else
		value_list_add(v, list);
}

/* One word holds several items, with commas between them. */
static void value_list_split(struct value v, struct config_list *list)
{
	struct view rest = v.text;

	while (rest.len && !v.r->err) {
		const char *comma = memchr(rest.ptr, ',', rest.len);
		size_t len = comma ? (size_t)(comma - rest.ptr) : rest.len;

		v.text = (struct view){rest.ptr, len};
		while (v.text.len && v.text.ptr[0] == ' ') {
			v.text.ptr++;
			v.text.len--;
		}
		while (v.text.len && v.text.ptr[v.text.len - 1] == ' ')
			v.text.len--;
		value_list_item(&v, list);
		rest.ptr += len + (comma != NULL);
		rest.len -= len + (comma != NULL);
	}
}

static void value_read_list(struct value v, const struct tree_node *node)
{
	struct config_list list = {0};
	size_t i = 0;

	if (node->kind == TREE_WORD)
		value_list_split(v, &list);
	for (const struct tree_item *item = node->first; item && !v.r->err;
	     item = item->next, i++) {
		size_t before = mistakes_enter_item(v.r, i);

		v.text = item->value->text;
		v.line = item->value->line;
		v.col = item->value->col;
		if (value_expect(v.r, item->value, TREE_WORD, "a single value"))
			value_list_item(&v, &list);
		mistakes_leave(v.r, before);
	}
	value_list_deinit(v.field);
	*(struct config_list *)v.field = list;
}

void value_list_deinit(struct config_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){0};
}

bool value_expect(struct mistakes *r, const struct tree_node *node, enum tree_kind kind,
		  const char *what)
{
	if (node->kind == kind)
		return true;
	if (node->kind == TREE_NULL)
		mistakes_add(r, node->line, node->col, "has no value: write %s, or leave it out",
			     what);
	else if (node->kind != TREE_BROKEN)
		mistakes_add(r, node->line, node->col, "%s stands where %s belongs",
			     tree_kind_name(node->kind), what);
	return false;
}

void value_read(const struct option *o, void *field, struct mistakes *r,
		const struct tree_node *node)
{
	struct value v = {o, field, r, node->text, node->line, node->col};
	char what[64];

	if (o->type->kind == OPTION_LIST) {
		if (node->kind == TREE_WORD || value_expect(r, node, TREE_LIST, "a list"))
			value_read_list(v, node);
		return;
	}
	snprintf(what, sizeof(what), "a single value (%s)", o->type->name);
	if (!value_expect(r, node, TREE_WORD, what))
		return;
	switch (o->type->kind) {
	case OPTION_BOOL:
		value_set_bool(&v);
		break;
	case OPTION_UINT:
		value_set_uint(&v);
		break;
	case OPTION_SIZE:
		value_set_size(&v);
		break;
	case OPTION_TIME:
		value_set_time(&v);
		break;
	case OPTION_MODE:
		value_set_mode(&v);
		break;
	case OPTION_STR:
		value_set_str(&v);
		break;
	case OPTION_ENUM:
		value_set_enum(&v);
		break;
	case OPTION_LIST:
	case OPTION_CUSTOM:
		break;
	}
}
