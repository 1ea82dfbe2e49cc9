/*
 * /metrics: one snapshot of counters, families in the order of metric.def.
 */
#include "serve/page.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/close.h"
#include "serve/control.h"
#include "serve/page_kube.h"
#include "serve/promwrite.h"

static double seconds(uint64_t ns)
{
	return (double)ns / (double)CLOCK_NS_PER_S;
}

static void write_decisions(FILE *out, const struct stats *s)
{
	static const uint64_t bounds[STATS_BUCKETS - 1] = STATS_BOUNDS;
	uint64_t sum = 0;

	prom_family(out, METRIC_REQUESTS);
	for (int v = 0; v < VERDICT_COUNT; v++)
		prom_sample(out, METRIC_REQUESTS, (double)stat_get(&s->verdicts[v]), "verdict",
			    verdict_name((enum verdict)v), NULL);
	prom_single(out, METRIC_UNPLACED, (double)stat_get(&s->any));
	prom_single(out, METRIC_TRUNCATED, (double)stat_get(&s->truncated));
	prom_single(out, METRIC_BODY_BYTES, (double)stat_get(&s->bytes));
	prom_family(out, METRIC_DECISION);
	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		char le[32] = "+Inf";

		sum += stat_get(&s->buckets[i]);
		if (i < STATS_BUCKETS - 1)
			snprintf(le, sizeof(le), "%g", seconds(bounds[i]));
		prom_bucket(out, METRIC_DECISION, "_bucket", le, (double)sum);
	}
	prom_bucket(out, METRIC_DECISION, "_sum", NULL, seconds(stat_get(&s->sum_ns)));
	prom_bucket(out, METRIC_DECISION, "_count", NULL, (double)sum);
}

static void write_models(FILE *out, const struct control *c, const struct stats *s)
{
	const struct intern *names = discover_model_names(c->discover);

	prom_family(out, METRIC_MODEL_REQUESTS);
	for (uint32_t i = 0; i <= intern_count(names) && i < c->begun->nmodels && i < s->nmodels;
	     i++) {
		for (int v = 0; v < VERDICT_COUNT; v++) {
			uint64_t n = stat_get(&s->models[i].verdicts[v]) -
				     stat_get(&c->begun->models[i].verdicts[v]);

			/* "routed" of each that exists, the rest as they happen. */
			if (n > 0 || (v == VERDICT_ROUTED && i > 0))
				prom_sample(out, METRIC_MODEL_REQUESTS, (double)n, "model",
					    intern_name(names, i), "verdict",
					    verdict_name((enum verdict)v), NULL);
		}
	}
}

static void write_spop(FILE *out, const struct control *c, const struct stats *s)
{
	prom_single(out, METRIC_FRAMES, (double)stat_get(&s->frames));
	prom_single(out, METRIC_CONNECTIONS, atomic_load(&c->shared.connections));
	prom_single(out, METRIC_ACCEPTED, (double)stat_get(&s->accepted));
	prom_single(out, METRIC_REFUSED, (double)listener_refused(c->listener));
	prom_family(out, METRIC_CLOSED);
	for (int r = 0; r < CLOSE_COUNT; r++)
		prom_sample(out, METRIC_CLOSED, (double)stat_get(&s->closed_by[r]), "reason",
			    close_reason_name((enum close_reason)r), NULL);
	prom_single(out, METRIC_CHECKS, (double)stat_get(&s->health_checks));
}

static void write_admin(FILE *out, const struct control *c)
{
	const struct admin_counts n = admin_counts(c->admin);

	prom_single(out, METRIC_ADMIN, (double)n.accepted);
	prom_family(out, METRIC_ADMIN_REFUSED);
	prom_sample(out, METRIC_ADMIN_REFUSED, (double)n.unauthorized, "why", "unauthorized", NULL);
	prom_sample(out, METRIC_ADMIN_REFUSED, (double)n.evicted, "why", "evicted", NULL);
	prom_sample(out, METRIC_ADMIN_REFUSED, (double)n.late, "why", "late", NULL);
	prom_single(out, METRIC_ADMIN_HELD, (double)n.held);
}

static void write_tickets(FILE *out, const struct control *c)
{
	struct feedback_counts f;

	feedback_counts(c->feedback, &f);
	prom_single(out, METRIC_TICKETS, tickets_open(c->tickets));
	prom_single(out, METRIC_TICKETS_EXHAUSTED, (double)tickets_exhausted(c->tickets));
	prom_family(out, METRIC_FEEDBACK);
	prom_sample(out, METRIC_FEEDBACK, (double)(f.lines - f.no_ticket - f.unknown), "result",
		    "closed", NULL);
	prom_sample(out, METRIC_FEEDBACK, (double)f.no_ticket, "result", "no_ticket", NULL);
	prom_sample(out, METRIC_FEEDBACK, (double)f.unknown, "result", "unknown", NULL);
	prom_sample(out, METRIC_FEEDBACK, (double)f.broken, "result", "broken", NULL);
	prom_family(out, METRIC_RECLAIMED);
	prom_sample(out, METRIC_RECLAIMED, (double)f.reclaimed, "why", "unknown_to_haproxy", NULL);
	prom_sample(out, METRIC_RECLAIMED, (double)f.orphaned, "why", "haproxy_died", NULL);
	prom_sample(out, METRIC_RECLAIMED, (double)c->retired.given_up, "why", "haproxy_replaced",
		    NULL);
	prom_sample(out, METRIC_RECLAIMED, (double)silent_given_up(c->silent), "why",
		    "haproxy_silent", NULL);
	prom_single(out, METRIC_MOVED, (double)f.moved);
	prom_single(out, METRIC_EXPIRED, (double)f.expired);
}

static void write_discovery(FILE *out, const struct control *c)
{
	const struct snapshot *s = discover_snapshot(c->discover);
	struct discover_status status;

	discover_status(c->discover, &status);
	prom_single(out, METRIC_SNAPSHOT, (double)s->version);
	prom_single(out, METRIC_MODELS, (double)route_table_count(s->routes));
	prom_family(out, METRIC_RELOADS);
	prom_sample(out, METRIC_RELOADS, (double)c->reloads, "result", "ok", NULL);
	prom_sample(out, METRIC_RELOADS, (double)c->reload_failures, "result", "failed", NULL);
	prom_single(out, METRIC_LOG_LOST, (double)log_dropped());
	if (!status.haproxy.configured)
		return;
	prom_single(out, METRIC_HAPROXY_UP, status.haproxy.good);
	prom_single(out, METRIC_HAPROXY_POLLS, (double)status.haproxy.polls);
	prom_single(out, METRIC_HAPROXY_FAILURES, (double)status.haproxy.failures);
}

/* One family over all endpoints of the whole pools. */
typedef void (*endpoint_writer)(FILE *out, enum metric m, const struct pool *p,
				const struct pool_endpoint *e, const struct endpoint_view *v,
				const struct control *c);

static void write_value(FILE *out, enum metric m, const struct pool *p,
			const struct pool_endpoint *e, const struct endpoint_view *v,
			const struct control *c)
{
	double value = 0;

	(void)c;
	switch (m) {
	case METRIC_EP_CANDIDATE:
		value = v->flags == 0;
		break;
	case METRIC_EP_PICKS:
		value = (double)v->picks;
		break;
	case METRIC_EP_OPEN:
		value = v->open;
		break;
	case METRIC_EP_LOAD:
		value = v->load;
		break;
	case METRIC_EP_FOREIGN:
		value = v->foreign;
		break;
	case METRIC_EP_RATE:
		value = v->rate;
		break;
	default:
		break;
	}
	prom_sample(out, m, value, "pool", p->name, "endpoint", e->name, NULL);
}

static void write_scraped(FILE *out, enum metric m, const struct pool *p,
			  const struct pool_endpoint *e, const struct endpoint_view *v,
			  const struct control *c)
{
	double value = m == METRIC_EP_WAITING   ? v->waiting
		       : m == METRIC_EP_RUNNING ? v->running
		       : m == METRIC_EP_KV      ? v->kv_usage
						: seconds(clock_mono_ns() - v->observed_ns);

	(void)c;
	if (v->observed_ns == 0 || (m == METRIC_EP_KV && v->kv_usage < 0))
		return;
	prom_sample(out, m, value, "pool", p->name, "endpoint", e->name, NULL);
}

static void write_flags(FILE *out, enum metric m, const struct pool *p,
			const struct pool_endpoint *e, const struct endpoint_view *v,
			const struct control *c)
{
	(void)c;
	for (unsigned bit = 1; bit <= ENDPOINT_FLAG_LAST; bit <<= 1)
		if (v->flags & bit)
			prom_sample(out, m, 1, "pool", p->name, "endpoint", e->name, "flag",
				    endpoint_flag_name(bit), NULL);
}

static void write_ended(FILE *out, enum metric m, const struct pool *p,
			const struct pool_endpoint *e, const struct endpoint_view *v,
			const struct control *c)
{
	const struct {
		const char *result;
		uint64_t n;
	} rows[] = {{"answered", v->answered}, {"failed", v->failed}, {"aborted", v->aborted}};

	(void)c;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		prom_sample(out, m, (double)rows[i].n, "pool", p->name, "endpoint", e->name,
			    "result", rows[i].result, NULL);
}

static void write_scrapes(FILE *out, enum metric m, const struct pool *p,
			  const struct pool_endpoint *e, const struct endpoint_view *v,
			  const struct control *c)
{
	const struct scrape_status *s = scraper_status(watch_scraper(c->watch), e->slot);

	(void)v;
	if (!s)
		return;
	if (m == METRIC_EP_SCRAPES) {
		prom_sample(out, m, (double)s->scrapes, "pool", p->name, "endpoint", e->name, NULL);
		return;
	}
	/* Those that never happened too: rate() does not see the step by which a series begins. */
	for (int o = SCRAPE_CONNECT; o < SCRAPE_OUTCOMES; o++)
		prom_sample(out, m, (double)s->outcomes[o], "pool", p->name, "endpoint", e->name,
			    "kind", scrape_outcome_name((enum scrape_outcome)o), NULL);
}

static void write_endpoints(FILE *out, const struct control *c)
{
	static const struct {
		enum metric metric;
		endpoint_writer write;
	} families[] = {
	    {METRIC_EP_CANDIDATE, write_value}, {METRIC_EP_FLAG, write_flags},
	    {METRIC_EP_PICKS, write_value},     {METRIC_EP_OPEN, write_value},
	    {METRIC_EP_LOAD, write_value},      {METRIC_EP_FOREIGN, write_value},
	    {METRIC_EP_WAITING, write_scraped}, {METRIC_EP_RUNNING, write_scraped},
	    {METRIC_EP_KV, write_scraped},      {METRIC_EP_RATE, write_value},
	    {METRIC_EP_ENDED, write_ended},     {METRIC_EP_SCRAPE_AGE, write_scraped},
	    {METRIC_EP_SCRAPES, write_scrapes}, {METRIC_EP_SCRAPE_FAILURES, write_scrapes},
	};
	const struct snapshot *s = discover_snapshot(c->discover);

	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		prom_family(out, families[f].metric);
		for (uint32_t i = 0; i < s->nwhole; i++) {
			const struct pool *p = &s->pools[i];

			for (uint32_t k = 0; k < p->n; k++) {
				struct endpoint_view v;

				endpoint_view(c->endpoints, p->slots[k], &v);
				families[f].write(out, families[f].metric, p, &p->endpoints[k], &v,
						  c);
			}
		}
	}
}

static double resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128] = "", *at;
	long resident;

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = '\0';
		fclose(f);
	}
	/* "size resident …", in pages */
	(void)strtol(line, &at, 10);
	resident = strtol(at, NULL, 10);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	double n = -1; /* the folder itself */

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void write_process(FILE *out, const struct control *c)
{
	struct rusage usage;

	prom_single(out, METRIC_RSS, resident_bytes());
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		prom_single(out, METRIC_CPU,
			    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	prom_single(out, METRIC_FDS, open_descriptors());
	prom_single(out, METRIC_UPTIME, seconds(clock_mono_ns() - c->started_ns));
}

int page_metrics(void *control, FILE *out)
{
	const struct control *c = control;
	struct stats *sum = stats_new(c->conf->limits.model_labels + 1);

	if (!sum)
		return 500;
	for (unsigned i = 0; i < c->nworkers; i++)
		stats_sum(sum, c->workers[i].stats);
	prom_family(out, METRIC_INFO);
	prom_sample(out, METRIC_INFO, 1, "version", SPOA_VERSION, NULL);
	prom_single(out, METRIC_READY, control_ready(c));
	prom_single(out, METRIC_DRAINING, c->stopping);
	write_decisions(out, sum);
	write_models(out, c, sum);
	write_spop(out, c, sum);
	write_admin(out, c);
	write_tickets(out, c);
	write_discovery(out, c);
	page_kube_metrics(out, c);
	write_endpoints(out, c);
	write_process(out, c);
	stats_free(sum);
	return 200;
}
