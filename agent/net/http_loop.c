/*
 * libcurl's multi-socket interface on the libevent loop.
 *
 * libcurl tells which descriptors it wants watched and when it wants to be called (on_socket,
 * on_timeout); the loop calls curl_multi_socket_action(); afterwards, outside of libcurl, the owner
 * looks what has become of its transfers. The owner may free all of it then, so nothing here is
 * touched after ready().
 */
#include "net/http_loop.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

#define AGAIN_MS 50

struct http_loop {
	struct event_base *base;
	CURLM *multi;
	struct event *timer; /* libcurl's */
	struct event *kick;  /* the owner has something to start or to tell */
	bool timer_lost;     /* libcurl wants to be called, and there is no timer for it */
	void (*ready)(void *arg);
	void *arg;
};

CURLM *http_loop_multi(const struct http_loop *l)
{
	return l->multi;
}

void http_loop_kick(struct http_loop *l)
{
	event_active(l->kick, EV_TIMEOUT, 0);
}

/* Without memory for a timer the loop's next turn has to do. */
static void set_timer(struct http_loop *l, const struct timeval *tv)
{
	if (event_add(l->timer, tv) < 0) {
		l->timer_lost = true;
		http_loop_kick(l);
	}
}

/* When libcurl had no memory for its own bookkeeping it has not looked at its timers either, and
 * will not ask to be called: it is called again soon, so that deadlines hold. */
static void drive(struct http_loop *l, curl_socket_t fd, int mask)
{
	static const struct timeval soon = {0, AGAIN_MS * 1000};
	int running;

	if (curl_multi_socket_action(l->multi, fd, mask, &running) != CURLM_OK)
		set_timer(l, &soon);
	l->ready(l->arg);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	int mask = 0;

	if (what & EV_READ)
		mask |= CURL_CSELECT_IN;
	if (what & EV_WRITE)
		mask |= CURL_CSELECT_OUT;
	drive(arg, fd, mask);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct http_loop *l = arg;
	bool lost = l->timer_lost;

	(void)fd;
	(void)what;
	l->timer_lost = false;
	if (lost)
		drive(l, CURL_SOCKET_TIMEOUT, 0);
	else
		l->ready(l->arg);
}

/* A socket that cannot be watched for want of memory is left to the transfer's deadline. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_loop *l = arg;
	struct event *event = socket_arg;
	short mask = EV_PERSIST;

	(void)easy;
	if (event)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		if (what & CURL_POLL_IN)
			mask |= EV_READ;
		if (what & CURL_POLL_OUT)
			mask |= EV_WRITE;
		event = event_new(l->base, fd, mask, on_event, l);
		if (event && event_add(event, NULL) < 0) {
			event_free(event);
			event = NULL;
		}
	}
	curl_multi_assign(l->multi, fd, event);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_loop *l = arg;
	struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

	(void)multi;
	if (timeout_ms < 0)
		event_del(l->timer);
	else
		set_timer(l, &tv);
	return 0;
}

struct http_loop *http_loop_new(struct event_base *base, void (*ready)(void *arg), void *arg)
{
	struct http_loop *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->base = base;
	l->ready = ready;
	l->arg = arg;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(l);
		return NULL;
	}
	l->multi = curl_multi_init();
	l->timer = event_new(base, -1, 0, on_timer, l);
	l->kick = event_new(base, -1, 0, on_kick, l);
	if (!l->multi || !l->timer || !l->kick)
		return http_loop_free(l);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return l;
}

struct http_loop *http_loop_free(struct http_loop *l)
{
	if (l->multi)
		curl_multi_cleanup(l->multi); /* closes kept connections: on_socket() still runs */
	if (l->timer)
		event_free(l->timer);
	if (l->kick)
		event_free(l->kick);
	curl_global_cleanup();
	free(l);
	return NULL;
}
