/*
 * HAProxy's fall-back map, kept as the snapshot has it: read once HAProxy is found, compared,
 * replaced as a whole where it differs (prepare, add, commit: HAProxy ≥ 2.4), read again to be
 * sure, and written as a file.
 */
#ifndef DISCOVER_MAPSYNC_H
#define DISCOVER_MAPSYNC_H

#include <stdbool.h>
#include <stdint.h>
#include "config/config.h"
#include "discover/map.h"
#include "discover/seed.h"

struct event_base;
struct mapsync;

struct mapsync_hooks {
	/* The map as HAProxy had it, once, before anything was pushed; empty when it has none, or
	 * cannot be read. @seed is good during the call. */
	void (*read)(const struct seed *seed, void *arg);
	void *arg;
};

/* @read_only: reads, never pushes or writes. @conf as with haproxy_new(). NULL when memory is
 * short. */
struct mapsync *mapsync_new(struct event_base *base, const struct mapsync_hooks *hooks,
			    const struct config *conf, bool read_only);
struct mapsync *mapsync_free(struct mapsync *s);
void mapsync_reload(struct mapsync *s, const struct config *conf);

/* A HAProxy process that was not seen before answers on the socket. */
void mapsync_found(struct mapsync *s);
/* This is what the map should hold; takes @map. */
void mapsync_want_consume(struct mapsync *s, struct map *map);

enum mapsync_state {
	MAPSYNC_OFF,     /* haproxy.map is empty, or there is no socket */
	MAPSYNC_WAITING, /* HAProxy not found yet, or nothing wanted yet */
	MAPSYNC_BUSY,
	MAPSYNC_CURRENT, /* HAProxy holds what is wanted */
	MAPSYNC_MISSING, /* HAProxy has not loaded such a map */
	MAPSYNC_FAILED,  /* see error; tried again */
};

struct mapsync_status {
	enum mapsync_state state;
	const char *path;               /* as HAProxy names it; NULL: not found */
	const char *file;               /* what is written; NULL: none */
	const char *error, *file_error; /* NULL: none */
	size_t entries, left_out;
	uint64_t pushes, failures, writes;
};
void mapsync_status(const struct mapsync *s, struct mapsync_status *ret);

#endif
