/* Requests of net/http whose answers are streamed, and what came of each. */
#ifndef UNIT_NET_STREAM_H
#define UNIT_NET_STREAM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>

#include "net/http.h"
#include "unit/net/peer.h"

enum trick { TRICK_NONE, TRICK_CANCEL_HEAD, TRICK_CANCEL_CHUNK, TRICK_FREE_HEAD, TRICK_FREE_CHUNK };

struct stream {
	struct event_base *base;
	struct http_client *c;
	struct http_transfer *t;
	enum trick trick;
	int heads, chunks, dones;
	int status, told_status;
	enum http_error error;
	int64_t retry_after;
	char detail[256];
	char *body;
	size_t len, largest;
	bool only_count; /* bytes are compared with a pattern, not kept */
	bool wrong;
	unsigned slow_us;
};

static inline void stream_play(struct stream *o, enum trick cancel, enum trick release)
{
	if (o->trick == cancel)
		http_cancel(o->t);
	if (o->trick == release)
		o->c = http_client_free(o->c);
	if (o->trick == cancel || o->trick == release)
		event_base_loopexit(o->base, &(struct timeval){0, 50000});
}

static inline void stream_head(int status, void *arg)
{
	struct stream *o = arg;

	o->heads++;
	o->status = status;
	if (o->chunks || o->dones)
		o->wrong = true;
	stream_play(o, TRICK_CANCEL_HEAD, TRICK_FREE_HEAD);
}

static inline char stream_pattern(size_t at)
{
	return (char)('a' + at % 23 + at / 23 % 3);
}

static inline void stream_chunk(int status, struct view bytes, void *arg)
{
	struct stream *o = arg;

	if (status != o->status || o->dones || !bytes.len)
		o->wrong = true;
	o->chunks++;
	if (bytes.len > o->largest)
		o->largest = bytes.len;
	if (o->only_count) {
		for (size_t i = 0; i < bytes.len; i++)
			if (bytes.ptr[i] != stream_pattern(o->len + i))
				o->wrong = true;
	} else {
		o->body = realloc(o->body, o->len + bytes.len + 1);
		memcpy(o->body + o->len, bytes.ptr, bytes.len);
		o->body[o->len + bytes.len] = '\0';
	}
	o->len += bytes.len;
	if (o->slow_us)
		usleep(o->slow_us);
	stream_play(o, TRICK_CANCEL_CHUNK, TRICK_FREE_CHUNK);
}

static inline void stream_done(const struct http_answer *answer, void *arg)
{
	struct stream *o = arg;

	o->dones++;
	o->error = answer->error;
	o->told_status = answer->status;
	o->retry_after = answer->retry_after;
	snprintf(o->detail, sizeof(o->detail), "%s", answer->detail);
	if (answer->body.len && !o->body) {
		o->body = view_dup(answer->body);
		o->len = answer->body.len;
	}
	event_base_loopbreak(o->base);
}

static const struct http_stream_hooks stream_hooks = {stream_head, stream_chunk, stream_done};

static inline struct http_request stream_request(const char *url)
{
	return (struct http_request){
	    .url = url, .tls_verify = true, .timeout_ms = 60000, .max_body = 1 << 20};
}

static inline void stream_begin(struct stream *o, const struct http_request *req, bool stream)
{
	o->base = event_base_new();
	o->c = http_client_new(o->base, 4);
	if (stream)
		assert_int_equal(http_stream(o->c, req, &stream_hooks, o, &o->t), 0);
	else
		assert_int_equal(http_send(o->c, req, stream_done, o, &o->t), 0);
	event_base_dispatch(o->base);
	assert_false(o->wrong);
}

static inline void stream_end(struct stream *o)
{
	http_client_free(o->c);
	assert_int_equal(event_base_get_num_events(o->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o->base);
	free(o->body);
}

/* Answers with what it was sent, head and body. */
static inline void stream_echo(struct peer *p, int fd, int nth)
{
	char head[8192];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		const char *length = strcasestr(head, "\r\nContent-Length:");
		size_t want = length ? (size_t)atol(length + 17) : 0, at = strlen(head);
		char *all = malloc(at + want + 1);

		memcpy(all, head, at);
		for (size_t got = 0; got < want;) {
			ssize_t n = recv(fd, all + at + got, want - got, 0);

			if (n <= 0)
				break;
			got += (size_t)n;
		}
		peer_answer(fd, 200, "", all, at + want);
		free(all);
	}
}

#endif
