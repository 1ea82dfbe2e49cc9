/* ACK: the answer to one NOTIFY, a list of actions on variables. SPOE.txt §3.2.7, §3.4.
 *
 * Writing is one forward pass into the caller's buffer, without a copy in between:
 *
 *	spop_ack_begin(&a, buf, cap, frame.stream_id, frame.frame_id);
 *	spop_ack_set_str(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("backend"), name);
 *	spop_ack_set_int(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("status"), 0);
 *	len = spop_ack_end(&a);
 *
 * Duties of the caller, which no encoder can see to:
 * - stream-id and frame-id are the NOTIFY's, and the ACK goes back on the NOTIFY's connection;
 * - each NOTIFY is answered, and with at least one action: HAProxy 3.1.0 and 3.2 up to dev6 do
 *   not deliver an empty ACK, and the request waits out its `timeout processing`;
 * - cap is at most the negotiated max-frame-size + SPOP_FRAME_PREFIX
 *   (spop_session_max_frame());
 * - scope, prefix and name together stay under 64 bytes ("txn.prefix.name"): HAProxy up to 3.4
 *   cuts a longer one silently and sets another variable, 3.5 drops it. SPOP_VAR_NAME_MAX refuses
 *   what cannot work with any prefix.
 */
#ifndef SPOP_ACK_H
#define SPOP_ACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spop/bytes.h"
#include "spop/error.h"
#include "spop/value.h"
#include "spop/view.h"

enum spop_action_type {
	SPOP_ACT_T_SET_VAR = 1,
	SPOP_ACT_T_UNSET_VAR = 2,
};

enum spop_scope {
	SPOP_SCOPE_PROC = 0,
	SPOP_SCOPE_SESS = 1,
	SPOP_SCOPE_TXN = 2,
	SPOP_SCOPE_REQ = 3,
	SPOP_SCOPE_RES = 4,
};

#define SPOP_VAR_NAME_MAX 57 /* "txn." + a prefix of one letter + "." + 57 = 63 */

struct spop_ack {
	struct spop_writer out;
};

void spop_ack_begin(struct spop_ack *a, void *buf, size_t cap, uint64_t stream_id,
		    uint64_t frame_id);

/* One action each. A name that is empty or longer than SPOP_VAR_NAME_MAX, a scope out of range, or
 * a value whose view has the wrong length for its type fails the whole ACK, as running out of
 * room does. A NULL value unsets the variable in HAProxy.
 */
void spop_ack_set_var(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      struct spop_value value);
void spop_ack_unset_var(struct spop_ack *a, enum spop_scope scope, struct spop_view name);

void spop_ack_set_str(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      struct spop_view str);
/* As INT64: the type HAProxy keeps integers in. */
void spop_ack_set_int(struct spop_ack *a, enum spop_scope scope, struct spop_view name,
		      int64_t value);

/* The same for names that are known when this is compiled: the action's head stands ready.
 *
 *	static const struct spop_var status = SPOP_VAR(SPOP_SCOPE_TXN, "status");
 *	spop_ack_put_int(&a, &status, 0);
 */
#define SPOP_VAR_LIT_MAX 28
struct spop_var {
	uint8_t head[4]; /* <TYPE><NB-ARGS><SCOPE><LENGTH> */
	uint8_t name[SPOP_VAR_LIT_MAX];
};
#define SPOP_VAR(scope, name)                                                                      \
	{                                                                                          \
		{SPOP_ACT_T_SET_VAR, 3, (scope), sizeof(name) - 1}, name                           \
	}

static inline struct spop_view spop_var_name(const struct spop_var *v)
{
	return spop_view_of(v->name, v->head[3]);
}

void spop_ack_put_str(struct spop_ack *a, const struct spop_var *var, struct spop_view str);
void spop_ack_put_int(struct spop_ack *a, const struct spop_var *var, int64_t value);

/* Nothing more can be added: something did not fit or could not be said. */
static inline bool spop_ack_failed(const struct spop_ack *a)
{
	return a->out.failed;
}

/* Bytes that are left for actions. */
static inline size_t spop_ack_room(const struct spop_ack *a)
{
	return (size_t)(a->out.end - a->out.pos);
}

/* Bytes of the whole frame, or 0 when something did not fit; then buf holds no frame. */
size_t spop_ack_end(struct spop_ack *a) __attribute__((warn_unused_result));

/* HAProxy's side: reading one, in the manner of spop/notify.h. */
struct spop_action {
	enum spop_action_type type;
	enum spop_scope scope;
	struct spop_view name;
	struct spop_value value; /* of SET_VAR; NULL with UNSET_VAR */
};

struct spop_actions {
	struct spop_cursor in;
};

/* Validates the whole payload. Actions in it (>= 0), or -SPOP_ERR_INVALID. */
int spop_actions_open(struct spop_actions *ret, struct spop_view payload,
		      struct spop_fault *ret_fault) __attribute__((warn_unused_result));
bool spop_actions_next(struct spop_actions *a, struct spop_action *ret);

#endif
