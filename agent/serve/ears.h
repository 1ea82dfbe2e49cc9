/*
 * Where HAProxy's lines come in: connections of its rings, and datagrams. Whole lines without their
 * framing go to a hook. Control thread.
 */
#ifndef SERVE_EARS_H
#define SERVE_EARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"
#include "config/config.h"

struct event_base;
struct ears;

struct ears_hooks {
	/* @line dies with the call; @now_ns is when it was read. */
	void (*line)(void *arg, struct view line, uint64_t now_ns, bool datagram);
	/* The stream that said @rest is closed for it. */
	void (*broken)(void *arg, struct view rest, const char *why);
	void *arg;
};

/* Listens on every address of listen.feedback: IP:PORT takes TCP and UDP, unix@PATH datagrams.
 * NULL: a line was logged that says which and why. */
struct ears *ears_new(struct event_base *base, const struct config *conf,
		      const struct ears_hooks *hooks);
struct ears *ears_free(struct ears *e);

/* To be called every second or so: doors that rest for want of descriptors open again. */
void ears_tick(struct ears *e);

/* Streams there are now, and when one ended last; 0: none did. */
unsigned ears_streams(const struct ears *e);
uint64_t ears_closed_ns(const struct ears *e);
/* The TCP ports listened on; as long as @e lives. */
const uint16_t *ears_ports(const struct ears *e, size_t *ret_n);

#endif
