/* A loop that the test turns itself: for so long, or until something is so. */
#ifndef UNIT_DISCOVER_TURN_H
#define UNIT_DISCOVER_TURN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <event2/event.h>
#include <time.h>

#define TURN_PATIENCE_S 120

static inline void turn_for(struct event_base *base, int ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

#define TURN_UNTIL(base, what)                                                                     \
	do {                                                                                       \
		time_t turn_end = time(NULL) + TURN_PATIENCE_S;                                    \
		while (!(what)) {                                                                  \
			if (time(NULL) > turn_end)                                                 \
				fail_msg("never: %s", #what);                                      \
			turn_for(base, 5);                                                         \
		}                                                                                  \
	} while (0)

#endif
