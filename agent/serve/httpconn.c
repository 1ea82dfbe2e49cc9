/*
 * A connection that is asked once.
 *
 * libevent's own HTTP server (2.1) has no limit of connections, tells nobody when it frees one, and
 * times each read alone, so that a byte now and then keeps a place for ever. So the reading is
 * here, on libevent's bufferevents, and the invariants are few: one request, one answer and one
 * deadline for all of it, HTTPCONN_HEAD_MAX bytes and those of one read in, one page out. (No
 * watermark holds the reading back: setting one crashes in libevent 2.1 when memory is short.) What
 * a body says about its own length never matters, since nothing is read behind it.
 *
 * After the answer it says that nothing more comes and reads on, without keeping anything, until
 * the peer has closed: close() with bytes unread would make the kernel reset the connection, and
 * the reset may overtake the answer.
 */
#include "serve/httpconn.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>

#include "serve/tls.h"

static void end(struct httpconn *c, bool late)
{
	c->owner->gone(c, late, c->owner->arg);
	httpconn_free(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end(arg, true);
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct httpconn *c = arg;
	struct httphead head = {.token = VIEW_NULL};
	struct view text = {.len = evbuffer_get_length(in)};
	int bad = 431;
	size_t len;

	if (!c->answered) {
		text.ptr = (const char *)evbuffer_pullup(in, -1);
		len = text.ptr ? httphead_end(text) : 0;
		if (len == 0 && text.len < HTTPCONN_HEAD_MAX)
			return;
		if (len && len <= HTTPCONN_HEAD_MAX)
			bad = httphead_parse((struct view){text.ptr, len}, &head);
		c->owner->asked(c, bad, &head, c->owner->arg);
		if (c->failed) {
			end(c, false);
			return;
		}
	}
	evbuffer_drain(in, evbuffer_get_length(in));
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct httpconn *c = arg;

	if (!c->answered || c->written || evbuffer_get_length(bufferevent_get_output(bev)))
		return;
	c->written = true;
	tls_goodbye(bev);
	shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct httpconn *c = arg;

	if (what & BEV_EVENT_CONNECTED)
		return; /* TLS is up */
	/* Who has asked may be done with sending. */
	if ((what & BEV_EVENT_EOF) && c->answered && !c->written &&
	    evbuffer_get_length(bufferevent_get_output(bev))) {
		bufferevent_disable(bev, EV_READ);
		return;
	}
	end(c, false);
}

struct httpconn *httpconn_new_consume(const struct httpconn_owner *owner, struct event_base *base,
				      struct bufferevent *bev, uint32_t timeout_ms, bool trusted)
{
	const struct timeval wait = {.tv_sec = timeout_ms / 1000,
				     .tv_usec = timeout_ms % 1000 * 1000};
	struct httpconn *c = bev ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		if (bev)
			bufferevent_free(bev);
		return NULL;
	}
	c->owner = owner;
	c->bev = bev;
	c->trusted = trusted;
	c->deadline = event_new(base, -1, 0, on_deadline, c);
	bufferevent_setcb(bev, on_readable, on_written, on_event, c);
	if (!c->deadline || event_add(c->deadline, &wait) < 0 ||
	    bufferevent_enable(bev, EV_READ | EV_WRITE) < 0)
		return httpconn_free(c);
	return c;
}

struct httpconn *httpconn_free(struct httpconn *c)
{
	if (c->deadline)
		event_free(c->deadline);
	bufferevent_free(c->bev);
	free(c);
	return NULL;
}

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Internal Server Error";
	}
}

static void free_body(const void *body, size_t len, void *arg)
{
	(void)len;
	(void)arg;
	free((void *)body);
}

void httpconn_answer_consume(struct httpconn *c, int status, const char *type, const char *extra,
			     char *body, size_t len, bool head_only)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	c->answered = true;
	if (evbuffer_add_printf(out,
				"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
				"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
				"Connection: close\r\n%s\r\n",
				status, reason(status), type, len, extra) < 0)
		c->failed = true;
	if (c->failed || head_only || len == 0) {
		free(body);
	} else if (evbuffer_add_reference(out, body, len, free_body, NULL) < 0) {
		c->failed = true;
		free(body);
	}
}
