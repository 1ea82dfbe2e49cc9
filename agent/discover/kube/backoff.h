/*
 * How long to wait after a failure: twice as long after each, up to a limit, and at random up to
 * twice that, so that a thousand clients of a server that comes back do not come at once.
 */
#ifndef DISCOVER_KUBE_BACKOFF_H
#define DISCOVER_KUBE_BACKOFF_H

#include <stdint.h>

struct kube_backoff {
	uint32_t first_ms, most_ms;
	unsigned failures; /* in a row */
	uint64_t random;   /* state; never 0 */
};

void kube_backoff_init(struct kube_backoff *b, uint32_t first_ms, uint32_t most_ms);
/* One more failure: how long to wait. @retry_after: seconds the server asks for, or -1. */
uint64_t kube_backoff_failed(struct kube_backoff *b, int64_t retry_after);
/* From @least to less than twice as much. */
uint64_t kube_backoff_spread(struct kube_backoff *b, uint64_t least);

#endif
