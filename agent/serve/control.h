/*
 * The control thread: owns everything, finds and watches, reports, reloads and drains. The rooms
 * below know nothing of one another; they are wired here.
 */
#ifndef SERVE_CONTROL_H
#define SERVE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include "config/config.h"
#include "serve/feedback.h"
#include "serve/listener.h"
#include "serve/nudge.h"
#include "serve/retired.h"
#include "serve/silent.h"
#include "serve/watch.h"
#include "serve/worker.h"

struct admin;
struct event;
struct event_base;

struct control {
	struct event_base *base;
	struct config *conf;
	struct endpoints *endpoints;
	struct tickets *tickets;
	struct watch *watch;
	struct discover *discover; /* the watch's */
	struct feedback *feedback;
	struct nudge *nudge;
	struct retired retired;
	struct silent *silent;
	struct listener *listener;
	struct admin *admin;
	struct models_page *models_page;
	struct event *tick, *drained, *signals[4];
	unsigned nworkers;
	struct worker *workers;
	struct worker_env shared;
	struct stats *begun; /* by model: what its index had counted for others before */
	struct worker_conf *worker_conf; /* published to the workers by RCU */
	uint64_t started_ns;             /* monotonic */
	uint64_t reloads, reload_failures;
	uint64_t *beats, *beat_ns; /* by worker: its count of ticks, and when that last grew */
	bool stopping;
};

/* Builds everything and listens. NULL: a line was logged that says why. Takes @conf. */
struct control *control_new_consume(struct config *conf);
/* Runs until a signal ends it. */
void control_run(struct control *c);
struct control *control_free(struct control *c);

/* Everything was found once, and it is not draining. */
bool control_ready(const struct control *c);
/* Every worker's own tick has come within the last seconds. */
bool control_alive(const struct control *c);

#endif
