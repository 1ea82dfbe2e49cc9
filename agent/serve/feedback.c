/*
 * Feedback.
 *
 * HAProxy's ring keeps one TCP connection and writes many lines at a time; each read takes all
 * that is there. Datagrams carry a line each. A line closes its ticket; the endpoint that really
 * served, by the line's names, is credited with the end, since a retry may have moved the request.
 *
 * A ticket whose number HAProxy never learned (the ACK came after `timeout processing`, or the
 * client went away before it) ends in a line without a ticket. HAProxy's own number of the request
 * finds it; such lines are gathered and looked for together, once a tick. And when HAProxy dies,
 * its ring falls silent and the next process is a new one: what was open before is gone.
 *
 * A line that is no line is counted and, once a minute at most, logged: a wrong log-format would
 * otherwise show only as load that never falls.
 */
#include "serve/feedback.h"

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
/* Tickets looked at per tick and worker, to find the old ones. */
#define EXPIRE_BUDGET 65536
/* Lines without a ticket that are remembered until the next tick. */
#define LOST_MAX 4096
/* A line may come this much later than its request ended. */
#define LATE_NS (2 * CLOCK_NS_PER_S)
/* With so many requests open and not one end told for so long, it is not that all are long. */
#define SILENT_TICKETS 50
#define SILENT_NS      (60 * CLOCK_NS_PER_S)
/* How long after its ring fell silent a stopping HAProxy still sends what it had accepted. */
#define BURY_NS CLOCK_NS_PER_S

struct stream {
	LIST_ENTRY(stream) link;
	struct feedback *feedback;
	struct event *event;
	int fd;
	uint64_t heard_ns; /* when it began or last said something */
	/* The beginning of a line whose end has not come. */
	char *kept;
	size_t nkept;
};

struct ear {
	struct feedback *feedback;
	struct address address;
	struct evconnlistener *listener; /* TCP */
	struct event *event;             /* datagrams */
	int fd;
};

struct feedback {
	struct feedback_env env;
	struct feedback_counts counts;
	LIST_HEAD(, stream) streams;
	unsigned nstreams;
	size_t nears;
	struct ear *ears;
	size_t nports;
	uint16_t *ports;    /* of TCP */
	bool by_datagrams;  /* one came */
	bool datagram_last; /* and what was understood last was one */
	uint64_t complained_ns, evicted_ns, expired_told;
	uint64_t heard, heard_ns; /* lines, and when there was one last or few were waited for */
	uint64_t given_up;        /* at that line */
	bool silence_told;
	uint64_t silent_ns; /* when a stream closed last; 0: none did, or its dead are buried */
	size_t nlost;
	struct ticket_lost lost[LOST_MAX];
	char in[READ_BYTES];
};

static void complain(struct feedback *f, struct view line, const char *why)
{
	uint64_t now = clock_mono_ns();
	struct log_line l;

	f->counts.broken++;
	if (f->complained_ns && now - f->complained_ns < COMPLAIN_NS)
		return;
	f->complained_ns = now;
	log_begin(&l, LOG_LEVEL_WARNING, "feedback_broken");
	log_str(&l, "why", why);
	log_int(&l, "so_far", (int64_t)f->counts.broken);
	log_view(&l, "line", (struct view){line.ptr, line.len < 200 ? line.len : 200});
	log_str(&l, "remedy", "use the log-format-sd of the shipped haproxy.cfg, format rfc5424");
	log_end(&l);
}

/* HAProxy's states begin with who ended it: C the client; S, s the server; L, R, P, I… itself. */
static enum endpoint_end how_it_ended(const struct logline *l)
{
	char who = l->state.len ? l->state.ptr[0] : '-';

	if (who == 'C' || who == 'c')
		return ENDPOINT_ABORTED;
	if (who == 'S' || who == 's' || l->status >= 500 || l->status < 100)
		return ENDPOINT_FAILED;
	return ENDPOINT_ANSWERED;
}

static void reclaim(struct feedback *f)
{
	f->counts.reclaimed += tickets_reclaim(f->env.tickets, f->lost, f->nlost);
	f->nlost = 0;
}

/* What HAProxy says of itself is the number that its tickets have. */
static bool asks(const struct feedback *f, uint32_t pid)
{
	return f->env.peers && peers_has(f->env.peers, pid);
}

static void remember_lost(struct feedback *f, const struct logline *l, struct view line)
{
	uint64_t now = clock_mono_ns(), age = LATE_NS;
	uint32_t pid;

	if (!l->key || tickets_open(f->env.tickets) == 0)
		return;
	if (l->ta_ms > 0)
		age += (uint64_t)l->ta_ms * CLOCK_NS_PER_MS;
	pid = logline_pid(line);
	f->lost[f->nlost++] = (struct ticket_lost){
	    .key = l->key,
	    .since_ns = now > age ? now - age : 0,
	    .peer = asks(f, pid) ? pid : 0,
	};
	if (f->nlost == LOST_MAX)
		reclaim(f);
}

static bool names(const struct place *p, const struct logline *l)
{
	return p->server && view_eq(view_str(p->server), l->server) &&
	       (!l->backend.len || view_eq(view_str(p->backend), l->backend));
}

/* @now: when it was here. */
static void take_line(struct feedback *f, struct view line, uint64_t now)
{
	struct ticket_info ticket;
	const struct place *place;
	struct logline l;
	int64_t other;

	if (logline_parse(line, &l) < 0) {
		if (!logline_is_notice(line))
			complain(f, line, "not RFC 5424 with structured data");
		return;
	}
	f->counts.lines++;
	if (l.ticket == 0) {
		f->counts.no_ticket++;
		remember_lost(f, &l, line);
		return;
	}
	if (ticket_close(f->env.tickets, l.ticket, &ticket) < 0) {
		f->counts.unknown++;
		return;
	}
	place = f->env.place(f->env.arg, ticket.slot);
	if (l.server.len && l.server.ptr[0] != '<' && place && place->server && !names(place, &l)) {
		f->counts.moved++;
		other = f->env.find(f->env.arg, l.backend, l.server);
		/* The one that was picked had it for a while and did not answer. */
		endpoint_finished(f->env.endpoints, ticket.slot, ticket.generation,
				  ticket.opened_ns, now, ENDPOINT_FAILED);
		if (other < 0)
			return;
		ticket.slot = (uint32_t)other;
		ticket.generation = endpoint_generation(f->env.endpoints, ticket.slot);
	}
	endpoint_finished(f->env.endpoints, ticket.slot, ticket.generation, ticket.opened_ns, now,
			  how_it_ended(&l));
}

void feedback_line(struct feedback *f, struct view line)
{
	take_line(f, line, clock_mono_ns());
}

/* --- streams --- */

static void stream_free(struct stream *s)
{
	LIST_REMOVE(s, link);
	s->feedback->nstreams--;
	s->feedback->silent_ns = clock_mono_ns();
	event_free(s->event);
	close(s->fd);
	free(s->kept);
	free(s);
}

/* Takes the whole lines of f->in[0..len); what they took, or -1: the stream makes no sense. */
static ssize_t take_lines(struct stream *s, size_t len)
{
	struct feedback *f = s->feedback;
	size_t pos = 0;

	while (pos < len) {
		struct view rest = {f->in + pos, len - pos}, line;
		ssize_t n = logline_next(rest, LINE_MAX_BYTES, &line);

		if (n < 0) {
			complain(f, rest,
				 n == -EMSGSIZE ? "the message is too long"
						: "neither octet counts nor lines");
			return -1;
		}
		if (n == 0)
			break;
		if (line.len)
			take_line(f, line, s->heard_ns);
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

/* One read takes all that is there into a buffer that the streams share. */
static void on_stream_read(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	struct feedback *f = s->feedback;
	ssize_t n = recv(fd, f->in + s->nkept, sizeof(f->in) - s->nkept, MSG_DONTWAIT), taken;
	size_t len = s->nkept;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stream_free(s);
		return;
	}
	s->heard_ns = clock_mono_ns();
	f->datagram_last = false;
	if (len)
		memcpy(f->in, s->kept, len);
	len += (size_t)n;
	taken = take_lines(s, len);
	if (taken < 0 || !keep(s, f->in + taken, len - (size_t)taken))
		stream_free(s);
}

/* Who has been silent longest goes: HAProxy speaks, and would come again. */
static void make_room(struct feedback *f)
{
	struct stream *s, *oldest = LIST_FIRST(&f->streams);
	uint64_t now = clock_mono_ns();

	LIST_FOREACH(s, &f->streams, link)
	{
		if (s->heard_ns < oldest->heard_ns)
			oldest = s;
	}
	if (!f->evicted_ns || now - f->evicted_ns > COMPLAIN_NS) {
		f->evicted_ns = now;
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

static void on_stream(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
		      int len, void *arg)
{
	struct feedback *f = ((struct ear *)arg)->feedback;
	struct stream *s;
	int on = 1;
	/* However we end, killed too, HAProxy gets a reset. With a FIN alone 3.0 keeps a connection
	 * that is half closed: its ring tells nothing any more and never connects again, and after
	 * a reload the old worker stays for ever. 3.2 loses the next lines to it. */
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)listener;
	(void)addr;
	(void)len;
	if (f->nstreams >= STREAMS_MAX)
		make_room(f);
	s = calloc(1, sizeof(*s));
	if (s)
		s->event = event_new(f->env.base, fd, EV_READ | EV_PERSIST, on_stream_read, s);
	if (!s || !s->event || event_add(s->event, NULL) < 0) {
		if (s && s->event)
			event_free(s->event);
		free(s);
		close(fd);
		log_event(LOG_LEVEL_WARNING, "feedback_refused", "why", "out of memory", NULL);
		return;
	}
	/* A machine that lost its power says no goodbye. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	s->feedback = f;
	s->fd = fd;
	s->heard_ns = clock_mono_ns();
	LIST_INSERT_HEAD(&f->streams, s, link);
	f->nstreams++;
	log_event(LOG_LEVEL_DEBUG, "feedback_stream", NULL);
}

/* --- datagrams --- */

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct feedback *f = ((struct ear *)arg)->feedback;
	uint64_t broken;

	(void)what;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN; i++) {
		ssize_t n = recv(fd, f->in, LINE_MAX_BYTES, 0);

		if (n < 0)
			return;
		f->by_datagrams = true;
		while (n > 0 && f->in[n - 1] == '\n')
			n--;
		broken = f->counts.broken;
		feedback_line(f, (struct view){f->in, (size_t)n});
		if (f->counts.broken == broken)
			f->datagram_last = true;
	}
}

/* --- life --- */

static int listen_stream(struct feedback *f, struct ear *e)
{
	e->fd = address_listen(&e->address, SOCK_STREAM, STREAMS_MAX, 0, NULL);
	if (e->fd < 0)
		return e->fd;
	e->listener = evconnlistener_new(f->env.base, on_stream, e,
					 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, e->fd);
	if (!e->listener)
		return -ENOMEM;
	evconnlistener_set_error_cb(e->listener, on_accept_error);
	return 0;
}

static int listen_datagram(struct feedback *f, struct ear *e, const struct config *conf)
{
	int size = 4 * 1024 * 1024;

	e->fd = address_listen(&e->address, SOCK_DGRAM, 0, conf->listen.spop_mode,
			       conf->listen.spop_group);
	if (e->fd < 0)
		return e->fd;
	/* What does not fit is lost without a word; the kernel caps it at net.core.rmem_max. */
	setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	e->event = event_new(f->env.base, e->fd, EV_READ | EV_PERSIST, on_datagram, e);
	return e->event && event_add(e->event, NULL) == 0 ? 0 : -ENOMEM;
}

static bool listen_on(struct feedback *f, const char *text, const struct config *conf)
{
	struct address address;
	int r = address_parse(text, &address);

	for (unsigned i = 0; r == 0 && i < 2; i++) {
		struct ear *e = &f->ears[f->nears];
		bool stream = i == 0;

		if (stream && address.addr.ss_family == AF_UNIX)
			continue;
		*e = (struct ear){.feedback = f, .address = address, .fd = -1};
		f->nears++;
		r = stream ? listen_stream(f, e) : listen_datagram(f, e, conf);
		if (stream && r == 0) {
			/* Port 0: the datagrams go where the stream went. */
			socklen_t len = sizeof(address.addr);

			getsockname(e->fd, (void *)&address.addr, &len);
			f->ports[f->nports++] = address_port(&address);
		}
	}
	if (r < 0)
		address_complain(&address, -r, "listen.feedback", text);
	return r == 0;
}

struct feedback *feedback_new(const struct feedback_env *env, const struct config *conf)
{
	struct feedback *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->env = *env;
	LIST_INIT(&f->streams);
	f->ears = calloc(2 * conf->listen.feedback.n + 1, sizeof(*f->ears));
	f->ports = calloc(conf->listen.feedback.n + 1, sizeof(*f->ports));
	if (!f->ears || !f->ports)
		return feedback_free(f);
	for (size_t i = 0; i < conf->listen.feedback.n; i++)
		if (!listen_on(f, conf->listen.feedback.items[i], conf))
			return feedback_free(f);
	return f;
}

struct feedback *feedback_free(struct feedback *f)
{
	if (f) {
		while (!LIST_EMPTY(&f->streams))
			stream_free(LIST_FIRST(&f->streams));
		assert(f->nears == 0 || f->ears);
		for (size_t i = 0; i < f->nears; i++) {
			struct ear *e = &f->ears[i];

			address_unlink(&e->address);
			if (e->event)
				event_free(e->event);
			if (e->listener)
				evconnlistener_free(e->listener);
			else if (e->fd >= 0)
				close(e->fd);
		}
		free(f->ears);
		free(f->ports);
		free(f);
	}
	return NULL;
}

static unsigned bury_known(struct feedback *f, uint64_t until, const struct feedback_haproxy *h)
{
	unsigned n = tickets_abandon(f->env.tickets, 0, until);

	if (h->former_pid && !f->datagram_last)
		n += tickets_abandon(f->env.tickets, h->former_pid, until);
	return n;
}

/*
 * The process whose ring fell silent is not the one that answers now. The new one's ring may have
 * come before the old one's went, and the old one still sends requests that it had accepted. What
 * is known to be the new one's stays; of the others, a ticket too many that goes here is not lost:
 * the scrape counts its request as another's. What the runtime socket said before the silence, the
 * dead one may have said.
 *
 * Where the new one's number is the kernel's too, another HAProxy that asks us keeps its own: those
 * of the one before go, and those that nobody is known to have asked for. serve/retired.c sees to
 * others that are gone.
 */
static void bury(struct feedback *f, uint64_t now_ns, const struct feedback_haproxy *h)
{
	uint64_t until = f->silent_ns + BURY_NS;

	if (!f->silent_ns || f->nstreams == 0 || now_ns < until || !h->start_ns ||
	    h->seen_ns <= f->silent_ns)
		return;
	/* Its uptime is told in whole seconds. */
	if (h->start_ns + CLOCK_NS_PER_S >= f->silent_ns)
		f->counts.orphaned += asks(f, h->pid)
					  ? bury_known(f, until, h)
					  : tickets_abandon_others(f->env.tickets, h->pid, until);
	f->silent_ns = 0;
}

/*
 * A haproxy.cfg without the log line shows as load that only grows: tickets expire after an hour,
 * whoever looks for the reason looks now. Where the runtime socket shows that requests have ended,
 * it shows as load that is some seconds too old.
 */
static void mind_silence(struct feedback *f, uint64_t now_ns, uint64_t given_up)
{
	uint32_t open = tickets_open(f->env.tickets);
	struct log_line l;

	if (f->counts.lines != f->heard || f->heard_ns == 0)
		f->given_up = given_up;
	given_up -= f->given_up;
	if (f->counts.lines != f->heard || open + given_up < SILENT_TICKETS || f->heard_ns == 0) {
		f->heard = f->counts.lines;
		f->heard_ns = now_ns;
		f->silence_told = false;
		return;
	}
	if (f->silence_told || now_ns - f->heard_ns < SILENT_NS)
		return;
	f->silence_told = true;
	f->counts.silences++;
	log_begin(&l, LOG_LEVEL_WARNING, "feedback_silent");
	log_int(&l, "open", open);
	log_int(&l, "given_up", (int64_t)given_up);
	log_int(&l, "for_s", (int64_t)((now_ns - f->heard_ns) / CLOCK_NS_PER_S));
	log_str(&l, "remedy",
		"HAProxy tells the end of no request: check its log line to the agent (`log "
		"ring@…` and log-format-sd in the frontend, no dontlog-normal)");
	log_end(&l);
}

void feedback_tick(struct feedback *f, uint64_t now_ns, uint64_t ticket_age_ns,
		   const struct feedback_haproxy *h)
{
	struct log_line l;

	for (size_t i = 0; i < f->nears; i++)
		if (f->ears[i].listener)
			evconnlistener_enable(f->ears[i].listener);
	if (f->nlost)
		reclaim(f);
	bury(f, now_ns, h);
	f->counts.expired += tickets_expire(f->env.tickets, now_ns, ticket_age_ns, EXPIRE_BUDGET);
	mind_silence(f, now_ns, h->given_up);
	if (f->counts.expired == f->expired_told)
		return;
	log_begin(&l, LOG_LEVEL_WARNING, "tickets_expired");
	log_int(&l, "new", (int64_t)(f->counts.expired - f->expired_told));
	log_int(&l, "so_far", (int64_t)f->counts.expired);
	log_str(&l, "remedy",
		"HAProxy did not tell the end of these requests: check its log line to the agent");
	log_end(&l);
	f->expired_told = f->counts.expired;
}

void feedback_counts(const struct feedback *f, struct feedback_counts *ret)
{
	*ret = f->counts;
}

bool feedback_by_datagrams(const struct feedback *f)
{
	return f->datagram_last;
}

bool feedback_missing(const struct feedback *f)
{
	return f->nstreams == 0 && !f->by_datagrams && tickets_open(f->env.tickets) > 0;
}

const uint16_t *feedback_ports(const struct feedback *f, size_t *ret_n)
{
	*ret_n = f->nports;
	return f->ports;
}
