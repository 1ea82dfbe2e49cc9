/*
 * The door for HAProxy.
 *
 * Out of descriptors, accept() fails and the kernel keeps the connection waiting: level-triggered,
 * that would spin. So the door closes for a moment (PAUSE_MS) and opens again. Past
 * limits.connections one that is idle makes room (conn.c); where none is, the peer is told so by an
 * AGENT-DISCONNECT, which HAProxy takes for a failed HELLO and tries elsewhere.
 */
#include "serve/listener.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/address.h"
#include "serve/conn.h"

#define PAUSE_MS       100
#define ACCEPTS_A_TURN 64
#define COMPLAIN_NS    (60 * CLOCK_NS_PER_S)

struct door {
	struct listener *listener;
	struct address address;
	struct event *event;
	int fd;
};

struct listener {
	struct listener_env env;
	uint32_t max_connections;
	unsigned next;
	uint64_t refused, complained_ns;
	struct event *resume;
	bool paused;
	size_t ndoors;
	struct door *doors;
};

/* Who is refused comes again at once: it is said once a minute at most. */
static void complain(struct listener *l, const char *event, const char *why, const char *remedy)
{
	uint64_t now = clock_mono_ns();
	struct log_line line;

	if (l->complained_ns && now - l->complained_ns < COMPLAIN_NS)
		return;
	l->complained_ns = now;
	log_begin(&line, LOG_LEVEL_WARNING, event);
	log_str(&line, "why", why);
	log_int(&line, "refused", (int64_t)listener_refused(l));
	log_str(&line, "remedy", remedy);
	log_end(&line);
}

static void deal(struct listener *l, int fd)
{
	bool crowded = atomic_fetch_add(&l->env.shared->connections, 1) >= l->max_connections;
	int on = 1;

	if (crowded)
		complain(l, "spop_crowded", "as many connections as there may be",
			 "raise limits.connections");
	/* Fails on unix sockets, which need it not. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (worker_give(&l->env.workers[l->next++ % l->env.nworkers], fd, crowded) < 0) {
		atomic_fetch_sub(&l->env.shared->connections, 1);
		l->refused++;
		complain(l, "spop_refused", "a worker does not keep up", "raise workers");
		conn_refuse(fd);
	}
}

static void pause_doors(struct listener *l, int err)
{
	const struct timeval wait = {.tv_usec = PAUSE_MS * 1000};
	struct log_line line;

	if (!l->paused) {
		log_begin(&line, LOG_LEVEL_ERROR, "accept_failed");
		log_errno(&line, "error", err);
		log_str(&line, "remedy", "raise the limit of open files (ulimit -n, LimitNOFILE)");
		log_end(&line);
	}
	l->paused = true;
	for (size_t i = 0; i < l->ndoors; i++)
		event_del(l->doors[i].event);
	event_add(l->resume, &wait);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < l->ndoors; i++)
		event_add(l->doors[i].event, NULL);
}

static void on_knock(evutil_socket_t fd, short what, void *arg)
{
	struct door *d = arg;

	(void)what;
	for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
		int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (peer >= 0) {
			d->listener->paused = false;
			deal(d->listener, peer);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_doors(d->listener, errno);
		return;
	}
}

static bool open_door(struct listener *l, const char *text, const struct config *conf)
{
	struct door *d = &l->doors[l->ndoors];
	int fd = address_parse(text, &d->address);

	if (fd == 0)
		fd = address_listen(&d->address, SOCK_STREAM, (int)conf->listen.backlog,
				    conf->listen.spop_mode, conf->listen.spop_group);
	if (fd < 0) {
		address_complain(&d->address, -fd, "listen.spop", text);
		return false;
	}
	d->listener = l;
	d->fd = fd;
	d->event = event_new(l->env.base, fd, EV_READ | EV_PERSIST, on_knock, d);
	l->ndoors++;
	return d->event && event_add(d->event, NULL) == 0;
}

struct listener *listener_new(const struct listener_env *env, const struct config *conf)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->env = *env;
	l->max_connections = conf->limits.connections;
	l->doors = calloc(conf->listen.spop.n ? conf->listen.spop.n : 1, sizeof(*l->doors));
	l->resume = event_new(env->base, -1, 0, on_resume, l);
	if (!l->doors || !l->resume)
		return listener_free(l);
	for (size_t i = 0; i < conf->listen.spop.n; i++)
		if (!open_door(l, conf->listen.spop.items[i], conf))
			return listener_free(l);
	return l;
}

void listener_reload(struct listener *l, const struct config *conf)
{
	l->max_connections = conf->limits.connections;
}

struct listener *listener_free(struct listener *l)
{
	if (l) {
		/* ndoors counts what was opened, into an array that was there. */
		assert(l->ndoors == 0 || l->doors);
		for (size_t i = 0; i < l->ndoors; i++) {
			if (l->doors[i].event)
				event_free(l->doors[i].event);
			address_unlink(&l->doors[i].address);
			close(l->doors[i].fd);
		}
		if (l->resume)
			event_free(l->resume);
		free(l->doors);
		free(l);
	}
	return NULL;
}

uint64_t listener_refused(const struct listener *l)
{
	return l->refused + atomic_load(&l->env.shared->refused);
}
