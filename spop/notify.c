/* NOTIFY.
 *
 * The list is walked twice: once by open, which finds every fault there can be and keeps the first
 * arguments that it reads, and once by the caller. What is not kept is read again, its bounds
 * checked again, since a check costs less than the proof that it is not needed; only it has nobody
 * to tell, for it cannot fail. A walk touches some 200 bytes: bodies are stepped over, not read.
 */
#include "spop/notify.h"

#include "cursor.h"
#include "frame.h"
#include "value.h"

static void read_message(struct spop_cursor *c, struct spop_message *ret)
{
	const uint8_t *start = c->pos;

	ret->name = spop_string_read(c);
	ret->nargs = spop_cursor_u8(c);
	if (ret->name.len == 0)
		spop_cursor_fail(c, start, "a message without a name");
}

static void read_arg(struct spop_cursor *c, struct spop_arg *ret)
{
	ret->name = spop_string_read(c);
	spop_value_read(c, &ret->value);
}

int spop_notify_open(struct spop_notify *ret, struct spop_view payload,
		     struct spop_fault *ret_fault)
{
	struct spop_cursor c;
	struct spop_message message;
	struct spop_arg arg;
	int messages = 0;

	ret->nkept = ret->at = ret->args_left = 0;
	spop_cursor_init(&c, payload);
	ret->in = c;
	while (spop_cursor_left(&c) > 0) {
		unsigned int i = 0;

		read_message(&c, &message);
		if (messages == 0) {
			for (; i < message.nargs && i < SPOP_NOTIFY_KEPT; i++)
				read_arg(&c, &ret->kept[i]);
			ret->nkept = i;
			ret->behind = c.pos;
		}
		for (; i < message.nargs && !spop_cursor_failed(&c); i++)
			read_arg(&c, &arg);
		messages++;
	}
	if (spop_cursor_failed(&c))
		return spop_cursor_fault(&c, SPOP_ERR_INVALID, 0, ret_fault);
	return messages;
}

bool spop_notify_message(struct spop_notify *n, struct spop_message *ret)
{
	struct spop_arg skipped;

	while (spop_notify_arg(n, &skipped))
		;
	if (spop_cursor_left(&n->in) == 0)
		return false;
	read_message(&n->in, ret);
	n->args_left = ret->nargs;
	return !spop_cursor_failed(&n->in);
}

bool spop_notify_arg_read(struct spop_notify *n, struct spop_arg *ret)
{
	read_arg(&n->in, ret);
	return !spop_cursor_failed(&n->in);
}

void spop_notify_begin(struct spop_notify_builder *b, void *buf, size_t cap, uint64_t stream_id,
		       uint64_t frame_id)
{
	spop_frame_begin(&b->out, buf, cap, SPOP_FRM_T_HAPROXY_NOTIFY, stream_id, frame_id);
	b->args_left = 0;
}

void spop_notify_add_message(struct spop_notify_builder *b, struct spop_view name,
			     unsigned int nargs)
{
	if (b->args_left != 0 || name.len == 0 || nargs > UINT8_MAX) {
		spop_writer_fail(&b->out);
		return;
	}
	spop_string_write(&b->out, name);
	spop_writer_u8(&b->out, (uint8_t)nargs);
	b->args_left = nargs;
}

void spop_notify_add_arg(struct spop_notify_builder *b, struct spop_view name,
			 struct spop_value value)
{
	if (b->args_left == 0) {
		spop_writer_fail(&b->out);
		return;
	}
	b->args_left--;
	spop_string_write(&b->out, name);
	spop_value_write(&b->out, &value);
}

size_t spop_notify_end(struct spop_notify_builder *b)
{
	if (b->args_left != 0)
		spop_writer_fail(&b->out);
	return spop_frame_end(&b->out);
}
