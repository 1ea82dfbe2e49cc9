/* What outlives the answer of the runtime socket it was read from. */
#include "discover/seed.h"

#include "discover/arena.h"

struct seed seed_dup(struct arena *memory, const struct seed *seed)
{
	struct seed_pair *pairs = memory ? arena_get(memory, seed->n * sizeof(*pairs)) : NULL;
	size_t n = 0;

	for (; pairs && n < seed->n; n++) {
		pairs[n].model.ptr = arena_dup(memory, seed->pairs[n].model);
		pairs[n].backend.ptr = arena_dup(memory, seed->pairs[n].backend);
		if (!pairs[n].model.ptr || !pairs[n].backend.ptr)
			break;
		pairs[n].model.len = seed->pairs[n].model.len;
		pairs[n].backend.len = seed->pairs[n].backend.len;
	}
	return (struct seed){n, pairs};
}
