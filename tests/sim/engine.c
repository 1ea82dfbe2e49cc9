/*
 * The scheduler. Time passes in steps, as on a GPU: what a step computes is fixed when it begins,
 * tokens come out when it ends, and whoever arrives in between waits for the next one.
 *
 * A step does not touch every request that decodes. All of them gain one token per step, so a
 * request only remembers the step it began to decode in; its count of tokens follows from the
 * number of steps since. Two structures tell whom a step concerns: a heap by the step in which a
 * request ends, and block_size lists by phase, since a request needs its next KV block once every
 * block_size steps, always at the same remainder. So a step costs O(1) plus one per block taken
 * plus O(log n) per request that ends, and with token_events one call per running request.
 *
 * KV blocks are taken as vLLM takes them: those of the whole prompt at admission, one more when
 * decoding crosses a block's end. When none is left the request admitted last is preempted: it
 * gives its blocks back, returns to the head of the queue and later computes prompt and answer
 * again (tokens already out stay out). A request that would not fit alone is refused at the door,
 * so the oldest one always gets on and nothing can lock up.
 *
 * Invariants: a request is in exactly one of waiting and running; prefill is the part of running
 * with state PREFILL, in the same order; phase and heap hold exactly those with state DECODE.
 */
#include "engine.h"

#include "blocks.h"
#include "draw.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum state { WAITING, PREFILL, DECODE };

struct engine_req {
	TAILQ_ENTRY(engine_req) queue; /* waiting or running */
	TAILQ_ENTRY(engine_req) part;  /* prefill or phase */
	enum state state;
	uint32_t prompt, output;
	uint32_t made;     /* tokens out when the present state began */
	uint64_t since;    /* DECODE: e->decodes when it began */
	uint32_t kv_since; /* DECODE: tokens in the cache when it began */
	uint32_t left;     /* PREFILL: tokens not yet computed */
	uint32_t phase;
	uint32_t heap_at;
	uint32_t cached;
	bool counted; /* in the prefix statistics */
	uint32_t n_blocks, n_named, cap_blocks;
	uint32_t *blocks;
	uint32_t n_names; /* full blocks of the prompt that have a name */
	uint64_t *names;
	void *user;
};

TAILQ_HEAD(reqs, engine_req);

struct engine {
	struct engine_conf conf;
	engine_cb *cb;
	void *arg;
	struct blocks *kv;
	struct reqs waiting, running, prefill;
	struct reqs *phase;
	struct engine_req **heap;
	uint32_t n_heap, cap_heap;
	uint64_t decodes; /* steps that have ended */
	int64_t now, step_began, step_ends;
	double step_left; /* ns at speed 1 left at `now`, while speed is 0 */
	double speed;
	uint32_t foreign;
	uint64_t blocked_at; /* blocks_n_released() when the head of the queue last did not fit */
	bool blocked, in_step, in_callback;
	struct engine_stats stats;
};

const struct engine_conf ENGINE_CONF_DEFAULT = {
    .prefill_rate = 8000,
    .step_a_ms = 6.0,
    .step_b_ms = 0.35,
    .speed = 1,
    .max_num_seqs = 256,
    .max_batched_tokens = 2048,
    .kv_blocks = 32768,
    .block_size = 16,
    .prefix_caching = true,
    .token_events = true,
};

/* --- the heap of requests that decode, by the step they end in --- */

static uint64_t ends_in(const struct engine_req *r)
{
	return r->since + (r->output - r->made);
}

static void heap_put(struct engine *e, uint32_t at, struct engine_req *r)
{
	e->heap[at] = r;
	r->heap_at = at;
}

static void heap_up(struct engine *e, uint32_t at)
{
	struct engine_req *r = e->heap[at];

	while (at > 0 && ends_in(e->heap[(at - 1) / 2]) > ends_in(r)) {
		heap_put(e, at, e->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(e, at, r);
}

static void heap_down(struct engine *e, uint32_t at)
{
	struct engine_req *r = e->heap[at];

	for (uint32_t kid; (kid = 2 * at + 1) < e->n_heap; at = kid) {
		if (kid + 1 < e->n_heap && ends_in(e->heap[kid + 1]) < ends_in(e->heap[kid]))
			kid++;
		if (ends_in(e->heap[kid]) >= ends_in(r))
			break;
		heap_put(e, at, e->heap[kid]);
	}
	heap_put(e, at, r);
}

/* There is room: max_num_seqs is the heap's size. */
static void heap_push(struct engine *e, struct engine_req *r)
{
	assert(e->n_heap < e->cap_heap);
	heap_put(e, e->n_heap++, r);
	heap_up(e, r->heap_at);
}

static void heap_remove(struct engine *e, struct engine_req *r)
{
	uint32_t at = r->heap_at;
	struct engine_req *last = e->heap[--e->n_heap];

	if (last == r)
		return;
	heap_put(e, at, last);
	heap_up(e, at);
	heap_down(e, last->heap_at);
}

/* --- moving requests --- */

static uint32_t made_now(const struct engine *e, const struct engine_req *r)
{
	return r->state == DECODE ? r->made + (uint32_t)(e->decodes - r->since) : r->made;
}

static bool room_for_blocks(struct engine_req *r, uint32_t n)
{
	uint32_t cap = r->cap_blocks ? r->cap_blocks : 16;
	uint32_t *grown;

	if (n <= r->cap_blocks)
		return true;
	while (cap < n)
		cap *= 2;
	grown = realloc(r->blocks, cap * sizeof(*grown));
	if (!grown)
		return false;
	r->blocks = grown;
	r->cap_blocks = cap;
	return true;
}

/* The end of a prompt is evicted before its beginning, which others are likelier to share. */
static void drop_blocks(struct engine *e, struct engine_req *r)
{
	while (r->n_blocks > 0)
		blocks_drop(e->kv, r->blocks[--r->n_blocks]);
	r->n_named = 0;
}

/* Out of every list; the request belongs to the caller. */
static void detach(struct engine *e, struct engine_req *r)
{
	if (r->state == WAITING) {
		if (TAILQ_FIRST(&e->waiting) == r)
			e->blocked = false;
		TAILQ_REMOVE(&e->waiting, r, queue);
		e->stats.waiting--;
		return;
	}
	if (r->state == PREFILL) {
		TAILQ_REMOVE(&e->prefill, r, part);
	} else {
		TAILQ_REMOVE(&e->phase[r->phase], r, part);
		heap_remove(e, r);
		e->stats.decoding--;
	}
	TAILQ_REMOVE(&e->running, r, queue);
	e->stats.running--;
	/* A seat, if not a block, has become free. */
	e->blocked = false;
	drop_blocks(e, r);
}

static void req_free(struct engine_req *r)
{
	free(r->blocks);
	free(r->names);
	free(r);
}

static void preempt(struct engine *e, struct engine_req *r)
{
	r->made = made_now(e, r);
	detach(e, r);
	r->state = WAITING;
	TAILQ_INSERT_HEAD(&e->waiting, r, queue);
	e->stats.waiting++;
	e->stats.preempted++;
}

/*
 * Seat and blocks for the head of the queue. The last prompt token is always computed, as its
 * logits are the first token's; so at most the blocks before it come from the cache.
 */
static bool admit(struct engine *e, struct engine_req *r)
{
	uint32_t bs = e->conf.block_size;
	uint32_t tokens = r->prompt + r->made;
	uint32_t need = (tokens + bs - 1) / bs, hits = 0, revived = 0;
	uint32_t seats = e->foreign < e->conf.max_num_seqs ? e->conf.max_num_seqs - e->foreign : 1;

	if (e->stats.running >= seats)
		return false;
	if (e->blocked && e->blocked_at == blocks_n_released(e->kv))
		return false;
	while (hits < r->n_names && hits < (tokens - 1) / bs) {
		uint32_t id = blocks_find(e->kv, r->names[hits]);

		if (id == BLOCKS_NONE)
			break;
		revived += blocks_refs(e->kv, id) == 0;
		hits++;
	}
	if (need - hits + revived > blocks_n_free(e->kv)) {
		e->blocked = true;
		e->blocked_at = blocks_n_released(e->kv);
		return false;
	}
	if (!room_for_blocks(r, need))
		return false;
	e->blocked = false;
	for (uint32_t i = 0; i < hits; i++) {
		r->blocks[i] = blocks_find(e->kv, r->names[i]);
		blocks_hold(e->kv, r->blocks[i]);
	}
	for (uint32_t i = hits; i < need; i++)
		r->blocks[i] = blocks_take(e->kv);
	r->n_blocks = need;
	r->n_named = hits;
	r->left = tokens - hits * bs;
	r->state = PREFILL;
	TAILQ_REMOVE(&e->waiting, r, queue);
	TAILQ_INSERT_TAIL(&e->running, r, queue);
	TAILQ_INSERT_TAIL(&e->prefill, r, part);
	e->stats.waiting--;
	if (++e->stats.running > e->stats.max_running)
		e->stats.max_running = e->stats.running;
	if (!r->counted) {
		r->counted = true;
		r->cached = hits * bs;
		e->stats.prompt_tokens += r->prompt;
		if (e->conf.prefix_caching) {
			e->stats.prefix_queries += r->prompt;
			e->stats.prefix_hits += r->cached;
		}
	}
	return true;
}

/* Computes up to budget tokens of a prompt; its full blocks are found by others from now on. */
static uint32_t prefill_chunk(struct engine *e, struct engine_req *r, uint32_t budget)
{
	uint32_t chunk = r->left < budget ? r->left : budget;
	uint32_t full;

	r->left -= chunk;
	full = (r->prompt + r->made - r->left) / e->conf.block_size;
	for (; r->n_named < full && r->n_named < r->n_names; r->n_named++)
		blocks_name(e->kv, r->blocks[r->n_named], r->names[r->n_named]);
	return chunk;
}

/*
 * The requests whose next token begins a block. After a preemption nobody is admitted in the same
 * step: the head of the queue is the one preempted last, and one block short.
 */
static void grow_decodes(struct engine *e)
{
	struct reqs *due = &e->phase[e->decodes % e->conf.block_size];
	struct engine_req *r = TAILQ_FIRST(due), *next;

	for (; r; r = next) {
		uint32_t id = BLOCKS_NONE;

		if (room_for_blocks(r, r->n_blocks + 1))
			while ((id = blocks_take(e->kv)) == BLOCKS_NONE) {
				struct engine_req *victim = TAILQ_LAST(&e->running, reqs);

				if (victim == r)
					break;
				preempt(e, victim);
			}
		next = TAILQ_NEXT(r, part);
		if (id == BLOCKS_NONE)
			preempt(e, r);
		else
			r->blocks[r->n_blocks++] = id;
	}
}

/* When so much work is done. No step lasts longer than three years. */
static int64_t after(const struct engine *e, double work)
{
	if (e->speed <= 0)
		return ENGINE_NEVER;
	return e->now + (int64_t)fmin(ceil(work / e->speed), 1e17);
}

/* False when there is nothing to do. */
static bool step_begin(struct engine *e)
{
	struct engine_req *r;
	uint32_t budget, prefilled = 0;

	grow_decodes(e);
	budget = e->conf.max_batched_tokens - e->stats.decoding;
	TAILQ_FOREACH(r, &e->prefill, part)
	{
		if (budget == prefilled)
			break;
		prefilled += prefill_chunk(e, r, budget - prefilled);
	}
	while (prefilled < budget && (r = TAILQ_FIRST(&e->waiting)) && admit(e, r))
		prefilled += prefill_chunk(e, r, budget - prefilled);
	e->stats.prefill_tokens += prefilled;
	if (e->stats.running == 0)
		return false;
	e->step_left = 1e6 * (e->conf.step_a_ms +
			      e->conf.step_b_ms * ((double)e->stats.decoding + e->foreign)) +
		       1e9 * prefilled / e->conf.prefill_rate;
	e->step_left = fmax(e->step_left, 1);
	e->step_began = e->now;
	e->step_ends = after(e, e->step_left);
	e->in_step = true;
	return true;
}

static void tell(struct engine *e, struct engine_req *r, enum engine_event ev)
{
	if (e->cb) {
		e->in_callback = true;
		e->cb(e->arg, r, ev, e->now);
		e->in_callback = false;
	}
}

static void finish(struct engine *e, struct engine_req *r)
{
	detach(e, r);
	e->stats.finished++;
	tell(e, r, ENGINE_FINISH);
	req_free(r);
}

/* A prompt is done: its first token, or the next one after a preemption. */
static void prefill_done(struct engine *e, struct engine_req *r)
{
	uint32_t bs = e->conf.block_size;
	bool first = r->made == 0;

	TAILQ_REMOVE(&e->prefill, r, part);
	r->state = DECODE;
	r->kv_since = r->prompt + r->made;
	r->made++;
	r->since = e->decodes;
	r->phase = (uint32_t)(e->decodes % bs + bs - r->kv_since % bs) % bs;
	TAILQ_INSERT_TAIL(&e->phase[r->phase], r, part);
	heap_push(e, r);
	e->stats.decoding++;
	e->stats.generated_tokens++;
	if (first || e->conf.token_events)
		tell(e, r, first ? ENGINE_FIRST : ENGINE_TOKEN);
	if (r->made == r->output)
		finish(e, r);
}

static void step_end(struct engine *e)
{
	struct engine_req *r;

	e->in_step = false;
	e->stats.steps++;
	e->stats.busy_ns += e->now - e->step_began;
	e->decodes++;
	e->stats.generated_tokens += e->stats.decoding;
	if (e->conf.token_events)
		TAILQ_FOREACH(r, &e->running, queue)
	if (r->state == DECODE)
		tell(e, r, ENGINE_TOKEN);
	while (e->n_heap > 0 && ends_in(e->heap[0]) <= e->decodes)
		finish(e, e->heap[0]);
	while ((r = TAILQ_FIRST(&e->prefill)) && r->left == 0)
		prefill_done(e, r);
}

/* --- what the header promises --- */

struct engine *engine_new(const struct engine_conf *conf, engine_cb *cb, void *arg)
{
	struct engine *e;

	if (!(conf->prefill_rate > 0) || !(conf->step_a_ms >= 0) || !(conf->step_b_ms >= 0) ||
	    !(conf->speed > 0) || conf->max_num_seqs == 0 || conf->kv_blocks == 0 ||
	    conf->kv_blocks >= UINT32_MAX / 4 || conf->block_size == 0 ||
	    conf->max_batched_tokens < conf->max_num_seqs) {
		errno = EINVAL;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->conf = *conf;
	e->speed = conf->speed;
	e->cb = cb;
	e->arg = arg;
	TAILQ_INIT(&e->waiting);
	TAILQ_INIT(&e->running);
	TAILQ_INIT(&e->prefill);
	e->cap_heap = conf->max_num_seqs;
	e->heap = calloc(e->cap_heap, sizeof(struct engine_req *));
	e->phase = calloc(conf->block_size, sizeof(*e->phase));
	e->kv = blocks_new(conf->kv_blocks);
	if (!e->heap || !e->phase || !e->kv)
		return engine_free(e);
	for (uint32_t i = 0; i < conf->block_size; i++)
		TAILQ_INIT(&e->phase[i]);
	e->stats.kv_total = conf->kv_blocks;
	return e;
}

struct engine *engine_free(struct engine *e)
{
	struct engine_req *r;

	if (!e)
		return NULL;
	while ((r = TAILQ_FIRST(&e->waiting)) || (r = TAILQ_FIRST(&e->running))) {
		detach(e, r);
		req_free(r);
	}
	assert(!e->kv || blocks_n_free(e->kv) == blocks_n_total(e->kv));
	blocks_free(e->kv);
	free(e->heap);
	free(e->phase);
	free(e);
	return NULL;
}

/* The name of block i says all tokens up to its end: a chain over the ids. */
static bool name_prompt(const struct engine *e, struct engine_req *r, const struct engine_ask *ask)
{
	uint32_t bs = e->conf.block_size, per_id = ask->id_tokens / bs;
	uint64_t chain = 0, covered = (uint64_t)ask->n_ids * per_id;

	r->n_names = r->prompt / bs;
	if (r->n_names > covered)
		r->n_names = (uint32_t)covered;
	if (r->n_names == 0)
		return true;
	r->names = malloc(r->n_names * sizeof(*r->names));
	if (!r->names)
		return false;
	for (uint32_t i = 0; i < r->n_names; i++) {
		chain = draw_mix(chain, ask->ids[i / per_id]);
		r->names[i] = chain ? chain : 1;
	}
	return true;
}

struct engine_req *engine_submit(struct engine *e, const struct engine_ask *ask)
{
	uint32_t bs = e->conf.block_size;
	bool named = e->conf.prefix_caching && ask->n_ids > 0;
	struct engine_req *r;

	assert(!e->in_callback);
	if (ask->prompt == 0 || ask->output == 0 ||
	    (named && (ask->id_tokens < bs || ask->id_tokens % bs != 0))) {
		errno = EINVAL;
		return NULL;
	}
	if ((uint64_t)ask->prompt + ask->output - 1 > (uint64_t)e->conf.kv_blocks * bs) {
		errno = EFBIG;
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->prompt = ask->prompt;
	r->output = ask->output;
	r->user = ask->user;
	r->state = WAITING;
	if (named && !name_prompt(e, r, ask)) {
		req_free(r);
		errno = ENOMEM;
		return NULL;
	}
	TAILQ_INSERT_TAIL(&e->waiting, r, queue);
	e->stats.submitted++;
	if (++e->stats.waiting > e->stats.max_waiting)
		e->stats.max_waiting = e->stats.waiting;
	return r;
}

void engine_cancel(struct engine *e, struct engine_req *r)
{
	assert(!e->in_callback);
	detach(e, r);
	e->stats.cancelled++;
	req_free(r);
}

int64_t engine_next(const struct engine *e)
{
	if (e->in_step)
		return e->step_ends;
	return e->stats.waiting + e->stats.running > 0 ? e->now : ENGINE_NEVER;
}

void engine_advance(struct engine *e, int64_t now)
{
	assert(!e->in_callback && now >= e->now);
	while (e->in_step ? e->step_ends <= now : e->stats.waiting + e->stats.running > 0) {
		if (e->in_step) {
			e->now = e->step_ends;
			step_end(e);
		} else if (!step_begin(e)) {
			/* Only memory can be out: the oldest request always fits. */
			break;
		}
	}
	e->now = now;
}

void engine_set_speed(struct engine *e, double speed)
{
	assert(!e->in_callback && speed >= 0);
	if (e->in_step && e->speed > 0)
		e->step_left = (double)(e->step_ends - e->now) * e->speed;
	e->speed = speed;
	if (e->in_step)
		e->step_ends = after(e, e->step_left);
}

void engine_set_foreign(struct engine *e, uint32_t running)
{
	e->foreign = running;
}

void engine_get_stats(const struct engine *e, struct engine_stats *ret)
{
	*ret = e->stats;
	ret->kv_used = blocks_n_total(e->kv) - blocks_n_free(e->kv);
}

double engine_kv_usage(const struct engine *e)
{
	return 1.0 - (double)blocks_n_free(e->kv) / blocks_n_total(e->kv);
}

void *engine_req_user(const struct engine_req *r)
{
	return r->user;
}

uint32_t engine_req_cached(const struct engine_req *r)
{
	return r->cached;
}

void engine_each(const struct engine *e, void (*fn)(void *arg, void *user, bool running), void *arg)
{
	struct engine_req *r;

	TAILQ_FOREACH(r, &e->running, queue)
	fn(arg, r->user, true);
	TAILQ_FOREACH(r, &e->waiting, queue)
	fn(arg, r->user, false);
}
