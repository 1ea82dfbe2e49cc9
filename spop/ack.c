/* ACK: a list of actions, each <TYPE><NB-ARGS><SCOPE><NAME>, and a value for SET-VAR.
 *
 * HAProxy drops an action it cannot read and all behind it, without a word; so what it would not
 * read is not written. Strings are tagged 0x08 with no flag: it compares the whole byte and takes
 * anything else for binary.
 */
#include "spop/ack.h"

#include "cursor.h"
#include "frame.h"
#include "value.h"

#define SET_VAR_ARGS   3
#define UNSET_VAR_ARGS 2

void spop_ack_begin(struct spop_ack *a, void *buf, size_t cap, uint64_t stream_id,
		    uint64_t frame_id)
{
	spop_frame_begin(&a->out, buf, cap, SPOP_FRM_T_AGENT_ACK, stream_id, frame_id);
}

static void write_head(struct spop_writer *w, enum spop_action_type type, uint8_t nargs,
		       enum spop_scope scope, struct spop_view name)
{
	if (name.len == 0 || name.len > SPOP_VAR_NAME_MAX || (unsigned int)scope > SPOP_SCOPE_RES) {
		spop_writer_fail(w);
		return;
	}
	spop_writer_u8(w, (uint8_t)type);
	spop_writer_u8(w, nargs);
	spop_writer_u8(w, (uint8_t)scope);
	spop_string_write(w, name);
}

void spop_ack_set_var(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      struct spop_value value)
{
	write_head(&a->out, SPOP_ACT_T_SET_VAR, SET_VAR_ARGS, scope, name);
	spop_value_write(&a->out, &value);
}

void spop_ack_unset_var(struct spop_ack *a, enum spop_scope scope, struct spop_view name)
{
	write_head(&a->out, SPOP_ACT_T_UNSET_VAR, UNSET_VAR_ARGS, scope, name);
}

size_t spop_ack_end(struct spop_ack *a)
{
	return spop_frame_end(&a->out);
}

static void read_action(struct spop_cursor *c, struct spop_action *ret)
{
	const uint8_t *start = c->pos;
	uint8_t type = spop_cursor_u8(c);
	uint8_t nargs = spop_cursor_u8(c);
	uint8_t scope = spop_cursor_u8(c);

	ret->name = spop_string_read(c);
	ret->value = spop_value_null();
	if (type != SPOP_ACT_T_SET_VAR && type != SPOP_ACT_T_UNSET_VAR)
		spop_cursor_fail(c, start, "an unknown action");
	if (nargs != (type == SPOP_ACT_T_SET_VAR ? SET_VAR_ARGS : UNSET_VAR_ARGS))
		spop_cursor_fail(c, start, "a wrong number of arguments");
	if (scope > SPOP_SCOPE_RES)
		spop_cursor_fail(c, start, "an unknown scope");
	if (ret->name.len == 0)
		spop_cursor_fail(c, start, "a variable without a name");
	if (type == SPOP_ACT_T_SET_VAR)
		spop_value_read(c, &ret->value);
	ret->type = type;
	ret->scope = scope;
}

int spop_actions_open(struct spop_actions *ret, struct spop_view payload,
		      struct spop_fault *ret_fault)
{
	struct spop_cursor c;
	struct spop_action action;
	int actions = 0;

	spop_cursor_init(&c, payload);
	for (; spop_cursor_left(&c) > 0; actions++)
		read_action(&c, &action);
	if (spop_cursor_failed(&c))
		return spop_cursor_fault(&c, SPOP_ERR_INVALID, 0, ret_fault);
	spop_cursor_init(&ret->in, payload);
	return actions;
}

bool spop_actions_next(struct spop_actions *a, struct spop_action *ret)
{
	if (spop_cursor_left(&a->in) == 0)
		return false;
	read_action(&a->in, ret);
	return !spop_cursor_failed(&a->in);
}
