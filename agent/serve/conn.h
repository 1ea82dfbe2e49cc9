/*
 * One SPOP connection: bytes in, decisions, bytes out. Worker thread only.
 */
#ifndef SERVE_CONN_H
#define SERVE_CONN_H

#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Serves @fd, non-blocking, which it takes in any case. @crowded: one that is idle goes for it, or
 * else it is refused. */
void conn_accept(struct worker *w, int fd, bool crowded);
/* Tells a peer that there are too many, and closes. Any thread. */
void conn_refuse(int fd);
/* Closes those whose deadline has passed. */
void conn_expire(struct worker *w, uint64_t now_ns);
/* Says goodbye to every peer. */
void conn_close_all(struct worker *w);
/* Frees what was closed; never from inside a connection's callback. */
void conn_reap(struct worker *w);

#endif
