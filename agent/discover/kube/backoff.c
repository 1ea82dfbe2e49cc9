/*
 * How long to wait after a failure. The numbers are client-go's (0.8 s, 30 s, jitter of once the
 * pause), which API servers are used to.
 */
#include "discover/kube/backoff.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

#define RETRY_AFTER_MAX 600

void kube_backoff_init(struct kube_backoff *b, uint32_t first_ms, uint32_t most_ms)
{
	*b = (struct kube_backoff){.first_ms = first_ms, .most_ms = most_ms};
	if (getrandom(&b->random, sizeof(b->random), GRND_NONBLOCK) != sizeof(b->random))
		b->random = clock_mono_ns();
	b->random |= 1;
}

/* xorshift64: it need not be good, only different from the others'. */
uint64_t kube_backoff_spread(struct kube_backoff *b, uint64_t least)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return least + (least ? b->random % least : 0);
}

uint64_t kube_backoff_failed(struct kube_backoff *b, int64_t retry_after)
{
	uint64_t ms = b->first_ms;

	for (unsigned i = 0; i < b->failures && ms < b->most_ms; i++)
		ms *= 2;
	if (ms > b->most_ms)
		ms = b->most_ms;
	b->failures++;
	if (retry_after > RETRY_AFTER_MAX)
		retry_after = RETRY_AFTER_MAX;
	if (retry_after > 0 && (uint64_t)retry_after * 1000 >= ms)
		return (uint64_t)retry_after * CLOCK_NS_PER_S +
		       kube_backoff_spread(b, b->first_ms * CLOCK_NS_PER_MS) -
		       b->first_ms * CLOCK_NS_PER_MS;
	return kube_backoff_spread(b, ms * CLOCK_NS_PER_MS);
}
