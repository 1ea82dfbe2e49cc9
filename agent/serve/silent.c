/*
 * What HAProxy holds at a server counts every request that it sent there, old and new, ours and
 * not; so as many of ours as are older than the question and more than that number are over,
 * whatever else goes on. SETTLE_NS is for what HAProxy knows of and has not given to a server yet,
 * and for lines on their way; POLLS in a row for a request that waits between two tries.
 *
 * Which of them it was is not known, and does not matter to the load. Only tickets of the worker
 * that answers are compared, and none where its process is not known (TCP, another PID namespace);
 * there the scrape's correction of a drift remains.
 */
#include "serve/silent.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define SETTLE_NS (2 * CLOCK_NS_PER_S)
#define POLLS     3

struct streak {
	uint32_t polls, least; /* in a row, and the smallest surplus of them */
	uint64_t before_ns;    /* the first one's */
};

struct silent {
	struct endpoints *endpoints;
	struct tickets *tickets;
	uint32_t max, pid;
	uint64_t asked_ns; /* of the poll that was looked at last */
	uint64_t given_up;
	bool any;               /* streak */
	struct streak *streaks; /* by slot */
	uint32_t *counts;
};

struct silent *silent_new(struct endpoints *e, struct tickets *t)
{
	struct silent *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->endpoints = e;
	s->tickets = t;
	s->max = endpoints_max(e);
	s->streaks = calloc(s->max, sizeof(*s->streaks));
	s->counts = calloc(s->max, sizeof(*s->counts));
	if (!s->streaks || !s->counts)
		return silent_free(s);
	return s;
}

struct silent *silent_free(struct silent *s)
{
	if (s) {
		free(s->streaks);
		free(s->counts);
		free(s);
	}
	return NULL;
}

uint64_t silent_given_up(const struct silent *s)
{
	return s->given_up;
}

static void forget(struct silent *s)
{
	if (s->any)
		memset(s->streaks, 0, s->max * sizeof(*s->streaks));
	s->any = false;
}

/* Counting the old ones takes a look at every ticket: only where the plain sum says it may pay. */
static bool is_suspicious(const struct silent *s)
{
	uint32_t held;

	for (uint32_t i = 0; i < s->max; i++)
		if (endpoint_held(s->endpoints, i, &held) && endpoint_open(s->endpoints, i) > held)
			return true;
	return false;
}

static void give_up(struct silent *s, uint32_t slot, const struct streak *k)
{
	unsigned n = tickets_abandon_at(s->tickets, s->pid, slot, k->before_ns, k->least);
	struct log_line l;

	if (n == 0)
		return;
	s->given_up += n;
	log_begin(&l, LOG_LEVEL_INFO, "tickets_given_up");
	log_int(&l, "tickets", n);
	log_str(&l, "why", "HAProxy has fewer requests at that server, and logged no end of these");
	log_end(&l);
}

static void judge(struct silent *s, uint32_t slot, uint64_t before_ns)
{
	struct streak *k = &s->streaks[slot];
	uint32_t held;

	if (!endpoint_held(s->endpoints, slot, &held) || s->counts[slot] <= held) {
		*k = (struct streak){0};
		return;
	}
	if (k->polls == 0)
		*k = (struct streak){.least = UINT32_MAX, .before_ns = before_ns};
	if (s->counts[slot] - held < k->least)
		k->least = s->counts[slot] - held;
	s->any = true;
	if (++k->polls < POLLS)
		return;
	give_up(s, slot, k);
	*k = (struct streak){0};
}

void silent_tick(struct silent *s, uint32_t pid, uint64_t asked_ns)
{
	if (pid != s->pid) {
		forget(s);
		s->pid = pid;
	}
	if (asked_ns == s->asked_ns)
		return;
	s->asked_ns = asked_ns;
	if (pid == 0 || asked_ns <= SETTLE_NS || !is_suspicious(s)) {
		forget(s);
		return;
	}
	memset(s->counts, 0, s->max * sizeof(*s->counts));
	tickets_count(s->tickets, pid, asked_ns - SETTLE_NS, s->counts);
	for (uint32_t i = 0; i < s->max; i++)
		judge(s, i, asked_ns - SETTLE_NS);
}
