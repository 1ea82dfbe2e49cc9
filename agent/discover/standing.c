/*
 * From what HAProxy and the scraper say of each server of a group to endpoint flags.
 *
 * Two rules look at the group as a whole.
 *
 * A backup server serves while no other server can (HAProxy's own meaning of `backup`); until then
 * it stands aside.
 *
 * The agent may be cut off from servers that HAProxy reaches well: another network, a firewall, a
 * wrong token. So failed scrapes alone never empty a group: when they are all that is left against
 * every server, those that HAProxy checks and finds UP, and pods that are ready, are used by ticket
 * counts. Where nobody else checks, a failed scrape is the only evidence there is, and it counts. A
 * server that has not answered yet stands for one that can be scraped only while nobody is excused:
 * else each that comes would have all requests to itself until its own scrapes have failed.
 */
#include "discover/standing.h"

#include <stdio.h>
#include "base/log.h"

#define HAPROXY_FLAGS (ENDPOINT_MAINT | ENDPOINT_DRAIN | ENDPOINT_DOWN | ENDPOINT_BACKUP)
#define OUT_FLAGS     (ENDPOINT_MAINT | ENDPOINT_DOWN)

static void log_move(const struct member *m, unsigned before, unsigned now)
{
	static const struct {
		unsigned flag;
		const char *word;
	} words[] = {
	    {ENDPOINT_MAINT, "maint"},         {ENDPOINT_DRAIN, "drain"},
	    {ENDPOINT_DOWN, "down"},           {ENDPOINT_SCRAPE_DEAD, "unreachable"},
	    {ENDPOINT_NOT_READY, "not_ready"}, {ENDPOINT_BACKUP, "backup"},
	};
	struct log_line l;
	char text[64] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (now & words[i].flag)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						len ? "," : "", words[i].word);
	log_begin(&l, LOG_LEVEL_INFO, "endpoint_state");
	log_str(&l, "pool", m->place.pool);
	log_str(&l, "endpoint", m->place.name);
	log_str(&l, "was", before ? "out" : "in");
	log_str(&l, "state", text[0] ? text : "in");
	log_end(&l);
}

/* Somebody else checks it, so that what he says is evidence: HAProxy, or the kubelet. */
static bool is_vouched(const struct member *m)
{
	return m->group->source == ROSTER_KUBE || (m->standing.known && !m->standing.unchecked);
}

static unsigned flags_of(const struct member *m)
{
	return m->standing.flags | (m->draining ? (unsigned)ENDPOINT_DRAIN : 0);
}

void standing_judge(struct endpoints *e, struct member *const *members, size_t n,
		    void (*back)(uint32_t slot, void *arg), void *arg)
{
	bool active = false, reachable = false, unasked = false, excused = false;

	for (size_t i = 0; i < n; i++) {
		struct member *m = members[i];

		if (m->told_dead || (endpoint_flags(e, m->place.slot) & ENDPOINT_SCRAPE_DEAD))
			m->scrape_dead = true;
		else if (!m->excused)
			m->scrape_dead = false;
		m->told_dead = false;
		excused |= m->excused;
		m->answers &= !m->scrape_dead;
		active |= !m->standing.backup && !flags_of(m) && (!m->scrape_dead || is_vouched(m));
	}
	for (size_t i = 0; i < n; i++) {
		const struct member *m = members[i];

		if (flags_of(m) || m->scrape_dead || (active && m->standing.backup))
			continue;
		reachable |= m->answers;
		unasked |= !m->answers;
	}
	reachable |= unasked && !excused;
	for (size_t i = 0; i < n; i++) {
		struct member *m = members[i];
		unsigned want = flags_of(m), was;

		if (m->standing.backup && active)
			want |= ENDPOINT_BACKUP;
		if (m->scrape_dead && (reachable || flags_of(m) || !is_vouched(m)))
			want |= ENDPOINT_SCRAPE_DEAD;
		if (m->scrape_dead && !m->excused && !(want & ENDPOINT_SCRAPE_DEAD))
			log_event(LOG_LEVEL_WARNING, "endpoint_excused", "pool", m->place.pool,
				  "endpoint", m->place.name, "reason",
				  m->group->source == ROSTER_KUBE
				      ? "no pod can be scraped, but Kubernetes finds this one ready"
				      : "no server can be scraped, but HAProxy finds this one up",
				  NULL);
		m->excused = m->scrape_dead && !(want & ENDPOINT_SCRAPE_DEAD);
		was = endpoint_flags(e, m->place.slot) & ~(unsigned)ENDPOINT_FULL;
		if ((was & (HAPROXY_FLAGS | ENDPOINT_SCRAPE_DEAD)) == want)
			continue;
		endpoint_set_flags(e, m->place.slot, HAPROXY_FLAGS | ENDPOINT_SCRAPE_DEAD, want);
		log_move(m, was, want);
		if ((was & OUT_FLAGS) && !(want & OUT_FLAGS) && back)
			back(m->place.slot, arg);
	}
}
