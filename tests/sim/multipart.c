/* RFC 7578 as clients write it: CRLF lines, name in quotes or bare, no nesting. */
#include "multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool has_name(const char *head, size_t len, const char *name)
{
	const char *end = head + len, *line = head, *next;
	size_t n = strlen(name);

	for (; line < end; line = next) {
		const char *p, *stop = memmem(line, (size_t)(end - line), "\r\n", 2);

		if (!stop)
			stop = end;
		next = stop + 2;
		if (stop - line < 20 || strncasecmp(line, "content-disposition:", 20) != 0)
			continue;
		for (p = line + 20; p < stop && (p = memmem(p, (size_t)(stop - p), "name=", 5));
		     p += 5) {
			const char *v = p + 5;
			bool quoted = v < stop && *v == '"';

			if (p[-1] != ' ' && p[-1] != ';')
				continue; /* filename= */
			v += quoted;
			if ((size_t)(stop - v) >= n && memcmp(v, name, n) == 0 &&
			    (v + n == stop ? !quoted
			     : quoted      ? v[n] == '"'
					   : strchr("; \t", v[n]) != NULL))
				return true;
		}
	}
	return false;
}

bool multipart_find(const char *content_type, const char *body, size_t len, const char *name,
		    const char **ret_value, size_t *ret_len)
{
	const char *b = strcasestr(content_type, "boundary="), *at, *end = body + len;
	char mark[80];
	size_t n;
	int mark_len;

	if (!b)
		return false;
	b += 9;
	n = *b == '"' ? strcspn(++b, "\"") : strcspn(b, "; \t");
	if (n == 0 || n > 70)
		return false;
	mark_len = snprintf(mark, sizeof(mark), "--%.*s", (int)n, b);
	at = memmem(body, len, mark, (size_t)mark_len);
	while (at) {
		const char *head = at + mark_len, *value, *stop;

		if (end - head < 2 || memcmp(head, "\r\n", 2) != 0)
			return false; /* the last one, "--", or none of ours */
		value = memmem(head, (size_t)(end - head), "\r\n\r\n", 4);
		if (!value)
			return false;
		value += 4;
		stop = memmem(value - 2, (size_t)(end - value + 2), mark, (size_t)mark_len);
		if (!stop || stop - value < 2)
			stop = stop ? value + 2 : NULL;
		if (!stop)
			return false;
		if (has_name(head, (size_t)(value - head), name)) {
			*ret_value = value;
			*ret_len = (size_t)(stop - 2 - value);
			return true;
		}
		at = stop - (stop == value + 2 ? 2 : 0);
		at = memmem(at, (size_t)(end - at), mark, (size_t)mark_len);
	}
	return false;
}
