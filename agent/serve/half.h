/*
 * Frames of which only the beginning is here, of all connections of a worker, and the memory they
 * take: what has arrived counts, what was announced does not. Large buffers are kept for the next
 * large frame, a few at a time and under the same bound. Worker thread.
 */
#ifndef SERVE_HALF_H
#define SERVE_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* One frame: @len of @need bytes are here. bytes is NULL when there is none. */
struct half {
	TAILQ_ENTRY(half) link;
	uint8_t *bytes;
	size_t len, need;
	size_t held; /* of the buffer, in memory and counted */
};

TAILQ_HEAD(half_list, half);

/* Buffers that are kept. */
#define HALF_SPARES 8

struct halves {
	struct half_list list; /* who began first is first */
	uint64_t bytes;        /* in memory, of the frames in the list */
	uint64_t kept;         /* and of the spares; both together stay within the limit */
	struct {
		uint8_t *bytes;
		size_t cap, held;
	} spares[HALF_SPARES];
};

void halves_init(struct halves *all);
/* No frame may be there any more. */
void halves_deinit(struct halves *all);
/* Gives one spare back; false: there is none. */
bool halves_drop_spare(struct halves *all);

/* A buffer for @need bytes, of which @len are to be there now. False: memory is short. */
bool half_begin(struct halves *all, struct half *h, size_t len, size_t need);
/* Counts what has arrived since, h->len in all. False: with it @limit would be passed. */
bool half_count(struct halves *all, struct half *h, uint64_t limit);
/* Who began first but for @h, or NULL. */
struct half *half_oldest(const struct halves *all, const struct half *h);
void half_drop(struct halves *all, struct half *h);

#endif
