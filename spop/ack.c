/* ACK: a list of actions, each <TYPE><NB-ARGS><SCOPE><NAME>, and a value for SET-VAR.
 *
 * HAProxy drops an action it cannot read and all behind it, without a word; so what it would not
 * read is not written. Strings are tagged 0x08 with no flag: it compares the whole byte and takes
 * anything else for binary.
 *
 * Nearly all actions are short and have room: those are written after one test. The others, and the
 * last one that just fits or does not, go item by item through the writer.
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

/* The head of SET-VAR where it and @value more bytes have room; NULL leaves it to write_head(). */
static inline uint8_t *quick_head(struct spop_writer *w, enum spop_scope scope,
				  struct spop_view name, size_t value)
{
	const size_t head = 4 + name.len;
	uint8_t *p = w->pos;

	if (name.len == 0 || name.len > SPOP_VAR_NAME_MAX || (unsigned int)scope > SPOP_SCOPE_RES ||
	    head > (size_t)(w->end - p) || value > (size_t)(w->end - p) - head)
		return NULL;
	p[0] = SPOP_ACT_T_SET_VAR;
	p[1] = SET_VAR_ARGS;
	p[2] = (uint8_t)scope;
	p[3] = (uint8_t)name.len;
	return spop_copy(p + 4, name.ptr, name.len);
}

void spop_ack_set_str(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      struct spop_view str)
{
	uint8_t *p = NULL;

	if (str.len < SPOP_VARINT_BYTE)
		p = quick_head(&a->out, scope, name, 2 + str.len);
	if (!p) {
		spop_ack_set_var(a, scope, name, spop_value_str(str));
		return;
	}
	p[0] = SPOP_DATA_T_STR;
	p[1] = (uint8_t)str.len;
	a->out.pos = spop_copy(p + 2, str.ptr, str.len);
}

void spop_ack_set_int(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      int64_t value)
{
	uint8_t *p = quick_head(&a->out, scope, name, 1 + SPOP_VARINT_MAX);

	if (!p) {
		spop_ack_set_var(a, scope, name, spop_value_int64(value));
		return;
	}
	*p = SPOP_DATA_T_INT64;
	a->out.pos = spop_varint_put(p + 1, (uint64_t)value);
}

/* Writes the head of @var, and what follows its name in it, where @value more bytes have room. */
static inline uint8_t *ready_head(struct spop_writer *w, const struct spop_var *var, size_t value)
{
	uint8_t *p = w->pos;

	if ((size_t)(w->end - p) < sizeof(*var) + value)
		return NULL;
	memcpy(p, var, sizeof(*var));
	return p + sizeof(var->head) + var->head[3];
}

void spop_ack_put_str(struct spop_ack *a, const struct spop_var *var, struct spop_view str)
{
	uint8_t *p = NULL;

	if (str.len < SPOP_VARINT_BYTE)
		p = ready_head(&a->out, var, 2 + str.len);
	if (!p) {
		spop_ack_set_str(a, var->head[2], spop_var_name(var), str);
		return;
	}
	p[0] = SPOP_DATA_T_STR;
	p[1] = (uint8_t)str.len;
	a->out.pos = spop_copy(p + 2, str.ptr, str.len);
}

void spop_ack_put_int(struct spop_ack *a, const struct spop_var *var, int64_t value)
{
	uint8_t *p = ready_head(&a->out, var, 1 + SPOP_VARINT_MAX);

	if (!p) {
		spop_ack_set_int(a, var->head[2], spop_var_name(var), value);
		return;
	}
	*p = SPOP_DATA_T_INT64;
	a->out.pos = spop_varint_put(p + 1, (uint64_t)value);
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
