/* Any bytes as one frame, read as whatever either side could take it for.
 *
 * What must hold beside not crashing: the decoder's answer does not depend on what follows the
 * frame; a fault points into what was given; what was read can be written again and then gives the
 * same frame byte for byte, since SPOP has one encoding for each list of values (flags apart).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "spop/ack.h"
#include "spop/disconnect.h"
#include "spop/frame.h"
#include "spop/hello.h"
#include "spop/notify.h"

#define MAX_FRAME 16380

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void check_fault(int r, const struct spop_fault *fault, size_t len)
{
	CHECK(r < 0 && fault->code == (enum spop_error) - r);
	CHECK(fault->msg && fault->at <= len);
	CHECK(strcmp(spop_error_name(fault->code), "SPOP_ERR_?") != 0);
}

static bool inside(struct spop_view part, struct spop_view whole)
{
	return part.len == 0 || (part.ptr >= whole.ptr && part.len <= whole.len &&
				 (size_t)(part.ptr - whole.ptr) <= whole.len - part.len);
}

static bool plain(const struct spop_value *v)
{
	return v->type == SPOP_DATA_T_BOOL ? !(v->flags & ~SPOP_DATA_FL_TRUE) : v->flags == 0;
}

static void check_same(const uint8_t *copy, size_t len, const struct spop_frame *f)
{
	struct spop_fault fault;
	struct spop_frame again;

	CHECK(len > 0);
	CHECK(spop_frame_decode(copy, len, MAX_FRAME, &again, &fault) == (ssize_t)len);
	CHECK(again.type == f->type);
	CHECK(again.stream_id == f->stream_id && again.frame_id == f->frame_id);
	CHECK(spop_view_eq(again.payload, f->payload));
}

static void as_notify(const struct spop_frame *f, uint8_t *copy)
{
	struct spop_notify_builder b;
	struct spop_fault fault;
	struct spop_message m;
	struct spop_notify n;
	struct spop_arg a;
	bool same = f->type == SPOP_FRM_T_HAPROXY_NOTIFY;
	int messages = 0;
	int r = spop_notify_open(&n, f->payload, &fault);

	if (r < 0) {
		check_fault(r, &fault, f->payload.len);
		return;
	}
	spop_notify_begin(&b, copy, MAX_FRAME + 4, f->stream_id, f->frame_id);
	for (; spop_notify_message(&n, &m); messages++) {
		unsigned int args = 0;

		CHECK(m.name.len > 0 && inside(m.name, f->payload));
		spop_notify_add_message(&b, m.name, m.nargs);
		for (; spop_notify_arg(&n, &a); args++) {
			CHECK(inside(a.name, f->payload));
			CHECK(inside(spop_value_bytes(&a.value), f->payload));
			same = same && plain(&a.value);
			spop_notify_add_arg(&b, a.name, a.value);
		}
		CHECK(args == m.nargs);
	}
	CHECK(messages == r);
	if (same)
		check_same(copy, spop_notify_end(&b), f);
}

static void as_ack(const struct spop_frame *f, uint8_t *copy)
{
	struct spop_action action;
	struct spop_actions a;
	struct spop_fault fault;
	struct spop_ack out;
	bool same = f->type == SPOP_FRM_T_AGENT_ACK;
	int actions = 0;
	int r = spop_actions_open(&a, f->payload, &fault);

	if (r < 0) {
		check_fault(r, &fault, f->payload.len);
		return;
	}
	spop_ack_begin(&out, copy, MAX_FRAME + 4, f->stream_id, f->frame_id);
	for (; spop_actions_next(&a, &action); actions++) {
		CHECK(action.name.len > 0 && inside(action.name, f->payload));
		same = same && plain(&action.value) && action.name.len <= SPOP_VAR_NAME_MAX;
		if (action.type == SPOP_ACT_T_SET_VAR)
			spop_ack_set_var(&out, action.scope, action.name, action.value);
		else
			spop_ack_unset_var(&out, action.scope, action.name);
	}
	CHECK(actions == r);
	if (same)
		check_same(copy, spop_ack_end(&out), f);
}

static void as_key_values(const struct spop_frame *f, uint8_t *copy)
{
	struct spop_agent_hello agent, agent_again;
	struct spop_hello hello, hello_again;
	struct spop_disconnect bye;
	struct spop_fault fault;
	struct spop_frame again;
	size_t len;
	int r;

	r = spop_hello_parse(f->payload, &hello, &fault);
	if (r == 0) {
		CHECK(hello.max_frame_size >= SPOP_MAX_FRAME_MIN);
		CHECK(hello.max_frame_size <= SPOP_MAX_FRAME_MAX);
		CHECK(inside(hello.versions, f->payload) && inside(hello.engine_id, f->payload));
		len = spop_hello_write(copy, MAX_FRAME + 256, &hello);
		CHECK(spop_frame_decode(copy, len, MAX_FRAME + 256, &again, &fault) > 0);
		CHECK(spop_hello_parse(again.payload, &hello_again, &fault) == 0);
		CHECK(hello_again.max_frame_size == hello.max_frame_size);
		CHECK(hello_again.capabilities == hello.capabilities);
		CHECK(hello_again.healthcheck == hello.healthcheck);
		CHECK(spop_view_eq(hello_again.engine_id, hello.engine_id));
	} else {
		check_fault(r, &fault, f->payload.len);
	}
	r = spop_agent_hello_parse(f->payload, &agent, &fault);
	if (r == 0) {
		len = spop_agent_hello_write(copy, MAX_FRAME + 256, &agent);
		CHECK(spop_frame_decode(copy, len, MAX_FRAME + 256, &again, &fault) > 0);
		CHECK(spop_agent_hello_parse(again.payload, &agent_again, &fault) == 0);
		CHECK(agent_again.max_frame_size == agent.max_frame_size);
		CHECK(agent_again.capabilities == agent.capabilities);
	} else {
		check_fault(r, &fault, f->payload.len);
	}
	r = spop_disconnect_parse(f->payload, &bye, &fault);
	if (r == 0) {
		CHECK(inside(bye.message, f->payload));
		len = spop_disconnect_write(copy, SPOP_DISCONNECT_MAX, SPOP_FRM_T_AGENT_DISCON,
					    bye.status, bye.message);
		CHECK(len > 0);
	} else {
		check_fault(r, &fault, f->payload.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t copy[MAX_FRAME + 512];
	struct spop_fault fault;
	struct spop_frame f;
	uint8_t *alone;
	ssize_t n = spop_frame_decode(data, size, MAX_FRAME, &f, &fault);

	if (n < 0) {
		check_fault((int)n, &fault, size);
		return 0;
	}
	if (n == 0) {
		CHECK(f.total == 0 ? size < 4 : f.total > size && f.total <= MAX_FRAME + 4);
		return 0;
	}
	CHECK((size_t)n == f.total && f.total <= size);
	alone = malloc(f.total); /* so that ASan sees a read past the frame */
	CHECK(alone);
	memcpy(alone, data, f.total);
	CHECK(spop_frame_decode(alone, f.total, MAX_FRAME, &f, &fault) == n);
	CHECK(f.payload.ptr + f.payload.len == alone + f.total);
	as_notify(&f, copy);
	as_ack(&f, copy);
	as_key_values(&f, copy);
	free(alone);
	return 0;
}
