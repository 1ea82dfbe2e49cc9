#include "request/kind.h"

/*
 * The guess: `curl -d '{…}'` without -H says application/x-www-form-urlencoded, and fetch() with a
 * string says text/plain. Their users mean JSON, several model servers read it as JSON whatever the
 * header says, and no form begins with a brace (it would be %7B). So a first byte { makes it JSON
 * with all of JSON's rules, and anything else is a body without a model, never an error. It is not
 * left unread, since a server that does read it would obey a model that was never looked at.
 */

static struct view trim(struct view v)
{
	while (v.len && (v.ptr[0] == ' ' || v.ptr[0] == '\t'))
		v = (struct view){v.ptr + 1, v.len - 1};
	while (v.len && (v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == '\t'))
		v.len--;
	return v;
}

/* What stands before the first @c, trimmed; *rest is what follows it. */
static struct view before(struct view v, char c, struct view *rest)
{
	const char *at = v.len ? memchr(v.ptr, c, v.len) : NULL;

	*rest = VIEW_NULL;
	if (!at)
		return trim(v);
	*rest = (struct view){at + 1, v.len - (size_t)(at + 1 - v.ptr)};
	return trim((struct view){v.ptr, (size_t)(at - v.ptr)});
}

static bool ends_with(struct view v, struct view end)
{
	return v.len >= end.len &&
	       view_caseeq((struct view){v.ptr + (v.len - end.len), end.len}, end);
}

enum kind kind_of(struct view content_type)
{
	struct view rest, type;

	/* what clients send */
	if (view_eq(content_type, VIEW_LIT("application/json")))
		return KIND_JSON;
	type = before(content_type, ';', &rest);
	if (type.len == 0)
		return KIND_JSON;
	if (view_caseeq(type, VIEW_LIT("application/json")) ||
	    view_caseeq(type, VIEW_LIT("text/json")) || ends_with(type, VIEW_LIT("+json")))
		return KIND_JSON;
	if (view_caseeq(type, VIEW_LIT("multipart/form-data")))
		return KIND_MULTIPART;
	if (view_caseeq(type, VIEW_LIT("text/plain")) ||
	    view_caseeq(type, VIEW_LIT("application/x-www-form-urlencoded")))
		return KIND_GUESS;
	return KIND_NONE;
}

bool kind_is_plain(struct view content_encoding)
{
	struct view rest = content_encoding;

	while (rest.len) {
		struct view coding = before(rest, ',', &rest);

		if (coding.len && !view_caseeq(coding, VIEW_LIT("identity")))
			return false;
	}
	return true;
}
