/* HAProxy's side of a connection: session.c seen in a mirror.
 *
 *	START --HAPROXY-HELLO written--> WAIT_HELLO --AGENT-HELLO--> RUNNING
 *	any state --fault, AGENT-DISCONNECT, HAPROXY-DISCONNECT written--> CLOSING
 *
 * It exists to find agents wanting, so where HAProxy's mux is lenient and its spop-check or
 *SPOE.txt is not (missing max-frame-size or capabilities, identifiers of a later DISCONNECT,
 *actions it would silently drop) the strict reading is taken.
 */
#include "spop/client.h"

static void set_state(struct spop_client *c, enum spop_client_state state)
{
	c->state = (uint8_t)state;
}

void spop_client_init(struct spop_client *c, uint32_t max_frame, uint32_t capabilities,
		      bool healthcheck)
{
	if (max_frame < SPOP_MAX_FRAME_MIN)
		max_frame = SPOP_MAX_FRAME_MIN;
	if (max_frame > SPOP_MAX_FRAME_MAX)
		max_frame = SPOP_MAX_FRAME_MAX;
	*c = (struct spop_client){
	    .max_frame = max_frame,
	    .capabilities = capabilities,
	    .healthcheck = healthcheck,
	};
	set_state(c, SPOP_CLIENT_ST_START);
}

size_t spop_client_write_hello(struct spop_client *c, void *buf, size_t cap, const char *engine_id)
{
	struct spop_hello hello = {
	    .versions = SPOP_VIEW_LIT("2.0"),
	    .max_frame_size = c->max_frame,
	    .capabilities = c->capabilities,
	    .engine_id = spop_view_str(engine_id),
	    .healthcheck = c->healthcheck,
	};
	size_t len;

	if (c->state != SPOP_CLIENT_ST_START)
		return 0;
	len = spop_hello_write(buf, cap, &hello);
	if (len > 0)
		set_state(c, SPOP_CLIENT_ST_WAIT_HELLO);
	return len;
}

size_t spop_client_write_disconnect(struct spop_client *c, void *buf, size_t cap, uint32_t status,
				    const char *message)
{
	size_t len = spop_disconnect_write(buf, cap, SPOP_FRM_T_HAPROXY_DISCON, status,
					   spop_view_str(message));

	if (len > 0)
		set_state(c, SPOP_CLIENT_ST_CLOSING);
	return len;
}

static int refuse(struct spop_fault *ret, enum spop_error code, const char *msg)
{
	*ret = (struct spop_fault){.code = code, .msg = msg, .at = 0};
	return -(int)code;
}

static int judge_handshake(const struct spop_client *c, const struct spop_frame *f,
			   struct spop_fault *ret_fault)
{
	if (c->state == SPOP_CLIENT_ST_START)
		return refuse(ret_fault, SPOP_ERR_INVALID, "a frame before HAPROXY-HELLO");
	if (f->type != SPOP_FRM_T_AGENT_HELLO && f->type != SPOP_FRM_T_AGENT_DISCON)
		return refuse(ret_fault, SPOP_ERR_INVALID, "AGENT-HELLO expected");
	if (f->stream_id != 0 || f->frame_id != 0 || !(f->flags & SPOP_FRM_FL_FIN))
		return refuse(ret_fault, SPOP_ERR_INVALID, "HELLO with wrong metadata");
	return 0;
}

static int judge_running(const struct spop_frame *f, struct spop_fault *ret_fault)
{
	if (!(f->flags & SPOP_FRM_FL_FIN) || f->type == SPOP_FRM_T_UNSET)
		return refuse(ret_fault, SPOP_ERR_FRAG_NOT_SUPPORTED,
			      spop_error_text(SPOP_ERR_FRAG_NOT_SUPPORTED));
	switch (f->type) {
	case SPOP_FRM_T_AGENT_ACK:
		if (f->stream_id == 0 || f->frame_id == 0)
			return refuse(ret_fault, SPOP_ERR_INVALID,
				      "ACK without stream-id or frame-id");
		return 0;
	case SPOP_FRM_T_AGENT_DISCON:
		if (f->stream_id != 0 || f->frame_id != 0)
			return refuse(ret_fault, SPOP_ERR_INVALID,
				      "DISCONNECT with a stream-id or frame-id");
		return 0;
	case SPOP_FRM_T_AGENT_HELLO:
		return refuse(ret_fault, SPOP_ERR_INVALID, "a second AGENT-HELLO");
	case SPOP_FRM_T_HAPROXY_HELLO:
	case SPOP_FRM_T_HAPROXY_DISCON:
	case SPOP_FRM_T_HAPROXY_NOTIFY:
		return refuse(ret_fault, SPOP_ERR_INVALID, "a frame only HAProxy may send");
	default:
		if (f->stream_id == 0)
			return refuse(ret_fault, SPOP_ERR_INVALID, "a frame of unknown type");
		return 0;
	}
}

static int take_hello(struct spop_client *c, struct spop_client_input *in,
		      struct spop_fault *ret_fault)
{
	int r = spop_agent_hello_parse(in->frame.payload, &in->hello, ret_fault);

	if (r < 0)
		return r;
	if (in->hello.max_frame_size > c->max_frame)
		return refuse(ret_fault, SPOP_ERR_BAD_FRAME_SIZE,
			      spop_error_text(SPOP_ERR_BAD_FRAME_SIZE));
	in->event = SPOP_CLIENT_EV_HELLO;
	c->max_frame = in->hello.max_frame_size;
	c->capabilities &= in->hello.capabilities;
	set_state(c, SPOP_CLIENT_ST_RUNNING);
	return 0;
}

static int take_payload(struct spop_client *c, struct spop_client_input *in,
			struct spop_fault *ret_fault)
{
	int r;

	switch (in->frame.type) {
	case SPOP_FRM_T_AGENT_HELLO:
		return take_hello(c, in, ret_fault);
	case SPOP_FRM_T_AGENT_ACK:
		in->event = SPOP_CLIENT_EV_ACK;
		r = spop_actions_open(&in->actions, in->frame.payload, ret_fault);
		return r < 0 ? r : 0;
	case SPOP_FRM_T_AGENT_DISCON:
		in->event = SPOP_CLIENT_EV_DISCONNECT;
		r = spop_disconnect_parse(in->frame.payload, &in->disconnect, ret_fault);
		if (r == 0)
			set_state(c, SPOP_CLIENT_ST_CLOSING);
		return r;
	default:
		in->event = SPOP_CLIENT_EV_IGNORED;
		return 0;
	}
}

ssize_t spop_client_receive(struct spop_client *c, const void *buf, size_t len,
			    struct spop_client_input *in, struct spop_fault *ret_fault)
{
	ssize_t n;
	int r;

	if (c->state == SPOP_CLIENT_ST_CLOSING) {
		in->event = SPOP_CLIENT_EV_IGNORED;
		in->frame = (struct spop_frame){.total = len};
		return (ssize_t)len;
	}
	n = spop_frame_decode(buf, len, c->max_frame, &in->frame, ret_fault);
	if (n < 0)
		set_state(c, SPOP_CLIENT_ST_CLOSING);
	if (n <= 0)
		return n;
	r = c->state == SPOP_CLIENT_ST_RUNNING ? judge_running(&in->frame, ret_fault)
					       : judge_handshake(c, &in->frame, ret_fault);
	if (r == 0)
		r = take_payload(c, in, ret_fault);
	if (r < 0) {
		set_state(c, SPOP_CLIENT_ST_CLOSING);
		ret_fault->at += in->frame.total - in->frame.payload.len;
		return r;
	}
	return n;
}
