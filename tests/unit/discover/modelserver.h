/* Model servers on ports of their own: what they say of their models can be changed, they can go
 * and come back, and they remember what they were asked. */
#ifndef UNIT_DISCOVER_MODELSERVER_H
#define UNIT_DISCOVER_MODELSERVER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>

#include "net/http.h" /* before libevent, whose HTTP_OK is a macro */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

struct modelserver {
	struct evhttp *http;
	uint16_t port;
	const char *models; /* NULL: 503 */
	int asked;
	char token[64]; /* the last Authorization */
};

static inline void modelserver_answer(struct evhttp_request *req, void *arg)
{
	struct modelserver *s = arg;
	const char *token =
	    evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
	struct evbuffer *body = evbuffer_new();

	s->asked++;
	snprintf(s->token, sizeof(s->token), "%s", token ? token : "");
	if (s->models) {
		evbuffer_add_printf(body, "%s", s->models);
		evhttp_send_reply(req, 200, "OK", body);
	} else {
		evhttp_send_reply(req, 503, "Loading", body);
	}
	evbuffer_free(body);
}

/* On the port it had, if it had one. */
static inline void modelserver_up(struct modelserver *s, struct event_base *base)
{
	struct evhttp_bound_socket *bound;
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	s->http = evhttp_new(base);
	assert_non_null(s->http);
	bound = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", s->port);
	assert_non_null(bound);
	assert_int_equal(
	    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	evhttp_set_cb(s->http, "/v1/models", modelserver_answer, s);
}

static inline void modelserver_down(struct modelserver *s)
{
	if (s->http)
		evhttp_free(s->http);
	s->http = NULL;
}

#endif
