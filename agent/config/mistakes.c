/*
 * Errors by place.
 *
 * A file is read on after an error, so they come from several passes; each is put behind the ones
 * of its place or earlier. One node may be reached twice (a YAML alias), its error is kept once.
 * Their number is bounded: a file of another kind altogether must not fill the memory.
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

		if (c <= 0x20 || c == 0x7f || c == '"' || c == ':')
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
	if (e->n >= MISTAKES_MAX) {
		r->hidden++;
		free(text);
		return;
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

void mistakes_add(struct mistakes *r, int line, int col, const char *fmt, ...)
{
	char *what, *text = NULL;
	va_list args;
	int n;

	if (r->err)
		return;
	va_start(args, fmt);
	n = vasprintf(&what, fmt, args);
	va_end(args);
	if (n < 0) {
		r->err = -ENOMEM;
		return;
	}
	if (r->path_len == 0)
		text = what;
	else if (asprintf(&text, "%s: %s", r->path, what) < 0)
		text = NULL;
	if (text != what)
		free(what);
	if (text)
		mistakes_insert(r, line, col, text);
	else
		r->err = -ENOMEM;
}

void mistakes_close(struct mistakes *r)
{
	const struct config_error *last;
	char *text;

	if (r->err || r->hidden == 0)
		return;
	last = &r->errors->items[r->errors->n - 1];
	if (asprintf(&text, "and %zu more errors", r->hidden) < 0) {
		r->err = -ENOMEM;
		return;
	}
	free(r->errors->items[r->errors->n - 1].text);
	r->errors->items[r->errors->n - 1] = (struct config_error){last->line, last->col, text};
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
