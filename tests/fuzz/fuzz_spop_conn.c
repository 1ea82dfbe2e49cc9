/*
 * The real connections of a worker (serve/conn.c) over socket pairs, driven by a little program:
 * each byte is an order to one of three peers: say HELLO, ask, say something broken, send bytes of
 * the input as they are, send in pieces, stop reading, go half or whole, let time pass, reload.
 *
 * Whatever they do: what the agent says is SPOP, in frames; a peer that kept the rules is answered
 * once for each question, in order, and is not closed; half-received frames stay within
 * limits.partial, waiting answers within limits.output and one turn; beside them a fourth peer
 * that behaves is answered at once; and in the end nothing is left.
 */
#include "unit/serve/house.h"

#include <event2/event.h>

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"

#define PEERS      3
#define MAX_FRAME  2048
#define PARTIAL    3000
#define OUTPUT     1024
#define MS         UINT64_C(1000000)
#define SEND_FRAME 1800

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now_ns;

struct caller {
	int fd; /* -1: not there */
	struct spop_client client;
	bool greeted; /* AGENT-HELLO came */
	bool rules;   /* it has kept them, and time has not passed over a half frame */
	bool deaf;    /* it does not read now */
	bool ended;   /* the agent closed */
	bool half;    /* it has shut its side */
	uint64_t asked, heard;
	size_t have;
	uint8_t buf[MAX_FRAME + 4 + 65536];
};

static struct house *house;
static struct worker *worker;
static struct caller callers[PEERS + 1]; /* the last behaves */

#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: %s, errno %d\n", __LINE__, #condition, errno);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A worker without its thread: the fuzzer turns the loop. */
static void open_house(void)
{
	house = build();
	house->conf.max_frame = MAX_FRAME;
	house->conf.max_partial = PARTIAL;
	house->conf.max_output = OUTPUT;
	house->conf.hello_ns = house->conf.frame_ns = 1000 * MS;
	worker = &house->workers[0];
	*worker = (struct worker){.env = &house->env, .inbox = {-1, -1}, .rng = {1, 2}};
	TAILQ_INIT(&worker->conns);
	TAILQ_INIT(&worker->dying);
	TAILQ_INIT(&worker->hello_due);
	TAILQ_INIT(&worker->frame_due);
	halves_init(&worker->halves);
	worker->base = event_base_new();
	worker->stats = stats_new(8);
	worker->in = malloc(WORKER_IN_SIZE);
	worker->out = malloc(WORKER_OUT_SIZE);
	must(worker->base && worker->stats && worker->in && worker->out);
	grace_join();
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	clock_set_fake(&now_ns);
}

static void turn(void)
{
	for (int i = 0; i < 3; i++) {
		event_base_loop(worker->base, EVLOOP_NONBLOCK);
		conn_reap(worker);
	}
	must(worker->halves.bytes + worker->halves.kept <= PARTIAL);
}

/* --- peers --- */

static void arrive(struct caller *p)
{
	int fds[2], small = 4608;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	p->fd = fds[0];
	p->greeted = p->deaf = p->ended = p->half = false;
	p->rules = true;
	p->asked = p->heard = 0;
	p->have = 0;
	spop_client_init(&p->client, MAX_FRAME - 4, SPOP_CAP_PIPELINING, false);
	atomic_fetch_add(&house->env.connections, 1);
	conn_accept(worker, fds[1], false);
}

static void leave_now(struct caller *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

/* Takes the whole frames out of what came. */
static void understand(struct caller *p)
{
	struct spop_client_input in;
	struct spop_fault fault;
	size_t at = 0;

	while (at < p->have) {
		ssize_t n = spop_client_receive(&p->client, p->buf + at, p->have - at, &in, &fault);

		if (n == 0)
			break;
		/* Who never greeted may not be understood. */
		must(n > 0 || p->client.state == SPOP_CLIENT_ST_CLOSING || !p->rules);
		if (n < 0) {
			at = p->have;
			break;
		}
		at += (size_t)n;
		if (in.event == SPOP_CLIENT_EV_HELLO)
			p->greeted = true;
		if (in.event == SPOP_CLIENT_EV_ACK) {
			p->heard++;
			must(!p->rules || in.frame.stream_id == p->heard);
		}
	}
	memmove(p->buf, p->buf + at, p->have - at);
	p->have -= at;
}

static void listen_to(struct caller *p)
{
	while (p->fd >= 0 && !p->deaf && !p->ended) {
		ssize_t n = recv(p->fd, p->buf + p->have, sizeof(p->buf) - p->have, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			p->ended = true;
			must(!p->rules || p->half);
			return;
		}
		p->have += (size_t)n;
		understand(p);
	}
}

static void say(struct caller *p, const void *bytes, size_t n)
{
	ssize_t sent = p->fd >= 0 && n ? send(p->fd, bytes, n, MSG_NOSIGNAL) : 0;

	if (sent != (ssize_t)n)
		p->rules = false; /* the rest of that frame will never come */
}

static void say_hello(struct caller *p)
{
	uint8_t frame[256];
	size_t n;

	if (p->client.state != SPOP_CLIENT_ST_START) {
		p->rules = false;
		spop_client_init(&p->client, MAX_FRAME - 4, SPOP_CAP_PIPELINING, false);
	}
	n = spop_client_write_hello(&p->client, frame, sizeof(frame), "engine");
	must(n > 0);
	say(p, frame, n);
}

/* @pieces: bytes to a piece, 0: at once; @broken: where a bit is turned. */
static void ask_one(struct caller *p, const uint8_t *body, size_t len, size_t pieces, int broken)
{
	uint8_t frame[SEND_FRAME + 64];
	size_t n = notify(frame, sizeof(frame), p->asked + 1, (const char *)body, len);

	must(n > 0);
	if (!p->greeted)
		p->rules = false;
	if (broken >= 0) {
		frame[(size_t)broken % n] ^= (uint8_t)(1 << (broken & 7));
		p->rules = false;
	}
	p->asked++;
	for (size_t at = 0; at < n;) {
		size_t take = pieces && n - at > pieces ? pieces : n - at;

		say(p, frame + at, take);
		at += take;
		if (at < n)
			turn();
	}
}

/* Until everybody who reads has read everything. */
static void settle(void)
{
	size_t before, after = 0;

	do {
		before = after;
		after = 0;
		turn();
		for (int i = 0; i < PEERS; i++) {
			listen_to(&callers[i]);
			/* each answer counts for more than all bytes that wait */
			after += callers[i].heard * sizeof(callers[i].buf) + callers[i].have +
				 callers[i].ended;
		}
	} while (after != before);
}

static void pass(uint64_t ms)
{
	settle();
	now_ns += ms * MS;
	conn_expire(worker, now_ns);
	conn_reap(worker);
	for (int i = 0; i < PEERS; i++)
		if (ms && (!callers[i].greeted || callers[i].deaf))
			callers[i].rules = false;
}

/* Until the agent has seen that all have left. Who looks at our descriptors from outside (a
 * debugger) may hold one for a moment: then it is not closed when close() has returned. */
static void see_off(void)
{
	turn();
	for (unsigned ms = 0; house->env.connections > 0 && ms < 10000; ms++) {
		usleep(1000);
		turn();
	}
}

/* --- the program --- */

static size_t obey(const uint8_t *at, size_t left)
{
	static const size_t pieces[] = {1, 3, 50, 700};
	struct caller *p = &callers[at[0] % PEERS];
	size_t n = left > 1 ? at[1] : 0, take = 2 + n > left ? left - 2 : n;
	const uint8_t *rest = at + 2;

	if (left < 2)
		return left;
	if (p->fd < 0 && at[0] >> 4 != 10)
		arrive(p);
	switch (at[0] >> 4) {
	case 0:
		say_hello(p);
		return 2;
	case 1:
		ask_one(p, rest, take, 0, -1);
		return 2 + take;
	case 2:
		ask_one(p, rest, take, pieces[at[1] & 3], -1);
		return 2 + take;
	case 3:
		ask_one(p, rest, take, 0, at[1] * 3);
		return 2 + take;
	case 4: /* as it is */
		p->rules = false;
		say(p, rest, take);
		return 2 + take;
	case 5: { /* a frame's length that lies */
		const uint8_t lie[] = {0, 0, (uint8_t)(at[1] >> 2), (uint8_t)(at[1] << 6), 3};

		p->rules = false;
		say(p, lie, sizeof(lie));
		return 2;
	}
	case 6:
		p->deaf = !p->deaf;
		return 2;
	case 7:
		for (unsigned i = 0; i < (at[1] & 127); i++)
			ask_one(p, (const uint8_t *)"{\"model\":\"A\"}", 13, 0, -1);
		return 2;
	case 8: {
		uint8_t frame[SPOP_DISCONNECT_MAX];

		n = spop_client_write_disconnect(&p->client, frame, sizeof(frame), at[1] & 15, "x");
		p->rules = false;
		say(p, frame, n);
		return 2;
	}
	case 9:
		if (p->fd >= 0)
			shutdown(p->fd, SHUT_WR);
		p->half = true;
		p->rules = false;
		return 2;
	case 10:
		leave_now(p);
		return 2;
	case 11:
		pass(at[1] * 10);
		return 2;
	case 12: /* a large frame */
		for (size_t i = 0; i < 4; i++)
			ask_one(p, worker->in, 1700, pieces[3], -1);
		return 2;
	case 13:
		house->conf.max_output = at[1] & 1 ? 1 : OUTPUT;
		return 2;
	case 14: /* nothing is read in between */
		return 1;
	default:
		turn();
		return 1;
	}
}

static void behave(struct caller *p)
{
	uint64_t heard = p->heard;

	ask_one(p, (const uint8_t *)"{\"model\":\"B\"}", 13, 0, -1);
	turn();
	listen_to(p);
	must(p->rules && !p->ended && p->heard == heard + 1 && p->heard == p->asked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct caller *good = &callers[PEERS];

	if (!house)
		open_house();
	if (size > 2000)
		return 0;
	house->conf.max_output = OUTPUT;
	for (int i = 0; i < PEERS; i++)
		callers[i].fd = -1;
	arrive(good);
	say_hello(good);
	turn();
	listen_to(good);
	must(good->greeted);
	for (size_t at = 0; at < size;) {
		bool quiet = data[at] >> 4 == 14;

		at += obey(data + at, size - at);
		if (quiet)
			continue;
		turn();
		for (int i = 0; i < PEERS; i++)
			listen_to(&callers[i]);
		behave(good);
	}
	for (int i = 0; i < PEERS; i++)
		callers[i].deaf = false;
	settle();
	for (int i = 0; i < PEERS; i++)
		if (callers[i].fd >= 0 && callers[i].rules)
			must(!callers[i].ended && callers[i].heard == callers[i].asked);
	for (int i = 0; i <= PEERS; i++)
		leave_now(&callers[i]);
	see_off();
	must(house->env.connections == 0 && worker->halves.bytes == 0);
	must(TAILQ_EMPTY(&worker->conns) && TAILQ_EMPTY(&worker->hello_due) &&
	     TAILQ_EMPTY(&worker->frame_due));
	return 0;
}
