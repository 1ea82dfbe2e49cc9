/* One GET after the other by a client of net/http, and what came of each. */
#ifndef UNIT_NET_GET_H
#define UNIT_NET_GET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>

#include "net/http.h"
#include "unit/net/peer.h"

struct got {
	struct event_base *base;
	int calls, wanted;
	enum http_error error;
	int status;
	char *detail, *type, *body;
	size_t len;
};

static inline void got_clear(struct got *o)
{
	free(o->detail);
	free(o->type);
	free(o->body);
	*o = (struct got){.base = o->base, .wanted = 1};
}

static inline void got_end(struct got *o, struct http_client *c)
{
	got_clear(o);
	http_client_free(c);
	assert_int_equal(event_base_get_num_events(o->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o->base);
}

static inline void get_told(const struct http_answer *answer, void *arg)
{
	struct got *o = arg;
	int calls = o->calls + 1, wanted = o->wanted;

	assert_non_null(answer->detail);
	got_clear(o);
	o->calls = calls;
	o->wanted = wanted;
	o->error = answer->error;
	o->status = answer->status;
	o->detail = strdup(answer->detail);
	o->type = view_dup(answer->content_type);
	o->body = view_dup(answer->body);
	o->len = answer->body.len;
	if (calls >= wanted)
		event_base_loopbreak(o->base);
}

static inline struct http_request get_request(const char *url)
{
	return (struct http_request){
	    .url = url, .tls_verify = true, .timeout_ms = 60000, .max_body = 1 << 20};
}

static inline void get_wait(struct http_client *c, const struct http_request *req, struct got *o)
{
	got_clear(o);
	assert_int_equal(http_get(c, req, get_told, o, NULL), 0);
	assert_int_equal(o->calls, 0);
	event_base_dispatch(o->base);
	assert_int_equal(o->calls, 1);
}

/* One GET to @p by a client of its own. */
static inline struct got get_once(struct peer *p, struct http_request req)
{
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 4);

	req.url = peer_url(p, "/metrics");
	get_wait(c, &req, &o);
	http_client_free(c);
	assert_int_equal(event_base_get_num_events(o.base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(o.base);
	o.base = NULL;
	return o;
}

static inline struct got get_raw(const char *answer, uint64_t max_body)
{
	struct peer *p = peer_start(peer_raw, (void *)answer);
	struct http_request req = get_request(NULL);
	struct got o;

	req.max_body = max_body;
	o = get_once(p, req);
	peer_stop(p);
	return o;
}

#endif
