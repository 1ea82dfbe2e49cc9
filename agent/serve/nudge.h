/*
 * Wakes a HAProxy whose ring no longer reaches us. In 2.9 to 3.1 (fixed in 3.2; haproxy issue 3153)
 * the forwarder of a ring can hang on a connection that its receiver has ended, for ever: no line
 * arrives after a restart of the agent, and load would only grow. Ending that forwarder's session
 * over the runtime socket makes HAProxy connect anew and send what its ring has kept.
 *
 * Control thread.
 */
#ifndef SERVE_NUDGE_H
#define SERVE_NUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "config/config.h"

struct event_base;
struct nudge;

struct nudge_env {
	struct event_base *base;
	const uint16_t *ports; /* TCP ports that take end-of-request lines; borrowed */
	size_t nports;
};

struct nudge *nudge_new(const struct nudge_env *env);
struct nudge *nudge_free(struct nudge *n);

/* To be called every second or so. @missing: lines are due and no ring is connected. @version:
 * HAProxy's, "" while unknown. */
void nudge_tick(struct nudge *n, const struct config *conf, const char *version, bool missing,
		uint64_t now_ns);
uint64_t nudge_count(const struct nudge *n); /* forwarders woken so far */

/* HAProxy's name of a session ("0x…"). */
#define NUDGE_ID_MAX 20
#define NUDGE_IDS    16

/* Sessions of "show sess" (brief) that may be a ring's forwarder that hangs: without a client's
 * protocol and without an end in sight. Up to @max. */
size_t nudge_suspects(struct view answer, char (*ids)[NUDGE_ID_MAX], size_t max);
/* Of the whole entries ("show sess ID") those that are a ring's forwarder to one of our ports. */
size_t nudge_forwarders(struct view answer, const uint16_t *ports, size_t nports,
			char (*ids)[NUDGE_ID_MAX], size_t max);
bool nudge_affected(const char *version);

#endif
