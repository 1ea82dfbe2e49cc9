#include "request/param.h"

/*
 * Read as the common servers read it: blanks around the equals sign and empty parameters pass, a
 * folded line counts as a blank. What two readers would split or name in two ways is an error: a
 * quote that never ends, and a name that is no token (RFC 9110 §5.6.2) or is not all that stands
 * before the equals sign, since some strip quotes, control characters or no-break spaces off it, or
 * what follows its first word (`filename *=`), and others do not.
 */

static bool is_lws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_token(struct view v)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    !memchr(others, c, sizeof(others) - 1))
			return false;
	}
	return v.len > 0;
}

static void skip(struct view *v, size_t n)
{
	*v = (struct view){v->ptr + n, v->len - n};
}

static void skip_lws(struct view *v)
{
	while (v->len && is_lws(v->ptr[0]))
		skip(v, 1);
}

/* Cuts what stands before one of @stops or a blank off the front. */
static struct view token(struct view *v, const char *stops)
{
	struct view t = {v->ptr, 0};

	while (v->len && !is_lws(v->ptr[0]) && !(v->ptr[0] && strchr(stops, v->ptr[0]))) {
		skip(v, 1);
		t.len++;
	}
	return t;
}

static bool is_followed(struct view rest)
{
	skip_lws(&rest);
	return rest.len && rest.ptr[0] != ';';
}

enum param_result param_next(struct view *rest, struct param *ret)
{
	const char *semicolon;

	*ret = (struct param){.quoted = false};
	do {
		semicolon = rest->len ? memchr(rest->ptr, ';', rest->len) : NULL;
		if (!semicolon)
			return PARAM_END;
		skip(rest, (size_t)(semicolon + 1 - rest->ptr));
		skip_lws(rest);
		ret->name = token(rest, ";=");
	} while (ret->name.len == 0);
	if (!is_token(ret->name))
		return PARAM_BAD;
	skip_lws(rest);
	if (rest->len == 0 || rest->ptr[0] == ';')
		return PARAM_READ;
	if (rest->ptr[0] != '=')
		return PARAM_BAD;
	skip(rest, 1);
	skip_lws(rest);
	if (rest->len == 0 || rest->ptr[0] != '"') {
		ret->raw = token(rest, ";");
		ret->followed = is_followed(*rest);
		return PARAM_READ;
	}
	skip(rest, 1);
	ret->quoted = true;
	ret->raw = (struct view){rest->ptr, 0};
	while (rest->len && rest->ptr[0] != '"') {
		size_t n = rest->ptr[0] == '\\' ? 2 : 1;

		if (n > rest->len)
			return PARAM_BAD;
		skip(rest, n);
		ret->raw.len += n;
	}
	if (rest->len == 0)
		return PARAM_BAD;
	skip(rest, 1);
	ret->followed = is_followed(*rest);
	return PARAM_READ;
}

/*
 * Some split at every semicolon, and what stands behind one in quotes is a parameter to them when
 * an equals sign follows. Some take any quote with a backslash before it for an escaped one, also
 * where that backslash is escaped itself: at the end of the string.
 */
static bool quotes_alike(struct view raw)
{
	const char *semicolon = raw.len ? memchr(raw.ptr, ';', raw.len) : NULL;

	if (raw.len && raw.ptr[raw.len - 1] == '\\')
		return false;
	for (size_t i = 0; i < raw.len; i++) {
		unsigned char c = (unsigned char)raw.ptr[i];

		if ((c < 0x20 && !is_lws((char)c)) || c == 0x7f)
			return false;
	}
	return !semicolon || !memchr(semicolon, '=', raw.len - (size_t)(semicolon - raw.ptr));
}

bool param_is_plain(const struct param *p)
{
	if (p->followed)
		return false;
	return p->quoted ? quotes_alike(p->raw) : p->raw.len == 0 || is_token(p->raw);
}

enum param_result param_value(const struct param *p, char *buf, size_t size, struct view *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < p->raw.len; i++) {
		if (p->quoted && p->raw.ptr[i] == '\\')
			i++;
		if (n == size)
			return PARAM_BAD;
		buf[n++] = p->raw.ptr[i];
	}
	*ret = (struct view){buf, n};
	return PARAM_READ;
}
