/*
 * RFC 9112, as little of it as a page that is read needs: a request line, and one header of
 * interest. A body is never looked at, because a connection carries one request alone: so nothing
 * here can disagree with a proxy in front about where a request ends.
 *
 * Paths are compared as they were sent: nothing is decoded, no dots are followed, so there is one
 * spelling of each page. What the grammar does not have is refused even where it would not matter.
 */
#include "serve/httphead.h"

#include <strings.h>

static bool is_token(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

size_t httphead_end(struct view text)
{
	const char *p = text.ptr, *end = text.ptr + text.len;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (end - p >= 1 && p[0] == '\n')
			return (size_t)(p + 1 - text.ptr);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (size_t)(p + 2 - text.ptr);
	}
	return 0;
}

/* Cuts the next line off @rest, without its end. */
static bool next_line(struct view *rest, struct view *ret)
{
	const char *lf = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
	size_t len;

	if (!lf)
		return false;
	len = (size_t)(lf - rest->ptr);
	*ret = (struct view){rest->ptr, len && lf[-1] == '\r' ? len - 1 : len};
	*rest = (struct view){lf + 1, rest->len - len - 1};
	return true;
}

/* Cuts what stands before the first @c off @rest, and @c with it. */
static bool next_word(struct view *rest, char c, struct view *ret)
{
	const char *at = rest->len ? memchr(rest->ptr, c, rest->len) : NULL;
	size_t len;

	if (!at || at == rest->ptr)
		return false;
	len = (size_t)(at - rest->ptr);
	*ret = (struct view){rest->ptr, len};
	*rest = (struct view){at + 1, rest->len - len - 1};
	return true;
}

static bool begins(struct view text, struct view with)
{
	return text.len >= with.len && strncasecmp(text.ptr, with.ptr, with.len) == 0;
}

static bool parse_target(struct view target, struct view *ret)
{
	const char *query;

	for (size_t i = 0; i < target.len; i++)
		if (target.ptr[i] <= 0x20 || target.ptr[i] == 0x7f || target.ptr[i] == '#')
			return false;
	/* A proxy may send the absolute form. */
	for (const char *scheme = "https://"; *target.ptr != '/'; scheme = "http://") {
		const size_t len = strlen(scheme);
		const char *slash;

		if (!begins(target, view_str(scheme))) {
			if (len == strlen("http://"))
				return false;
			continue;
		}
		slash = memchr(target.ptr + len, '/', target.len - len);
		if (!slash)
			return false;
		target = (struct view){slash, target.len - (size_t)(slash - target.ptr)};
	}
	query = memchr(target.ptr, '?', target.len);
	*ret = (struct view){target.ptr, query ? (size_t)(query - target.ptr) : target.len};
	return true;
}

static int parse_request_line(struct view line, struct httphead *ret)
{
	struct view target;

	if (!next_word(&line, ' ', &ret->method) || !next_word(&line, ' ', &target))
		return 400;
	for (size_t i = 0; i < ret->method.len; i++)
		if (!is_token((unsigned char)ret->method.ptr[i]))
			return 400;
	if (line.len != 8 || memcmp(line.ptr, "HTTP/", 5) != 0)
		return 400;
	if (!view_eq(line, VIEW_LIT("HTTP/1.1")) && !view_eq(line, VIEW_LIT("HTTP/1.0")))
		return 505;
	return parse_target(target, &ret->path) ? 0 : 400;
}

static struct view trimmed(struct view v)
{
	while (v.len && (v.ptr[0] == ' ' || v.ptr[0] == '\t')) {
		v.ptr++;
		v.len--;
	}
	while (v.len && (v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == '\t'))
		v.len--;
	return v;
}

static bool parse_field(struct view line, struct view *ret_name, struct view *ret_value)
{
	if (!next_word(&line, ':', ret_name))
		return false;
	for (size_t i = 0; i < ret_name->len; i++)
		if (!is_token((unsigned char)ret_name->ptr[i]))
			return false;
	for (size_t i = 0; i < line.len; i++)
		if (((unsigned char)line.ptr[i] < 0x20 && line.ptr[i] != '\t') ||
		    line.ptr[i] == 0x7f)
			return false;
	*ret_value = trimmed(line);
	return true;
}

int httphead_parse(struct view text, struct httphead *ret)
{
	struct view line, name, value;
	struct httphead h = {.token = VIEW_NULL};
	bool authorized = false;
	int status;

	if (!next_line(&text, &line))
		return 400;
	status = parse_request_line(line, &h);
	if (status)
		return status;
	while (next_line(&text, &line) && line.len) {
		if (!parse_field(line, &name, &value))
			return 400;
		if (!view_caseeq(name, VIEW_LIT("authorization")))
			continue;
		if (authorized)
			return 400;
		authorized = true;
		if (begins(value, VIEW_LIT("bearer ")))
			h.token = trimmed((struct view){value.ptr + 7, value.len - 7});
	}
	*ret = h;
	return 0;
}
