#include "request/tail.h"

#include "request/text.h"

/*
 * Why backwards: a slice may begin inside a string, and from the front nothing tells a quote that
 * opens from one that closes. From the end everything is told, given that the whole is valid JSON
 * whose last bracket is the top-level one:
 *
 *  - Outside strings, the next quote to the left closes a string.
 *  - Going on to the left inside that string, a quote with a backslash before it is part of the
 *    string, since a quote inside is always escaped; one without is the opening quote, since no
 *    backslash stands outside strings. So one byte before the quote decides, and if that byte was
 *    not seen (the quote is the slice's first byte), nothing is known about the quote.
 *  - Brackets outside strings count, so the depth is known at every place that was reached: it is
 *    the number of closing brackets whose opening was not met yet, and their kinds are exactly
 *    the stack that a forward scan would have there.
 *
 * The walk stops where the slice begins, inside a string or outside of one. From there the
 * ordinary scanner is started with that stack and that state, and runs to the end. So everything
 * but the first partial token is checked by the one grammar there is, keys, duplicates, values and
 * UTF-8 included, and a walk misled by a body that is not JSON cannot pass unseen.
 */

struct walk {
	const char *start, *end; /* the slice, without blanks at its end */
	const char *stop;        /* where the walk ended */
	const char *quote;       /* it ended inside the string that this quote closes; or NULL */
	char next;               /* the token right of where it ended, or right of the string */
	char after_string;       /* the token right of the leftmost complete string */
};

/* The opening quote of the string that @quote closes; NULL when it was not seen for certain. */
static const char *string_start(const char *start, const char *quote)
{
	const char *q = quote;

	while ((q = memrchr(start, '"', (size_t)(q - start)))) {
		if (q == start)
			return NULL;
		if (q[-1] != '\\')
			return q;
	}
	return NULL;
}

/* Fills @j's stack. False: brackets that no valid body has; j->why and *at tell. */
static bool walk_back(struct json *j, struct walk *w, const char **at)
{
	const char *p = w->end;

	w->quote = NULL;
	w->next = w->after_string = 0;
	while (p > w->start) {
		char c = *--p;

		switch (c) {
		case ' ':
		case '\n':
		case '\r':
		case '\t':
			break;
		case '}':
		case ']':
			if (j->depth >= j->max_depth) {
				j->why = "nested too deep";
				*at = p;
				return false;
			}
			json_mark(j, j->depth++, c == '}');
			w->next = c;
			break;
		case '{':
		case '[':
			if (json_is_object(j, j->depth - 1) != (c == '{')) {
				j->why = "brackets that do not match";
				*at = p;
				return false;
			}
			w->next = c;
			if (--j->depth == 0) {
				w->stop = p;
				return true;
			}
			break;
		case '"': {
			const char *open = string_start(w->start, p);

			if (!open) {
				w->quote = p;
				w->stop = w->start;
				return true;
			}
			w->after_string = w->next;
			w->next = '"';
			p = open;
			break;
		}
		default:
			w->next = c;
		}
	}
	w->stop = p;
	return true;
}

/* Inside a string: the first byte that begins a character for certain. */
static const char *resume_in_string(const struct walk *w)
{
	const char *p = w->start;

	if (*p == '"')
		return p == w->quote ? p : p + 1; /* escaped by a byte not seen, or opening */
	if (*p == '\\') {
		/* Which of a run of backslashes escape is not known; the byte after it may be
		 * escaped. The closing quote is none of that. */
		while (p < w->quote && *p == '\\')
			p++;
		if (p < w->quote && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80)
			p++;
		return p;
	}
	for (int i = 0; i < 3 && p < w->quote && ((unsigned char)*p & 0xc0) == 0x80; i++)
		p++;
	return p;
}

static bool in_scalar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '+' ||
	       c == '-' || c == '.';
}

/* Outside strings: the first byte that begins a token for certain, and the state before it. */
static const char *resume_outside(const struct walk *w, enum json_state *state)
{
	const char *p = w->stop;

	if (in_scalar(*p)) {
		while (in_scalar(*p)) /* a bracket stands to the right */
			p++;
		*state = JSON_AFTER;
		return p;
	}
	p = text_blank(p, w->end);
	switch (*p) {
	case ',':
	case '}':
	case ']':
		*state = JSON_AFTER;
		break;
	case ':':
		*state = JSON_COLON;
		break;
	case '"':
		*state = w->after_string == ':' ? JSON_KEY : JSON_VALUE;
		break;
	default:
		*state = JSON_VALUE;
	}
	return p;
}

enum tail_result tail_read(struct json *j, const struct span *text, char top, unsigned max_depth)
{
	struct walk w = {.start = text->a.ptr, .end = text->a.ptr + text->a.len};
	const char *const end = w.end;
	const char *from, *at = NULL;
	struct span rest = {.b = VIEW_NULL};

	json_init(j, max_depth);
	while (w.end > w.start && text_is_blank(w.end[-1]))
		w.end--;
	if (w.end == w.start)
		return TAIL_BLANK;
	if ((w.end[-1] != '}' || top == '[') && (w.end[-1] != ']' || top == '{'))
		return TAIL_OPEN;
	if (!walk_back(j, &w, &at)) {
		j->at = text->at + (at - w.start);
		return TAIL_BAD;
	}
	if (j->depth == 0) {
		/* the whole value lies in the slice: read it from the first byte on */
		from = w.start;
	} else if (w.quote) {
		from = resume_in_string(&w);
		j->state = JSON_STRING;
		j->in_key = w.next == ':';
	} else {
		from = resume_outside(&w, &j->state);
	}
	rest.a = (struct view){from, (size_t)(end - from)};
	rest.at = text->at + (from - w.start);
	switch (json_scan(j, &rest)) {
	case JSON_CLOSED:
		return TAIL_READ;
	case JSON_OPEN:
		j->why = "the JSON does not end";
		j->at = span_end(text);
		return TAIL_BAD;
	case JSON_BAD:
		break;
	}
	return TAIL_BAD;
}
