#include "request/kind.h"

#include "request/param.h"

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

bool kind_charset(struct view charset, bool *ret_ascii)
{
	static const struct view ascii[] = {VIEW_LIT("us-ascii"), VIEW_LIT("ascii"),
					    VIEW_LIT("iso-8859-1")};

	*ret_ascii = false;
	if (view_caseeq(charset, VIEW_LIT("utf-8")) || view_caseeq(charset, VIEW_LIT("utf8")))
		return true;
	*ret_ascii = true;
	for (size_t i = 0; i < sizeof(ascii) / sizeof(ascii[0]); i++) {
		if (view_caseeq(charset, ascii[i]))
			return true;
	}
	return false;
}

/*
 * RFC 8259 knows no charset, and most servers none either; but some decode by it, and in UTF-7 or
 * with escapes of its own a body has other keys than in UTF-8. Other parameters mean nothing here,
 * as long as every reader sees where they end.
 */
const char *kind_of_json(struct view content_type, bool *ret_ascii)
{
	static const char unknown[] = "JSON in another charset than UTF-8";
	enum param_result result;
	struct param param;
	bool found = false;

	*ret_ascii = false;
	if (view_eq(content_type, VIEW_LIT("application/json")))
		return NULL;
	while ((result = param_next(&content_type, &param)) == PARAM_READ) {
		if (!param_is_plain(&param))
			return "a Content-Type that readers take in several ways";
		if (param.name.len < 7 ||
		    !view_caseeq((struct view){param.name.ptr, 7}, VIEW_LIT("charset")))
			continue;
		if (found || param.name.len > 7 || !kind_charset(param.raw, ret_ascii))
			return unknown;
		found = true;
	}
	return result == PARAM_END ? NULL : "a Content-Type that cannot be read";
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
