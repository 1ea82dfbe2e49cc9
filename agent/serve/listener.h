/*
 * Accepts SPOP connections and deals them out to the workers, in turn. Control thread.
 */
#ifndef SERVE_LISTENER_H
#define SERVE_LISTENER_H

#include "config/config.h"
#include "serve/worker.h"

struct event_base;
struct listener;

struct listener_env {
	struct event_base *base;
	struct worker *workers;
	unsigned nworkers;
	struct worker_env *shared;
};

/* Listens on every address of listen.spop. NULL: a line was logged that says which and why. */
struct listener *listener_new(const struct listener_env *env, const struct config *conf);
/* limits.connections of a new configuration. */
void listener_reload(struct listener *l, const struct config *conf);
/* Closes the sockets and removes their files. */
struct listener *listener_free(struct listener *l);

/* Connections that were refused or could not be accepted. */
uint64_t listener_refused(const struct listener *l);

#endif
