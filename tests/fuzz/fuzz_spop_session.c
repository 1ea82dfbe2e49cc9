/* Any bytes as what one side of a connection receives, in pieces of any size.
 *
 * The first byte chooses the side and our limit, the second seeds the sizes of the pieces; the rest
 * is the stream. It is fed twice, in pieces and at once, and both must come to the same events.
 * Invariants: nothing but HELLO is accepted first; limits hold; states only move forward; after the
 * end of a connection everything is swallowed and nothing is said.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "spop/client.h"
#include "spop/session.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

struct side {
	bool client;
	uint32_t limit;
	struct spop_session session;
	struct spop_client peer;
	uint64_t events; /* a hash of what happened, in order */
	bool ended;
};

static void note(struct side *s, uint64_t what)
{
	s->events = (s->events ^ what) * 0x100000001b3u;
}

static void note_bytes(struct side *s, struct spop_view v)
{
	note(s, v.len);
	for (size_t i = 0; i < v.len; i++)
		note(s, v.ptr[i]);
}

static void side_init(struct side *s, uint8_t options)
{
	uint8_t hello[128];

	memset(s, 0, sizeof(*s));
	s->client = options & 1;
	s->limit = options & 2 ? SPOP_MAX_FRAME_MIN : 16380;
	spop_session_init(&s->session, s->limit);
	spop_client_init(&s->peer, s->limit, options & 4 ? SPOP_CAP_PIPELINING : 0, false);
	CHECK(spop_session_max_frame(&s->session) <= s->limit);
	CHECK(spop_client_write_hello(&s->peer, hello, sizeof(hello), NULL) > 0);
}

static void ack(const struct spop_frame *f)
{
	uint8_t buf[128];
	struct spop_ack a;

	spop_ack_begin(&a, buf, sizeof(buf), f->stream_id, f->frame_id);
	spop_ack_set_int(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("x"), 1);
	CHECK(spop_ack_end(&a) > 0);
}

static void session_event(struct side *s, uint8_t before, const struct spop_input *in)
{
	uint8_t buf[SPOP_DISCONNECT_MAX];
	struct spop_notify n;
	struct spop_message m;
	struct spop_arg a;

	note(s, in->event);
	switch (in->event) {
	case SPOP_EV_HELLO:
		CHECK(before == SPOP_ST_WAIT_HELLO && s->session.state == SPOP_ST_HELLO_IN);
		CHECK(in->frame.total <= SPOP_HELLO_FRAME_MAX + 4);
		CHECK(spop_session_max_frame(&s->session) <= in->hello.max_frame_size);
		CHECK(spop_session_max_frame(&s->session) <= s->limit);
		CHECK(spop_session_max_frame(&s->session) >= SPOP_MAX_FRAME_MIN);
		CHECK(spop_session_write_hello(&s->session, buf, 10) == 0);
		CHECK(spop_session_write_hello(&s->session, buf, SPOP_AGENT_HELLO_MAX) > 0);
		CHECK(spop_session_write_hello(&s->session, buf, SPOP_AGENT_HELLO_MAX) == 0);
		CHECK(s->session.state == SPOP_ST_RUNNING);
		note_bytes(s, in->hello.engine_id);
		break;
	case SPOP_EV_NOTIFY:
		CHECK(before == SPOP_ST_RUNNING && s->session.state == SPOP_ST_RUNNING);
		CHECK(in->frame.flags & SPOP_FRM_FL_FIN);
		CHECK(in->frame.total <= s->limit + 4);
		n = in->notify;
		while (spop_notify_message(&n, &m)) {
			note_bytes(s, m.name);
			while (spop_notify_arg(&n, &a)) {
				note_bytes(s, a.name);
				note_bytes(s, spop_value_bytes(&a.value));
			}
		}
		ack(&in->frame);
		break;
	case SPOP_EV_DISCONNECT:
		CHECK(s->session.state == SPOP_ST_CLOSING);
		note(s, in->disconnect.status);
		note_bytes(s, in->disconnect.message);
		CHECK(spop_session_write_disconnect(&s->session, buf, sizeof(buf), 0, NULL) > 0);
		s->ended = true;
		break;
	case SPOP_EV_IGNORED:
		CHECK(before == SPOP_ST_RUNNING && s->session.state == SPOP_ST_RUNNING);
		break;
	}
}

static void client_event(struct side *s, uint8_t before, const struct spop_client_input *in)
{
	struct spop_actions a;
	struct spop_action action;

	note(s, in->event);
	switch (in->event) {
	case SPOP_CLIENT_EV_HELLO:
		CHECK(before == SPOP_CLIENT_ST_WAIT_HELLO);
		CHECK(in->hello.max_frame_size <= s->limit);
		CHECK(s->peer.max_frame == in->hello.max_frame_size);
		break;
	case SPOP_CLIENT_EV_ACK:
		CHECK(before == SPOP_CLIENT_ST_RUNNING);
		CHECK(in->frame.stream_id && in->frame.frame_id);
		a = in->actions;
		while (spop_actions_next(&a, &action)) {
			note_bytes(s, action.name);
			note_bytes(s, spop_value_bytes(&action.value));
		}
		break;
	case SPOP_CLIENT_EV_DISCONNECT:
		CHECK(s->peer.state == SPOP_CLIENT_ST_CLOSING);
		note(s, in->disconnect.status);
		s->ended = true;
		break;
	case SPOP_CLIENT_EV_IGNORED:
		CHECK(before == SPOP_CLIENT_ST_RUNNING);
		break;
	}
}

static void end_with_fault(struct side *s, ssize_t r, const struct spop_fault *fault, size_t len)
{
	uint8_t buf[SPOP_DISCONNECT_MAX];

	CHECK(fault->code == (enum spop_error) - r && fault->msg && fault->at <= len);
	note(s, (uint64_t)fault->code);
	if (!s->client) {
		CHECK(s->session.state == SPOP_ST_CLOSING);
		CHECK(spop_session_write_disconnect(&s->session, buf, sizeof(buf),
						    (uint32_t)fault->code, fault->msg) > 0);
	} else {
		CHECK(s->peer.state == SPOP_CLIENT_ST_CLOSING);
	}
	s->ended = true;
}

/* Bytes consumed of buf[0..len), which is copied to its exact size for ASan. */
static size_t feed(struct side *s, const uint8_t *buf, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	size_t done = 0;

	CHECK(exact);
	if (len)
		memcpy(exact, buf, len);
	while (done < len && !s->ended) {
		uint8_t before = s->client ? s->peer.state : s->session.state;
		struct spop_client_input answer;
		struct spop_fault fault;
		struct spop_input in;
		ssize_t n =
		    s->client
			? spop_client_receive(&s->peer, exact + done, len - done, &answer, &fault)
			: spop_session_receive(&s->session, exact + done, len - done, &in, &fault);

		if (n == 0)
			break;
		if (n < 0) {
			end_with_fault(s, n, &fault, len - done);
			break;
		}
		CHECK((size_t)n <= len - done);
		if (s->client)
			client_event(s, before, &answer);
		else
			session_event(s, before, &in);
		done += (size_t)n;
	}
	free(exact);
	return done;
}

static void check_swallows(struct side *s, const uint8_t *buf, size_t len)
{
	struct spop_client_input answer;
	struct spop_fault fault;
	struct spop_input in;

	if (!s->ended)
		return;
	if (s->client) {
		CHECK(spop_client_receive(&s->peer, buf, len, &answer, &fault) == (ssize_t)len);
		CHECK(len == 0 || answer.event == SPOP_CLIENT_EV_IGNORED);
	} else {
		CHECK(spop_session_receive(&s->session, buf, len, &in, &fault) == (ssize_t)len);
		CHECK(len == 0 || in.event == SPOP_EV_IGNORED);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct side whole, pieces;
	size_t done = 0, have = 0;
	uint32_t seed;
	uint8_t options;

	if (size < 2)
		return 0;
	options = data[0];
	seed = data[1];
	data += 2;
	size -= 2;

	side_init(&whole, options);
	(void)feed(&whole, data, size);

	side_init(&pieces, options);
	while (have < size && !pieces.ended) {
		seed = seed * 1103515245u + 12345u;
		have += 1 + (seed >> 16) % (seed & 0x40000000u ? 7 : 300);
		if (have > size)
			have = size;
		done += feed(&pieces, data + done, have - done);
	}
	CHECK(pieces.events == whole.events && pieces.ended == whole.ended);
	CHECK(pieces.session.state == whole.session.state);
	CHECK(pieces.session.max_frame == whole.session.max_frame);
	CHECK(pieces.session.capabilities == whole.session.capabilities);
	CHECK(pieces.peer.state == whole.peer.state);
	CHECK(pieces.peer.max_frame == whole.peer.max_frame);
	CHECK(pieces.peer.capabilities == whole.peer.capabilities);
	check_swallows(&whole, data, size);
	return 0;
}
