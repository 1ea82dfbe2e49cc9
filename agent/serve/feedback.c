/*
 * Feedback.
 *
 * A line (ears.h) closes its ticket; the endpoint that really served, by the line's names, is
 * credited with the end, since a retry may have moved the request.
 *
 * A ticket whose number HAProxy never learned (the ACK came after `timeout processing`, or the
 * client went away before it) ends in a line without a ticket. HAProxy's own number of the request
 * finds it; such lines are gathered and looked for together, once a tick. And when HAProxy dies,
 * its ring falls silent and the next process is a new one: what was open before is gone.
 *
 * A line that is no line is counted and, once a minute at most, logged: a wrong log-format would
 * otherwise show only as load that never falls.
 */
#include "serve/feedback.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "observe/logline.h"
#include "serve/ears.h"

#define COMPLAIN_NS (60 * CLOCK_NS_PER_S)
/* Tickets looked at per tick and worker, to find the old ones. */
#define EXPIRE_BUDGET 65536
/* Lines without a ticket that are remembered until the next tick. */
#define LOST_MAX 4096
/* A line may come this much later than its request ended. */
#define LATE_NS (2 * CLOCK_NS_PER_S)
/* With so many requests open and not one end told for so long, it is not that all are long. */
#define SILENT_TICKETS 50
#define SILENT_NS      (60 * CLOCK_NS_PER_S)
/* How long after its ring fell silent a stopping HAProxy still sends what it had accepted. */
#define BURY_NS CLOCK_NS_PER_S

struct feedback {
	struct feedback_env env;
	struct feedback_counts counts;
	struct ears *ears;
	bool by_datagrams;  /* one came */
	bool datagram_last; /* and what was understood last was one */
	uint64_t complained_ns, expired_told;
	uint64_t heard, heard_ns; /* lines, and when there was one last or few were waited for */
	uint64_t given_up;        /* at that line */
	bool silence_told;
	uint64_t buried_ns; /* the end of a stream whose dead are buried; 0: none so far */
	size_t nlost;
	struct ticket_lost lost[LOST_MAX];
};

static void complain(struct feedback *f, struct view line, const char *why)
{
	uint64_t now = clock_mono_ns();
	struct log_line l;

	f->counts.broken++;
	if (f->complained_ns && now - f->complained_ns < COMPLAIN_NS)
		return;
	f->complained_ns = now;
	log_begin(&l, LOG_LEVEL_WARNING, "feedback_broken");
	log_str(&l, "why", why);
	log_int(&l, "so_far", (int64_t)f->counts.broken);
	log_view(&l, "line", (struct view){line.ptr, line.len < 200 ? line.len : 200});
	log_str(&l, "remedy", "use the log-format-sd of the shipped haproxy.cfg, format rfc5424");
	log_end(&l);
}

/* HAProxy's states begin with who ended it: C the client; S, s the server; L, R, P, I… itself. */
static enum endpoint_end how_it_ended(const struct logline *l)
{
	char who = l->state.len ? l->state.ptr[0] : '-';

	if (who == 'C' || who == 'c')
		return ENDPOINT_ABORTED;
	if (who == 'S' || who == 's' || l->status >= 500 || l->status < 100)
		return ENDPOINT_FAILED;
	return ENDPOINT_ANSWERED;
}

static void reclaim(struct feedback *f)
{
	f->counts.reclaimed += tickets_reclaim(f->env.tickets, f->lost, f->nlost);
	f->nlost = 0;
}

/* What HAProxy says of itself is the number that its tickets have. */
static bool asks(const struct feedback *f, uint32_t pid)
{
	return f->env.peers && peers_has(f->env.peers, pid);
}

static void remember_lost(struct feedback *f, const struct logline *l, struct view line)
{
	uint64_t now = clock_mono_ns(), age = LATE_NS;
	uint32_t pid;

	if (!l->key || tickets_open(f->env.tickets) == 0)
		return;
	if (l->ta_ms > 0)
		age += (uint64_t)l->ta_ms * CLOCK_NS_PER_MS;
	pid = logline_pid(line);
	f->lost[f->nlost++] = (struct ticket_lost){
	    .key = l->key,
	    .since_ns = now > age ? now - age : 0,
	    .peer = asks(f, pid) ? pid : 0,
	};
	if (f->nlost == LOST_MAX)
		reclaim(f);
}

static bool names(const struct place *p, const struct logline *l)
{
	return p->server && view_eq(view_str(p->server), l->server) &&
	       (!l->backend.len || view_eq(view_str(p->backend), l->backend));
}

/* @now: when it was here. */
static void take_line(struct feedback *f, struct view line, uint64_t now)
{
	struct ticket_info ticket;
	const struct place *place;
	struct logline l;
	int64_t other;

	if (logline_parse(line, &l) < 0) {
		if (!logline_is_notice(line))
			complain(f, line, "not RFC 5424 with structured data");
		return;
	}
	f->counts.lines++;
	if (l.ticket == 0) {
		f->counts.no_ticket++;
		remember_lost(f, &l, line);
		return;
	}
	if (ticket_close(f->env.tickets, l.ticket, &ticket) < 0) {
		f->counts.unknown++;
		return;
	}
	place = f->env.place(f->env.arg, ticket.slot);
	if (l.server.len && l.server.ptr[0] != '<' && place && place->server && !names(place, &l)) {
		f->counts.moved++;
		other = f->env.find(f->env.arg, l.backend, l.server);
		/* The one that was picked had it for a while and did not answer. */
		endpoint_finished(f->env.endpoints, ticket.slot, ticket.generation,
				  ticket.opened_ns, now, ENDPOINT_FAILED);
		if (other < 0)
			return;
		ticket.slot = (uint32_t)other;
		ticket.generation = endpoint_generation(f->env.endpoints, ticket.slot);
	}
	endpoint_finished(f->env.endpoints, ticket.slot, ticket.generation, ticket.opened_ns, now,
			  how_it_ended(&l));
}

void feedback_line(struct feedback *f, struct view line)
{
	take_line(f, line, clock_mono_ns());
}

static void on_line(void *arg, struct view line, uint64_t now_ns, bool datagram)
{
	struct feedback *f = arg;
	uint64_t broken = f->counts.broken;

	take_line(f, line, now_ns);
	if (!datagram) {
		f->datagram_last = false;
		return;
	}
	f->by_datagrams = true;
	if (f->counts.broken == broken)
		f->datagram_last = true;
}

static void on_broken(void *arg, struct view rest, const char *why)
{
	complain(arg, rest, why);
}

struct feedback *feedback_new(const struct feedback_env *env, const struct config *conf)
{
	struct feedback *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->env = *env;
	f->ears = ears_new(env->base, conf, &(struct ears_hooks){on_line, on_broken, f});
	return f->ears ? f : feedback_free(f);
}

struct feedback *feedback_free(struct feedback *f)
{
	if (f)
		ears_free(f->ears);
	free(f);
	return NULL;
}

static unsigned bury_known(struct feedback *f, uint64_t until, const struct feedback_haproxy *h)
{
	unsigned n = tickets_abandon(f->env.tickets, 0, until);

	if (h->former_pid && !f->datagram_last)
		n += tickets_abandon(f->env.tickets, h->former_pid, until);
	return n;
}

/*
 * The process whose ring fell silent is not the one that answers now. The new one's ring may have
 * come before the old one's went, and the old one still sends requests that it had accepted. What
 * is known to be the new one's stays; of the others, a ticket too many that goes here is not lost:
 * the scrape counts its request as another's. What the runtime socket said before the silence, the
 * dead one may have said.
 *
 * Where the new one's number is the kernel's too, another HAProxy that asks us keeps its own: those
 * of the one before go, and those that nobody is known to have asked for. serve/retired.c sees to
 * others that are gone.
 */
static void bury(struct feedback *f, uint64_t now_ns, const struct feedback_haproxy *h)
{
	uint64_t silent_ns = ears_closed_ns(f->ears), until = silent_ns + BURY_NS;

	if (silent_ns == f->buried_ns || ears_streams(f->ears) == 0 || now_ns < until ||
	    !h->start_ns || h->seen_ns <= silent_ns)
		return;
	/* Its uptime is told in whole seconds. */
	if (h->start_ns + CLOCK_NS_PER_S >= silent_ns)
		f->counts.orphaned += asks(f, h->pid)
					  ? bury_known(f, until, h)
					  : tickets_abandon_others(f->env.tickets, h->pid, until);
	f->buried_ns = silent_ns;
}

/*
 * A haproxy.cfg without the log line shows as load that only grows: tickets expire after an hour,
 * whoever looks for the reason looks now. Where the runtime socket shows that requests have ended,
 * it shows as load that is some seconds too old.
 */
static void mind_silence(struct feedback *f, uint64_t now_ns, uint64_t given_up)
{
	uint32_t open = tickets_open(f->env.tickets);
	struct log_line l;

	if (f->counts.lines != f->heard || f->heard_ns == 0)
		f->given_up = given_up;
	given_up -= f->given_up;
	if (f->counts.lines != f->heard || open + given_up < SILENT_TICKETS || f->heard_ns == 0) {
		f->heard = f->counts.lines;
		f->heard_ns = now_ns;
		f->silence_told = false;
		return;
	}
	if (f->silence_told || now_ns - f->heard_ns < SILENT_NS)
		return;
	f->silence_told = true;
	f->counts.silences++;
	log_begin(&l, LOG_LEVEL_WARNING, "feedback_silent");
	log_int(&l, "open", open);
	log_int(&l, "given_up", (int64_t)given_up);
	log_int(&l, "for_s", (int64_t)((now_ns - f->heard_ns) / CLOCK_NS_PER_S));
	log_str(&l, "remedy",
		"HAProxy tells the end of no request: check its log line to the agent (`log "
		"ring@…` and log-format-sd in the frontend, no dontlog-normal)");
	log_end(&l);
}

void feedback_tick(struct feedback *f, uint64_t now_ns, uint64_t ticket_age_ns,
		   const struct feedback_haproxy *h)
{
	struct log_line l;

	ears_tick(f->ears);
	if (f->nlost)
		reclaim(f);
	bury(f, now_ns, h);
	f->counts.expired += tickets_expire(f->env.tickets, now_ns, ticket_age_ns, EXPIRE_BUDGET);
	mind_silence(f, now_ns, h->given_up);
	if (f->counts.expired == f->expired_told)
		return;
	log_begin(&l, LOG_LEVEL_WARNING, "tickets_expired");
	log_int(&l, "new", (int64_t)(f->counts.expired - f->expired_told));
	log_int(&l, "so_far", (int64_t)f->counts.expired);
	log_str(&l, "remedy",
		"HAProxy did not tell the end of these requests: check its log line to the agent");
	log_end(&l);
	f->expired_told = f->counts.expired;
}

void feedback_counts(const struct feedback *f, struct feedback_counts *ret)
{
	*ret = f->counts;
}

bool feedback_by_datagrams(const struct feedback *f)
{
	return f->datagram_last;
}

bool feedback_missing(const struct feedback *f)
{
	return ears_streams(f->ears) == 0 && !f->by_datagrams && tickets_open(f->env.tickets) > 0;
}

const uint16_t *feedback_ports(const struct feedback *f, size_t *ret_n)
{
	return ears_ports(f->ears, ret_n);
}
