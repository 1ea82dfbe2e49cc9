/*
 * The two policies that compare all candidates by one number: least-loaded and shortest-wait.
 *
 * One pass over the pool keeps the three lowest. The low half of each key is a hash of the
 * candidate and this decision's chance, so equal numbers come in random order: with ties broken
 * by position, every burst onto an idle pool would land on the first server.
 *
 * Of a large pool hardly any endpoint gets near the three lowest. So once three are kept,
 * least-loaded passes over whole blocks of endpoints whose slots follow one another and of which
 * none would be kept: vectors of the compiler's own, four wide, or eight or sixteen where the
 * processor has AVX2 or AVX-512. What they do not pass over is looked at one by one, so they may
 * err on that side. They read the live arrays without atomics, in the single loads that atomics are
 * made of too; the thread sanitizer, which cannot know that, gets the plain loop.
 */
#include "pick/policy.h"

#include <string.h>

#define PLACES (PICK_MAX + 1)

#if defined(__SANITIZE_THREAD__)
#define BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BLOCKS 0
#endif
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif

struct lowest {
	uint32_t n;
	uint32_t chance;
	uint64_t key[PLACES]; /* sorted; one place more than is kept, so insertion needs no test */
	uint32_t index[PLACES];
};

/* One to one for each chance: no two candidates ever tie. */
#define TIE_MIX(x)                                                                                 \
	do {                                                                                       \
		(x) *= UINT32_C(0x9e3779b1);                                                       \
		(x) ^= (x) >> 15;                                                                  \
		(x) *= UINT32_C(0x85ebca77);                                                       \
		(x) ^= (x) >> 16;                                                                  \
	} while (0)

static uint32_t tie(uint32_t chance, uint32_t i)
{
	uint32_t x = i ^ chance;

	TIE_MIX(x);
	return x;
}

static void lowest_init(struct lowest *l, uint64_t chance)
{
	l->n = 0;
	l->chance = (uint32_t)(chance ^ chance >> 32);
}

static void keep(struct lowest *l, uint32_t number, uint32_t i)
{
	uint64_t key;
	uint32_t at;

	if (l->n == PICK_MAX && number > l->key[PICK_MAX - 1] >> 32)
		return;
	key = (uint64_t)number << 32 | tie(l->chance, i);
	for (at = l->n; at > 0 && l->key[at - 1] > key; at--) {
		l->key[at] = l->key[at - 1];
		l->index[at] = l->index[at - 1];
	}
	l->key[at] = key;
	l->index[at] = i;
	if (l->n < PICK_MAX)
		l->n++;
}

static uint32_t result(const struct lowest *l, uint32_t index[PICK_MAX])
{
	for (uint32_t i = 0; i < l->n; i++)
		index[i] = l->index[i];
	return l->n;
}

#if BLOCKS
/* More open tickets than this at one endpoint are counted one by one: in 256ths they would not fit
 * 31 bits. */
#define LANE_OPEN_BITS 22
_Static_assert(LIVE_ONE == 1 << 8, "the blocks shift by 8");

#define READ(v, at) memcpy(&(v), (const void *)(at), sizeof(v))
#define ANY(v)                                                                                     \
	__extension__({                                                                            \
		__typeof__(v) v_ = (v);                                                            \
		uint64_t part_[sizeof(v_) / 8], some_ = 0;                                         \
                                                                                                   \
		READ(part_, &v_);                                                                  \
		for (unsigned k_ = 0; k_ < sizeof(v_) / 8; k_++)                                   \
			some_ |= part_[k_];                                                        \
		some_ != 0;                                                                        \
	})

/* As many are looked at one by one where a block cannot be read. */
#define STRIDE 8

/* The first endpoint from @i on that has to be looked at: it may be among the lowest, or its block
 * cannot be read. *ret_n: so many from there on. Only when three are kept already. */
#define DEFINE_PASS_OVER(name, target, width, ...)                                                 \
	target static uint32_t name(const struct lowest *l, const struct pool *pool,               \
				    const struct endpoints *e, uint32_t i, uint32_t *ret_n)        \
	{                                                                                          \
		typedef uint32_t lanes __attribute__((vector_size(4 * (width))));                  \
		typedef int32_t signed_lanes __attribute__((vector_size(4 * (width))));            \
		const lanes iota = {__VA_ARGS__};                                                  \
		const uint32_t worst = (uint32_t)(l->key[PICK_MAX - 1] >> 32);                     \
		const uint32_t worst_tie = (uint32_t)l->key[PICK_MAX - 1];                         \
                                                                                                   \
		*ret_n = STRIDE;                                                                   \
		for (; pool->n - i >= (width); i += (width)) {                                     \
			const uint32_t slot = pool->slots[i];                                      \
			lanes slots, flags, open, room, load, order, odd, near;                    \
			uint32_t each[width];                                                      \
                                                                                                   \
			if (e->max < (width) || slot > e->max - (width))                           \
				return i;                                                          \
			READ(slots, &pool->slots[i]);                                              \
			READ(flags, &e->flags[slot]);                                              \
			READ(open, &e->open[slot]);                                                \
			READ(room, &e->room[slot]);                                                \
			READ(load, &e->base[slot]);                                                \
			load += open << 8;                                                         \
			load &= (lanes)((signed_lanes)load > 0);                                   \
			odd = (open >> LANE_OPEN_BITS) | (slots ^ (iota + slot));                  \
			/* Signed: worst is below 2^31, and so is load where it is not odd. */     \
			near = (lanes)((signed_lanes)load <= (int32_t)worst) &                     \
			       (lanes)(flags == 0) & (lanes)(open < room);                         \
			if (!ANY(near | odd))                                                      \
				continue;                                                          \
			order = (iota + i) ^ l->chance;                                            \
			TIE_MIX(order);                                                            \
			near &= ~((lanes)(load == worst) & (lanes)(order > worst_tie));            \
			if (ANY(odd))                                                              \
				return i;                                                          \
			if (!ANY(near))                                                            \
				continue;                                                          \
			READ(each, &near);                                                         \
			*ret_n = 1;                                                                \
			for (uint32_t k = 0;; k++)                                                 \
				if (each[k])                                                       \
					return i + k;                                              \
		}                                                                                  \
		return i;                                                                          \
	}

DEFINE_PASS_OVER(pass_over_4, , 4, 0, 1, 2, 3)
#if defined(__x86_64__)
DEFINE_PASS_OVER(pass_over_8, __attribute__((target("avx2"))), 8, 0, 1, 2, 3, 4, 5, 6, 7)
DEFINE_PASS_OVER(pass_over_16, __attribute__((target("avx512f,avx512bw"))), 16, 0, 1, 2, 3, 4, 5, 6,
		 7, 8, 9, 10, 11, 12, 13, 14, 15)

/* VBMI2 tells the processors that do not lower their frequency for 512 bits. */
static bool wide(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vbmi2");
}
#endif

/* The narrower ones are for the rest of the pool that the wider ones leave. */
static uint32_t pass_over(const struct lowest *l, const struct pool *pool,
			  const struct endpoints *e, uint32_t i, uint32_t *ret_n)
{
	*ret_n = STRIDE;
	if (l->key[PICK_MAX - 1] >> 63)
		return i;
#if defined(__x86_64__)
	if (wide()) {
		i = pass_over_16(l, pool, e, i, ret_n);
		if (pool->n - i >= 16)
			return i;
	}
	if (__builtin_cpu_supports("avx2")) {
		i = pass_over_8(l, pool, e, i, ret_n);
		if (pool->n - i >= 8)
			return i;
	}
#endif
	return pass_over_4(l, pool, e, i, ret_n);
}
#else
#define STRIDE 8

static uint32_t pass_over(const struct lowest *l, const struct pool *pool,
			  const struct endpoints *e, uint32_t i, uint32_t *ret_n)
{
	(void)l;
	(void)pool;
	(void)e;
	*ret_n = STRIDE;
	return i;
}
#endif

uint32_t policy_least_loaded(const struct pool *pool, const struct endpoints *e,
			     const struct pick_env *env, uint32_t index[PICK_MAX])
{
	struct lowest l;
	uint32_t i = 0;

	lowest_init(&l, env->chance);
	while (i < pool->n) {
		uint32_t end, some = STRIDE;

		if (l.n == PICK_MAX && pool->n - i >= STRIDE)
			i = pass_over(&l, pool, e, i, &some);
		end = pool->n - i > some ? i + some : pool->n;
		for (; i < end; i++) {
			uint32_t slot = pool->slots[i];

			if (live_candidate(e, slot))
				keep(&l, live_load(e, slot), i);
		}
	}
	return result(&l, index);
}

static uint32_t rate_of(const struct endpoints *e, uint32_t slot)
{
	return atomic_load_explicit(&e->rate[slot], memory_order_relaxed);
}

/* An endpoint whose rate nobody knows yet is taken for an average one, so that it gets asked. */
static uint32_t usual_rate(const struct pool *pool, const struct endpoints *e)
{
	uint64_t sum = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t rate = rate_of(e, pool->slots[i]);

		if (rate) {
			sum += rate;
			n++;
		}
	}
	return n ? (uint32_t)(sum / n) : 1;
}

uint32_t policy_shortest_wait(const struct pool *pool, const struct endpoints *e,
			      const struct pick_env *env, uint32_t index[PICK_MAX])
{
	uint32_t usual = usual_rate(pool, e);
	struct lowest l;

	lowest_init(&l, env->chance);
	for (uint32_t i = 0; i < pool->n; i++) {
		uint32_t slot = pool->slots[i], rate;
		uint64_t wait;

		if (!live_candidate(e, slot))
			continue;
		rate = rate_of(e, slot);
		/* (load + this request) / rate, in 1/4096 s: 256ths over 1024ths times 2^14. */
		wait = (((uint64_t)live_load(e, slot) + LIVE_ONE) << 14) / (rate ? rate : usual);
		keep(&l, wait > UINT32_MAX ? UINT32_MAX : (uint32_t)wait, i);
	}
	return result(&l, index);
}
