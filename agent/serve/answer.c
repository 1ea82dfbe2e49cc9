/*
 * A decision as an ACK frame.
 *
 * An ACK is never empty: verdict is set in every one, because HAProxy 3.1 and early 3.2 do not
 * deliver an empty ACK and the request would wait out its whole timeout.
 */
#include "serve/answer.h"

#include <assert.h>
#include <netinet/in.h>

#include "spop/frame.h"

#define BIT(symbol) (UINT32_C(1) << VARIABLE_##symbol)

/* The action that sets the ticket takes no more. */
#define TICKET_ROOM 32

static const struct spop_var vars[] = {
#define VARIABLE(symbol, name, type, when) SPOP_VAR(SPOP_SCOPE_TXN, name),
#include "serve/variable.def"
#undef VARIABLE
};

variables_t variable_bit(const char *name)
{
	for (unsigned i = 0; i < VARIABLE_COUNT; i++)
		if (spop_view_eq(spop_var_name(&vars[i]), spop_view_str(name)))
			return UINT32_C(1) << i;
	return 0;
}

static bool wants(const struct reply *r, enum variable v)
{
	return r->set >> v & 1;
}

static void put_str(struct reply *r, enum variable v, struct view value)
{
	if (wants(r, v))
		spop_ack_put_str(&r->ack, &vars[v], spop_view_of(value.ptr, value.len));
}

static void put_int(struct reply *r, enum variable v, int64_t value)
{
	if (wants(r, v))
		spop_ack_put_int(&r->ack, &vars[v], value);
}

static void put_dst(struct reply *r, const struct sockaddr_storage *addr)
{
	const struct sockaddr_in *v4 = (const void *)addr;
	const struct sockaddr_in6 *v6 = (const void *)addr;

	if (addr->ss_family == AF_INET) {
		if (wants(r, VARIABLE_DST))
			spop_ack_set_var(&r->ack, SPOP_SCOPE_TXN,
					 spop_var_name(&vars[VARIABLE_DST]),
					 spop_value_ipv4(&v4->sin_addr));
		put_int(r, VARIABLE_DST_PORT, ntohs(v4->sin_port));
	} else if (addr->ss_family == AF_INET6) {
		if (wants(r, VARIABLE_DST))
			spop_ack_set_var(&r->ack, SPOP_SCOPE_TXN,
					 spop_var_name(&vars[VARIABLE_DST]),
					 spop_value_ipv6(&v6->sin6_addr));
		put_int(r, VARIABLE_DST_PORT, ntohs(v6->sin6_port));
	}
}

static void put_servers(struct reply *r, const struct decision *d)
{
	static const enum variable server[PICK_MAX] = {VARIABLE_SERVER, VARIABLE_SERVER2,
						       VARIABLE_SERVER3};

	assert(d->pool && d->pick.n <= PICK_MAX);
	for (uint32_t i = 0; i < d->pick.n; i++) {
		const struct pool_endpoint *e = &d->pool->endpoints[d->pick.index[i]];

		if (e->server)
			put_str(r, server[i], view_str(e->server));
		else if (i == 0)
			put_dst(r, &e->addr);
	}
}

static void put_model(struct reply *r, const struct decision *d)
{
	if (d->has_model)
		put_str(r, VARIABLE_MODEL, d->request.model);
	if (!d->has_target)
		return;
	if (d->target.base.len)
		put_str(r, VARIABLE_BASE_MODEL, d->target.base);
	if (d->target.target.len && d->verdict == VERDICT_ROUTED) {
		put_str(r, VARIABLE_TARGET_MODEL, d->target.target);
		if (d->request.model_at >= 0) {
			put_int(r, VARIABLE_REWRITE_AT, d->request.model_at);
			put_int(r, VARIABLE_REWRITE_LEN, d->request.model_len);
		}
	}
}

static void put_rule(struct reply *r, const struct decision *d)
{
	if (!d->has_rule)
		return;
	put_str(r, VARIABLE_ROUTE, d->rule.route);
	if (d->rule.timeout_ms)
		put_int(r, VARIABLE_TIMEOUT, d->rule.timeout_ms);
}

struct envelope {
	uint64_t stream_id, frame_id;
	void *buf;
	size_t cap;
};

/* False when it did not fit. */
static bool write_set(struct reply *r, const struct decision *d, variables_t set,
		      const struct envelope *to)
{
	r->set = set | BIT(VERDICT);
	spop_ack_begin(&r->ack, to->buf, to->cap, to->stream_id, to->frame_id);
	put_str(r, VARIABLE_VERDICT, verdict_view(d->verdict));
	put_int(r, VARIABLE_STATUS, d->status);
	if (d->unready)
		put_int(r, VARIABLE_ERROR, SPOE_CTX_ERR_UNKNOWN);
	if (d->pool && (d->verdict == VERDICT_SATURATED || d->verdict == VERDICT_NO_ENDPOINT))
		put_int(r, VARIABLE_RETRY_AFTER, d->pool->retry_after);
	put_model(r, d);
	if (d->pool)
		put_str(r, VARIABLE_BACKEND, view_str(d->pool->backend));
	put_rule(r, d);
	if (d->verdict == VERDICT_ROUTED)
		put_servers(r, d);
	return !spop_ack_failed(&r->ack);
}

bool answer_begin(struct reply *ret, const struct decision *d, variables_t set, uint64_t stream_id,
		  uint64_t frame_id, void *buf, size_t cap)
{
	const variables_t less = BIT(STATUS) | BIT(RETRY_AFTER) | BIT(MODEL) | BIT(BACKEND);
	const struct envelope to = {stream_id, frame_id, buf, cap};

	if (write_set(ret, d, set, &to))
		return spop_ack_room(&ret->ack) >= TICKET_ROOM;
	if (!write_set(ret, d, set & less, &to))
		write_set(ret, d, 0, &to);
	return false;
}

size_t answer_end(struct reply *r, int64_t ticket)
{
	if (ticket > 0)
		put_int(r, VARIABLE_TICKET, ticket);
	return spop_ack_end(&r->ack);
}
