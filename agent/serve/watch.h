/*
 * Discovery and scraping, and the controller where there is one, wired to each other: what appears
 * is scraped, what comes back is asked for its models again, a plan is served. The service and
 * `explain` share it. Control thread.
 */
#ifndef SERVE_WATCH_H
#define SERVE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "discover/discover.h"
#include "observe/scrape.h"

struct kube;
struct watch;

struct watch_env {
	struct event_base *base;
	struct endpoints *endpoints;
	bool read_only; /* HAProxy and the API server are only looked at (explain) */
};

/* Begins at once; @conf is borrowed until watch_reload() or watch_free(). NULL: out of memory, or
 * a line was logged that says why. */
struct watch *watch_new(const struct watch_env *env, const struct config *conf);
struct watch *watch_free(struct watch *w);
/* 0; -ENOMEM or -EINVAL (told in the log): the old configuration stays in use. */
int watch_reload(struct watch *w, const struct config *conf) __attribute__((warn_unused_result));
/* Every second: tokens that changed on disk. */
void watch_tick(struct watch *w);

struct discover *watch_discover(const struct watch *w);
struct scraper *watch_scraper(const struct watch *w);
/* NULL: no kubernetes: is configured. */
struct kube *watch_kube(const struct watch *w);

#endif
