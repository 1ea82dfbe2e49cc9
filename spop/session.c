/* The agent's side of a connection.
 *
 *	WAIT_HELLO --HAPROXY-HELLO--> HELLO_IN --AGENT-HELLO written--> RUNNING
 *	any state --fault, HAPROXY-DISCONNECT, AGENT-DISCONNECT written--> CLOSING
 *
 * A frame is judged in this order: is it the time for its type, is it whole, are its identifiers
 * right, does its payload parse. So a stray HTTP request or a second HELLO is called by its name
 * and not by the first thing that is odd in its bytes. set_state() is the only writer of ->state.
 *
 * Nothing counts the NOTIFYs in flight. Without pipelining one would expect at most one, but after
 * `timeout processing` HAProxy takes the slot for free and sends the next; and whether an ACK still
 * has a taker only HAProxy can know. Late ACKs are dropped there, so answering late is harmless.
 */
#include "spop/session.h"

#define COMMON_CAPABILITIES SPOP_CAP_PIPELINING

static void set_state(struct spop_session *s, enum spop_session_state state)
{
	s->state = (uint8_t)state;
}

void spop_session_init(struct spop_session *s, uint32_t max_frame)
{
	if (max_frame < SPOP_MAX_FRAME_MIN)
		max_frame = SPOP_MAX_FRAME_MIN;
	if (max_frame > SPOP_MAX_FRAME_MAX)
		max_frame = SPOP_MAX_FRAME_MAX;
	*s = (struct spop_session){.max_frame = max_frame};
	set_state(s, SPOP_ST_WAIT_HELLO);
}

uint32_t spop_session_max_frame(const struct spop_session *s)
{
	if (s->state == SPOP_ST_WAIT_HELLO && s->max_frame > SPOP_HELLO_FRAME_MAX)
		return SPOP_HELLO_FRAME_MAX;
	return s->max_frame;
}

static int refuse(struct spop_fault *ret, enum spop_error code, const char *msg)
{
	*ret = (struct spop_fault){.code = code, .msg = msg, .at = 0};
	return -(int)code;
}

static int judge_time(const struct spop_session *s, uint8_t type, struct spop_fault *ret_fault)
{
	switch (type) {
	case SPOP_FRM_T_HAPROXY_HELLO:
		if (s->state != SPOP_ST_WAIT_HELLO)
			return refuse(ret_fault, SPOP_ERR_INVALID, "a second HAPROXY-HELLO");
		return 0;
	case SPOP_FRM_T_HAPROXY_DISCON:
		return 0;
	case SPOP_FRM_T_AGENT_HELLO:
	case SPOP_FRM_T_AGENT_DISCON:
	case SPOP_FRM_T_AGENT_ACK:
		return refuse(ret_fault, SPOP_ERR_INVALID, "a frame only an agent may send");
	default:
		if (s->state == SPOP_ST_RUNNING)
			return 0;
		return refuse(ret_fault, SPOP_ERR_INVALID, "a frame before the HELLO handshake");
	}
}

static int judge_head(const struct spop_frame *f, struct spop_fault *ret_fault)
{
	if (!(f->flags & SPOP_FRM_FL_FIN) || f->type == SPOP_FRM_T_UNSET)
		return refuse(ret_fault, SPOP_ERR_FRAG_NOT_SUPPORTED,
			      spop_error_text(SPOP_ERR_FRAG_NOT_SUPPORTED));
	if ((f->type == SPOP_FRM_T_HAPROXY_HELLO || f->type == SPOP_FRM_T_HAPROXY_DISCON) &&
	    (f->stream_id != 0 || f->frame_id != 0))
		return refuse(ret_fault, SPOP_ERR_INVALID,
			      "HELLO or DISCONNECT with a stream-id or frame-id");
	return 0;
}

static int take_hello(struct spop_session *s, struct spop_input *in, struct spop_fault *ret_fault)
{
	int r = spop_hello_parse(in->frame.payload, &in->hello, ret_fault);

	if (r < 0)
		return r;
	in->event = SPOP_EV_HELLO;
	if (s->max_frame > in->hello.max_frame_size)
		s->max_frame = in->hello.max_frame_size;
	s->capabilities = in->hello.capabilities & COMMON_CAPABILITIES;
	s->healthcheck = in->hello.healthcheck;
	set_state(s, SPOP_ST_HELLO_IN);
	return 0;
}

static int take_payload(struct spop_session *s, struct spop_input *in, struct spop_fault *ret_fault)
{
	int r;

	switch (in->frame.type) {
	case SPOP_FRM_T_HAPROXY_HELLO:
		return take_hello(s, in, ret_fault);
	case SPOP_FRM_T_HAPROXY_NOTIFY:
		in->event = SPOP_EV_NOTIFY;
		r = spop_notify_open(&in->notify, in->frame.payload, ret_fault);
		return r < 0 ? r : 0;
	case SPOP_FRM_T_HAPROXY_DISCON:
		in->event = SPOP_EV_DISCONNECT;
		r = spop_disconnect_parse(in->frame.payload, &in->disconnect, ret_fault);
		if (r == 0)
			set_state(s, SPOP_ST_CLOSING);
		return r;
	default:
		in->event = SPOP_EV_IGNORED;
		return 0;
	}
}

int spop_session_judge(struct spop_session *s, struct spop_input *in, struct spop_fault *ret_fault)
{
	int r;

	if (s->state == SPOP_ST_CLOSING) {
		in->event = SPOP_EV_IGNORED;
		return 0;
	}
	r = judge_time(s, in->frame.type, ret_fault);
	if (r == 0)
		r = judge_head(&in->frame, ret_fault);
	if (r == 0)
		r = take_payload(s, in, ret_fault);
	if (r < 0)
		set_state(s, SPOP_ST_CLOSING);
	return r;
}

ssize_t spop_session_receive(struct spop_session *s, const void *buf, size_t len,
			     struct spop_input *in, struct spop_fault *ret_fault)
{
	ssize_t n;
	int r;

	if (s->state == SPOP_ST_CLOSING) {
		in->event = SPOP_EV_IGNORED;
		in->frame = (struct spop_frame){.total = len};
		return (ssize_t)len;
	}
	n = spop_frame_decode(buf, len, spop_session_max_frame(s), &in->frame, ret_fault);
	if (n < 0)
		set_state(s, SPOP_ST_CLOSING);
	if (n <= 0)
		return n;
	r = spop_session_judge(s, in, ret_fault);
	if (r < 0) {
		ret_fault->at += in->frame.total - in->frame.payload.len;
		return r;
	}
	return n;
}

size_t spop_session_write_hello(struct spop_session *s, void *buf, size_t cap)
{
	struct spop_agent_hello hello = {
	    .version = SPOP_VIEW_LIT("2.0"),
	    .max_frame_size = s->max_frame,
	    .capabilities = s->capabilities,
	};
	size_t len;

	if (s->state != SPOP_ST_HELLO_IN)
		return 0;
	len = spop_agent_hello_write(buf, cap, &hello);
	if (len > 0)
		set_state(s, SPOP_ST_RUNNING);
	return len;
}

size_t spop_session_write_disconnect(struct spop_session *s, void *buf, size_t cap, uint32_t status,
				     const char *message)
{
	size_t len = spop_disconnect_write(buf, cap, SPOP_FRM_T_AGENT_DISCON, status,
					   spop_view_str(message));

	if (len > 0)
		set_state(s, SPOP_ST_CLOSING);
	return len;
}
