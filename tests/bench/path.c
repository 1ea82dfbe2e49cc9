/*
 * bench-path CASE TIMES: the request path without sockets, again and again, for counting
 * instructions: a NOTIFY frame is decoded, its arguments read, the decision taken, a ticket opened,
 * the ACK written, and the ticket closed by its log line. See callgrind.sh.
 *
 * bench-path CASE TIMES THREADS: the workers' part of it, up to the ACK, on so many threads at once
 * over one snapshot, one table of endpoints and one of tickets, as the agent's workers have them.
 * Prints the requests per second of all together.
 *
 * The snapshot is made by hand: 40 models, two pools of four endpoints, least-loaded.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bodies.h"
#include "observe/logline.h"
#include "pick/ticket.h"
#include "serve/answer.h"
#include "serve/arguments.h"
#include "serve/decide.h"
#include "spop/session.h"

#define MODEL     "meta-llama/Llama-3.1-8B-Instruct"
#define MODELS    40
#define ENDPOINTS 4
#define MAX_FRAME (2 * 1024 * 1024)
#define VARIABLES UINT32_MAX
#define THREADS   64

static const struct path_case {
	const char *name;
	enum body_shape shape;
	size_t size;
	bool slices;
} cases[] = {
    {"chat-1k", BODY_LONG, 1024, false},
    {"chat-8k", BODY_LONG, 8192, false},
    {"chat-220k", BODY_LONG, 220 * 1024, false},
    {"turns-8k", BODY_TURNS, 8192, false},
    {"escapes-8k", BODY_ESCAPES, 8192, false},
    {"slices-220k", BODY_LONG, 220 * 1024, true},
    {"multipart-32k", BODY_MULTIPART, 32 * 1024, false},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

/* What all workers share. */
struct house {
	struct pool pools[2];
	struct pool_endpoint endpoints[2 * ENDPOINTS];
	uint32_t slots[2 * ENDPOINTS];
	struct snapshot snapshot;
	struct decide_conf conf;
	struct endpoints *live;
	struct tickets *tickets;
	_Atomic uint32_t cursors[2];
	uint8_t *frame;
	size_t frame_len;
};

struct worker {
	struct house *house;
	unsigned number, times;
	struct spop_session session;
	uint64_t chance, now_ns;
	struct decision decision;
	uint8_t answer[4096];
	struct view line; /* HAProxy's, with room for the digits of a ticket at @ticket */
	char *ticket;
	pthread_t thread;
	pthread_barrier_t *start;
};

static void build(struct house *h, unsigned workers)
{
	static char servers[2 * ENDPOINTS][16], pools[2][8] = {"llama", "phi4"};
	static char models[MODELS][64];
	static struct route_def defs[MODELS];

	h->live = endpoints_new(2 * ENDPOINTS);
	h->tickets = tickets_new(h->live, workers, 4096, 77);
	for (unsigned i = 0; i < 2 * ENDPOINTS; i++) {
		int slot = endpoint_alloc(h->live);

		snprintf(servers[i], sizeof(servers[i]), "server%u", i);
		h->slots[i] = h->endpoints[i].slot = (uint32_t)slot;
		h->endpoints[i].server = servers[i];
		endpoint_observe(h->live, (uint32_t)slot, i % 3, i, 0.5, 0, 1);
	}
	for (unsigned i = 0; i < 2; i++)
		h->pools[i] = (struct pool){
		    .name = pools[i],
		    .backend = pools[i],
		    .stat = i,
		    .policy = policy_find(VIEW_LIT("least-loaded")),
		    .retry_after = 5,
		    .known = true,
		    .n = ENDPOINTS,
		    .endpoints = &h->endpoints[i * ENDPOINTS],
		    .slots = &h->slots[i * ENDPOINTS],
		};
	for (unsigned i = 0; i < MODELS; i++) {
		snprintf(models[i], sizeof(models[i]), "%s-%u", MODEL, i);
		defs[i] = (struct route_def){.model = view_str(i ? models[i] : MODEL),
					     .base = view_str(MODEL),
					     .pool = i % 2,
					     .stat = i,
					     .weight = 1};
	}
	h->snapshot = (struct snapshot){.npools = 2,
					.pools = h->pools,
					.routes = route_table_new(defs, MODELS),
					.default_pool = -1,
					.ready = true};
	h->conf = (struct decide_conf){.limits = {.max_depth = 512, .cut_margin = 16384}};
}

/* HAPROXY-HELLO and AGENT-HELLO, so that the session runs. */
static void greet(struct worker *w)
{
	struct spop_hello hello = {.versions = SPOP_VIEW_LIT("2.0"),
				   .max_frame_size = MAX_FRAME,
				   .capabilities = SPOP_CAP_PIPELINING};
	struct spop_fault fault;
	struct spop_input in;
	uint8_t buf[512];

	spop_session_init(&w->session, MAX_FRAME);
	if (spop_session_receive(&w->session, buf, spop_hello_write(buf, sizeof(buf), &hello), &in,
				 &fault) <= 0 ||
	    spop_session_write_hello(&w->session, buf, sizeof(buf)) == 0)
		abort();
}

/* What haproxy/spoe-inference.conf sends. */
static void make_frame(struct house *h, const struct path_case *c)
{
	size_t len, head, tail;
	char *body = body_make(c->shape, c->size, MODEL, false, &len);
	struct spop_value type = spop_value_str(spop_view_str(body_content_type(c->shape)));
	struct spop_notify_builder b;

	h->frame = malloc(len + 1024);
	spop_notify_begin(&b, h->frame, len + 1024, 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), c->slices ? 8 : 4);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("id"), spop_value_uint32(1));
	if (c->slices) {
		head = len < 16384 ? len : 16384;
		tail = len < 4096 ? len : 4096;
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("head"),
				    spop_value_bin(spop_view_of(body, head)));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("tail"),
				    spop_value_bin(spop_view_of(body + len - tail, tail)));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body_len"), spop_value_int64((int64_t)len));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body_size"), spop_value_int64((int64_t)len));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_length"),
				    spop_value_int64((int64_t)len));
	} else {
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"),
				    spop_value_bin(spop_view_of(body, len)));
	}
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_type"), type);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_encoding"), spop_value_null());
	h->frame_len = spop_notify_end(&b);
	free(body);
}

#define TICKET_DIGITS 19

static void make_line(struct worker *w)
{
	static char text[] =
	    "<134>1 2025-01-15T10:20:30.123456+00:00 gateway haproxy 4242 - "
	    "[inference@32473 ticket=\"0000000000000000000\" rt=\"17\" backend=\"llama\" "
	    "server=\"server1\" status=\"200\" ts=\"--\" ta=\"2\"] "
	    "127.0.0.1:45678 [15/Jan/2025:10:20:30.121] inference llama/server1 0/0/0/1/2 200 215 "
	    "- - ---- 100/100/20/7/0 0/0 \"POST /v1/chat/completions HTTP/1.1\"\n";

	w->line = (struct view){text, sizeof(text) - 1};
	w->ticket = strstr(text, "000000000000000000");
}

/* HAProxy's work, made as small as it can be: it is counted too. */
static void write_ticket(char *at, int64_t ticket)
{
	for (unsigned i = TICKET_DIGITS; i-- > 0; ticket /= 10)
		at[i] = (char)('0' + ticket % 10);
}

static inline __attribute__((always_inline)) int64_t answer(struct worker *w)
{
	struct house *h = w->house;
	struct decide_env env = {
	    .conf = &h->conf,
	    .snapshot = &h->snapshot,
	    .endpoints = h->live,
	    .cursors = h->cursors,
	    .chance = w->chance = w->chance * UINT64_C(6364136223846793005) + 1,
	};
	struct decision *d = &w->decision;
	struct arguments args;
	struct spop_fault fault;
	struct spop_input in;
	struct reply answer;
	int64_t ticket;

	if (spop_session_receive(&w->session, h->frame, h->frame_len, &in, &fault) <= 0)
		abort();
	arguments_read(&args, &in.notify, MAX_FRAME + SPOP_FRAME_PREFIX);
	decide(&env, &args.input, &args.where, d);
	if (d->verdict != VERDICT_ROUTED || d->pick.n == 0)
		abort();
	endpoint_picked(h->live, d->pool->slots[d->pick.index[0]]);
	if (!answer_begin(&answer, d, VARIABLES, in.frame.stream_id, in.frame.frame_id, w->answer,
			  sizeof(w->answer)))
		abort();
	ticket = ticket_open(h->tickets, w->number, d->pool->slots[d->pick.index[0]],
			     d->target.stat, args.key, 0, w->now_ns++);
	if (answer_end(&answer, ticket) == 0)
		abort();
	return ticket;
}

void path_request(struct worker *w);

/* What is counted: --toggle-collect=path_request. */
__attribute__((noinline)) void path_request(struct worker *w)
{
	struct house *h = w->house;
	struct ticket_info info;
	struct logline line;

	write_ticket(w->ticket, answer(w));
	if (logline_parse(w->line, &line) < 0 || ticket_close(h->tickets, line.ticket, &info) < 0)
		abort();
	endpoint_finished(h->live, info.slot, info.generation, info.opened_ns, w->now_ns++,
			  ENDPOINT_ANSWERED);
}

/* Each closes its own tickets, which the agent's control thread does: what is touched is the same,
 * the worker's own table and the endpoint's count. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct ticket_info info;

	pthread_barrier_wait(w->start);
	for (unsigned n = 0; n < w->times; n++)
		if (ticket_close(w->house->tickets, answer(w), &info) < 0)
			abort();
	return NULL;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start(struct worker *w, struct house *h, unsigned number)
{
	w->house = h;
	w->number = number;
	w->chance = number + 1;
	w->now_ns = 1;
	greet(w);
}

static void race(struct house *h, unsigned threads, unsigned times)
{
	struct worker *workers = aligned_alloc(64, (sizeof(*workers) + 63) / 64 * 64 * threads);
	pthread_barrier_t barrier;
	double begun;

	if (!workers)
		abort();
	memset(workers, 0, sizeof(*workers) * threads);
	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		start(&workers[i], h, i);
		workers[i].times = times;
		workers[i].start = &barrier;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&barrier);
	begun = seconds();
	for (unsigned i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	printf("%.0f\n", (double)threads * times / (seconds() - begun));
	free(workers);
}

int main(int argc, char **argv)
{
	static struct house h;
	static struct worker w;
	unsigned times = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 0;

	if (threads > THREADS)
		return 2;
	for (unsigned i = 0; argc > 1 && i < CASES; i++) {
		if (strcmp(argv[1], cases[i].name) != 0)
			continue;
		build(&h, threads ? threads : 1);
		make_frame(&h, &cases[i]);
		if (threads) {
			race(&h, threads, times);
			return 0;
		}
		start(&w, &h, 0);
		make_line(&w);
		for (unsigned n = 0; n < times; n++)
			path_request(&w);
		return 0;
	}
	for (unsigned i = 0; i < CASES; i++)
		printf("%s\n", cases[i].name);
	return argc > 1 ? 2 : 0;
}
