/*
 * What comes in on one transfer, for http.c only: headers that are looked at, the body, the bounds
 * of both. Of libcurl it uses the reader of dates alone.
 */
#ifndef NET_HTTP_RECEIVE_H
#define NET_HTTP_RECEIVE_H

#include "net/http.h"

struct http_receive {
	uint64_t max_body;
	bool stream;
	enum http_error error; /* why the transfer must end; HTTP_OK: it need not */
	const char *why;
	int status; /* of the last head that is whole; 0: none */
	int64_t retry_after;
	char *body; /* all of it, or of a stream what has not been handed over */
	size_t len;

	/* private */
	struct http_room *room; /* NULL: max_body alone */
	size_t size, header_bytes;
	int reading; /* status of the head that is coming */
};

/* For the next transfer, with @room or NULL; keeps a buffer that is not too large. */
void http_receive_reset(struct http_receive *in, uint64_t max_body, bool stream,
			struct http_room *room);
/* What had come of a stream was handed over. */
void http_receive_taken(struct http_receive *in);
void http_receive_deinit(struct http_receive *in);

/* One line of a head or trailer. False: end the transfer. */
bool http_receive_header(struct http_receive *in, struct view line)
    __attribute__((warn_unused_result));

enum http_receive_next { HTTP_RECEIVE_GO_ON, HTTP_RECEIVE_END, HTTP_RECEIVE_PAUSE };
/* PAUSE: nothing was taken, hand over first. */
enum http_receive_next http_receive_body(struct http_receive *in, struct view bytes)
    __attribute__((warn_unused_result));

#endif
