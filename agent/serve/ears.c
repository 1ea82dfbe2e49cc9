/*
 * Ears.
 *
 * HAProxy's ring keeps one TCP connection and writes many lines at a time; each read takes all that
 * is there, into a buffer that the streams share. Datagrams carry a line each.
 */
#include "serve/ears.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "observe/logline.h"
#include "serve/address.h"

#define LINE_MAX_BYTES   16384
#define READ_BYTES       (8 * LINE_MAX_BYTES) /* of one turn; a line that is half here is less */
#define STREAMS_MAX      64
#define DATAGRAMS_A_TURN 256
#define COMPLAIN_NS      (60 * CLOCK_NS_PER_S)

struct stream {
	LIST_ENTRY(stream) link;
	struct ears *ears;
	struct event *event;
	int fd;
	uint64_t heard_ns; /* when it began or last said something */
	/* The beginning of a line whose end has not come. */
	char *kept;
	size_t nkept;
};

struct ear {
	struct ears *ears;
	struct address address;
	struct evconnlistener *listener; /* TCP */
	struct event *event;             /* datagrams */
	int fd;
};

struct ears {
	struct event_base *base;
	struct ears_hooks hooks;
	LIST_HEAD(, stream) streams;
	unsigned nstreams;
	size_t n;
	struct ear *ears;
	size_t nports;
	uint16_t *ports; /* of TCP */
	uint64_t evicted_ns, closed_ns;
	char in[READ_BYTES];
};

static void stream_free(struct stream *s)
{
	LIST_REMOVE(s, link);
	s->ears->nstreams--;
	s->ears->closed_ns = clock_mono_ns();
	event_free(s->event);
	close(s->fd);
	free(s->kept);
	free(s);
}

/* Takes the whole lines of e->in[0..len); what they took, or -1: the stream makes no sense. */
static ssize_t take_lines(struct stream *s, size_t len)
{
	struct ears *e = s->ears;
	size_t pos = 0;
	while (pos < len) {
		struct view rest = {e->in + pos, len - pos}, line;
		ssize_t n = logline_next(rest, LINE_MAX_BYTES, &line);

		if (n < 0) {
			e->hooks.broken(e->hooks.arg, rest,
					n == -EMSGSIZE ? "the message is too long"
						       : "neither octet counts nor lines");
			return -1;
		}
		if (n == 0)
			break;
		if (line.len)
			e->hooks.line(e->hooks.arg, line, s->heard_ns, false);
		pos += (size_t)n;
	}
	return (ssize_t)pos;
}

/* What is left is less than a line and its octet count. */
static bool keep(struct stream *s, const char *bytes, size_t n)
{
	free(s->kept);
	s->kept = NULL;
	s->nkept = n;
	if (n == 0)
		return true;
	s->kept = malloc(n);
	if (!s->kept) {
		log_event(LOG_LEVEL_WARNING, "feedback_refused", "why", "out of memory", NULL);
		return false;
	}
	memcpy(s->kept, bytes, n);
	return true;
}

static void on_stream_read(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	struct ears *e = s->ears;
	size_t len = s->nkept;
	ssize_t n = recv(fd, e->in + len, sizeof(e->in) - len, MSG_DONTWAIT), taken;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stream_free(s);
		return;
	}
	s->heard_ns = clock_mono_ns();
	if (len)
		memcpy(e->in, s->kept, len);
	len += (size_t)n;
	taken = take_lines(s, len);
	if (taken < 0 || !keep(s, e->in + taken, len - (size_t)taken))
		stream_free(s);
}

/* Who has been silent longest goes: HAProxy speaks, and would come again. */
static void make_room(struct ears *e)
{
	struct stream *s, *oldest = LIST_FIRST(&e->streams);
	uint64_t now = clock_mono_ns();

	LIST_FOREACH(s, &e->streams, link)
	{
		if (s->heard_ns < oldest->heard_ns)
			oldest = s;
	}
	if (!e->evicted_ns || now - e->evicted_ns > COMPLAIN_NS) {
		e->evicted_ns = now;
		log_event(LOG_LEVEL_WARNING, "feedback_evicted", "why", "too many streams", NULL);
	}
	stream_free(oldest);
}

/* Out of descriptors the connection stays in the kernel's queue and would wake us at once: the door
 * rests until the next tick. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct log_line l;
	int err = errno;

	(void)arg;
	log_begin(&l, LOG_LEVEL_ERROR, "accept_failed");
	log_str(&l, "option", "listen.feedback");
	log_errno(&l, "error", err);
	log_end(&l);
	evconnlistener_disable(listener);
}

static struct stream *stream_new(struct ears *e, int fd)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s)
		s->event = event_new(e->base, fd, EV_READ | EV_PERSIST, on_stream_read, s);
	if (!s || !s->event || event_add(s->event, NULL) < 0) {
		if (s && s->event)
			event_free(s->event);
		free(s);
		return NULL;
	}
	s->ears = e;
	s->fd = fd;
	s->heard_ns = clock_mono_ns();
	LIST_INSERT_HEAD(&e->streams, s, link);
	e->nstreams++;
	return s;
}

static void on_stream(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
		      int len, void *arg)
{
	struct ears *e = ((struct ear *)arg)->ears;
	int on = 1;
	/* However we end, killed too, HAProxy gets a reset. With a FIN alone 3.0 keeps a connection
	 * that is half closed: its ring tells nothing any more and never connects again, and after
	 * a reload the old worker stays for ever. 3.2 loses the next lines to it. */
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)listener;
	(void)addr;
	(void)len;
	if (e->nstreams >= STREAMS_MAX)
		make_room(e);
	if (!stream_new(e, fd)) {
		close(fd);
		log_event(LOG_LEVEL_WARNING, "feedback_refused", "why", "out of memory", NULL);
		return;
	}
	/* A machine that lost its power says no goodbye. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	log_event(LOG_LEVEL_DEBUG, "feedback_stream", NULL);
}

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct ears *e = ((struct ear *)arg)->ears;

	(void)what;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN; i++) {
		ssize_t n = recv(fd, e->in, LINE_MAX_BYTES, 0);

		if (n < 0)
			return;
		while (n > 0 && e->in[n - 1] == '\n')
			n--;
		e->hooks.line(e->hooks.arg, (struct view){e->in, (size_t)n}, clock_mono_ns(), true);
	}
}

static int listen_stream(struct ear *ear)
{
	ear->fd = address_listen(&ear->address, SOCK_STREAM, STREAMS_MAX, 0, NULL);
	if (ear->fd < 0)
		return ear->fd;
	ear->listener =
	    evconnlistener_new(ear->ears->base, on_stream, ear,
			       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, ear->fd);
	if (!ear->listener)
		return -ENOMEM;
	evconnlistener_set_error_cb(ear->listener, on_accept_error);
	return 0;
}

static int listen_datagram(struct ear *ear, const struct config *conf)
{
	int size = 4 * 1024 * 1024;

	ear->fd = address_listen(&ear->address, SOCK_DGRAM, 0, conf->listen.spop_mode,
				 conf->listen.spop_group);
	if (ear->fd < 0)
		return ear->fd;
	/* What does not fit is lost without a word; the kernel caps it at net.core.rmem_max. */
	setsockopt(ear->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	ear->event = event_new(ear->ears->base, ear->fd, EV_READ | EV_PERSIST, on_datagram, ear);
	return ear->event && event_add(ear->event, NULL) == 0 ? 0 : -ENOMEM;
}

static bool listen_on(struct ears *e, const char *text, const struct config *conf)
{
	struct address address;
	int r = address_parse(text, &address);

	for (unsigned i = 0; r == 0 && i < 2; i++) {
		struct ear *ear = &e->ears[e->n];
		bool stream = i == 0;

		if (stream && address.addr.ss_family == AF_UNIX)
			continue;
		*ear = (struct ear){.ears = e, .address = address, .fd = -1};
		e->n++;
		r = stream ? listen_stream(ear) : listen_datagram(ear, conf);
		if (stream && r == 0) {
			/* Port 0: the datagrams go where the stream went. */
			socklen_t len = sizeof(address.addr);

			getsockname(ear->fd, (void *)&address.addr, &len);
			e->ports[e->nports++] = address_port(&address);
		}
	}
	if (r < 0)
		address_complain(&address, -r, "listen.feedback", text);
	return r == 0;
}

struct ears *ears_new(struct event_base *base, const struct config *conf,
		      const struct ears_hooks *hooks)
{
	struct ears *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->base = base;
	e->hooks = *hooks;
	LIST_INIT(&e->streams);
	e->ears = calloc(2 * conf->listen.feedback.n + 1, sizeof(*e->ears));
	e->ports = calloc(conf->listen.feedback.n + 1, sizeof(*e->ports));
	if (!e->ears || !e->ports)
		return ears_free(e);
	for (size_t i = 0; i < conf->listen.feedback.n; i++)
		if (!listen_on(e, conf->listen.feedback.items[i], conf))
			return ears_free(e);
	return e;
}

struct ears *ears_free(struct ears *e)
{
	if (!e)
		return NULL;
	while (!LIST_EMPTY(&e->streams))
		stream_free(LIST_FIRST(&e->streams));
	assert(e->n == 0 || e->ears);
	for (size_t i = 0; i < e->n; i++) {
		struct ear *ear = &e->ears[i];

		address_unlink(&ear->address);
		if (ear->event)
			event_free(ear->event);
		if (ear->listener)
			evconnlistener_free(ear->listener);
		else if (ear->fd >= 0)
			close(ear->fd);
	}
	free(e->ears);
	free(e->ports);
	free(e);
	return NULL;
}

void ears_tick(struct ears *e)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->ears[i].listener)
			evconnlistener_enable(e->ears[i].listener);
}

unsigned ears_streams(const struct ears *e)
{
	return e->nstreams;
}

uint64_t ears_closed_ns(const struct ears *e)
{
	return e->closed_ns;
}

const uint16_t *ears_ports(const struct ears *e, size_t *ret_n)
{
	*ret_n = e->nports;
	return e->ports;
}
