/*
 * Any bytes as multipart/form-data; boundary=b. A second reader, written straight from RFC 2046
 * over an array of lines, says how many fields "model" there are and where; slices that touch mean
 * what the whole means, with a gap that or need_body.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "request/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct request_limits limits = {512, 16384, false};

/* -1: no delimiter, 0: delimiter, 1: closing, -2: to some readers it is one. The line is [at, end),
 * its CRLF or the end behind. */
static int delimiter(const char *s, size_t at, size_t end, bool crlf)
{
	bool close;

	if (end - at < 3 || memcmp(s + at, "--b", 3) != 0)
		return -1;
	at += 3;
	close = end - at >= 2 && s[at] == '-' && s[at + 1] == '-';
	if (close)
		at += 2;
	while (at < end && (s[at] == ' ' || s[at] == '\t'))
		at++;
	if (!crlf && close && at + 1 == end && s[at] == '\r')
		at++;
	if (at < end && (s[at] == '\v' || s[at] == '\f'))
		return -2;
	if (at != end || (!crlf && !close))
		return -1;
	return close;
}

struct lines {
	size_t n;
	struct line {
		size_t at, end;
		bool crlf;
		int delimiter;
	} * line;
};

static struct lines split(const char *s, size_t n)
{
	struct lines l = {0, malloc((n + 1) * sizeof(*l.line))};
	size_t at = 0;

	for (size_t i = 0; i <= n; i++) {
		bool crlf = i + 1 < n && s[i] == '\r' && s[i + 1] == '\n';

		if (i < n && !crlf)
			continue;
		l.line[l.n++] = (struct line){at, i, crlf, delimiter(s, at, i, crlf)};
		if (crlf)
			i++;
		at = i + 1;
	}
	return l;
}

/* Does anything but the plainest headers occur? Then only the slices are compared. */
static bool plain(const char *s, size_t n)
{
	return !memmem(s, n, "\r\n ", 3) && !memmem(s, n, "\r\n\t", 3);
}

enum { FIELD_NONE, FIELD_MODEL, FIELD_ODD };

static int header(const char *s, size_t at, size_t end)
{
	static const char model[] = "Content-Disposition: form-data; name=\"model\"";
	size_t n = end - at;

	if (n == sizeof(model) - 1 && memcmp(s + at, model, n) == 0)
		return FIELD_MODEL;
	if (n >= 19 && strncasecmp(s + at, "content-disposition", 19) == 0)
		return FIELD_ODD;
	if (n >= 25 && strncasecmp(s + at, "content-transfer-encoding", 25) == 0)
		return FIELD_ODD;
	if (memchr(s + at, '\r', n) || memchr(s + at, '\n', n))
		return FIELD_ODD; /* refused: not every reader takes these for one line */
	return FIELD_NONE;
}

/* Compares with @r where the body is plain. */
static void judge(const char *s, size_t n, const struct request *r)
{
	struct lines l = split(s, n);
	size_t i = 0, at = 0, len = 0;
	unsigned fields = 0;
	bool closed = false, odd = !plain(s, n), late = false;

	while (i < l.n && l.line[i].delimiter < 0)
		i++;
	/* before the first delimiter some readers see one where RFC 2046 has none */
	odd |= i < l.n && memmem(s, l.line[i].at, "--b", 3);
	for (size_t k = 0; k < l.n; k++)
		odd |= l.line[k].delimiter == -2;
	while (i < l.n && l.line[i].delimiter == 0) {
		bool is_model = false, headers = true, first = true;
		size_t body = 0;

		for (i++; i < l.n && l.line[i].delimiter < 0; i++) {
			int kind;

			if (!headers)
				continue;
			if (!l.line[i].crlf) {
				/* the text ends within the headers */
				odd |= header(s, l.line[i].at, l.line[i].end) != FIELD_NONE;
				continue;
			}
			if (l.line[i].at == l.line[i].end) {
				odd |= first; /* no headers at all: refused */
				headers = false;
				body = l.line[i].end + 2;
				continue;
			}
			first = false;
			kind = header(s, l.line[i].at, l.line[i].end);
			odd |= kind == FIELD_ODD || (kind == FIELD_MODEL && is_model);
			is_model |= kind == FIELD_MODEL;
		}
		/* not closed, or a part that ends within its headers: bad whatever else */
		odd |= (is_model && i == l.n) || (headers && i < l.n);
		if (is_model && i < l.n) {
			fields++;
			at = body;
			len = at > l.line[i].at - 2 ? 0 : l.line[i].at - 2 - at;
		}
	}
	if (i < l.n) {
		closed = true;
		for (i++; i < l.n; i++)
			late |= l.line[i].delimiter >= 0;
	}
	free(l.line);
	if (odd)
		return;
	if (!closed || late || fields > 1) {
		if (r->status != REQUEST_BAD)
			abort();
	} else if (fields == 0) {
		if (r->status != REQUEST_NO_MODEL)
			abort();
	} else if (r->status == REQUEST_OK) {
		if (r->model_at != (int64_t)at || r->model_len != (int64_t)len ||
		    memcmp(r->model.ptr, s + at, len) != 0)
			abort();
	} else if (r->status != REQUEST_BAD || r->at != (int64_t)at) {
		abort(); /* a field that is no name */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *body = (const char *)data + 4;
	size_t n, head;
	struct request_input in = {.content_type = VIEW_LIT("multipart/form-data; boundary=b"),
				   .body_size = -1,
				   .body_len = -1};
	struct request whole, part;

	if (size < 5 || size > 65536)
		return 0;
	n = size - 4;
	head = (size_t)(data[0] | data[1] << 8) % (n + 1);
	in.body = (struct view){body, n};
	in.content_length = (int64_t)n;
	request_read(&whole, &in, &limits);
	judge(body, n, &whole);

	in.body = VIEW_NULL;
	in.body_len = (int64_t)n;
	for (int k = 0; k < 2; k++) {
		size_t tail = k ? n - head : (size_t)(data[2] | data[3] << 8) % (n + 1);
		char *h = malloc(head + 1), *t = malloc(tail + 1);

		memcpy(h + 1, body, head);
		memcpy(t + 1, body + (n - tail), tail);
		in.head = (struct view){h + 1, head};
		in.tail = (struct view){t + 1, tail};
		request_read(&part, &in, &limits);
		if (head + tail >= n ||
		    (whole.status != REQUEST_BAD && part.status != REQUEST_NEED_BODY)) {
			if (part.status != whole.status || !view_eq(part.model, whole.model) ||
			    part.model_at != whole.model_at || part.at != whole.at ||
			    part.why != whole.why)
				abort();
		}
		free(h);
		free(t);
	}
	return 0;
}
