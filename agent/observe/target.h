/*
 * One server that is asked, for scrape.c only.
 */
#ifndef OBSERVE_TARGET_H
#define OBSERVE_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include "observe/scrape.h"
#include "observe/scrape_conf.h"

struct event_base;
struct endpoints;
struct http_client;

/* What all targets share; outlives them. */
struct target_env {
	struct event_base *base;
	struct endpoints *endpoints;
	struct http_client *good;    /* for servers that answered last time */
	struct http_client *failing; /* for those that did not */
	/* A round has ended. @news: taken out, back, or alive for the first time. May free the
	 * target. */
	void (*concluded)(void *arg, uint32_t slot, bool news, bool alive);
	void *arg;
};

struct target;

/* Takes @conf on success. NULL when memory is short. */
struct target *target_new(const struct target_env *env, uint32_t slot,
			  const struct scrape_conf *conf);
/* Takes back what it has told pick/. */
struct target *target_free(struct target *t);

/* The same server (scrape_conf_same_server()), asked in another way. Takes @conf. */
void target_reconfigure(struct target *t, const struct scrape_conf *conf);
/* Its next turn is now, unless one is under way. False: it is never asked. */
bool target_ask_now(struct target *t);

const struct scrape_conf *target_conf(const struct target *t);
const struct scrape_status *target_status(const struct target *t);

#endif
