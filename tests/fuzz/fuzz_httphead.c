/*
 * Any bytes as the head of a request to the administration port: found at the same place however
 * they arrive, and what is taken for good holds the rules of RFC 9112 as a reader by lines sees
 * them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/httphead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static bool inside(struct view part, struct view whole)
{
	return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

/* The end of the head by another way: the first empty line behind a line break. */
static size_t end_by_lines(struct view text)
{
	size_t empty = 0; /* bytes of the line so far, a last CR left out */
	bool first = true, cr = false;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] != '\n') {
			empty += cr;
			cr = text.ptr[i] == '\r' && empty == 0;
			empty += !cr;
			continue;
		}
		if (empty == 0 && !first)
			return i + 1;
		first = false;
		cr = false;
		empty = 0;
	}
	return 0;
}

static void check(struct view text, const struct httphead *h)
{
	static const char name[] = "authorization:";
	unsigned tokens = 0;

	must(h->method.len && inside(h->method, text) && h->method.ptr == text.ptr);
	must(h->path.len && inside(h->path, text) && h->path.ptr[0] == '/');
	for (size_t i = 0; i < h->path.len; i++)
		must((unsigned char)h->path.ptr[i] > 0x20 && h->path.ptr[i] != 0x7f &&
		     h->path.ptr[i] != '?' && h->path.ptr[i] != '#');
	must(!h->token.ptr || inside(h->token, text));
	for (size_t i = 0; i < h->token.len; i++)
		must((unsigned char)h->token.ptr[i] >= 0x20 || h->token.ptr[i] == '\t');
	must(!memchr(text.ptr, 0, text.len)); /* nor hides one */
	for (const char *p = text.ptr; (p = memchr(p, '\n', (size_t)(text.ptr + text.len - p)));) {
		p++;
		tokens += (size_t)(text.ptr + text.len - p) >= sizeof(name) - 1 &&
			  strncasecmp(p, name, sizeof(name) - 1) == 0;
	}
	must(tokens <= 1 && (tokens == 1 || !h->token.ptr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct httphead head, again;
	size_t end;
	char *copy;
	int status;

	if (size > 20000)
		return 0;
	copy = malloc(size + 1);
	must(copy);
	memcpy(copy, data, size);
	end = httphead_end((struct view){copy, size});
	must(end == end_by_lines((struct view){copy, size}));
	for (size_t i = 0; i < end && size < 500; i++)
		must(httphead_end((struct view){copy, i}) == 0);
	free(copy);
	if (!end)
		return 0;

	copy = malloc(end);
	must(copy);
	memcpy(copy, data, end);
	must(httphead_end((struct view){copy, end}) == end);
	status = httphead_parse((struct view){copy, end}, &head);
	must(status == 0 || status == 400 || status == 505);
	must(httphead_parse((struct view){copy, end}, &again) == status);
	if (status == 0)
		check((struct view){copy, end}, &head);
	free(copy);
	return 0;
}
