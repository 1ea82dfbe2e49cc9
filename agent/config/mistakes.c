/*
 * Errors by place.
 *
 * A file is read on after an error, so they come from several passes; each is put behind the ones
 * of its place or earlier. One node may be reached twice (a YAML alias), its error is kept once.
 * Their number is bounded, the first ones stay: a file of another kind altogether must not fill the
 * memory.
 */
#include "config/mistakes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

void mistakes_init(struct mistakes *r, struct config_errors *errors)
{
	*errors = (struct config_errors){0};
	*r = (struct mistakes){.errors = errors};
}

/* U+0080 to U+009F: to a terminal these are commands, U+0085 is a line break. */
static bool mistakes_c1(struct view v, size_t i)
{
	return v.ptr[i] == '\xc2' && i + 1 < v.len && (unsigned char)v.ptr[i + 1] < 0xa0;
}

struct mistakes_quoted mistakes_quote(struct view v)
{
	struct mistakes_quoted q = {"\""};
	size_t len = 1;

	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.ptr[i];
		size_t left = sizeof(q.text) - len;

		/* The longest piece, "…", the quote, the end. A character is not cut in two. */
		if (left < 16 && (c & 0xc0) != 0x80) {
			len += (size_t)snprintf(q.text + len, left, "…");
			break;
		}
		if (c < 0x20 || c == 0x7f)
			len += (size_t)snprintf(q.text + len, left, "\\x%02x", c);
		else if (mistakes_c1(v, i) && ++i)
			len += (size_t)snprintf(q.text + len, left, "\\u%04x",
						(unsigned char)v.ptr[i]);
		else if (c == '"' || c == '\\')
			len += (size_t)snprintf(q.text + len, left, "\\%c", c);
		else
			q.text[len++] = (char)c;
	}
	q.text[len] = '"';
	q.text[len + 1] = '\0';
	return q;
}

static bool mistakes_is_word(struct view key)
{
	for (size_t i = 0; i < key.len; i++) {
		unsigned char c = (unsigned char)key.ptr[i];

		if (c <= 0x20 || c == 0x7f || c == '"' || c == ':' || mistakes_c1(key, i))
			return false;
	}
	return key.len > 0 && key.len <= 64;
}

static size_t mistakes_step(struct mistakes *r, const char *text, size_t len)
{
	size_t before = r->path_len;

	if (len < sizeof(r->path) - r->path_len) {
		memcpy(r->path + r->path_len, text, len);
		r->path_len += len;
		r->path[r->path_len] = '\0';
	}
	return before;
}

size_t mistakes_enter(struct mistakes *r, struct view key)
{
	struct mistakes_quoted q = mistakes_quote(key);
	size_t before = r->path_len;

	if (before)
		mistakes_step(r, ".", 1);
	if (mistakes_is_word(key))
		mistakes_step(r, key.ptr, key.len);
	else
		mistakes_step(r, q.text, strlen(q.text));
	return before;
}

size_t mistakes_enter_item(struct mistakes *r, size_t i)
{
	char text[32];

	return mistakes_step(r, text, (size_t)snprintf(text, sizeof(text), "[%zu]", i));
}

void mistakes_leave(struct mistakes *r, size_t before)
{
	r->path_len = before;
	r->path[before] = '\0';
}

/* Takes @text. */
static void mistakes_insert(struct mistakes *r, int line, int col, char *text)
{
	struct config_errors *e = r->errors;
	size_t at = e->n;

	while (at > 0 && (e->items[at - 1].line > line ||
			  (e->items[at - 1].line == line && e->items[at - 1].col > col)))
		at--;
	for (size_t i = at; i > 0 && e->items[i - 1].line == line && e->items[i - 1].col == col;
	     i--) {
		if (strcmp(e->items[i - 1].text, text) == 0) {
			free(text);
			return;
		}
	}
	if (e->n == MISTAKES_MAX) { /* not behind the last: mistakes_add() saw to that */
		r->hidden++;
		free(e->items[--e->n].text);
	}
	if ((e->n & (e->n - 1)) == 0) {
		struct config_error *items =
		    realloc(e->items, (e->n ? e->n * 2 : 1) * sizeof(*items));

		if (!items) {
			r->err = -ENOMEM;
			free(text);
			return;
		}
		e->items = items;
	}
	memmove(e->items + at + 1, e->items + at, (e->n - at) * sizeof(*e->items));
	e->items[at] = (struct config_error){line, col, text};
	e->n++;
}

/* As many are kept as there may be, all of them in front of this place. */
static bool mistakes_too_many(const struct config_errors *e, int line, int col)
{
	const struct config_error *last;

	if (e->n < MISTAKES_MAX)
		return false;
	last = &e->items[e->n - 1];
	return line > last->line || (line == last->line && col >= last->col);
}

/* vasprintf(), with the path in front. Not the C library's: that of glibc 2.36 writes past its
 * buffer when memory is short. */
__attribute__((format(printf, 2, 0))) static char *mistakes_format(const struct mistakes *r,
								   const char *fmt, va_list args)
{
	size_t head = r->path_len ? r->path_len + 2 : 0;
	va_list again;
	char *text;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	text = n < 0 ? NULL : malloc(head + (size_t)n + 1);
	if (!text)
		return NULL;
	if (head)
		snprintf(text, head + 1, "%s: ", r->path);
	vsnprintf(text + head, (size_t)n + 1, fmt, args);
	return text;
}

void mistakes_add(struct mistakes *r, int line, int col, const char *fmt, ...)
{
	va_list args;
	char *text;

	if (r->err)
		return;
	if (mistakes_too_many(r->errors, line, col)) {
		r->hidden++;
		return;
	}
	va_start(args, fmt);
	text = mistakes_format(r, fmt, args);
	va_end(args);
	if (text)
		mistakes_insert(r, line, col, text);
	else
		r->err = -ENOMEM;
}

void mistakes_close(struct mistakes *r)
{
	struct config_error *last;
	char text[64];

	if (r->err || r->hidden == 0)
		return;
	last = &r->errors->items[r->errors->n - 1];
	snprintf(text, sizeof(text), "and %zu more errors", r->hidden + 1);
	free(last->text);
	last->text = strdup(text);
	if (!last->text)
		r->err = -ENOMEM;
}

void config_errors_deinit(struct config_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++)
		free(errors->items[i].text);
	free(errors->items);
	*errors = (struct config_errors){0};
}

void config_errors_print(const struct config_errors *errors, const char *path, FILE *out)
{
	for (size_t i = 0; i < errors->n; i++) {
		const struct config_error *e = &errors->items[i];

		if (e->line)
			fprintf(out, "%s:%d:%d: %s\n", path, e->line, e->col, e->text);
		else
			fprintf(out, "%s: %s\n", path, e->text);
	}
}
