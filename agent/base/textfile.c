/*
 * open_memstream() of glibc (2.36) drops what it has no room for when memory is short, and goes on
 * writing behind the gap; neither ferror() nor fclose() tells. So the memory is managed here, and
 * a byte that is lost is remembered.
 */
#include "base/textfile.h"

#include <stdlib.h>
#include <string.h>

static ssize_t keep(void *arg, const char *bytes, size_t n)
{
	struct textfile *t = arg;

	if (n >= t->cap - t->len) {
		size_t cap = 2 * t->cap + n + 1;
		char *more = realloc(t->text, cap);

		if (!more) {
			t->lost = true;
			return -1;
		}
		t->text = more;
		t->cap = cap;
	}
	memcpy(t->text + t->len, bytes, n);
	t->len += n;
	t->text[t->len] = '\0';
	return (ssize_t)n;
}

bool textfile_open(struct textfile *t)
{
	*t = (struct textfile){.lost = false};
	t->out = fopencookie(t, "w", (cookie_io_functions_t){.write = keep});
	return t->out;
}

char *textfile_close(struct textfile *t, size_t *ret_len)
{
	if (ferror(t->out))
		t->lost = true;
	if (fclose(t->out) != 0 || t->lost || !t->text) {
		free(t->text);
		return NULL;
	}
	*ret_len = t->len;
	return t->text;
}
