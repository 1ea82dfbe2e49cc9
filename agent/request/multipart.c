#include "request/multipart.h"

#include "request/kind.h"
#include "request/param.h"
#include "request/text.h"

/*
 * A delimiter is CRLF, two dashes, the boundary, then blanks and CRLF, or two dashes more where it
 * closes (RFC 2046 §5.1.1); at the body's first byte its CRLF may be missing. The boundary must not
 * occur in the parts, so a delimiter is one wherever it is met, and a file's bytes mean nothing:
 * not a boundary in the middle of a line, not a boundary that goes on with other letters, not JSON.
 *
 * A field counts once the delimiter after it was seen. What precedes the first delimiter and
 * follows the closing one is skipped, but a delimiter behind the closing one is an error: seen from
 * the end alone, what follows it would be parts like all others.
 *
 * Servers' readers differ, and a field that one of them calls "model" and another does not would
 * let a request in under one name and be served under another. So what some take in one way and
 * some in another is an error where it bears on a name:
 *
 *  - Before the first delimiter, a boundary in a line that ends in LF or CR alone, or begins behind
 *    one. (In the parts nearly all agree that such a line is a file's or a field's own.)
 *  - RFC 2231's forms (name*=, name*0=, filename*=; RFC 7578 §4.2 wants none of them), a value
 *    that is neither quoted nor a token, an empty file name, which makes a file to some. A
 *    parameter that is none of RFC 7578's: where it ends depends on who reads its quotes. In quotes
 *    what param_is_plain() says, in a name any semicolon or backslash.
 *  - In a part's headers, LF or CR alone, and a first line that begins with a blank. A part without
 *    headers: some take those behind the empty line for its own.
 *  - VT or FF behind a boundary, which some take for blanks.
 *  - A transfer encoding of the field (RFC 7578 §4.7), which few undo; a charset of the whole other
 *    than UTF-8, by which some decode names of fields, too.
 */

#define NEEDLE_MAX (4 + MULTIPART_BOUNDARY_MAX)

#define MULTIPART_DOUBTFUL "a boundary that only some readers take for a delimiter"

struct reader {
	const struct span *text;
	int64_t end;
	struct view needle; /* CRLF -- boundary */
	struct view dashes; /* -- boundary */
	bool ends;
};

/*
 * The first @needle in @text, or NULL. Looks for its first byte, one by one where these are
 * frequent, so that no text makes it slower than a few nanoseconds a byte: memmem() takes ten times
 * as long where text and needle are made for it.
 */
static const char *find_in(const char *text, size_t len, struct view needle)
{
	enum { NEAR = 16 };
	const char *p = text, *const end = text + len, *last = end - needle.len, *near, *from;

	if (len < needle.len)
		return NULL;
	while (p <= last) {
		from = p;
		p = memchr(p, needle.ptr[0], (size_t)(last + 1 - p));
		if (!p)
			return NULL;
		/* far apart: this one and on; near: all of the next bytes */
		near = p - from >= NEAR || last - p < NEAR ? p + 1 : p + NEAR;
		for (; p < near; p++) {
			if (p[1] == needle.ptr[1] && memcmp(p, needle.ptr, needle.len) == 0)
				return p;
		}
	}
	return NULL;
}

/* Offset of @needle, two bytes or more, at or after @from, or -1. */
static int64_t find(const struct span *t, int64_t from, struct view needle)
{
	char seam[2 * NEEDLE_MAX];
	size_t skip = (size_t)(from - t->at);
	const char *hit;

	if (skip < t->a.len) {
		size_t keep = needle.len - 1;
		size_t left = t->a.len - skip < keep ? t->a.len - skip : keep;
		size_t right = t->b.len < keep ? t->b.len : keep;

		hit = find_in(t->a.ptr + skip, t->a.len - skip, needle);
		if (hit)
			return t->at + (hit - t->a.ptr);
		memcpy(seam, t->a.ptr + t->a.len - left, left);
		if (right)
			memcpy(seam + left, t->b.ptr, right);
		hit = find_in(seam, left + right, needle);
		if (hit)
			return t->at + (int64_t)(t->a.len - left) + (hit - seam);
		skip = t->a.len;
	}
	skip -= t->a.len;
	if (skip >= t->b.len)
		return -1;
	hit = find_in(t->b.ptr + skip, t->b.len - skip, needle);
	return hit ? t->at + (int64_t)t->a.len + (hit - t->b.ptr) : -1;
}

static bool starts_with(const struct reader *r, int64_t at, struct view with)
{
	char scratch[NEEDLE_MAX];

	return r->end - at >= (int64_t)with.len &&
	       view_eq(span_view(r->text, at, with.len, scratch), with);
}

enum delimiter {
	DELIMITER_PART,
	DELIMITER_CLOSE,
	DELIMITER_NONE,
	DELIMITER_CUT,
	DELIMITER_DOUBTFUL, /* to some readers it is one */
};

static int64_t skip_blanks(const struct reader *r, int64_t at)
{
	while (at < r->end && (span_byte(r->text, at) == ' ' || span_byte(r->text, at) == '\t'))
		at++;
	return at;
}

/* What stands behind the boundary that ends at @at; *next is the byte after the line. */
static enum delimiter delimiter_kind(const struct reader *r, int64_t at, int64_t *next)
{
	bool close = starts_with(r, at, VIEW_LIT("--"));

	if (close)
		at += 2;
	else if (r->end - at == 1 && span_byte(r->text, at) == '-')
		return DELIMITER_CUT;
	at = skip_blanks(r, at);
	*next = at + 2;
	if (starts_with(r, at, VIEW_LIT("\r\n")))
		return close ? DELIMITER_CLOSE : DELIMITER_PART;
	*next = r->end;
	if (at < r->end && (span_byte(r->text, at) == '\v' || span_byte(r->text, at) == '\f'))
		return DELIMITER_DOUBTFUL;
	if (at == r->end || (r->end - at == 1 && span_byte(r->text, at) == '\r'))
		return close && r->ends ? DELIMITER_CLOSE : DELIMITER_CUT;
	return DELIMITER_NONE;
}

/* The next delimiter whose CRLF is at or after @from. *at: that CRLF. */
static enum delimiter next_delimiter(const struct reader *r, int64_t from, int64_t *at,
				     int64_t *next)
{
	while ((*at = find(r->text, from, r->needle)) >= 0) {
		enum delimiter kind = delimiter_kind(r, *at + (int64_t)r->needle.len, next);

		if (kind != DELIMITER_NONE)
			return kind;
		from = *at + 2;
	}
	return DELIMITER_CUT;
}

/* The boundary at @at begins a line: whether it ends one, too, in a way that is not ours. */
static bool is_doubtful(const struct reader *r, int64_t at)
{
	int64_t end = at + (int64_t)r->dashes.len;
	int64_t behind = skip_blanks(r, end);
	unsigned char c = behind < r->end ? span_byte(r->text, behind) : 0;

	return starts_with(r, end, VIEW_LIT("--")) || c == '\r' || c == '\n' || c == '\v' ||
	       c == '\f';
}

/* Before @end, where the first delimiter begins: a boundary that others take for one, or -1. */
static int64_t find_doubtful(const struct reader *r, int64_t end)
{
	char line[NEEDLE_MAX];
	const struct view needle = {line, 1 + r->dashes.len};
	struct span text = *r->text;

	if (end == 0)
		return -1;
	if (starts_with(r, 0, r->dashes) && is_doubtful(r, 0))
		return 0;
	text.a.len = text.a.len < (size_t)end ? text.a.len : (size_t)end;
	text.b.len = text.b.len < (size_t)end - text.a.len ? text.b.len : (size_t)end - text.a.len;
	memcpy(line + 1, r->dashes.ptr, r->dashes.len);
	for (const char *c = "\n\r"; *c; c++) {
		int64_t at = 0;

		line[0] = *c;
		for (; (at = find(&text, at, needle)) >= 0; at++) {
			if (is_doubtful(r, at + 1))
				return at + 1;
		}
	}
	return -1;
}

struct part {
	bool headers, disposition, named, is_model, is_file, may_be_file;
	bool encoded; /* its bytes are not what is meant */
};

static bool name_is(struct view name, const char *want)
{
	return view_caseeq(name, view_str(want));
}

/* NAME*, NAME*0, NAME*0*: the parameter in one of RFC 2231's forms. */
static bool name_is_extended(struct view name, const char *want)
{
	size_t len = strlen(want);

	return name.len > len && name.ptr[len] == '*' &&
	       name_is((struct view){name.ptr, len}, want);
}

static bool is_form_data(struct view value)
{
	const char *semicolon = value.len ? memchr(value.ptr, ';', value.len) : NULL;
	struct view type = {value.ptr, semicolon ? (size_t)(semicolon - value.ptr) : value.len};

	while (type.len && text_is_blank(type.ptr[0]))
		type = (struct view){type.ptr + 1, type.len - 1};
	while (type.len && text_is_blank(type.ptr[type.len - 1]))
		type.len--;
	return view_caseeq(type, VIEW_LIT("form-data"));
}

/* Content-Disposition: [form-data; name=…; filename=…]. NULL or what is wrong. */
static const char *read_disposition(struct part *part, struct view value)
{
	struct param param;
	enum param_result result;

	if (part->disposition)
		return "a part with two Content-Disposition headers";
	part->disposition = true;
	if (!is_form_data(value))
		return "a Content-Disposition that is not form-data";
	while ((result = param_next(&value, &param)) == PARAM_READ) {
		if (!param_is_plain(&param))
			return "a parameter of Content-Disposition that readers take in several "
			       "ways";
		if (name_is(param.name, "name")) {
			if (part->named)
				return "a part with two names";
			if (param.raw.len && (memchr(param.raw.ptr, ';', param.raw.len) ||
					      memchr(param.raw.ptr, '\\', param.raw.len)))
				return "a name with a semicolon or a backslash";
			part->named = true;
			part->is_model = view_eq(param.raw, VIEW_LIT("model"));
		} else if (name_is_extended(param.name, "name")) {
			return "a name in the form of RFC 2231";
		} else if (name_is(param.name, "filename")) {
			part->is_file = param.raw.len > 0;
			part->may_be_file = true;
		} else if (name_is_extended(param.name, "filename")) {
			part->may_be_file = true;
		} else {
			return "a parameter of Content-Disposition other than name and filename";
		}
	}
	if (result == PARAM_BAD)
		return "a Content-Disposition that cannot be read";
	if (part->is_model && part->may_be_file && !part->is_file)
		return "a field \"model\" with filename* alone or an empty file name";
	return NULL;
}

/* The value of the header @line when its name is @want; false: another header. */
static bool header_is(struct view line, struct view want, struct view *ret)
{
	size_t colon;

	if (line.len < want.len || !view_caseeq((struct view){line.ptr, want.len}, want))
		return false;
	for (colon = want.len; colon < line.len; colon++) {
		if (line.ptr[colon] != ' ' && line.ptr[colon] != '\t')
			break;
	}
	if (colon == line.len || line.ptr[colon] != ':')
		return false;
	*ret = (struct view){line.ptr + colon + 1, line.len - (colon + 1)};
	return true;
}

/* Content-Transfer-Encoding: whether it leaves the bytes as they are. */
static bool is_identity(struct view encoding)
{
	while (encoding.len && text_is_blank(encoding.ptr[0]))
		encoding = (struct view){encoding.ptr + 1, encoding.len - 1};
	while (encoding.len && text_is_blank(encoding.ptr[encoding.len - 1]))
		encoding.len--;
	return view_caseeq(encoding, VIEW_LIT("7bit")) || view_caseeq(encoding, VIEW_LIT("8bit")) ||
	       view_caseeq(encoding, VIEW_LIT("binary"));
}

/* LF or CR alone; @at..@end is a header with its folded lines. */
static bool has_half_line_end(const struct reader *r, int64_t at, int64_t end)
{
	for (; at < end; at++) {
		unsigned char c = span_byte(r->text, at);

		if (c != '\r' && c != '\n')
			continue;
		if (!starts_with(r, at, VIEW_LIT("\r\n")))
			return true;
		at++;
	}
	return false;
}

static const char *read_header(struct part *part, const struct reader *r, int64_t at, int64_t len)
{
	char scratch[MULTIPART_HEADER_MAX];
	size_t seen = (size_t)(len < MULTIPART_HEADER_MAX ? len : MULTIPART_HEADER_MAX);
	struct view line = span_view(r->text, at, seen, scratch), value;

	if (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
		return "a part whose headers begin with a blank";
	if (((int64_t)seen < len || memchr(line.ptr, '\n', seen) || memchr(line.ptr, '\r', seen)) &&
	    has_half_line_end(r, at, at + len))
		return "half a line's end in a part's headers";
	if (header_is(line, VIEW_LIT("content-transfer-encoding"), &value))
		part->encoded = part->encoded || len > MULTIPART_HEADER_MAX || !is_identity(value);
	if (!header_is(line, VIEW_LIT("content-disposition"), &value))
		return NULL;
	if (len > MULTIPART_HEADER_MAX)
		return "a Content-Disposition header that is too long";
	return read_disposition(part, value);
}

/*
 * The header lines from @at on. *body: where the part's bytes begin, behind the empty line; 1:
 * read, 0: the text ends before, -1: bad, m->why.
 */
static int read_headers(struct multipart *m, struct part *part, const struct reader *r, int64_t at,
			int64_t *body)
{
	for (;;) {
		enum delimiter kind = DELIMITER_NONE;
		int64_t line = at, end;

		if (starts_with(r, at, VIEW_LIT("\r\n")) && part->headers) {
			*body = at + 2;
			return 1;
		}
		if (starts_with(r, at, VIEW_LIT("\r\n")))
			kind = DELIMITER_PART;
		else if (starts_with(r, at, r->dashes))
			kind = delimiter_kind(r, at + (int64_t)r->dashes.len, &end);
		if (kind == DELIMITER_CUT)
			return 0;
		if (kind != DELIMITER_NONE) {
			m->why = "a part without headers or without an empty line behind them";
			m->at = at;
			return -1;
		}
		part->headers = true;
		for (;;) { /* a line that begins with a blank goes on with the one before */
			end = find(r->text, at, VIEW_LIT("\r\n"));
			if (end < 0 || end + 2 >= r->end)
				return 0;
			at = end + 2;
			if (span_byte(r->text, at) != ' ' && span_byte(r->text, at) != '\t')
				break;
		}
		m->why = read_header(part, r, line, end - line);
		if (m->why) {
			m->at = line;
			return -1;
		}
	}
}

enum multipart_result multipart_read(struct multipart *m, const struct span *text,
				     struct view boundary, bool ends)
{
	char buf[NEEDLE_MAX] = "\r\n--";
	struct reader r = {.text = text, .end = span_end(text), .ends = ends};
	enum delimiter kind = DELIMITER_NONE;
	int64_t at = text->at, next = 0;

	*m = (struct multipart){.model_at = -1, .model_len = -1, .at = -1};
	memcpy(buf + 4, boundary.ptr, boundary.len);
	r.needle = (struct view){buf, 4 + boundary.len};
	r.dashes = (struct view){buf + 2, 2 + boundary.len};
	if (text->at == 0 && starts_with(&r, 0, r.dashes))
		kind = delimiter_kind(&r, (int64_t)r.dashes.len, &next);
	if (kind == DELIMITER_NONE) {
		kind = next_delimiter(&r, text->at, &at, &next);
		m->at = text->at == 0 ? find_doubtful(&r, at >= 0 ? at : r.end) : -1;
		if (m->at >= 0) {
			m->why = MULTIPART_DOUBTFUL;
			return MULTIPART_BAD;
		}
	}
	m->delimiters = kind == DELIMITER_PART || kind == DELIMITER_CLOSE;
	while (kind == DELIMITER_PART) {
		struct part part = {false};
		int64_t body;
		int got = read_headers(m, &part, &r, next, &body);
		bool is_model = part.is_model && !part.is_file;

		if (got < 0)
			return MULTIPART_BAD;
		if (got == 0)
			return MULTIPART_OPEN;
		if (is_model && (m->model || part.encoded)) {
			m->why = m->model ? "a second field \"model\""
					  : "a field \"model\" in a transfer encoding";
			m->at = next;
			return MULTIPART_BAD;
		}
		kind = next_delimiter(&r, body - 2, &at, &next);
		if (is_model && kind != DELIMITER_CUT) {
			m->model = true;
			m->model_at = body;
			m->model_len = at > body ? at - body : 0;
		}
	}
	if (kind == DELIMITER_CLOSE) {
		/* the CRLF of the closing line may be the next delimiter's, too */
		kind = next_delimiter(&r, next - 2, &at, &next);
		if (kind == DELIMITER_CUT)
			return MULTIPART_CLOSED;
		m->why = MULTIPART_BEHIND;
	} else if (kind == DELIMITER_DOUBTFUL) {
		m->why = MULTIPART_DOUBTFUL;
	} else {
		return MULTIPART_OPEN;
	}
	m->at = at;
	return MULTIPART_BAD;
}

/* RFC 2046's letters of a boundary, without the blank. */
static bool is_boundary(struct view v)
{
	static const char others[] = "'()+_,-./:=?";

	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    !memchr(others, c, sizeof(others) - 1))
			return false;
	}
	return v.len > 0;
}

const char *multipart_type(struct view content_type, char buf[MULTIPART_BOUNDARY_MAX],
			   struct view *ret, bool *ret_ascii)
{
	static const char no_boundary[] = "multipart without one usable boundary";
	struct param param;
	enum param_result result;
	bool found = false, charset = false;

	*ret_ascii = false;
	while ((result = param_next(&content_type, &param)) == PARAM_READ) {
		if (name_is(param.name, "charset")) {
			if (charset || param.followed || !kind_charset(param.raw, ret_ascii))
				return "multipart in an unknown charset";
			charset = true;
		} else if (name_is_extended(param.name, "charset")) {
			return "multipart in an unknown charset";
		} else if (name_is(param.name, "boundary")) {
			if (found || param.followed || !is_boundary(param.raw) ||
			    param_value(&param, buf, MULTIPART_BOUNDARY_MAX, ret) == PARAM_BAD)
				return no_boundary;
			found = true;
		} else if (name_is_extended(param.name, "boundary")) {
			return no_boundary;
		} else {
			/* where it ends depends on who reads its quotes */
			return "multipart with a parameter other than boundary and charset";
		}
	}
	return found && result == PARAM_END ? NULL : no_boundary;
}
