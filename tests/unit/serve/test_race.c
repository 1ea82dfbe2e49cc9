/*
 * Four workers, many connections, and all that the control thread does beside them: snapshots are
 * replaced, slots change hands, configurations come and go, log lines close tickets, reports
 * arrive, counters are read. What must hold: every request is answered, and when the last line
 * has come nothing is left open. Meant for TSan and ASan as much as for its assertions.
 */
#include "unit/serve/house.h"

#include <pthread.h>

#include "base/grace.h"
#include "serve/feedback.h"

enum { PEERS = 4, CONNECTIONS = 8, ROUNDS = 150, BATCH = 8, SERVERS = 6 };

/* Tickets on their way back, as HAProxy's ring would carry them. */
struct ring {
	pthread_mutex_t lock;
	size_t n;
	int64_t tickets[PEERS * CONNECTIONS * ROUNDS * BATCH];
};

struct street {
	struct house *house;
	struct ring ring;
	_Atomic unsigned busy;   /* peers that are not done */
	_Atomic uint64_t routed; /* answers */
	struct snapshot *snapshot;
	struct worker_conf *conf;
};

static struct street street;

/* --- peers --- */

static void ring_put(int64_t ticket)
{
	pthread_mutex_lock(&street.ring.lock);
	street.ring.tickets[street.ring.n++] = ticket;
	pthread_mutex_unlock(&street.ring.lock);
}

static size_t ring_take(int64_t *out, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&street.ring.lock);
	while (n < max && street.ring.n > 0)
		out[n++] = street.ring.tickets[--street.ring.n];
	pthread_mutex_unlock(&street.ring.lock);
	return n;
}

/* Requests do not end faster than their lines are read: a worker has 4096 tickets. */
static bool ring_is_full(void)
{
	bool full;

	pthread_mutex_lock(&street.ring.lock);
	full = street.ring.n > 1000;
	pthread_mutex_unlock(&street.ring.lock);
	return full;
}

static void one_round(struct peer *p, uint64_t first)
{
	uint8_t batch[BATCH * 128];
	struct answer a;
	size_t n = 0;

	for (uint64_t i = 0; i < BATCH; i++)
		n += notify(batch + n, sizeof(batch) - n, first + i,
			    i % 2 ? "{\"model\":\"A\"}" : "{\"model\":\"B\"}", 13);
	while (ring_is_full())
		usleep(200);
	push(p, batch, n);
	for (uint64_t i = 0; i < BATCH; i++) {
		hear(p, &a);
		if (a.id != first + i || !strstr(a.text, "verdict=routed") || a.ticket <= 0) {
			fprintf(stderr, "answer %llu: %s ticket=%lld\n", (unsigned long long)a.id,
				a.text, (long long)a.ticket);
			abort();
		}
		ring_put(a.ticket);
		atomic_fetch_add(&street.routed, 1);
	}
}

static void *live(void *arg)
{
	struct peer **mine = arg;

	for (unsigned i = 0; i < CONNECTIONS; i++)
		hello(mine[i]);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < CONNECTIONS; i++)
			one_round(mine[i], 1 + round * BATCH);
	atomic_fetch_sub(&street.busy, 1);
	return NULL;
}

/* --- the control thread --- */

static struct snapshot *snapshot_make(uint32_t pools[2], const uint32_t *slots, unsigned version)
{
	static const struct route_def defs[] = {
	    {.model = {"A", 1}, .base = {"A", 1}, .pool = 0, .stat = 1, .weight = 1},
	    {.model = {"B", 1}, .base = {"B", 1}, .pool = 1, .stat = 2, .weight = 1},
	};
	static char *const policies[] = {"least-loaded", "round-robin", "random-of-two",
					 "shortest-wait"};
	struct snapshot *s = calloc(1, sizeof(*s));
	uint32_t at = 0;

	s->npools = s->nwhole = 2;
	s->pools = calloc(2, sizeof(*s->pools));
	s->routes = route_table_new(defs, 2);
	s->default_pool = -1;
	for (unsigned i = 0; i < 2; i++) {
		struct pool *p = &s->pools[i];

		*p = (struct pool){.name = i ? "b" : "a", .backend = i ? "b" : "a", .stat = i};
		p->policy = policy_find(view_str(policies[(version + i) % 4]));
		p->known = true;
		p->n = pools[i];
		p->endpoints = calloc(p->n, sizeof(*p->endpoints));
		p->slots = calloc(p->n, sizeof(*p->slots));
		for (uint32_t k = 0; k < p->n; k++, at++) {
			p->slots[k] = p->endpoints[k].slot = slots[at];
			p->endpoints[k].server = strdup("srv");
			p->endpoints[k].name = p->endpoints[k].server;
		}
	}
	return s;
}

static void snapshot_unmake(struct snapshot *s)
{
	for (unsigned i = 0; i < 2; i++) {
		for (uint32_t k = 0; k < s->pools[i].n; k++)
			free(s->pools[i].endpoints[k].server);
		free(s->pools[i].endpoints);
		free(s->pools[i].slots);
	}
	free(s->pools);
	route_table_free(s->routes);
	free(s);
}

static void publish(struct snapshot *s)
{
	struct snapshot *old = street.snapshot;

	grace_publish(&street.snapshot, s);
	grace_wait();
	if (old)
		snapshot_unmake(old);
}

static void reload(unsigned version)
{
	struct worker_conf *new = malloc(sizeof(*new)), *old = street.conf;

	*new = street.house->conf;
	new->frame_ns += version;
	grace_publish(&street.conf, new);
	grace_wait();
	free(old);
}

static const struct place *nobody(void *arg, uint32_t slot)
{
	(void)arg;
	(void)slot;
	return NULL;
}

static int64_t unknown(void *arg, struct view backend, struct view server)
{
	(void)arg;
	(void)backend;
	(void)server;
	return -1;
}

static void tell(struct feedback *f, int64_t ticket)
{
	char line[256];
	int n =
	    snprintf(line, sizeof(line),
		     "<134>1 2026-01-01T00:00:00Z h haproxy 1 - [inference@32473 ticket=\"%lld\" "
		     "backend=\"a\" server=\"srv\" status=\"200\" ts=\"--\" tr=\"1\" ta=\"2\"]",
		     (long long)ticket);

	feedback_line(f, (struct view){line, (size_t)n});
}

static size_t close_some(struct feedback *f)
{
	int64_t tickets[256];
	size_t n = ring_take(tickets, 256);

	for (size_t i = 0; i < n; i++)
		tell(f, tickets[i]);
	/* A line that comes twice. */
	if (n)
		tell(f, tickets[0]);
	return n;
}

/* One server of pool b leaves, another takes its place. */
static void move_house(uint32_t slots[SERVERS], unsigned version)
{
	struct endpoints *e = street.house->env.endpoints;
	uint32_t pools[2] = {3, 3}, gone = slots[3 + version % 3];
	int slot = endpoint_alloc(e);

	assert_true(slot >= 0);
	slots[3 + version % 3] = (uint32_t)slot;
	publish(snapshot_make(pools, slots, version));
	endpoint_release(e, gone);
}

static void read_counters(void)
{
	struct stats *sum = stats_new(8);

	for (unsigned i = 0; i < street.house->nworkers; i++)
		stats_sum(sum, street.house->workers[i].stats);
	stats_free(sum);
}

static void all_at_once(void **state)
{
	struct house *h = street.house = build();
	struct config no_listeners = {0};
	const struct feedback_env env = {.endpoints = h->env.endpoints,
					 .tickets = h->env.tickets,
					 .place = nobody,
					 .find = unknown};
	struct feedback *f = feedback_new(&env, &no_listeners);
	struct feedback_counts counts;
	uint32_t pools[2] = {3, 3}, slots[SERVERS];
	struct peer *peers[PEERS][CONNECTIONS];
	pthread_t threads[PEERS];
	size_t closed = 0;

	(void)state;
	assert_non_null(f);
	pthread_mutex_init(&street.ring.lock, NULL);
	for (unsigned i = 0; i < SERVERS; i++)
		slots[i] = (uint32_t)endpoint_alloc(h->env.endpoints);
	publish(snapshot_make(pools, slots, 0));
	reload(0);
	h->env.snapshot = &street.snapshot;
	h->env.conf = &street.conf;
	start_workers(h, HOUSE_WORKERS);
	street.busy = PEERS;
	for (unsigned t = 0; t < PEERS; t++) {
		for (unsigned i = 0; i < CONNECTIONS; i++)
			peers[t][i] = knock(h);
		assert_int_equal(pthread_create(&threads[t], NULL, live, peers[t]), 0);
	}
	for (unsigned version = 1; atomic_load(&street.busy) > 0; version++) {
		closed += close_some(f);
		move_house(slots, version);
		reload(version);
		read_counters();
		endpoint_observe(h->env.endpoints, slots[version % SERVERS], version % 7, 1, 0.5,
				 endpoint_open(h->env.endpoints, slots[version % SERVERS]),
				 version * UINT64_C(1000000));
		endpoint_set_flags(h->env.endpoints, slots[0], ENDPOINT_DOWN,
				   version % 2 ? ENDPOINT_DOWN : 0);
		(void)tickets_expire(h->env.tickets, 2, 1, 64);
	}
	for (unsigned t = 0; t < PEERS; t++)
		pthread_join(threads[t], NULL);
	for (size_t n = 1; n > 0; closed += n)
		n = close_some(f);

	assert_int_equal(street.routed, (uint64_t)PEERS * CONNECTIONS * ROUNDS * BATCH);
	assert_int_equal(closed, street.routed);
	assert_int_equal(tickets_exhausted(h->env.tickets), 0);
	feedback_counts(f, &counts);
	assert_int_equal(counts.lines - counts.unknown, closed);
	assert_int_equal(tickets_open(h->env.tickets), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		assert_int_equal(endpoint_open(h->env.endpoints, slots[i]), 0);

	for (unsigned t = 0; t < PEERS; t++)
		for (unsigned i = 0; i < CONNECTIONS; i++)
			leave(peers[t][i]);
	feedback_free(f);
	demolish(h);
	snapshot_unmake(street.snapshot);
	free(street.conf);
	pthread_mutex_destroy(&street.ring.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
