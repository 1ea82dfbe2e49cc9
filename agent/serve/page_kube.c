/*
 * The controller as its pages show it: where the API server is, each kind of objects and how far
 * it is in step, what is wrong with whose routes, what is written, what HAProxy follows.
 */
#include "serve/page_kube.h"

#include <cJSON.h>
#include <stdlib.h>

#include "base/clock.h"
#include "discover/kube/kube.h"
#include "serve/control.h"
#include "serve/pagejson.h"
#include "serve/promwrite.h"

/* Of the problems no more than this are shown. */
#define PROBLEMS_SHOWN 200

static double age_s(uint64_t then_ns)
{
	return (double)(clock_mono_ns() - then_ns) / (double)CLOCK_NS_PER_S;
}

static void add_view(cJSON *object, const char *key, struct view v)
{
	char *copy = view_dup(v);

	if (copy)
		cJSON_AddStringToObject(object, key, copy);
	free(copy);
}

/* --- /state --- */

static void add_kinds(cJSON *o, const struct kube *k)
{
	cJSON *kinds = cJSON_AddObjectToObject(o, "resources");

	for (int i = 0; i < KUBE_KINDS; i++) {
		struct kube_mirror_kind kind;
		cJSON *row;

		kube_report_kind(k, (enum kube_kind)i, &kind);
		if (!kind.watched)
			continue;
		row = cJSON_AddObjectToObject(kinds, kind.name);
		cJSON_AddStringToObject(row, "state", kube_reflector_state_name(kind.state));
		cJSON_AddBoolToObject(row, "synced", kind.synced);
		cJSON_AddNumberToObject(row, "objects", (double)kind.objects);
		if (kind.in_step_ns)
			cJSON_AddNumberToObject(row, "in_step_age_s", age_s(kind.in_step_ns));
		if (kind.error[0])
			cJSON_AddStringToObject(row, "error", kind.error);
	}
}

static void add_problems(cJSON *o, const struct kube *k, size_t n)
{
	cJSON *list = cJSON_AddArrayToObject(o, "problems");
	const struct kube_problem *p;

	for (size_t i = 0; i < PROBLEMS_SHOWN && (p = kube_report_problem(k, i)); i++) {
		cJSON *row = cJSON_CreateObject();

		cJSON_AddStringToObject(row, "kind", kube_kind_info(p->kind)->name);
		if (p->namespace.len)
			add_view(row, "namespace", p->namespace);
		add_view(row, "name", p->name);
		add_view(row, "text", p->text);
		pagejson_append_consume(list, row);
	}
	if (n > PROBLEMS_SHOWN)
		cJSON_AddNumberToObject(o, "problems_not_shown", (double)(n - PROBLEMS_SHOWN));
}

static void add_follow(cJSON *o, const struct follow_status *f)
{
	cJSON *row = cJSON_AddObjectToObject(o, "haproxy");

	cJSON_AddStringToObject(row, "state", follow_state_name(f->state));
	cJSON_AddStringToObject(row, "version", f->version);
	cJSON_AddNumberToObject(row, "pools", (double)f->pools);
	cJSON_AddNumberToObject(row, "servers", (double)f->servers);
	cJSON_AddNumberToObject(row, "missing", (double)f->missing);
	cJSON_AddNumberToObject(row, "leaving", (double)f->leaving);
	cJSON_AddNumberToObject(row, "reloads", (double)f->reloads);
	if (f->error)
		cJSON_AddStringToObject(row, "error", f->error);
	if (f->file_error)
		cJSON_AddStringToObject(row, "file_error", f->file_error);
}

void page_kube_state(cJSON *root, const struct control *c)
{
	const struct kube *k = watch_kube(c->watch);
	struct kube_status_report r;
	cJSON *o, *writes;

	if (!k)
		return;
	kube_report(k, &r);
	o = cJSON_AddObjectToObject(root, "kubernetes");
	cJSON_AddStringToObject(o, "server", r.server);
	cJSON_AddStringToObject(o, "namespace", r.namespace);
	cJSON_AddBoolToObject(o, "synced", r.synced);
	cJSON_AddNumberToObject(o, "classes", (double)r.counts.classes);
	cJSON_AddNumberToObject(o, "gateways", (double)r.counts.gateways);
	cJSON_AddNumberToObject(o, "listeners", (double)r.counts.listeners);
	cJSON_AddNumberToObject(o, "routes", (double)r.counts.routes);
	cJSON_AddNumberToObject(o, "routes_accepted", (double)r.counts.routes_accepted);
	cJSON_AddNumberToObject(o, "rules", (double)r.rules);
	cJSON_AddNumberToObject(o, "pools", (double)r.counts.pools);
	cJSON_AddNumberToObject(o, "pools_empty", (double)r.counts.pools_empty);
	cJSON_AddNumberToObject(o, "pods", (double)r.members);
	if (r.left_out)
		cJSON_AddNumberToObject(o, "objects_left_out", (double)r.left_out);
	add_kinds(o, k);
	add_problems(o, k, r.problems);
	if (r.writing) {
		writes = cJSON_AddObjectToObject(o, "status_writes");
		cJSON_AddNumberToObject(writes, "waiting", (double)r.writer.waiting);
		cJSON_AddNumberToObject(writes, "written", (double)r.writer.written);
		cJSON_AddNumberToObject(writes, "conflicts", (double)r.writer.conflicts);
		cJSON_AddNumberToObject(writes, "refused", (double)r.writer.refused);
	}
	if (r.following)
		add_follow(o, &r.follow);
}

/* --- /metrics --- */

typedef void (*kind_writer)(FILE *out, enum metric m, const struct kube_mirror_kind *kind);

static void write_gauge(FILE *out, enum metric m, const struct kube_mirror_kind *kind)
{
	double value = m == METRIC_KUBE_OBJECTS ? (double)kind->objects : kind->synced;

	prom_sample(out, m, value, "resource", kind->name, NULL);
}

static void write_age(FILE *out, enum metric m, const struct kube_mirror_kind *kind)
{
	if (kind->in_step_ns)
		prom_sample(out, m, age_s(kind->in_step_ns), "resource", kind->name, NULL);
}

static void write_count(FILE *out, enum metric m, const struct kube_mirror_kind *kind)
{
	uint64_t n = m == METRIC_KUBE_EVENTS     ? kind->events
		     : m == METRIC_KUBE_FAILURES ? kind->failures
						 : kind->refused;

	prom_sample(out, m, (double)n, "resource", kind->name, NULL);
}

static void write_asked(FILE *out, enum metric m, const struct kube_mirror_kind *kind)
{
	prom_sample(out, m, (double)kind->lists, "resource", kind->name, "verb", "list", NULL);
	prom_sample(out, m, (double)kind->watches, "resource", kind->name, "verb", "watch", NULL);
}

static void write_kinds(FILE *out, const struct kube *k)
{
	static const struct {
		enum metric metric;
		kind_writer write;
	} families[] = {
	    {METRIC_KUBE_OBJECTS, write_gauge}, {METRIC_KUBE_SYNCED, write_gauge},
	    {METRIC_KUBE_AGE, write_age},       {METRIC_KUBE_EVENTS, write_count},
	    {METRIC_KUBE_ASKED, write_asked},   {METRIC_KUBE_FAILURES, write_count},
	    {METRIC_KUBE_REFUSED, write_count},
	};

	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		prom_family(out, families[f].metric);
		for (int i = 0; i < KUBE_KINDS; i++) {
			struct kube_mirror_kind kind;

			kube_report_kind(k, (enum kube_kind)i, &kind);
			if (kind.watched)
				families[f].write(out, families[f].metric, &kind);
		}
	}
}

static void write_writes(FILE *out, const struct kube_writer_stats *w)
{
	prom_family(out, METRIC_KUBE_WRITES);
	prom_sample(out, METRIC_KUBE_WRITES, (double)w->written, "result", "written", NULL);
	prom_sample(out, METRIC_KUBE_WRITES, (double)w->conflicts, "result", "conflict", NULL);
	prom_sample(out, METRIC_KUBE_WRITES, (double)w->refused, "result", "refused", NULL);
	prom_sample(out, METRIC_KUBE_WRITES, (double)w->retries, "result", "retried", NULL);
	prom_sample(out, METRIC_KUBE_WRITES, (double)w->overflows, "result", "no_room", NULL);
	prom_single(out, METRIC_KUBE_WAITING, (double)w->waiting);
}

static void write_follow(FILE *out, const struct follow_status *f)
{
	prom_single(out, METRIC_FOLLOW_CURRENT, f->state == FOLLOW_CURRENT);
	prom_single(out, METRIC_FOLLOW_MISSING, (double)f->missing);
	prom_single(out, METRIC_FOLLOW_COMMANDS, (double)f->commands);
	prom_single(out, METRIC_FOLLOW_REFUSALS, (double)f->refusals);
	prom_family(out, METRIC_FOLLOW_RELOADS);
	prom_sample(out, METRIC_FOLLOW_RELOADS, (double)f->reloads, "result", "ok", NULL);
	prom_sample(out, METRIC_FOLLOW_RELOADS, (double)f->reload_failures, "result", "failed",
		    NULL);
}

void page_kube_metrics(FILE *out, const struct control *c)
{
	const struct kube *k = watch_kube(c->watch);
	struct kube_status_report r;

	if (!k)
		return;
	kube_report(k, &r);
	write_kinds(out, k);
	prom_single(out, METRIC_KUBE_LEFT_OUT, (double)r.left_out);
	prom_single(out, METRIC_KUBE_BYTES, (double)r.store_bytes);
	prom_single(out, METRIC_KUBE_RESOLVES, (double)r.resolves);
	prom_single(out, METRIC_KUBE_RESOLVE_TIME,
		    (double)r.resolve_sum_ns / (double)CLOCK_NS_PER_S);
	prom_single(out, METRIC_KUBE_PLANS, (double)r.plans);
	prom_single(out, METRIC_KUBE_RULES, (double)r.rules);
	prom_single(out, METRIC_KUBE_PROBLEMS, (double)r.problems);
	if (r.writing)
		write_writes(out, &r.writer);
	if (r.following)
		write_follow(out, &r.follow);
}

/* --- /readyz --- */

int page_kube_why(const struct control *c, FILE *out)
{
	const struct kube *k = watch_kube(c->watch);
	struct kube_status_report r;
	int n = 0;

	if (!k)
		return 0;
	kube_report(k, &r);
	if (r.synced)
		return 0;
	for (int i = 0; i < KUBE_KINDS; i++) {
		struct kube_mirror_kind kind;

		kube_report_kind(k, (enum kube_kind)i, &kind);
		if (!kind.watched || kind.synced)
			continue;
		fprintf(out, "%s of %s: %s%s%s\n", kind.name, r.server,
			kube_reflector_state_name(kind.state), kind.error[0] ? ": " : "",
			kind.error);
		n++;
	}
	return n;
}
