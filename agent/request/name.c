#include "request/name.h"

#include <stdbool.h>
#include <stdint.h>
#include "request/request.h"
#include "request/text.h"

/*
 * A name ends up in headers, log lines, labels and map files, so what could break out of those is
 * refused here, once. Escaped surrogates that are no pair are grammatical JSON (RFC 8259 §8.2) and
 * pass everywhere else in a body; in a name they have no UTF-8 form.
 */

static unsigned hex4(const char *p)
{
	unsigned v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];

		v = v << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

static size_t encode(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

static char plain_escape(char c)
{
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return c; /* the quote, the backslash and the slash stand for themselves */
	}
}

enum name_result name_unescape(struct view raw, char *out, size_t size, struct view *ret)
{
	const char *p = raw.ptr;
	const char *const end = raw.ptr + raw.len;
	size_t n = 0;

	while (p < end) {
		char bytes[4];
		size_t len = 1;

		if (*p != '\\') {
			bytes[0] = *p++;
		} else if (p[1] != 'u') {
			bytes[0] = plain_escape(p[1]);
			p += 2;
		} else {
			uint32_t c = hex4(p + 2);

			p += 6;
			if (c >= 0xdc00 && c <= 0xdfff)
				return NAME_SURROGATE;
			if (c >= 0xd800 && c <= 0xdbff) {
				uint32_t low;

				if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
					return NAME_SURROGATE;
				low = hex4(p + 2);
				if (low < 0xdc00 || low > 0xdfff)
					return NAME_SURROGATE;
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				p += 6;
			}
			len = encode(c, bytes);
		}
		if (len > size - n)
			return NAME_LONG;
		memcpy(out + n, bytes, len);
		n += len;
	}
	*ret = (struct view){out, n};
	return NAME_OK;
}

const char *name_why(enum name_result result)
{
	return result == NAME_SURROGATE ? "half a surrogate pair in the model"
					: "the model is longer than 256 bytes";
}

_Static_assert(REQUEST_MODEL_MAX == 256, "name_why() says 256");

/* What nearly all are: ASCII without controls. Also without " and \, which are looked at again. */
static bool is_plain(struct view name)
{
	const char *end = name.ptr + name.len;

	return text_plain_far(name.ptr, end) == end && !memchr(name.ptr, 0x7f, name.len);
}

const char *name_check(struct view name)
{
	if (name.len == 0)
		return "the model is empty";
	if (name.len > REQUEST_MODEL_MAX)
		return name_why(NAME_LONG);
	if (is_plain(name))
		return NULL;
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.ptr[i];

		if (c < 0x20 || c == 0x7f)
			return "a control character in the model";
		if (c == 0xc2 && i + 1 < name.len && (unsigned char)name.ptr[i + 1] >= 0x80 &&
		    (unsigned char)name.ptr[i + 1] < 0xa0)
			return "a control character in the model";
	}
	if (!text_valid(name.ptr, name.ptr + name.len))
		return "invalid UTF-8 in the model";
	return NULL;
}
