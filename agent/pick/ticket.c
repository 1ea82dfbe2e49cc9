/*
 * Tickets.
 *
 * Each worker owns `max` slots. The free ones wait in a ring of one producer, the control thread
 * that closes, and one consumer, the worker that opens; so neither ever waits. The ring begins with
 * WARM of them and takes in another only when it runs empty: what is used stays in a core's cache,
 * and memory is touched for as many requests as there ever were at a time. First in, first out
 * among WARM slots and 2^19 generations: no name comes again within 2^31 tickets. A ticket's name:
 *
 *   bit 62…47 instance | 46…41 worker | 40…19 slot | 18…0 generation of the slot
 *
 * The instance's lowest bit is set, so a name is never 0. A slot's `state` is 0 when free and the
 * generation + 1 while open; closing is a compare-and-swap on it, so that of two closes one wins.
 * The worker writes the other fields before it publishes the state (release), the control thread
 * reads them after it saw it (acquire).
 */
#include "pick/ticket.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "pick/live.h"

#define GENERATION_BITS 19
#define SLOT_BITS       22
#define WORKER_BITS     6
#define INSTANCE_BITS   16
#define MASK(bits)      ((UINT64_C(1) << (bits)) - 1)
#define WARM            4096

struct ticket {
	_Atomic uint32_t state;
	uint32_t generation; /* the next one; the worker's */
	uint32_t slot, slot_generation, model, peer;
	uint64_t key, opened_ns;
};

struct desk {
	_Alignas(64) uint32_t head; /* the worker's end of the ring of free slots */
	uint32_t fresh;             /* the worker's: slots from here on were never used */
	_Atomic uint32_t opened;    /* the worker's; wraps, as closed does */
	_Atomic uint64_t exhausted;
	_Alignas(64) _Atomic uint32_t tail; /* the control thread's end */
	_Atomic uint32_t closed;
	uint32_t expire_at;
	uint32_t *ring; /* max + 1 places; free from head to tail */
	struct ticket *tickets;
};

struct tickets {
	struct endpoints *endpoints;
	unsigned workers;
	uint32_t max;
	uint64_t instance;
	struct desk *desks;
};

struct tickets *tickets_new(struct endpoints *e, unsigned workers, uint32_t max, uint32_t instance)
{
	const uint32_t warm = max < WARM ? max : WARM;
	struct tickets *t;

	if (workers < 1 || workers > 1U << WORKER_BITS || max < 1 || max > 1U << SLOT_BITS)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->endpoints = e;
	t->workers = workers;
	t->max = max;
	t->instance = (instance & MASK(INSTANCE_BITS)) | 1;
	t->desks = aligned_alloc(64, workers * sizeof(*t->desks));
	if (!t->desks) {
		free(t);
		return NULL;
	}
	for (unsigned w = 0; w < workers; w++)
		t->desks[w] = (struct desk){.tail = warm, .fresh = warm};
	for (unsigned w = 0; w < workers; w++) {
		struct desk *d = &t->desks[w];

		d->ring = malloc(((size_t)max + 1) * sizeof(*d->ring));
		d->tickets = calloc(max, sizeof(*d->tickets));
		if (!d->ring || !d->tickets)
			return tickets_free(t);
		for (uint32_t i = 0; i < warm; i++)
			d->ring[i] = i;
	}
	return t;
}

struct tickets *tickets_free(struct tickets *t)
{
	if (t) {
		for (unsigned w = 0; w < t->workers; w++) {
			free(t->desks[w].ring);
			free(t->desks[w].tickets);
		}
		free(t->desks);
		free(t);
	}
	return NULL;
}

/* Only one thread writes it. */
static void count_one(_Atomic uint32_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_release);
}

int64_t ticket_open(struct tickets *t, unsigned worker, uint32_t slot, uint32_t model, uint64_t key,
		    uint32_t peer, uint64_t now_ns)
{
	struct desk *d = &t->desks[worker];
	struct ticket *k;
	uint32_t tail = atomic_load_explicit(&d->tail, memory_order_acquire);
	uint32_t i, generation;

	if (d->head != tail) {
		i = d->ring[d->head];
		d->head = d->head == t->max ? 0 : d->head + 1;
		/* The next one lies in the cache of the core that closed it. */
		if (d->head != tail)
			__builtin_prefetch(&d->tickets[d->ring[d->head]], 1);
	} else if (d->fresh < t->max) {
		i = d->fresh++;
	} else {
		atomic_fetch_add_explicit(&d->exhausted, 1, memory_order_relaxed);
		return 0;
	}

	k = &d->tickets[i];
	generation = k->generation;
	k->generation = (generation + 1) & (uint32_t)MASK(GENERATION_BITS);
	k->slot = slot;
	k->slot_generation = endpoint_generation(t->endpoints, slot);
	k->model = model;
	k->peer = peer;
	k->key = key;
	k->opened_ns = now_ns;
	/* Counted before it can be closed, so no count ever passes below zero. */
	atomic_fetch_add_explicit(&t->endpoints->open[slot], 1, memory_order_relaxed);
	count_one(&d->opened);
	atomic_store_explicit(&k->state, generation + 1, memory_order_release);
	return (int64_t)(t->instance << (WORKER_BITS + SLOT_BITS + GENERATION_BITS) |
			 (uint64_t)worker << (SLOT_BITS + GENERATION_BITS) |
			 (uint64_t)i << GENERATION_BITS | generation);
}

static int close_slot(struct tickets *t, struct desk *d, uint32_t i, uint32_t state,
		      struct ticket_info *ret)
{
	struct endpoints *e = t->endpoints;
	struct ticket *k = &d->tickets[i];
	uint32_t tail = atomic_load_explicit(&d->tail, memory_order_relaxed);
	uint32_t seen = state;

	if (!atomic_compare_exchange_strong_explicit(&k->state, &seen, 0, memory_order_acq_rel,
						     memory_order_acquire))
		return -ENOENT;
	*ret = (struct ticket_info){
	    .slot = k->slot,
	    .generation = k->slot_generation,
	    .model = k->model,
	    .opened_ns = k->opened_ns,
	};
	/* A slot that changed hands began its count anew: this ticket is not in it. */
	if (endpoint_generation(e, k->slot) == k->slot_generation)
		atomic_fetch_sub_explicit(&e->open[k->slot], 1, memory_order_relaxed);
	count_one(&d->closed);
	d->ring[tail] = i;
	atomic_store_explicit(&d->tail, tail == t->max ? 0 : tail + 1, memory_order_release);
	return 0;
}

int ticket_close(struct tickets *t, int64_t name, struct ticket_info *ret)
{
	uint64_t bits = (uint64_t)name;
	uint32_t generation = (uint32_t)(bits & MASK(GENERATION_BITS));
	uint32_t i = (uint32_t)(bits >> GENERATION_BITS & MASK(SLOT_BITS));
	unsigned worker = (unsigned)(bits >> (SLOT_BITS + GENERATION_BITS) & MASK(WORKER_BITS));

	if (name <= 0 || bits >> (WORKER_BITS + SLOT_BITS + GENERATION_BITS) != t->instance ||
	    worker >= t->workers || i >= t->max)
		return -ENOENT;
	return close_slot(t, &t->desks[worker], i, generation + 1, ret);
}

unsigned tickets_expire(struct tickets *t, uint64_t now_ns, uint64_t max_age_ns, unsigned budget)
{
	unsigned expired = 0;

	for (unsigned w = 0; w < t->workers; w++) {
		struct desk *d = &t->desks[w];

		for (unsigned n = 0; n < budget && n < t->max; n++) {
			struct ticket *k = &d->tickets[d->expire_at];
			uint32_t state = atomic_load_explicit(&k->state, memory_order_acquire);
			struct ticket_info info;

			/* opened_ns is stable while the state is: only this thread closes. */
			if (state && now_ns > k->opened_ns && now_ns - k->opened_ns > max_age_ns &&
			    close_slot(t, d, d->expire_at, state, &info) == 0)
				expired++;
			d->expire_at = d->expire_at + 1 == t->max ? 0 : d->expire_at + 1;
		}
	}
	return expired;
}

size_t tickets_peers(const struct tickets *t, uint64_t before_ns, uint32_t *ret, size_t max)
{
	uint32_t last = 0;
	size_t n = 0;

	for (unsigned w = 0; w < t->workers; w++) {
		for (uint32_t i = 0; i < t->max; i++) {
			const struct ticket *k = &t->desks[w].tickets[i];
			size_t seen = 0;

			if (!atomic_load_explicit(&k->state, memory_order_acquire) ||
			    k->peer == 0 || k->peer == last || k->opened_ns >= before_ns)
				continue;
			last = k->peer;
			while (seen < n && ret[seen] != last)
				seen++;
			if (seen < n)
				continue;
			if (n == max)
				return n;
			ret[n++] = last;
		}
	}
	return n;
}

/* Its slot is still the endpoint's that it was opened on. */
static bool is_owners(const struct tickets *t, const struct ticket *k)
{
	return endpoint_generation(t->endpoints, k->slot) == k->slot_generation;
}

void tickets_count(const struct tickets *t, uint32_t peer, uint64_t before_ns, uint32_t *ret)
{
	for (unsigned w = 0; w < t->workers; w++) {
		for (uint32_t i = 0; i < t->max; i++) {
			const struct ticket *k = &t->desks[w].tickets[i];

			if (atomic_load_explicit(&k->state, memory_order_acquire) &&
			    k->peer == peer && k->opened_ns < before_ns && is_owners(t, k))
				ret[k->slot]++;
		}
	}
}

struct victims {
	uint32_t peer;
	bool others;          /* who is not @peer, instead; nobody is 0 */
	bool go_on;           /* their requests may */
	const uint32_t *slot; /* NULL: on any */
	uint64_t before_ns;
};

static bool is_victim(const struct tickets *t, const struct ticket *k, const struct victims *v)
{
	bool asked = v->others ? k->peer == 0 || k->peer != v->peer : k->peer == v->peer;

	return asked && k->opened_ns < v->before_ns &&
	       (!v->slot || (k->slot == *v->slot && is_owners(t, k)));
}

static unsigned abandon(struct tickets *t, const struct victims *v, uint32_t max)
{
	unsigned closed = 0;

	for (unsigned w = 0; w < t->workers; w++) {
		struct desk *d = &t->desks[w];

		for (uint32_t i = 0; i < t->max && closed < max; i++) {
			struct ticket *k = &d->tickets[i];
			uint32_t state = atomic_load_explicit(&k->state, memory_order_acquire);
			struct ticket_info info;

			if (!state || !is_victim(t, k, v) || close_slot(t, d, i, state, &info) != 0)
				continue;
			if (v->go_on)
				endpoint_carry(t->endpoints, info.slot, info.generation);
			closed++;
		}
	}
	return closed;
}

unsigned tickets_abandon(struct tickets *t, uint32_t peer, uint64_t before_ns)
{
	return abandon(t, &(struct victims){.peer = peer, .go_on = true, .before_ns = before_ns},
		       UINT32_MAX);
}

unsigned tickets_abandon_others(struct tickets *t, uint32_t peer, uint64_t before_ns)
{
	return abandon(
	    t,
	    &(struct victims){.peer = peer, .others = true, .go_on = true, .before_ns = before_ns},
	    UINT32_MAX);
}

unsigned tickets_abandon_at(struct tickets *t, uint32_t peer, uint32_t slot, uint64_t before_ns,
			    uint32_t max)
{
	return abandon(t, &(struct victims){.peer = peer, .slot = &slot, .before_ns = before_ns},
		       max);
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct ticket_lost *)a)->key, y = ((const struct ticket_lost *)b)->key;

	return (x > y) - (x < y);
}

/* The first of @lost with that key, or NULL. */
static struct ticket_lost *find_lost(struct ticket_lost *lost, size_t n, uint64_t key)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (lost[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && lost[low].key == key ? &lost[low] : NULL;
}

/* The one of @lost that may mean @k, or NULL. */
static struct ticket_lost *loser(struct ticket_lost *lost, size_t n, const struct ticket *k)
{
	struct ticket_lost *l = find_lost(lost, n, k->key);

	for (; l && l < lost + n && l->key == k->key; l++)
		if (k->opened_ns >= l->since_ns && (!l->peer || !k->peer || l->peer == k->peer))
			return l;
	return NULL;
}

#define FOUND_SEVERAL UINT64_MAX

unsigned tickets_reclaim(struct tickets *t, struct ticket_lost *lost, size_t n)
{
	unsigned closed = 0;

	qsort(lost, n, sizeof(*lost), by_key);
	for (size_t i = 0; i < n; i++)
		lost[i].found = 0;
	for (unsigned w = 0; w < t->workers; w++) {
		for (uint32_t i = 0; i < t->max; i++) {
			struct ticket *k = &t->desks[w].tickets[i];
			struct ticket_lost *l;

			if (!atomic_load_explicit(&k->state, memory_order_acquire) || !k->key)
				continue;
			l = loser(lost, n, k);
			if (l)
				l->found = l->found ? FOUND_SEVERAL : ((uint64_t)w << 32 | i) + 1;
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct desk *d;
		struct ticket_info info;
		uint32_t at;

		if (lost[i].found == 0 || lost[i].found == FOUND_SEVERAL)
			continue;
		d = &t->desks[(lost[i].found - 1) >> 32];
		at = (uint32_t)(lost[i].found - 1);
		if (close_slot(t, d, at, atomic_load(&d->tickets[at].state), &info) == 0)
			closed++;
	}
	return closed;
}

uint32_t tickets_open(const struct tickets *t)
{
	uint32_t open = 0;

	for (unsigned w = 0; w < t->workers; w++) {
		const struct desk *d = &t->desks[w];
		/* In this order: what is closed was opened before, so it never passes below zero.
		 */
		uint32_t closed = atomic_load_explicit(&d->closed, memory_order_acquire);

		open += atomic_load_explicit(&d->opened, memory_order_acquire) - closed;
	}
	return open;
}

uint64_t tickets_exhausted(const struct tickets *t)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < t->workers; w++)
		sum += atomic_load_explicit(&t->desks[w].exhausted, memory_order_relaxed);
	return sum;
}
