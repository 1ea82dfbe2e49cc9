/*
 * One SPOP connection.
 *
 * A turn: one read into the worker's shared buffer, every whole frame in it answered in place, the
 * answers gathered and written at once. So an idle connection holds nothing but this struct.
 *
 * What is left behind the last whole frame moves to a buffer of the connection's own, as large as
 * that one frame; the next read fills it first and the shared buffer behind it (readv), the frame
 * is served from there, and the buffer goes back. A frame is never copied but for that.
 *
 * Answers that the peer does not take at once wait in `out`; beyond limits.output we stop reading
 * until they are gone (one turn's answers may go past it). The turn's answers lie in the worker's
 * buffer and belong to the connection being served; conn_flush() ends their stay.
 *
 * A connection ends in conn_close() alone, which moves it to `dying`; it is freed after the turn.
 */
#include "serve/conn.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "serve/answer.h"
#include "serve/backlog.h"
#include "serve/close.h"
#include "serve/half.h"
#include "serve/notify.h"
#include "serve/peers.h"
#include "serve/stranger.h"
#include "serve/worker.h"
#include "spop/session.h"

/* Who may be closed for a newcomer at limits.connections, and how many are looked at for that. */
#define ROOM_IDLE_NS UINT64_C(1000000000)
#define ROOM_TRIES   64

struct conn {
	TAILQ_ENTRY(conn) link; /* in worker->conns, then in dying */
	TAILQ_ENTRY(conn) due;  /* in hello_due or frame_due while deadline_ns */
	struct worker *worker;
	struct event reader, writer;
	uint64_t id, deadline_ns;
	uint64_t heard_ns; /* when bytes came last */
	struct spop_session session;
	int fd;
	uint32_t peer; /* its process; 0: not known */
	bool closed, paused, greeted, due_hello;
	bool global_ids;    /* stream-ids number requests, not streams of this connection */
	struct half half;   /* of a frame */
	struct backlog out; /* answers that wait for the peer */
};

#define CONN_OF(h) ((struct conn *)((char *)(h)-offsetof(struct conn, half)))

/* --- deadlines --- */

static void due_clear(struct conn *c)
{
	if (c->deadline_ns) {
		TAILQ_REMOVE(c->due_hello ? &c->worker->hello_due : &c->worker->frame_due, c, due);
		c->deadline_ns = 0;
	}
}

/* Deadlines of one list are as long, so the end is the place, but for those set before a reload. */
static void due_set(struct conn *c, bool hello, uint64_t ns)
{
	struct conn_list *list = hello ? &c->worker->hello_due : &c->worker->frame_due;
	struct conn *before;

	due_clear(c);
	c->due_hello = hello;
	c->deadline_ns = clock_mono_ns() + ns;
	before = TAILQ_LAST(list, conn_list);
	while (before && before->deadline_ns > c->deadline_ns)
		before = TAILQ_PREV(before, conn_list, due);
	if (before)
		TAILQ_INSERT_AFTER(list, before, c, due);
	else
		TAILQ_INSERT_HEAD(list, c, due);
}

/* --- the way out --- */

static void say_goodbye(struct conn *c, uint32_t status, const char *text)
{
	uint8_t frame[SPOP_DISCONNECT_MAX];
	size_t n;

	/* Behind waiting answers it would stand in the middle of one. */
	if (backlog_waiting(&c->out) || (!c->greeted && status == SPOP_ERR_NONE))
		return;
	n = spop_session_write_disconnect(&c->session, frame, sizeof(frame), status, text);
	if (n > 0)
		(void)!send(c->fd, frame, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void conn_close_because(struct conn *c, enum close_reason reason, uint32_t status,
			       const char *detail, const char *remedy)
{
	struct worker *w = c->worker;

	if (c->closed)
		return;
	c->closed = true;
	stat_add(&w->stats->closed_by[reason], 1);
	close_log(reason, c->id, status, detail, remedy);
	if (reason != CLOSE_PEER_CLOSED && reason != CLOSE_MID_FRAME && reason != CLOSE_IO &&
	    reason != CLOSE_HEALTH_CHECK)
		say_goodbye(c, status, detail);
	due_clear(c);
	event_del(&c->reader);
	event_del(&c->writer);
	TAILQ_REMOVE(&w->conns, c, link);
	TAILQ_INSERT_TAIL(&w->dying, c, link);
}

static void conn_close_detail(struct conn *c, enum close_reason reason, uint32_t status,
			      const char *detail)
{
	conn_close_because(c, reason, status, detail, NULL);
}

static void conn_close(struct conn *c, enum close_reason reason)
{
	conn_close_detail(c, reason, close_reason_status(reason), close_reason_text(reason));
}

void conn_reap(struct worker *w)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&w->dying))) {
		TAILQ_REMOVE(&w->dying, c, link);
		half_drop(&w->halves, &c->half);
		backlog_clear(&c->out);
		close(c->fd);
		free(c);
		atomic_fetch_sub_explicit(&w->env->connections, 1, memory_order_relaxed);
	}
}

/* --- output --- */

static void out_done(struct conn *c)
{
	backlog_clear(&c->out);
	event_del(&c->writer);
	if (!c->paused)
		return;
	c->paused = false;
	due_clear(c);
	/* The pause took the deadline of a frame that was half here. */
	if (c->half.bytes) {
		grace_enter();
		due_set(c, false, grace_read(c->worker->env->conf)->frame_ns);
		grace_leave();
	}
	if (event_add(&c->reader, NULL) < 0)
		conn_close(c, CLOSE_MEMORY);
}

/* Writes the turn's answers, or lines them up behind those that wait. */
static void conn_flush(struct conn *c)
{
	struct worker *w = c->worker;
	size_t n = w->out_len;
	ssize_t sent = 0;

	w->out_len = 0;
	if (n == 0 || c->closed)
		return;
	if (!backlog_waiting(&c->out)) {
		sent = send(c->fd, w->out, n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			conn_close(c, CLOSE_IO);
			return;
		}
		if (sent < 0)
			sent = 0;
	}
	if ((size_t)sent == n)
		return;
	if (backlog_add(&c->out, w->out + sent, n - (size_t)sent) < 0 ||
	    event_add(&c->writer, NULL) < 0)
		conn_close(c, CLOSE_MEMORY);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n = send(fd, c->out.bytes + c->out.pos, backlog_waiting(&c->out), MSG_NOSIGNAL);

	(void)what;
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, CLOSE_IO);
		return;
	}
	c->out.pos += (size_t)n;
	if (!backlog_waiting(&c->out))
		out_done(c);
}

/* Room for @n bytes in the turn's buffer. */
static uint8_t *out_room(struct conn *c, size_t n)
{
	struct worker *w = c->worker;

	if (WORKER_OUT_SIZE - w->out_len < n)
		conn_flush(c);
	return w->out + w->out_len;
}

/* --- frames --- */

/* Nearly all answers are shorter. */
#define ANSWER_USUAL 2048

static void serve_notify(struct conn *c, struct spop_input *in, const struct worker_conf *conf)
{
	struct worker *w = c->worker;
	const size_t max = spop_session_max_frame(&c->session) + SPOP_FRAME_PREFIX;
	const size_t most = max < WORKER_OUT_SIZE ? max : WORKER_OUT_SIZE;
	struct notify notify = {.conn = c->id,
				.buffer_size = (uint32_t)max,
				.peer = c->peer,
				.global_ids = c->global_ids};
	struct reply answer;
	int64_t ticket = 0;
	uint8_t *room;
	size_t left, n;

	notify_decide(&notify, w, in, conf);
	room = out_room(c, ANSWER_USUAL < most ? ANSWER_USUAL : most);
	if (c->closed)
		return;
	left = WORKER_OUT_SIZE - w->out_len;
	if (answer_begin(&answer, &w->decision, conf->variables, in->frame.stream_id,
			 in->frame.frame_id, room, left < most ? left : most)) {
		ticket = notify_ticket(&notify, w, conf);
	} else if (left < most) {
		/* Behind those of this turn there is too little room. */
		conn_flush(c);
		if (c->closed)
			return;
		if (answer_begin(&answer, &w->decision, conf->variables, in->frame.stream_id,
				 in->frame.frame_id, w->out, most))
			ticket = notify_ticket(&notify, w, conf);
	}
	n = answer_end(&answer, ticket);
	w->out_len += n;
	if (n == 0) {
		conn_flush(c);
		conn_close(c, CLOSE_ACK_TOO_BIG);
	}
}

static void serve_hello(struct conn *c, const struct spop_hello *hello)
{
	struct worker *w = c->worker;
	uint8_t *room = out_room(c, SPOP_AGENT_HELLO_MAX);
	struct log_line l;

	if (c->closed)
		return;
	due_clear(c);
	c->greeted = true;
	c->global_ids = hello->capabilities & SPOP_CAP_ASYNC;
	if (hello->healthcheck) {
		stat_add(&w->stats->health_checks, 1);
		if (atomic_load_explicit(&w->env->draining, memory_order_relaxed)) {
			conn_close_detail(c, CLOSE_DRAIN, SPOP_ERR_NONE,
					  close_reason_text(CLOSE_DRAIN));
			return;
		}
	}
	w->out_len += spop_session_write_hello(&c->session, room, SPOP_AGENT_HELLO_MAX);
	if (hello->healthcheck) {
		conn_flush(c);
		conn_close(c, CLOSE_HEALTH_CHECK);
		return;
	}
	log_begin(&l, LOG_LEVEL_DEBUG, "spop_hello");
	log_int(&l, "conn", (int64_t)c->id);
	log_int(&l, "max_frame", spop_session_max_frame(&c->session));
	log_int(&l, "pipelining", spop_session_pipelining(&c->session));
	log_end(&l);
}

static void serve_disconnect(struct conn *c, const struct spop_disconnect *d)
{
	conn_flush(c);
	if (d->status == SPOP_ERR_NONE || d->status == SPOP_ERR_TOUT)
		conn_close(c, CLOSE_PEER_DISCONNECT);
	else
		conn_close_detail(c, CLOSE_PEER_ERROR, SPOP_ERR_NONE, spop_error_text(d->status));
}

static void serve_frame(struct conn *c, struct spop_input *in, const struct worker_conf *conf)
{
	stat_add(&c->worker->stats->frames, 1);
	switch (in->event) {
	case SPOP_EV_HELLO:
		serve_hello(c, &in->hello);
		break;
	case SPOP_EV_NOTIFY:
		serve_notify(c, in, conf);
		break;
	case SPOP_EV_DISCONNECT:
		serve_disconnect(c, &in->disconnect);
		break;
	case SPOP_EV_IGNORED:
		break;
	}
}

/* Serves the whole frames of buf[0..len). Returns what they took; *ret_need is the whole length of
 * the frame that begins behind them, as far as known. */
static size_t serve_bytes(struct conn *c, const uint8_t *buf, size_t len, size_t *ret_need,
			  const struct worker_conf *conf)
{
	struct spop_input in;
	struct spop_fault fault;
	size_t pos = 0;

	*ret_need = 0;
	while (pos < len && !c->closed) {
		ssize_t n = spop_session_receive(&c->session, buf + pos, len - pos, &in, &fault);

		if (n < 0) {
			conn_flush(c);
			conn_close_because(c, CLOSE_PROTOCOL, (uint32_t)-n, fault.msg,
					   c->greeted ? NULL
						      : stranger_remedy(buf + pos, len - pos));
			break;
		}
		if (n == 0) {
			*ret_need = in.frame.total ? in.frame.total : SPOP_FRAME_PREFIX;
			break;
		}
		serve_frame(c, &in, conf);
		pos += (size_t)n;
	}
	return pos;
}

/*
 * Counts what has arrived of the half frame. Where that is past limits.partial the one that was
 * begun first makes room: a usual one is whole within milliseconds, and one that is not must not
 * lock the others out.
 */
static bool half_fits(struct conn *c, const struct worker_conf *conf)
{
	struct halves *all = &c->worker->halves;
	struct half *oldest;

	while (!half_count(all, &c->half, conf->max_partial)) {
		oldest = half_oldest(all, &c->half);
		if (!oldest)
			return false;
		conn_close(CONN_OF(oldest), CLOSE_BUFFERS);
		half_drop(all, oldest);
	}
	return true;
}

/* The frames before the half one were served: HAProxy must learn their tickets. */
static void close_crowded(struct conn *c)
{
	conn_flush(c);
	conn_close(c, CLOSE_BUFFERS);
}

/* Puts the beginning of a frame aside until the rest is here. */
static void set_aside(struct conn *c, const uint8_t *bytes, size_t len, size_t need,
		      const struct worker_conf *conf)
{
	if (need > conf->max_partial || !half_begin(&c->worker->halves, &c->half, len, need) ||
	    !half_fits(c, conf)) {
		close_crowded(c);
		return;
	}
	memcpy(c->half.bytes, bytes, len);
	if (!c->deadline_ns)
		due_set(c, false, conf->frame_ns);
}

/* What came into the shared buffer, with nothing half here before it. */
static void serve_shared(struct conn *c, size_t len, const struct worker_conf *conf)
{
	const uint8_t *in = c->worker->in;
	size_t need, used = serve_bytes(c, in, len, &need, conf);

	if (!c->closed && used < len)
		set_aside(c, in + used, len - used, need, conf);
}

/* @len more bytes of the half frame arrived. False: it is still not whole. */
static bool serve_half(struct conn *c, size_t len, const struct worker_conf *conf)
{
	size_t need, used;
	bool room;

	c->half.len += len;
	room = half_fits(c, conf);
	if (c->half.len < c->half.need) {
		if (!room)
			close_crowded(c);
		return false;
	}
	used = serve_bytes(c, c->half.bytes, c->half.len, &need, conf);
	if (c->closed)
		return true;
	if (used == 0) {
		/* Only the length was missing: now it is known how much is. */
		uint8_t prefix[SPOP_FRAME_PREFIX];

		memcpy(prefix, c->half.bytes, sizeof(prefix));
		half_drop(&c->worker->halves, &c->half);
		set_aside(c, prefix, sizeof(prefix), need, conf);
		return false;
	}
	half_drop(&c->worker->halves, &c->half);
	if (c->deadline_ns && !c->due_hello)
		due_clear(c);
	return true;
}

static ssize_t receive(struct conn *c, size_t *ret_partial)
{
	struct iovec iov[2] = {{NULL, 0}, {c->worker->in, WORKER_IN_SIZE}};
	ssize_t n;

	if (c->half.bytes)
		iov[0] = (struct iovec){c->half.bytes + c->half.len, c->half.need - c->half.len};
	n = c->half.bytes ? readv(c->fd, iov, 2) : read(c->fd, iov[1].iov_base, WORKER_IN_SIZE);
	*ret_partial = n > 0 && (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
	return n;
}

/* The frame whose prefix was completed by this read continues in the shared buffer. */
static void serve_rest(struct conn *c, size_t len, const struct worker_conf *conf)
{
	uint8_t *in = c->worker->in;

	while (len > 0 && c->half.bytes && !c->closed) {
		size_t take = c->half.need - c->half.len;

		if (take > len)
			take = len;
		memcpy(c->half.bytes + c->half.len, in, take);
		serve_half(c, take, conf);
		len -= take;
		memmove(in, in + take, len);
	}
	if (len > 0 && !c->closed)
		serve_shared(c, len, conf);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct worker *w = c->worker;
	const struct worker_conf *conf;
	size_t partial;
	ssize_t n = receive(c, &partial);

	(void)fd;
	(void)what;
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, errno == ECONNRESET ? CLOSE_PEER_CLOSED : CLOSE_IO);
		return;
	}
	if (n == 0) {
		conn_close(c, c->half.bytes ? CLOSE_MID_FRAME : CLOSE_PEER_CLOSED);
		return;
	}
	w->out_len = 0;
	w->now_ns = c->heard_ns = clock_mono_ns();
	grace_enter();
	conf = grace_read(w->env->conf);
	if (!c->half.bytes)
		serve_shared(c, (size_t)n, conf);
	else if (serve_half(c, partial, conf) || (size_t)n > partial)
		serve_rest(c, (size_t)n - partial, conf);
	conn_flush(c);
	if (!c->closed && !c->paused && backlog_waiting(&c->out) > conf->max_output) {
		c->paused = true;
		event_del(&c->reader);
		due_set(c, false, conf->frame_ns);
	}
	grace_leave();
}

/* --- the way in --- */

/*
 * Of the first connections in the list, moved to its end one by one, closes the first that is idle;
 * false: none is. So the hand goes round, and nobody pays for a long list. HAProxy opens another
 * connection when it needs one; the one that is closed under a NOTIFY just sent, which then fails,
 * was silent for a second before.
 */
static bool conn_make_room(struct worker *w)
{
	uint64_t now = clock_mono_ns();
	struct conn *c;

	for (unsigned i = 0; i < ROOM_TRIES && (c = TAILQ_FIRST(&w->conns)); i++) {
		if (!c->half.bytes && !c->paused && !backlog_waiting(&c->out) &&
		    now - c->heard_ns >= ROOM_IDLE_NS) {
			conn_close(c, CLOSE_MADE_ROOM);
			return true;
		}
		TAILQ_REMOVE(&w->conns, c, link);
		TAILQ_INSERT_TAIL(&w->conns, c, link);
	}
	return false;
}

void conn_refuse(int fd)
{
	uint8_t frame[SPOP_DISCONNECT_MAX];
	size_t n = spop_disconnect_write(frame, sizeof(frame), SPOP_FRM_T_AGENT_DISCON,
					 SPOP_ERR_RES, SPOP_VIEW_LIT("too many connections"));

	(void)!send(fd, frame, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

void conn_accept(struct worker *w, int fd, bool crowded)
{
	const struct worker_conf *conf;
	uint64_t hello_ns;
	struct conn *c;

	if (crowded && !conn_make_room(w)) {
		stat_add(&w->stats->closed_by[CLOSE_CONNECTIONS], 1);
		atomic_fetch_add_explicit(&w->env->refused, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&w->env->connections, 1, memory_order_relaxed);
		conn_refuse(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		stat_add(&w->stats->closed_by[CLOSE_MEMORY], 1);
		atomic_fetch_sub_explicit(&w->env->connections, 1, memory_order_relaxed);
		return;
	}
	stat_add(&w->stats->accepted, 1);
	grace_enter();
	conf = grace_read(w->env->conf);
	spop_session_init(&c->session, conf->max_frame);
	hello_ns = conf->hello_ns;
	grace_leave();
	c->worker = w;
	c->fd = fd;
	c->peer = peers_process(fd);
	peers_note(&w->env->peers, c->peer);
	c->id = w->next_id++ << 6 | w->index;
	c->heard_ns = clock_mono_ns();
	event_assign(&c->reader, w->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writer, w->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	TAILQ_INSERT_TAIL(&w->conns, c, link);
	due_set(c, true, hello_ns);
	if (event_add(&c->reader, NULL) < 0)
		conn_close(c, CLOSE_MEMORY);
}

static void expire(struct conn_list *list, uint64_t now_ns, enum close_reason reason)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(list)) && c->deadline_ns <= now_ns)
		conn_close(c, c->paused ? CLOSE_OUTPUT_TIMEOUT : reason);
}

void conn_expire(struct worker *w, uint64_t now_ns)
{
	expire(&w->hello_due, now_ns, CLOSE_HELLO_TIMEOUT);
	expire(&w->frame_due, now_ns, CLOSE_FRAME_TIMEOUT);
}

void conn_close_all(struct worker *w)
{
	while (!TAILQ_EMPTY(&w->conns))
		conn_close(TAILQ_FIRST(&w->conns), CLOSE_DRAIN);
}
