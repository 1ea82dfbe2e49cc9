/*
 * Life of a server and of the requests in it.
 *
 * The engine's time is the machine's monotonic time. One timer per server stands at the earliest
 * engine_next of its ranks; when it is late, the engine catches up step by step with the times the
 * steps should have had, so a busy machine delays tokens but does not bend the model.
 *
 * The engine's callbacks write to connections and never call the engine. A job that must end in a
 * callback (a stream cut by a fault) goes to the list `over`, which is emptied when the engine has
 * returned. A client that leaves is told by http.c from its own event, and cancels at once.
 */
#include "sim.h"

#include "answer.h"
#include "api.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sims sim_all = LIST_HEAD_INITIALIZER(sim_all);

/* vLLM's, of vllm:time_to_first_token_seconds, inter_token_latency and e2e_request_latency. */
static const double ttft_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
				     0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
				     20,    40,    80,   160,  640,  2560, 0};
static const double itl_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
				    0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80,  0};
static const double e2e_bounds[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,   20,
				    30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680, 0};

int64_t sim_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void observe(struct sim_histogram *h, int64_t ns)
{
	double s = (double)ns / 1e9;
	size_t i = 0;

	while (h->bounds[i] > 0 && s > h->bounds[i])
		i++;
	h->count[i]++;
	h->n++;
	h->sum += s;
}

/* --- time --- */

static void schedule(struct sim *s)
{
	int64_t next = ENGINE_NEVER, now;
	struct timeval tv;

	for (uint32_t i = 0; i < s->conf.ranks; i++)
		if (engine_next(s->ranks[i]) < next)
			next = engine_next(s->ranks[i]);
	if (next == ENGINE_NEVER) {
		event_del(s->timer);
		return;
	}
	now = sim_now();
	next = next > now ? next - now : 0;
	tv.tv_sec = next / 1000000000;
	tv.tv_usec = (next % 1000000000 + 999) / 1000;
	event_add(s->timer, &tv);
}

static void job_free(struct job *j)
{
	LIST_REMOVE(j, next);
	j->model->open--;
	j->sim->in_flight--;
	buf_deinit(&j->pre);
	buf_deinit(&j->whole);
	free(j);
}

static void job_cancel(struct job *j)
{
	if (j->req)
		engine_cancel(j->engine, j->req);
	j->sim->cancelled++;
	j->sim->finished_abort++;
	job_free(j);
}

static void advance(struct sim *s)
{
	int64_t now = sim_now();
	struct job *j;

	assert(!s->advancing);
	s->advancing = true;
	for (uint32_t i = 0; i < s->conf.ranks; i++)
		engine_advance(s->ranks[i], now);
	s->advancing = false;
	while ((j = LIST_FIRST(&s->over)))
		job_cancel(j);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sim *s = arg;

	(void)fd;
	(void)what;
	advance(s);
	schedule(s);
}

/* --- jobs --- */

static void cut(struct job *j)
{
	answer_cut(j);
	LIST_REMOVE(j, next);
	LIST_INSERT_HEAD(&j->sim->over, j, next);
}

static void job_token(struct job *j, int64_t when)
{
	struct sim *s = j->sim;

	if (j->made++ == 0)
		observe(&s->ttft, when - j->arrived);
	else
		observe(&s->itl, when - j->last);
	j->last = when;
	s->tokens_out++;
	if (!j->conn || !j->stream)
		return;
	answer_token(j);
	if (s->faults.cut && j->made >= s->faults.cut)
		cut(j);
}

static void job_finish(struct job *j, int64_t when)
{
	struct sim *s = j->sim;

	j->req = NULL;
	if (!j->conn) /* cut at its last token */
		return;
	observe(&s->e2e, when - j->arrived);
	s->finished++;
	if (j->stopped)
		s->finished_stop++;
	else
		s->finished_length++;
	answer_finish(j);
	job_free(j);
}

static void on_engine(void *arg, struct engine_req *r, enum engine_event ev, int64_t when)
{
	struct job *j = engine_req_user(r);

	(void)arg;
	if (ev == ENGINE_FINISH)
		job_finish(j, when);
	else
		job_token(j, when);
}

static struct engine *pick_rank(struct sim *s)
{
	struct engine *best = NULL;
	uint32_t best_load = UINT32_MAX;

	for (uint32_t i = 0; i < s->conf.ranks; i++) {
		struct engine_stats st;

		engine_get_stats(s->ranks[i], &st);
		if (st.waiting * 4 + st.running < best_load) {
			best_load = st.waiting * 4 + st.running;
			best = s->ranks[i];
		}
	}
	return best;
}

void sim_start(struct job *j, const uint64_t *ids, uint32_t n_ids, const char *headers)
{
	struct sim *s = j->sim;
	const struct engine_conf *ec = &s->conf.engine;
	uint64_t room = (uint64_t)ec->kv_blocks * ec->block_size;
	struct engine_ask ask = {
	    .ids = ids, .n_ids = n_ids, .id_tokens = ec->block_size, .user = j};

	LIST_INSERT_HEAD(&s->jobs, j, next);
	http_set_conn_data(j->conn, j);
	s->started++;
	s->prompt_tokens += j->prompt;
	if (++s->in_flight > s->max_in_flight)
		s->max_in_flight = s->in_flight;
	j->model->open++;
	j->model->requests++;
	j->arrived = sim_now();
	answer_begin(j, headers);
	if (s->conf.instant) {
		while (j->made < j->output && j->conn)
			job_token(j, j->arrived);
		if (j->conn)
			job_finish(j, j->arrived);
		while ((j = LIST_FIRST(&s->over)))
			job_cancel(j);
		return;
	}
	/* What does not fit the cache is computed as far as it fits: the answer is right anyway. */
	ask.output = j->output < room ? j->output : (uint32_t)room;
	ask.prompt = j->prompt;
	if (ask.prompt > room - ask.output + 1)
		ask.prompt = (uint32_t)(room - ask.output + 1);
	j->output = ask.output;
	advance(s);
	j->engine = pick_rank(s);
	j->req = engine_submit(j->engine, &ask);
	if (!j->req)
		abort(); /* memory */
	schedule(s);
}

static void on_gone(void *arg, struct http_conn *c)
{
	struct sim *s = arg;
	struct job *j = http_conn_data(c);

	if (!j) {
		s->hung -= s->hung > 0;
		return;
	}
	j->conn = NULL;
	job_cancel(j);
	schedule(s);
}

static void on_request(void *arg, struct http_conn *c)
{
	api_request(arg, c);
}

/* --- models --- */

struct sim_model *sim_model_find(struct sim *s, const char *id)
{
	for (uint32_t i = 0; i < s->n_models; i++)
		if (s->models[i]->loaded && strcmp(s->models[i]->id, id) == 0)
			return s->models[i];
	return NULL;
}

/* An unloaded adapter keeps its place, as requests may still run with it. */
static struct sim_model *model_add(struct sim *s, const char *id, const char *root)
{
	struct sim_model *m = NULL;

	for (uint32_t i = 1; i < s->n_models && !m; i++)
		if (!s->models[i]->loaded &&
		    (strcmp(s->models[i]->id, id) == 0 || s->models[i]->open == 0))
			m = s->models[i];
	if (!m) {
		if (s->n_models == SIM_MAX_ADAPTERS + 1)
			return NULL;
		m = calloc(1, sizeof(*m));
		if (!m)
			return NULL;
		s->models[s->n_models++] = m;
	}
	free(m->root);
	m->root = strdup(root ? root : id);
	if (!m->id || strcmp(m->id, id) != 0) {
		free(m->id);
		m->id = strdup(id);
		m->requests = 0;
	}
	m->loaded = true;
	return m;
}

struct sim_model *sim_adapter_add(struct sim *s, const char *id, const char *root)
{
	struct sim_model *m = model_add(s, id, root);

	if (m)
		m->adapter = true;
	return m;
}

/* --- faults --- */

static void on_die(evutil_socket_t fd, short what, void *arg)
{
	struct sim *s = arg;
	struct job *j;

	(void)fd;
	(void)what;
	if (LIST_FIRST(&sim_all) == s && !LIST_NEXT(s, next) &&
	    !evtimer_pending(s->fault_timer, NULL))
		_exit(1);
	while ((j = LIST_FIRST(&s->jobs)))
		job_cancel(j);
	http_drop_all(s->http);
	schedule(s);
}

static void on_fault_end(evutil_socket_t fd, short what, void *arg)
{
	struct sim *s = arg;

	(void)fd;
	(void)what;
	s->faults = (struct sim_faults){.slow = 1, .error_status = 500};
	sim_apply_faults(s);
}

void sim_apply_faults(struct sim *s)
{
	struct timeval now = {0, 0}, soon = {0, 50000};
	const struct sim_faults *f = &s->faults;

	advance(s);
	for (uint32_t i = 0; i < s->conf.ranks; i++) {
		engine_set_speed(s->ranks[i], f->slow > 0 ? s->conf.engine.speed / f->slow : 0);
		engine_set_foreign(s->ranks[i], s->foreign_running / s->conf.ranks +
						    (i < s->foreign_running % s->conf.ranks));
	}
	schedule(s);
	if (f->dead) {
		/* Not within the request that asked for it, which is on one of the connections. */
		event_add(s->die_timer, &now);
		return;
	}
	event_del(s->die_timer);
	if (f->refuse) {
		http_refuse(s->http);
	} else if (http_reopen(s->http) < 0) {
		fprintf(stderr, "spoa-sim: %s: cannot listen again, will try\n", s->conf.name);
		event_add(s->fault_timer, &soon);
	}
}

void sim_faults_end_in(struct sim *s, double ms)
{
	struct timeval tv = {.tv_sec = (time_t)(ms / 1000)};

	event_del(s->fault_timer);
	if (ms <= 0)
		return;
	tv.tv_usec = (suseconds_t)((ms - (double)tv.tv_sec * 1000) * 1000);
	event_add(s->fault_timer, &tv);
}

/* --- life --- */

void sim_headers(struct sim *s, struct http_conn *c, const char *body_model, struct buf *ret)
{
	static const char *const echo[][2] = {
	    {"x-gateway-model-name", "X-Sim-Got-Gateway-Model"},
	    {"x-gateway-base-model-name", "X-Sim-Got-Base-Model"},
	    {"x-gateway-destination-endpoint", "X-Sim-Got-Destination"},
	};
	size_t len;

	http_body(c, &len);
	buf_printf(ret, "X-Sim-Name: %s\r\nX-Sim-Model: ", s->conf.name);
	buf_header(ret, s->conf.model, strlen(s->conf.model));
	buf_printf(ret, "\r\nX-Sim-Request: %llu\r\nX-Sim-Body-Bytes: %zu\r\n",
		   (unsigned long long)s->serial, len);
	if (body_model) {
		buf_puts(ret, "X-Sim-Body-Model: ");
		buf_header(ret, body_model, strlen(body_model));
		buf_puts(ret, "\r\n");
	}
	for (size_t i = 0; i < sizeof(echo) / sizeof(echo[0]); i++) {
		const char *v = http_header(c, echo[i][0]);

		if (v)
			buf_printf(ret, "%s: %s\r\n", echo[i][1], v);
	}
}

static void fill_models(struct sim *s)
{
	model_add(s, s->conf.model, s->conf.root);
	for (uint32_t i = 0; i < s->conf.n_adapters; i++) {
		char *id = strdup(s->conf.adapters[i]), *root = strchr(id, ':');

		if (root)
			*root++ = '\0';
		if (!sim_model_find(s, id))
			sim_adapter_add(s, id, root);
		free(id);
	}
}

struct sim *sim_new(struct event_base *base, const struct sim_conf *conf)
{
	static const struct http_ops ops = {on_request, on_gone};
	struct http_limits limits = {.body = (size_t)(conf->max_body_mb * 1048576),
				     .keep_alive_s = conf->keep_alive_s};
	struct sim *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	s->base = base;
	s->faults = conf->faults;
	s->born = time(NULL);
	s->ttft.bounds = ttft_bounds;
	s->itl.bounds = itl_bounds;
	s->e2e.bounds = e2e_bounds;
	LIST_INIT(&s->jobs);
	LIST_INIT(&s->over);
	s->timer = evtimer_new(base, on_timer, s);
	s->fault_timer = evtimer_new(base, on_fault_end, s);
	s->die_timer = evtimer_new(base, on_die, s);
	s->http = http_server_new(base, &limits, &ops, s);
	LIST_INSERT_HEAD(&sim_all, s, next);
	for (uint32_t i = 0; i < conf->ranks; i++) {
		s->ranks[i] = engine_new(&conf->engine, on_engine, s);
		if (!s->ranks[i]) {
			fprintf(stderr,
				"spoa-sim: %s: the engine's options contradict each other "
				"(max-batched-tokens >= max-num-seqs?)\n",
				conf->name);
			return NULL;
		}
	}
	fill_models(s);
	for (uint32_t i = 0; i < conf->n_listen; i++) {
		int err =
		    http_listen(s->http, conf->listen[i], s->addresses[i], sizeof(s->addresses[i]));

		if (err) {
			fprintf(stderr, "spoa-sim: %s: cannot listen on %s: %s\n", conf->name,
				conf->listen[i], strerror(-err));
			return NULL;
		}
	}
	sim_apply_faults(s);
	return s;
}

void sim_free(struct sim *s)
{
	struct job *j;

	while ((j = LIST_FIRST(&s->jobs)))
		job_cancel(j);
	http_server_free(s->http);
	for (uint32_t i = 0; i < s->conf.ranks; i++)
		engine_free(s->ranks[i]);
	for (uint32_t i = 0; i < s->n_models; i++) {
		free(s->models[i]->id);
		free(s->models[i]->root);
		free(s->models[i]);
	}
	event_free(s->timer);
	event_free(s->fault_timer);
	event_free(s->die_timer);
	buf_deinit(&s->batch);
	LIST_REMOVE(s, next);
	free(s);
}

struct sim *sim_find(const char *name)
{
	struct sim *s;

	LIST_FOREACH(s, &sim_all, next)
	if (strcmp(s->conf.name, name) == 0)
		return s;
	return NULL;
}
