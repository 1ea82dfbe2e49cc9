#include "serve/half.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LARGE (64 * 1024)

void halves_init(struct halves *all)
{
	*all = (struct halves){.bytes = 0};
	TAILQ_INIT(&all->list);
}

void halves_deinit(struct halves *all)
{
	while (halves_drop_spare(all))
		;
}

bool halves_drop_spare(struct halves *all)
{
	for (unsigned i = 0; i < HALF_SPARES; i++) {
		if (all->spares[i].cap) {
			munmap(all->spares[i].bytes, all->spares[i].cap);
			all->kept -= all->spares[i].held;
			all->spares[i].cap = 0;
			return true;
		}
	}
	return false;
}

static bool take_spare(struct halves *all, struct half *h)
{
	for (unsigned i = 0; i < HALF_SPARES; i++) {
		if (all->spares[i].cap == h->need) {
			h->bytes = all->spares[i].bytes;
			h->held = all->spares[i].held;
			all->spares[i].cap = 0;
			all->kept -= h->held;
			all->bytes += h->held;
			return true;
		}
	}
	return false;
}

static uint8_t *map_large(size_t cap)
{
	void *ptr = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

bool half_begin(struct halves *all, struct half *h, size_t len, size_t need)
{
	h->len = len;
	h->need = need;
	h->held = 0;
	if (need <= LARGE)
		h->bytes = malloc(need);
	else if (!take_spare(all, h))
		h->bytes = map_large(need);
	if (!h->bytes)
		return false;
	TAILQ_INSERT_TAIL(&all->list, h, link);
	return true;
}

bool half_count(struct halves *all, struct half *h, uint64_t limit)
{
	uint64_t more = h->len > h->held ? h->len - h->held : 0;

	/* What is kept for the next one goes first. */
	while (all->bytes + all->kept + more > limit && halves_drop_spare(all))
		;
	if (all->bytes + more > limit)
		return false;
	all->bytes += more;
	h->held += more;
	return true;
}

struct half *half_oldest(const struct halves *all, const struct half *h)
{
	struct half *first = TAILQ_FIRST(&all->list);

	return first && first == h ? TAILQ_NEXT(first, link) : first;
}

/* True: it is kept for the next one. */
static bool keep(struct halves *all, const struct half *h)
{
	for (unsigned i = 0; i < HALF_SPARES; i++) {
		if (all->spares[i].cap == 0) {
			all->spares[i].bytes = h->bytes;
			all->spares[i].cap = h->need;
			all->spares[i].held = h->held;
			all->kept += h->held;
			return true;
		}
	}
	return false;
}

void half_drop(struct halves *all, struct half *h)
{
	if (!h->bytes)
		return;
	TAILQ_REMOVE(&all->list, h, link);
	all->bytes -= h->held;
	if (h->need <= LARGE)
		free(h->bytes);
	else if (!keep(all, h))
		munmap(h->bytes, h->need);
	h->bytes = NULL;
	h->len = h->need = h->held = 0;
}
