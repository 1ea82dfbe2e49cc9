/*
 * Requests out of bytes, as RFC 9112 has them and a little stricter: no folded headers, no space
 * before a colon, no length beside chunks. What is wrong is answered here and ends the connection.
 */
#include "http_conn.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_HEAD (256 * 1024)
#define MAX_LINE 4096

/* Refused by this room itself, before the caller has seen it. */
static void refuse(struct http_conn *c, int status)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "{\"detail\":\"%s\"}", http_conn_reason(status));

	c->state = BUSY;
	c->close = true;
	c->head_only = false;
	http_reply(c, status, "application/json", "", body, (size_t)n);
}

static char *token(char **at, char until)
{
	char *start = *at, *end = strchr(start, until);

	if (!end)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return start;
}

static bool parse_headers(struct http_conn *c, char *at)
{
	char *line;

	c->n_headers = 0;
	while ((line = token(&at, '\n')) && *line && *line != '\r') {
		struct http_header *h = &c->headers[c->n_headers];
		char *colon = strchr(line, ':'), *end = line + strlen(line);

		if (!colon || colon == line || c->n_headers == HTTP_MAX_HEADERS || *line == ' ' ||
		    *line == '\t' || colon[-1] == ' ' || colon[-1] == '\t')
			return false;
		*colon++ = '\0';
		while (*colon == ' ' || *colon == '\t')
			colon++;
		while (end > colon && strchr(" \t\r", end[-1]))
			*--end = '\0';
		h->name = line;
		h->value = colon;
		c->n_headers++;
	}
	return true;
}

/* 0, or the status to refuse with. Sets state, close and what is to be read. */
static int parse_head(struct http_conn *c, size_t len)
{
	char *at, *version;
	const char *v;
	bool chunked;

	free(c->head);
	c->head = strndup(c->in.p, len);
	if (!c->head || strlen(c->head) != len)
		return 400;
	at = c->head;
	c->method = token(&at, ' ');
	c->path = c->method ? token(&at, ' ') : NULL;
	version = c->path ? token(&at, '\n') : NULL;
	if (!version || strncmp(version, "HTTP/1.", 7) != 0 || *c->method == '\0')
		return 400;
	c->http10 = version[7] == '0';
	if (strncasecmp(c->path, "http://", 7) == 0) {
		c->path = strchr(c->path + 7, '/');
		if (!c->path)
			return 400;
	}
	if (*c->path != '/')
		return 400;
	c->query = strchr(c->path, '?');
	if (c->query)
		*c->query++ = '\0';
	if (!parse_headers(c, at))
		return 400;

	v = http_header(c, "connection");
	c->close =
	    v ? strcasecmp(v, "close") == 0 || (c->http10 && strcasecmp(v, "keep-alive") != 0)
	      : c->http10;
	c->head_only = strcmp(c->method, "HEAD") == 0;
	c->body_left = 0;
	v = http_header(c, "transfer-encoding");
	chunked = v && strcasecmp(v, "chunked") == 0;
	if (v && !chunked)
		return 501;
	v = http_header(c, "content-length");
	if (v && chunked)
		return 400;
	if (v) {
		char *end;

		errno = 0;
		c->body_left = strtoull(v, &end, 10);
		if (*v < '0' || *v > '9' || *end || errno)
			return 400;
		if (c->body_left > c->server->limits.body)
			return 413;
	}
	c->part = SIZE;
	c->state = chunked ? CHUNK : BODY;
	v = http_header(c, "expect");
	if (v && strcasecmp(v, "100-continue") == 0 && c->in.len == len)
		http_conn_out(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return 0;
}

/* True when a request's head was there and fine. */
static bool read_head(struct http_conn *c)
{
	const char *end;
	size_t len, skip = 0;
	int status;

	while (skip < c->in.len && (c->in.p[skip] == '\r' || c->in.p[skip] == '\n'))
		skip++;
	if (skip > 0)
		buf_drain(&c->in, skip);
	if (c->in.len == 0)
		return false;
	end = memmem(c->in.p, c->in.len, "\r\n\r\n", 4);
	if (!end) {
		if (c->in.len > MAX_HEAD)
			refuse(c, 431);
		return false;
	}
	len = (size_t)(end - c->in.p) + 4;
	status = len > MAX_HEAD ? 431 : parse_head(c, len);
	buf_drain(&c->in, len);
	if (status)
		refuse(c, status);
	return status == 0;
}

/* 1 the body is complete, 0 more is needed, or the status to refuse with. */
static int parse_chunks(struct http_conn *c, size_t *at)
{
	for (;;) {
		const char *p = c->in.p + *at, *nl;
		size_t left = c->in.len - *at, n;

		if (c->part == DATA) {
			n = left < c->body_left ? left : c->body_left;
			buf_add(&c->body, p, n);
			*at += n;
			c->body_left -= n;
			if (c->body_left > 0)
				return 0;
			c->part = DATA_END;
			continue;
		}
		nl = left ? memchr(p, '\n', left) : NULL;
		if (!nl)
			return left > MAX_LINE ? 400 : 0;
		n = (size_t)(nl - p) + 1;
		*at += n;
		if (c->part == SIZE) {
			char line[32] = "", *end;

			memcpy(line, p, n - 1 < sizeof(line) - 1 ? n - 1 : sizeof(line) - 1);
			errno = 0;
			c->body_left = strtoull(line, &end, 16);
			if (!isxdigit((unsigned char)*line) || errno || !strchr("\r; ", *end))
				return 400;
			if (c->body_left > c->server->limits.body - c->body.len)
				return 413;
			c->part = c->body_left ? DATA : TRAILER;
		} else if (c->part == DATA_END) {
			if (n > 2 || (n == 2 && *p != '\r'))
				return 400;
			c->part = SIZE;
		} else if (n == 1 || (n == 2 && *p == '\r')) {
			return 1;
		}
	}
}

static bool read_chunked(struct http_conn *c)
{
	size_t at = 0;
	int status = parse_chunks(c, &at);

	if (at > 0)
		buf_drain(&c->in, at);
	if (status > 1)
		refuse(c, status);
	return status == 1;
}

/* True when the body is complete. */
static bool read_body(struct http_conn *c)
{
	size_t n;

	if (c->state == CHUNK)
		return read_chunked(c);
	n = c->in.len < c->body_left ? c->in.len : c->body_left;
	if (n > 0) {
		buf_add(&c->body, c->in.p, n);
		buf_drain(&c->in, n);
		c->body_left -= n;
	}
	return c->body_left == 0;
}

void http_conn_read(struct http_conn *c)
{
	while (c->state == HEAD || c->state == BODY || c->state == CHUNK) {
		if (c->state == HEAD && (c->close || !read_head(c)))
			return;
		if (!read_body(c))
			return;
		buf_reserve(&c->body, 1);
		c->body.p[c->body.len] = '\0';
		c->state = BUSY;
		c->server->ops.on_request(c->server->arg, c);
	}
}

/* --- the request, for the caller --- */

const char *http_method(const struct http_conn *c)
{
	return c->method;
}

const char *http_path(const struct http_conn *c)
{
	return c->path;
}

const char *http_header(const struct http_conn *c, const char *name)
{
	for (size_t i = 0; i < c->n_headers; i++)
		if (strcasecmp(c->headers[i].name, name) == 0)
			return c->headers[i].value;
	return NULL;
}

bool http_query(const struct http_conn *c, const char *name, char *ret_value, size_t size)
{
	size_t len = strlen(name);
	const char *at = c->query;

	while (at && *at) {
		const char *end = strchrnul(at, '&');

		if (strncmp(at, name, len) == 0 && (at[len] == '=' || at + len == end)) {
			size_t n = 0;

			at += len + (at[len] == '=');
			for (; at < end && n + 1 < size; at++) {
				unsigned int byte;

				if (*at == '%' && end - at > 2 &&
				    sscanf(at + 1, "%2x", &byte) == 1) {
					ret_value[n++] = (char)byte;
					at += 2;
				} else {
					ret_value[n++] = *at == '+' ? ' ' : *at;
				}
			}
			ret_value[n] = '\0';
			return true;
		}
		at = *end ? end + 1 : NULL;
	}
	return false;
}

const char *http_body(const struct http_conn *c, size_t *ret_len)
{
	*ret_len = c->body.len;
	return c->body.p;
}

void http_forget_body(struct http_conn *c)
{
	buf_deinit(&c->body);
}
