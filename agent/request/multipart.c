#include "request/multipart.h"

#include "request/param.h"

/*
 * A delimiter is CRLF, two dashes, the boundary, then blanks and CRLF, or two dashes more where it
 * closes (RFC 2046 §5.1.1); at the body's first byte its CRLF may be missing. The boundary must not
 * occur in the parts, so a delimiter is one wherever it is met, and a file's bytes mean nothing:
 * not a boundary without the CRLF, not a boundary that goes on with other letters, not JSON.
 *
 * A field counts once the delimiter after it was seen. Lines end in CRLF alone: a reader that also
 * took LF would find fields in files. What precedes the first delimiter and follows the closing
 * one is skipped, but a delimiter behind the closing one is an error: seen from the end alone, what
 * follows it would be parts like all others.
 *
 * Servers' readers differ in RFC 2231's forms (name*=, name*0=, filename*=; RFC 7578 §4.2 wants
 * none of them), some taking them for the name and some not, and in a name that is neither quoted
 * nor a token. A field that one of them calls "model" and another does not would let a request in
 * under one name and be served under another, so these are errors, too, where they bear on a name.
 */

#define NEEDLE_MAX (4 + MULTIPART_BOUNDARY_MAX)

struct reader {
	const struct span *text;
	int64_t end;
	struct view needle; /* CRLF -- boundary */
	bool ends;
};

/* Offset of @needle at or after @from, or -1. */
static int64_t find(const struct span *t, int64_t from, struct view needle)
{
	char seam[2 * NEEDLE_MAX];
	size_t skip = (size_t)(from - t->at);
	const char *hit;

	if (skip < t->a.len) {
		size_t keep = needle.len - 1;
		size_t left = t->a.len - skip < keep ? t->a.len - skip : keep;
		size_t right = t->b.len < keep ? t->b.len : keep;

		hit = memmem(t->a.ptr + skip, t->a.len - skip, needle.ptr, needle.len);
		if (hit)
			return t->at + (hit - t->a.ptr);
		memcpy(seam, t->a.ptr + t->a.len - left, left);
		if (right)
			memcpy(seam + left, t->b.ptr, right);
		hit = memmem(seam, left + right, needle.ptr, needle.len);
		if (hit)
			return t->at + (int64_t)(t->a.len - left) + (hit - seam);
		skip = t->a.len;
	}
	skip -= t->a.len;
	if (skip >= t->b.len)
		return -1;
	hit = memmem(t->b.ptr + skip, t->b.len - skip, needle.ptr, needle.len);
	return hit ? t->at + (int64_t)t->a.len + (hit - t->b.ptr) : -1;
}

static bool starts_with(const struct reader *r, int64_t at, struct view with)
{
	char scratch[NEEDLE_MAX];

	return r->end - at >= (int64_t)with.len &&
	       view_eq(span_view(r->text, at, with.len, scratch), with);
}

enum delimiter { DELIMITER_PART, DELIMITER_CLOSE, DELIMITER_NONE, DELIMITER_CUT };

/* What stands behind the boundary that ends at @at; *next is the byte after the line. */
static enum delimiter delimiter_kind(const struct reader *r, int64_t at, int64_t *next)
{
	bool close = starts_with(r, at, VIEW_LIT("--"));

	if (close)
		at += 2;
	else if (r->end - at == 1 && span_byte(r->text, at) == '-')
		return DELIMITER_CUT;
	while (at < r->end && (span_byte(r->text, at) == ' ' || span_byte(r->text, at) == '\t'))
		at++;
	*next = at + 2;
	if (starts_with(r, at, VIEW_LIT("\r\n")))
		return close ? DELIMITER_CLOSE : DELIMITER_PART;
	*next = r->end;
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

struct part {
	bool disposition, named, is_model, is_file, may_be_file;
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

/* Content-Disposition: [form-data; name=…; filename=…]. NULL or what is wrong. */
static const char *read_disposition(struct part *part, struct view value)
{
	struct param param;
	enum param_result result;

	if (part->disposition)
		return "a part with two Content-Disposition headers";
	part->disposition = true;
	while ((result = param_next(&value, &param)) == PARAM_READ) {
		if (name_is(param.name, "name")) {
			char buf[5];
			struct view name;

			if (part->named)
				return "a part with two names";
			if (!param_is_plain(&param))
				return "a name that is not one token or quoted string";
			part->named = true;
			part->is_model =
			    param_value(&param, buf, sizeof(buf), &name) == PARAM_READ &&
			    view_eq(name, VIEW_LIT("model"));
		} else if (name_is_extended(param.name, "name")) {
			return "a name in the form of RFC 2231";
		} else if (name_is(param.name, "filename")) {
			part->is_file = true;
		} else if (name_is_extended(param.name, "filename")) {
			part->may_be_file = true;
		}
	}
	if (result == PARAM_BAD)
		return "a Content-Disposition that cannot be read";
	if (part->is_model && part->may_be_file && !part->is_file)
		return "a field \"model\" with filename* alone";
	return NULL;
}

static const char *read_header(struct part *part, const struct reader *r, int64_t at, int64_t len)
{
	static const struct view want = VIEW_LIT("content-disposition");
	char scratch[MULTIPART_HEADER_MAX];
	size_t seen = (size_t)(len < MULTIPART_HEADER_MAX ? len : MULTIPART_HEADER_MAX);
	struct view line = span_view(r->text, at, seen, scratch);
	size_t colon;

	if (line.len < want.len || !view_caseeq((struct view){line.ptr, want.len}, want))
		return NULL;
	for (colon = want.len; colon < line.len; colon++) {
		if (line.ptr[colon] != ' ' && line.ptr[colon] != '\t')
			break;
	}
	if (colon == line.len || line.ptr[colon] != ':')
		return NULL;
	if (len > MULTIPART_HEADER_MAX)
		return "a Content-Disposition header that is too long";
	return read_disposition(part, (struct view){line.ptr + colon + 1, line.len - (colon + 1)});
}

/*
 * The header lines from @at on. *body: where the part's bytes begin; a part may end without any
 * (RFC 2046: body-part), so the delimiter is looked for from two bytes before. 1: read, 0: the text
 * ends before, -1: bad, m->why.
 */
static int read_headers(struct multipart *m, struct part *part, const struct reader *r, int64_t at,
			int64_t *body)
{
	for (;;) {
		int64_t line = at, end;

		if (starts_with(r, at, VIEW_LIT("\r\n"))) {
			*body = at + 2;
			return 1;
		}
		if (starts_with(r, at - 2, r->needle) &&
		    delimiter_kind(r, at - 2 + (int64_t)r->needle.len, &end) != DELIMITER_NONE) {
			*body = at;
			return 1;
		}
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
	struct reader r = {text, span_end(text), {buf, 4 + boundary.len}, ends};
	enum delimiter kind = DELIMITER_NONE;
	int64_t at = text->at, next = 0;

	*m = (struct multipart){.model_at = -1, .model_len = -1, .at = -1};
	memcpy(buf + 4, boundary.ptr, boundary.len);
	if (text->at == 0 && starts_with(&r, 0, (struct view){buf + 2, r.needle.len - 2}))
		kind = delimiter_kind(&r, (int64_t)r.needle.len - 2, &next);
	if (kind == DELIMITER_NONE)
		kind = next_delimiter(&r, text->at, &at, &next);
	while (kind == DELIMITER_PART) {
		struct part part = {false};
		int64_t body;
		int got = read_headers(m, &part, &r, next, &body);
		bool is_model = part.is_model && !part.is_file;

		if (got < 0)
			return MULTIPART_BAD;
		if (got == 0)
			return MULTIPART_OPEN;
		if (is_model && m->model) {
			m->why = "a second field \"model\"";
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
	if (kind != DELIMITER_CLOSE)
		return MULTIPART_OPEN;
	/* the CRLF of the closing line may be the next delimiter's, too */
	kind = next_delimiter(&r, next - 2, &at, &next);
	if (kind == DELIMITER_PART || kind == DELIMITER_CLOSE) {
		m->why = "a multipart delimiter behind the closing one";
		m->at = at;
		return MULTIPART_BAD;
	}
	return MULTIPART_CLOSED;
}

bool multipart_boundary(struct view content_type, char buf[MULTIPART_BOUNDARY_MAX],
			struct view *ret)
{
	struct param param;
	enum param_result result;
	bool found = false;

	while ((result = param_next(&content_type, &param)) == PARAM_READ) {
		if (name_is_extended(param.name, "boundary"))
			return false;
		if (!name_is(param.name, "boundary"))
			continue;
		/* no letter that a boundary may have needs escaping, and not every reader undoes it
		 */
		if (found || param.followed ||
		    (param.raw.len && memchr(param.raw.ptr, '\\', param.raw.len)) ||
		    param_value(&param, buf, MULTIPART_BOUNDARY_MAX, ret) == PARAM_BAD ||
		    ret->len == 0)
			return false;
		found = true;
	}
	return found && result == PARAM_END;
}
