/*
 * bench-load: HAProxy's side of SPOP, straight at an agent.
 *
 * Closed loop: each connection keeps --depth NOTIFYs under way; what one read of ACKs frees is
 * sent by one write, as HAProxy's own batches form. Open loop (--rate): NOTIFYs are due at fixed
 * times and go out then, whatever is still under way; a latency counts from the time it was due,
 * so that an agent that stalls is charged for those that had to wait (no coordinated omission).
 * All that was due in the measured time counts: what is answered after it with the time that took,
 * what is not answered within DRAIN_NS with that.
 *
 * Messages are those of haproxy/spoe-inference.conf. Tickets out of the ACKs are told back to
 * --feedback in batches, as a ring would, so that they do not run out. A closed loop waits for an
 * agent that does not read them; an open one gives up when a megabyte of them waits.
 *
 * The agent's CPU time is read from /proc/PID/task/TID/schedstat, in nanoseconds, at both ends of
 * the measured time, which begins after --warmup.
 */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bodies.h"
#include "hist.h"
#include "peer.h"
#include "tell.h"

#define S_NS        UINT64_C(1000000000)
#define HEAD_BYTES  16384 /* as haproxy/spoe-inference.conf cuts */
#define TAIL_BYTES  4096
#define TELL_BATCH  16384
#define TELL_NS     (S_NS / 1000)
#define TELL_BEHIND (512 * 1024) /* a closed loop waits */
#define DRAIN_NS    (5 * S_NS)
#define PAYLOAD_MAX (64 * 1024 * 1024) /* of all models together */

struct options {
	const char *connect, *feedback, *file, *model;
	enum body_shape shape;
	unsigned connections, depth, models;
	double duration, warmup, rate, hold;
	size_t size;
	long pid;
	bool slices, first, json, bare;
};

struct run {
	struct options o;
	struct peer *peers;
	struct tell tell;
	struct spop_view *payloads; /* one a model */
	unsigned next_payload, next_peer;
	bool measuring, stopping;
	int epoll;
	uint64_t begin_ns, due, acks, refused;
	uint64_t from_ns, until_ns; /* what is due then is measured */
	uint64_t unanswered;
	struct hist hist;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * S_NS + (uint64_t)t.tv_nsec;
}

/* CPU time of all threads. */
static uint64_t cpu_ns(long pid)
{
	char path[64];
	uint64_t sum = 0, ns;
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%ld/task/%.16s/schedstat", pid, entry->d_name);
		f = fopen(path, "r");
		if (f && fscanf(f, "%" SCNu64, &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return sum;
}

/* ---- messages ---- */

static char *read_file(const char *path, size_t *ret_len)
{
	size_t len = 0, cap = 64 * 1024 * 1024, n;
	char *buf = malloc(cap);
	FILE *f = fopen(path, "rb");

	if (!f || !buf) {
		perror(path);
		exit(1);
	}
	while ((n = fread(buf + len, 1, cap - len, f)) > 0)
		len += n;
	fclose(f);
	*ret_len = len;
	return buf;
}

static struct spop_value text(const char *bytes, size_t n)
{
	return spop_value_bin(spop_view_of(bytes, n));
}

/* The payload of a NOTIFY, behind its head. */
static struct spop_view make_payload(const struct options *o, const char *body, size_t len)
{
	enum { HEAD = 11 }; /* with identifiers of one byte */
	struct spop_value type = spop_value_str(spop_view_str(body_content_type(o->shape)));
	size_t cap = len + 1024, n;
	uint8_t *buf = malloc(cap);
	struct spop_notify_builder b;

	spop_notify_begin(&b, buf, cap, 1, 1);
	if (o->slices) {
		size_t head = len < HEAD_BYTES ? len : HEAD_BYTES;
		size_t tail = len < TAIL_BYTES ? len : TAIL_BYTES;

		spop_notify_add_message(&b, SPOP_VIEW_LIT("slices"), 8);
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("id"), spop_value_uint32(1));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("head"), text(body, head));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("tail"), text(body + len - tail, tail));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body_len"), spop_value_int64((int64_t)len));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body_size"), spop_value_int64((int64_t)len));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_length"),
				    spop_value_int64((int64_t)len));
	} else if (o->bare) {
		spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), 1);
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"), text(body, len));
	} else {
		spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), 4);
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("id"), spop_value_uint32(1));
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"), text(body, len));
	}
	if (!o->bare) {
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_type"), type);
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("content_encoding"), spop_value_null());
	}
	n = spop_notify_end(&b);
	if (n == 0) {
		fprintf(stderr, "bench-load: the message does not fit\n");
		exit(1);
	}
	return spop_view_of(buf + HEAD, n - HEAD);
}

static void prepare(struct run *r)
{
	struct options *o = &r->o;

	if (o->models > 1 && (o->size + 1024) * o->models > PAYLOAD_MAX) {
		fprintf(stderr, "bench-load: bodies of %u models would not fit\n", o->models);
		exit(1);
	}
	r->payloads = calloc(o->models, sizeof(*r->payloads));
	for (unsigned i = 0; i < o->models; i++) {
		char name[128], *body;
		size_t len;

		/* In an order that no cache can foresee: a stride through all of them. */
		snprintf(name, sizeof(name), "%s%u", o->model,
			 (unsigned)(((uint64_t)i * 7919) % o->models));
		body = o->file ? read_file(o->file, &len)
			       : body_make(o->shape, o->size, o->models > 1 ? name : o->model,
					   o->first, &len);
		r->payloads[i] = make_payload(o, body, len);
		free(body);
	}
}

/* ---- running ---- */

static void queue(struct run *r, struct peer *p, uint64_t since_ns)
{
	if (!peer_queue(p, r->payloads[r->next_payload], since_ns)) {
		fprintf(stderr, "bench-load: %d NOTIFYs under way on one connection\n",
			PEER_WINDOW);
		exit(1);
	}
	r->next_payload = r->next_payload + 1 == r->o.models ? 0 : r->next_payload + 1;
}

static bool is_due(const struct run *r, uint64_t at_ns)
{
	return at_ns >= r->from_ns && at_ns < r->until_ns;
}

static void on_ack(void *arg, struct peer *p, const struct peer_ack *ack)
{
	struct run *r = arg;
	uint64_t now = now_ns();

	if (r->measuring) {
		r->acks++;
		if (!ack->routed && !r->o.bare)
			r->refused++;
	}
	if (r->o.rate > 0 ? is_due(r, ack->since_ns) : r->measuring)
		hist_add(&r->hist, now - ack->since_ns);
	if (ack->ticket && r->o.feedback)
		tell_ticket(&r->tell, ack->ticket);
	if (r->o.rate <= 0 && !r->stopping)
		queue(r, p, now);
}

/* Writes, and asks to be told when the socket takes more. */
static void flush(struct run *r, struct peer *p)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
	bool wanted = p->want_write;

	peer_flush(p);
	if (p->want_write)
		e.events |= EPOLLOUT;
	if (p->want_write != wanted)
		epoll_ctl(r->epoll, EPOLL_CTL_MOD, p->fd, &e);
}

static void send_due(struct run *r, uint64_t now)
{
	double gap = 1e9 / r->o.rate;

	for (;;) {
		uint64_t at = r->begin_ns + (uint64_t)((double)r->due * gap);
		struct peer *p = &r->peers[r->next_peer];

		if (at > now || r->stopping)
			return;
		queue(r, p, at);
		flush(r, p);
		r->next_peer = r->next_peer + 1 == r->o.connections ? 0 : r->next_peer + 1;
		r->due++;
	}
}

static bool all_greeted(const struct run *r)
{
	for (unsigned i = 0; i < r->o.connections; i++)
		if (!r->peers[i].greeted)
			return false;
	return true;
}

static bool any_in_flight(const struct run *r)
{
	for (unsigned i = 0; i < r->o.connections; i++)
		if (r->peers[i].in_flight)
			return true;
	return false;
}

/* HAProxy's requests do not end faster than its ring is read, for long: no more ACKs until then. */
static void wait_for_reader(struct run *r)
{
	struct pollfd p = {.fd = r->tell.fd, .events = POLLOUT};

	while (r->o.rate <= 0 && tell_waiting(&r->tell) > TELL_BEHIND) {
		poll(&p, 1, 10);
		tell_flush(&r->tell);
	}
}

static void turn(struct run *r, int timeout_ms)
{
	static uint64_t told_ns;
	struct epoll_event events[512];
	uint64_t now;
	int n;

	if (r->o.feedback)
		wait_for_reader(r);
	n = epoll_wait(r->epoll, events, 512, timeout_ms);
	for (int i = 0; i < n; i++) {
		struct peer *p = events[i].data.ptr;

		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			peer_read(p, on_ack, r);
		flush(r, p);
	}
	now = now_ns();
	if (r->o.feedback && (tell_waiting(&r->tell) >= TELL_BATCH || now - told_ns > TELL_NS)) {
		tell_flush(&r->tell);
		told_ns = now;
	}
}

static void open_all(struct run *r)
{
	uint64_t end = now_ns() + 20 * S_NS;

	r->peers = calloc(r->o.connections, sizeof(*r->peers));
	for (unsigned i = 0; i < r->o.connections; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &r->peers[i]};

		peer_open(&r->peers[i], r->o.connect, 2 * 1024 * 1024 - 4);
		epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->peers[i].fd, &e);
		if (i % 64 == 63)
			turn(r, 0);
	}
	while (!all_greeted(r)) {
		if (now_ns() > end) {
			fprintf(stderr, "bench-load: no AGENT-HELLO\n");
			exit(1);
		}
		turn(r, 100);
	}
}

/* Those that never came back count as what they have waited. */
static void count_unanswered(struct run *r)
{
	uint64_t now = now_ns();

	for (unsigned i = 0; i < r->o.connections; i++)
		for (unsigned k = 0; k < PEER_WINDOW; k++) {
			uint64_t since = r->peers[i].since_ns[k];

			if (since == 0)
				continue;
			r->unanswered++;
			if (r->o.rate > 0 && is_due(r, since))
				hist_add(&r->hist, now - since);
		}
}

static void report(const struct run *r, double wall, double agent_s, double own_s)
{
	const struct hist *h = &r->hist;
	double us = r->acks && r->o.pid ? agent_s * 1e6 / (double)r->acks : 0;
	double q50 = (double)hist_quantile(h, 0.5) / 1e3,
	       q99 = (double)hist_quantile(h, 0.99) / 1e3;
	double q999 = (double)hist_quantile(h, 0.999) / 1e3, max = (double)h->max / 1e3;

	if (r->o.json)
		printf("{\"decisions\":%" PRIu64
		       ",\"seconds\":%.4f,\"rate\":%.0f,\"refused\":%" PRIu64
		       ",\"cpu_us\":%.4f,\"agent_share\":%.3f,\"own_share\":%.3f,\"p50_us\":%.1f,"
		       "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"told\":%" PRIu64
		       ",\"unanswered\":%" PRIu64 "}\n",
		       r->acks, wall, (double)r->acks / wall, r->refused, us, agent_s / wall,
		       own_s / wall, q50, q99, q999, max, r->tell.lines, r->unanswered);
	else
		printf("%.0f decisions/s (%" PRIu64
		       " refused), agent %.3f us each (%.0f/s a core), "
		       "p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.0f us; agent %.0f %%, "
		       "generator %.0f %% of a core; %" PRIu64 " unanswered\n",
		       (double)r->acks / wall, r->refused, us, us > 0 ? 1e6 / us : 0, q50, q99,
		       q999, max, 100 * agent_s / wall, 100 * own_s / wall, r->unanswered);
}

static void run(struct run *r)
{
	uint64_t end, cpu[2] = {0}, own[2] = {0}, wall[2] = {0};

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	open_all(r);
	r->begin_ns = now_ns();
	r->from_ns = r->begin_ns + (uint64_t)(r->o.warmup * 1e9);
	r->until_ns = r->from_ns + (uint64_t)(r->o.duration * 1e9);
	if (r->o.rate <= 0) {
		for (unsigned i = 0; i < r->o.connections; i++) {
			for (unsigned d = 0; d < r->o.depth; d++)
				queue(r, &r->peers[i], r->begin_ns);
			flush(r, &r->peers[i]);
		}
	}
	for (;;) {
		uint64_t now = now_ns();

		if (!r->measuring && now >= r->from_ns) {
			r->measuring = true;
			cpu[0] = r->o.pid ? cpu_ns(r->o.pid) : 0;
			own[0] = cpu_ns(getpid());
			wall[0] = now;
		}
		if (r->o.rate > 0)
			send_due(r, now < r->until_ns ? now : r->until_ns - 1);
		if (now >= r->until_ns)
			break;
		/* Open loop: the next is due sooner than a sleep could end. */
		turn(r, r->o.rate > 0 ? 0 : 10);
	}
	wall[1] = now_ns();
	cpu[1] = r->o.pid ? cpu_ns(r->o.pid) : 0;
	own[1] = cpu_ns(getpid());
	r->measuring = false;
	r->stopping = true;
	/* What is under way comes home, and its tickets go back. */
	for (end = now_ns() + DRAIN_NS; now_ns() < end && any_in_flight(r);)
		turn(r, 10);
	for (end = now_ns() + DRAIN_NS; r->o.feedback && tell_waiting(&r->tell) && now_ns() < end;)
		turn(r, 1);
	count_unanswered(r);
	report(r, (double)(wall[1] - wall[0]) / 1e9, (double)(cpu[1] - cpu[0]) / 1e9,
	       (double)(own[1] - own[0]) / 1e9);
	fflush(stdout);
	if (r->o.hold > 0)
		usleep((useconds_t)(r->o.hold * 1e6));
	for (unsigned i = 0; i < r->o.connections; i++)
		peer_close(&r->peers[i]);
}

static void usage(const char *name)
{
	fprintf(stderr,
		"usage: %s --connect unix@PATH|IP:PORT [options]\n"
		"  --connections N [1]  --depth N [20]   NOTIFYs under way on each\n"
		"  --rate N             open loop: so many a second, in all\n"
		"  --duration S [2]     --warmup S [0.3]\n"
		"  --shape NAME [long]  --size BYTES [1024]  --model NAME  --first\n"
		"  --models N           bodies name NAME0 to NAMEn-1 in turn\n"
		"  --file BODY          this body\n"
		"  --slices             head and tail instead of the body\n"
		"  --bare               the body alone, and no verdict is expected\n"
		"  --feedback IP:PORT   where the ends of requests are told\n"
		"  --pid PID            the agent's, for its CPU time\n"
		"  --hold S             keep the connections for that long after the report\n"
		"  --json\n",
		name);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"connect", 1, NULL, 'c'},  {"connections", 1, NULL, 'n'}, {"depth", 1, NULL, 'd'},
	    {"rate", 1, NULL, 'r'},     {"duration", 1, NULL, 't'},    {"warmup", 1, NULL, 'w'},
	    {"shape", 1, NULL, 's'},    {"size", 1, NULL, 'b'},        {"model", 1, NULL, 'm'},
	    {"models", 1, NULL, 'M'},   {"file", 1, NULL, 'f'},        {"slices", 0, NULL, 'S'},
	    {"feedback", 1, NULL, 'F'}, {"pid", 1, NULL, 'p'},         {"json", 0, NULL, 'j'},
	    {"first", 0, NULL, '1'},    {"bare", 0, NULL, 'B'},        {"hold", 1, NULL, 'H'},
	    {NULL, 0, NULL, 0},
	};
	static struct run r = {.o = {.connections = 1,
				     .depth = 20,
				     .models = 1,
				     .duration = 2,
				     .warmup = 0.3,
				     .size = 1024,
				     .model = "meta-llama/Llama-3.1-8B-Instruct"}};
	struct options *o = &r.o;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->connect = optarg;
			break;
		case 'n':
			o->connections = (unsigned)atoi(optarg);
			break;
		case 'd':
			o->depth = (unsigned)atoi(optarg);
			break;
		case 'r':
			o->rate = atof(optarg);
			break;
		case 't':
			o->duration = atof(optarg);
			break;
		case 'w':
			o->warmup = atof(optarg);
			break;
		case 's':
			o->shape = body_shape_find(optarg);
			break;
		case 'b':
			o->size = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			o->model = optarg;
			break;
		case 'M':
			o->models = (unsigned)atoi(optarg);
			break;
		case 'f':
			o->file = optarg;
			break;
		case 'S':
			o->slices = true;
			break;
		case 'F':
			o->feedback = optarg;
			break;
		case 'p':
			o->pid = atol(optarg);
			break;
		case 'j':
			o->json = true;
			break;
		case '1':
			o->first = true;
			break;
		case 'B':
			o->bare = true;
			break;
		case 'H':
			o->hold = atof(optarg);
			break;
		default:
			usage(argv[0]);
		}
	}
	if (!o->connect || o->connections < 1 || o->depth < 1 || o->depth > PEER_WINDOW ||
	    o->models < 1 || o->shape == BODY_SHAPES)
		usage(argv[0]);
	prepare(&r);
	if (o->feedback)
		tell_open(&r.tell, o->feedback);
	run(&r);
	return 0;
}
