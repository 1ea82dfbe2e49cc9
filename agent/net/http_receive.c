/*
 * What comes in on one transfer.
 *
 * Bounds: the body by max_body (told early by Content-Length, and counted while it comes, so
 * endless and lying bodies end there), all bodies together by the room they share, a stream by what
 * has not been handed over, all headers together by HEADERS_MAX. Interim answers (1xx) are
 * forgotten when the next head begins.
 */
#include "net/http_receive.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define HEADERS_MAX     (64 * 1024)
#define KEPT_BODY_MAX   HTTP_BODY_FREE /* what buffer is kept for the next transfer */
#define KEPT_STREAM_MAX (32 * 1024)    /* and for the next chunk, which may be minutes away */
#define RETRY_AFTER_MAX (24 * 3600)

/* What a buffer of that size takes of the room. */
static uint64_t share_of(size_t size)
{
	return size > HTTP_BODY_FREE ? size - HTTP_BODY_FREE : 0;
}

static void drop_body(struct http_receive *in)
{
	if (in->room)
		in->room->used -= share_of(in->size);
	free(in->body);
	in->body = NULL;
	in->size = 0;
}

void http_receive_reset(struct http_receive *in, uint64_t max_body, bool stream,
			struct http_room *room)
{
	struct http_receive next = {
	    .max_body = max_body, .stream = stream, .retry_after = -1, .room = room};

	if (in->size > KEPT_BODY_MAX)
		drop_body(in);
	next.body = in->body;
	next.size = in->size;
	*in = next;
}

void http_receive_taken(struct http_receive *in)
{
	in->len = 0;
	if (in->size > KEPT_STREAM_MAX)
		drop_body(in);
}

void http_receive_deinit(struct http_receive *in)
{
	drop_body(in);
	*in = (struct http_receive){0};
}

static bool give_up(struct http_receive *in, enum http_error error, const char *why)
{
	in->error = error;
	in->why = why;
	return false;
}

static struct view header_value(struct view line, const char *name)
{
	size_t len = strlen(name);

	if (line.len <= len || line.ptr[len] != ':' || strncasecmp(line.ptr, name, len) != 0)
		return VIEW_NULL;
	line.ptr += len + 1;
	line.len -= len + 1;
	while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
		line.ptr++;
		line.len--;
	}
	while (line.len && strchr(" \t\r\n", line.ptr[line.len - 1]))
		line.len--;
	return line;
}

/* RFC 9110 §10.2.3: seconds, or a date. */
static int64_t retry_after(struct view value)
{
	char date[64];
	int64_t s = 0;
	time_t at;

	if (value.len == 0 || value.len >= sizeof(date))
		return -1;
	memcpy(date, value.ptr, value.len);
	date[value.len] = '\0';
	if (strspn(date, "0123456789") == value.len) {
		for (const char *p = date; *p && s <= RETRY_AFTER_MAX; p++)
			s = s * 10 + (*p - '0');
	} else {
		at = curl_getdate(date, NULL);
		if (at == (time_t)-1)
			return -1;
		s = (int64_t)at - (int64_t)time(NULL);
	}
	return s < 0 ? 0 : s > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : s;
}

/* "HTTP/1.1 200 OK"; libcurl has checked its form. */
static int status_of(struct view line)
{
	const char *space = memchr(line.ptr, ' ', line.len);
	int status = 0;

	for (const char *p = space, *end = line.ptr + line.len; p && ++p < end && p <= space + 3;)
		status = *p >= '0' && *p <= '9' ? status * 10 + (*p - '0') : 0;
	return status;
}

bool http_receive_header(struct http_receive *in, struct view line)
{
	struct view value;

	if (line.len > HEADERS_MAX - in->header_bytes)
		return give_up(in, HTTP_TOO_LARGE, "the headers are larger than 64 kB");
	in->header_bytes += line.len;
	if (line.len >= 5 && memcmp(line.ptr, "HTTP/", 5) == 0) {
		in->reading = status_of(line);
		in->retry_after = -1;
		return true;
	}
	if (line.len && strchr("\r\n", line.ptr[0])) {
		if (in->reading >= 200 && in->status == 0)
			in->status = in->reading;
		return true;
	}
	value = header_value(line, "content-encoding");
	if (value.len && !view_caseeq(value, VIEW_LIT("identity")))
		return give_up(in, HTTP_PROTOCOL, "compressed though not asked for");
	value = header_value(line, "transfer-encoding");
	if (value.len && !view_caseeq(value, VIEW_LIT("chunked")) &&
	    !view_caseeq(value, VIEW_LIT("identity")))
		return give_up(in, HTTP_PROTOCOL, "compressed though not asked for");
	value = header_value(line, "retry-after");
	if (value.len)
		in->retry_after = retry_after(value);
	return true;
}

static bool body_grow(struct http_receive *in, size_t needed)
{
	size_t size = in->size ? in->size : 4096;
	uint64_t more;
	char *body;

	while (size < needed)
		size *= 2;
	more = share_of(size) - share_of(in->size);
	if (in->room && more &&
	    (in->room->used > in->room->max || more > in->room->max - in->room->used))
		return give_up(in, HTTP_TOO_LARGE, "too much together with other answers");
	body = realloc(in->body, size);
	if (!body)
		return give_up(in, HTTP_MEMORY, "out of memory");
	if (in->room)
		in->room->used += more;
	in->body = body;
	in->size = size;
	return true;
}

enum http_receive_next http_receive_body(struct http_receive *in, struct view bytes)
{
	if (bytes.len == 0)
		return HTTP_RECEIVE_GO_ON;
	if (in->stream && in->len &&
	    (in->len >= HTTP_STREAM_BUFFER || bytes.len > HTTP_STREAM_BUFFER - in->len))
		return HTTP_RECEIVE_PAUSE;
	if (!in->stream && bytes.len > in->max_body - in->len) {
		give_up(in, HTTP_TOO_LARGE, "the body is larger than the limit");
		return HTTP_RECEIVE_END;
	}
	if (bytes.len > in->size - in->len && !body_grow(in, in->len + bytes.len))
		return HTTP_RECEIVE_END;
	memcpy(in->body + in->len, bytes.ptr, bytes.len);
	in->len += bytes.len;
	return HTTP_RECEIVE_GO_ON;
}
