/*
 * One NOTIFY, between the connection that brought it and the decision.
 */
#include "serve/notify.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "observe/logline.h"
#include "serve/answer.h"
#include "serve/arguments.h"

static void count(struct worker *w, const struct decision *d, const struct request_input *in,
		  uint64_t ns)
{
	struct stats *s = w->stats;

	stat_add(&s->verdicts[d->verdict], 1);
	stat_add(&s->bytes, in->body.len + in->head.len + in->tail.len);
	stats_time(s, ns);
	if (d->request.truncated)
		stat_add(&s->truncated, 1);
	if (d->verdict == VERDICT_ROUTED && d->pick.n == 0)
		stat_add(&s->any, 1);
	else if (d->verdict == VERDICT_ROUTED)
		endpoint_picked(w->env->endpoints, d->pool->slots[d->pick.index[0]]);
	if (d->has_target && d->target.stat < s->nmodels)
		stat_add(&s->models[d->target.stat].verdicts[d->verdict], 1);
}

static void log_refusal(const struct notify *n, const struct arguments *a, const struct decision *d)
{
	struct log_line l;

	/* Clients' mistakes are debug: whoever sends many must not fill the disk. */
	if (log_get_level() < LOG_LEVEL_DEBUG)
		return;
	log_begin(&l, LOG_LEVEL_DEBUG, "refused");
	log_int(&l, "conn", (int64_t)n->conn);
	if (a->id.ptr)
		log_view(&l, "id", a->id);
	log_str(&l, "verdict", verdict_name(d->verdict));
	if (d->has_model)
		log_view(&l, "model", d->request.model);
	if (d->verdict == VERDICT_BAD_REQUEST && d->request.why) {
		log_str(&l, "why", d->request.why);
		log_int(&l, "at", d->request.at);
	}
	log_end(&l);
}

/*
 * HAProxy's own number of the request: as an argument, or, up to 3.0, the stream-id of the frame.
 * Those versions offer "async", which later ones do not know; there a stream-id belongs to the
 * connection.
 */
static uint64_t request_key(const struct notify *n, const struct spop_input *in,
			    const struct arguments *args)
{
	if (args->key)
		return args->key;
	return n->global_ids ? logline_key_of_number(in->frame.stream_id) : 0;
}

void notify_decide(struct notify *n, struct worker *w, struct spop_input *in,
		   const struct worker_conf *conf)
{
	uint64_t start = w->now_ns;
	struct arguments args;
	struct decide_env env = {
	    .conf = &conf->decide,
	    .snapshot = grace_read(w->env->snapshot),
	    .endpoints = w->env->endpoints,
	    .cursors = w->env->cursors,
	    .chance = worker_chance(w),
	};

	arguments_read(&args, &in->notify, n->buffer_size);
	decide(&env, &args.input, &args.where, &w->decision);
	n->key = request_key(n, in, &args);
	n->decided_ns = w->now_ns = clock_mono_ns();
	count(w, &w->decision, &args.input, n->decided_ns - start);
	if (w->decision.status)
		log_refusal(n, &args, &w->decision);
}

int64_t notify_ticket(const struct notify *n, struct worker *w, const struct worker_conf *conf)
{
	const struct decision *d = &w->decision;

	if (d->verdict != VERDICT_ROUTED || d->pick.n == 0 ||
	    !(conf->variables >> VARIABLE_TICKET & 1))
		return 0;
	return ticket_open(w->env->tickets, w->index, d->pool->slots[d->pick.index[0]],
			   d->has_target ? d->target.stat : 0, n->key, n->peer, n->decided_ns);
}
