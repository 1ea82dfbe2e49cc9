/*
 * The control paths. They work whatever fault is on, except that a server that is dead or refuses
 * connects cannot be reached: then another one of the same process takes the order, with
 * server=NAME.
 */
#include "control.h"

#include "api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- faults --- */

static bool get_number(control_get *get, const void *from, const char *name, double *ret)
{
	char text[64], *end;
	double v;

	if (!get(from, name, text, sizeof(text)))
		return false;
	v = strtod(text, &end);
	if (end == text || *end || !isfinite(v) || v < 0)
		v = -1;
	*ret = v;
	return true;
}

static const char *const pages[] = {"right", "garbage", "nan", "negative",
				    "huge",  "slow",    "404", "500"};

static const char *fault_metrics(struct sim_faults *f, control_get *get, const void *from)
{
	char mode[32];

	if (!get(from, "mode", mode, sizeof(mode)))
		return "metrics needs mode=right|garbage|nan|negative|huge|slow|404|500";
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (strcmp(mode, pages[i]) == 0) {
			f->metrics = (enum sim_page)i;
			return NULL;
		}
	return "unknown mode: right, garbage, nan, negative, huge, slow, 404, 500";
}

static const char *fault_error(struct sim_faults *f, control_get *get, const void *from)
{
	double n = 0, p = 0, status = 500;
	bool has_n = get_number(get, from, "n", &n), has_p = get_number(get, from, "p", &p);

	get_number(get, from, "status", &status);
	if ((!has_n && !has_p) || n < 0 || n > 1e9 || p < 0 || p > 1)
		return "error needs n=COUNT or p=SHARE (0..1)";
	if (status < 400 || status > 599)
		return "status must be 400..599";
	f->error_next = (uint32_t)n;
	f->error_share = p;
	f->error_status = (int)status;
	return NULL;
}

const char *control_fault(struct sim_faults *f, const char *kind, control_get *get,
			  const void *from)
{
	double v;

	if (strcmp(kind, "none") == 0) {
		*f = (struct sim_faults){.slow = 1, .error_status = 500};
	} else if (strcmp(kind, "die") == 0) {
		f->dead = true;
	} else if (strcmp(kind, "hang") == 0) {
		f->hang = true;
	} else if (strcmp(kind, "refuse") == 0) {
		f->refuse = true;
	} else if (strcmp(kind, "stall") == 0) {
		f->slow = 0;
	} else if (strcmp(kind, "slow") == 0) {
		if (!get_number(get, from, "factor", &v) || v < 0.001)
			return "slow needs factor=NUMBER (3 = three times slower)";
		f->slow = v;
	} else if (strcmp(kind, "cut") == 0) {
		if (!get_number(get, from, "after", &v) || v < 1 || v > 1e9)
			return "cut needs after=TOKENS";
		f->cut = (uint32_t)v;
	} else if (strcmp(kind, "metrics") == 0) {
		return fault_metrics(f, get, from);
	} else if (strcmp(kind, "error") == 0) {
		return fault_error(f, get, from);
	} else {
		return "unknown kind: none, die, hang, refuse, stall, slow, cut, metrics, error";
	}
	return NULL;
}

static bool from_query(const void *from, const char *name, char *out, size_t size)
{
	return http_query(from, name, out, size);
}

/* --- what has been seen --- */

static void put_stats(struct buf *b, struct sim *s)
{
	struct engine_stats all = {0}, st;

	for (uint32_t i = 0; i < s->conf.ranks; i++) {
		engine_get_stats(s->ranks[i], &st);
		all.running += st.running;
		all.waiting += st.waiting;
		all.kv_used += st.kv_used;
		all.kv_total += st.kv_total;
		all.preempted += st.preempted;
		all.prefix_queries += st.prefix_queries;
		all.prefix_hits += st.prefix_hits;
		all.prefill_tokens += st.prefill_tokens;
		all.steps += st.steps;
	}
	buf_puts(b, "{\"name\":");
	buf_json(b, s->conf.name);
	buf_printf(b, ",\"running\":%u,\"waiting\":%u,\"in_flight\":%u,\"max_in_flight\":%u,",
		   all.running, all.waiting, s->in_flight, s->max_in_flight);
	buf_printf(b,
		   "\"requests\":%llu,\"started\":%llu,\"finished\":%llu,\"cancelled\":%llu,"
		   "\"errors\":%llu,\"hung\":%u,\"connections\":%zu,",
		   (unsigned long long)s->serial, (unsigned long long)s->started,
		   (unsigned long long)s->finished, (unsigned long long)s->cancelled,
		   (unsigned long long)s->errors, s->hung, http_n_conns(s->http));
	buf_printf(b,
		   "\"prompt_tokens\":%llu,\"output_tokens\":%llu,\"prefill_tokens\":%llu,"
		   "\"steps\":%llu,\"preempted\":%llu,",
		   (unsigned long long)s->prompt_tokens, (unsigned long long)s->tokens_out,
		   (unsigned long long)all.prefill_tokens, (unsigned long long)all.steps,
		   (unsigned long long)all.preempted);
	buf_printf(b,
		   "\"prefix_queries\":%llu,\"prefix_hits\":%llu,\"kv_used\":%u,\"kv_total\":%u,",
		   (unsigned long long)all.prefix_queries, (unsigned long long)all.prefix_hits,
		   all.kv_used, all.kv_total);
	buf_printf(b, "\"kv_usage\":%.6f,\"models\":{", (double)all.kv_used / all.kv_total);
	for (uint32_t i = 0; i < s->n_models; i++) {
		const struct sim_model *m = s->models[i];

		buf_puts(b, i ? "," : "");
		buf_json(b, m->id);
		buf_printf(b, ":{\"requests\":%llu,\"in_flight\":%u,\"loaded\":%s}",
			   (unsigned long long)m->requests, m->open, m->loaded ? "true" : "false");
	}
	buf_printf(
	    b,
	    "},\"faults\":{\"hang\":%s,\"refuse\":%s,\"dead\":%s,\"slow\":%g,\"metrics\":\"%s\","
	    "\"error_next\":%u,\"error_share\":%g,\"cut\":%u},",
	    s->faults.hang ? "true" : "false", s->faults.refuse ? "true" : "false",
	    s->faults.dead ? "true" : "false", s->faults.slow, pages[s->faults.metrics],
	    s->faults.error_next, s->faults.error_share, s->faults.cut);
	buf_printf(b, "\"load\":{\"running\":%u,\"waiting\":%u,\"kv\":%g}}", s->foreign_running,
		   s->foreign_waiting, s->foreign_kv);
}

/* --- the paths: NULL, or what is wrong --- */

static const char *post_fault(struct sim *s, struct http_conn *c)
{
	struct sim_faults f = s->faults;
	char kind[32];
	const char *wrong;
	double ms = 0;

	if (!http_query(c, "kind", kind, sizeof(kind)))
		return "kind= is missing";
	wrong = control_fault(&f, kind, from_query, c);
	if (!wrong && get_number(from_query, c, "for", &ms) && ms <= 0)
		wrong = "for= is a time in milliseconds";
	if (wrong)
		return wrong;
	s->faults = f;
	sim_faults_end_in(s, ms);
	sim_apply_faults(s);
	return NULL;
}

static const char *post_load(struct sim *s, struct http_conn *c)
{
	double running = s->foreign_running, waiting = s->foreign_waiting, kv = s->foreign_kv;

	get_number(from_query, c, "running", &running);
	get_number(from_query, c, "waiting", &waiting);
	get_number(from_query, c, "kv", &kv);
	if (running < 0 || running > 1e6 || waiting < 0 || waiting > 1e6 || kv < 0 || kv > 1)
		return "running and waiting are counts, kv is 0..1";
	s->foreign_running = (uint32_t)running;
	s->foreign_waiting = (uint32_t)waiting;
	s->foreign_kv = kv;
	sim_apply_faults(s);
	return NULL;
}

static const char *post_adapters(struct sim *s, struct http_conn *c)
{
	char name[256], root[256];
	struct sim_model *m;

	if (http_query(c, "add", name, sizeof(name)) && *name) {
		bool has_root = http_query(c, "root", root, sizeof(root));

		if (sim_model_find(s, name))
			return "there is a model of that name";
		return sim_adapter_add(s, name, has_root ? root : NULL) ? NULL : "no room";
	}
	if (http_query(c, "remove", name, sizeof(name)) && *name) {
		m = sim_model_find(s, name);
		if (!m || !m->adapter)
			return "no such adapter";
		m->loaded = false;
		return NULL;
	}
	return "add=NAME[&root=PATH] or remove=NAME";
}

void control_request(struct sim *s, struct http_conn *c)
{
	static const struct {
		const char *path;
		const char *(*post)(struct sim *s, struct http_conn *c);
	} posts[] = {
	    {"/sim/fault", post_fault}, {"/sim/load", post_load}, {"/sim/adapters", post_adapters}};
	const char *path = http_path(c), *wrong = "no such path";
	char name[256];
	struct buf b = {0};
	struct sim *target = s;
	int status = 200;

	if (http_query(c, "server", name, sizeof(name)))
		target = sim_find(name);
	if (!target) {
		wrong = "no server of that name in this process";
	} else if (strcmp(path, "/sim/stats") == 0) {
		struct sim *each;

		wrong = NULL;
		if (http_query(c, "all", name, sizeof(name))) {
			buf_puts(&b, "[");
			LIST_FOREACH(each, &sim_all, next)
			{
				put_stats(&b, each);
				buf_puts(&b, LIST_NEXT(each, next) ? "," : "]");
			}
		} else {
			put_stats(&b, target);
		}
	} else {
		for (size_t i = 0; i < sizeof(posts) / sizeof(posts[0]); i++)
			if (strcmp(path, posts[i].path) == 0)
				wrong = strcmp(http_method(c), "POST") == 0
					    ? posts[i].post(target, c)
					    : "POST it";
		if (!wrong)
			put_stats(&b, target);
	}
	if (wrong) {
		status = 400;
		buf_puts(&b, "{\"error\":");
		buf_json(&b, wrong);
		buf_puts(&b, "}");
	}
	api_json(c, "", status, &b);
	buf_deinit(&b);
}
