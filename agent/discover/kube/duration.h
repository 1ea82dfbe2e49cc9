/* Durations as the Gateway API writes them (GEP-2257): 300s, 1h30m, 500ms. */
#ifndef DISCOVER_KUBE_DURATION_H
#define DISCOVER_KUBE_DURATION_H

#include <stdbool.h>
#include <stdint.h>
#include "base/view.h"

/* One to four times: one to five digits and h, m, s or ms. */
bool kube_duration_parse(struct view text, uint64_t *ret_ms);

#endif
