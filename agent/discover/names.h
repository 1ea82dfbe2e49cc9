/*
 * Host names and what they resolve to now, each looked up again as its time to live says.
 *
 * The last good answer stays in use until the next good one, however long that takes: a name
 * server that fails, an empty answer and NXDOMAIN are no news of model servers, but of the name
 * service. An IP literal is a name that has answered already and is never looked up.
 */
#ifndef DISCOVER_NAMES_H
#define DISCOVER_NAMES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config/config.h"

struct event_base;
struct dns;
struct names;
struct name;

/* @changed: an address came or went; @settled: a look-up ended, well or not. */
struct names_hooks {
	void (*changed)(void *arg);
	void (*settled)(void *arg);
	void *arg;
};

struct names *names_new(struct event_base *base, struct dns *dns, const struct names_hooks *hooks);
struct names *names_free(struct names *n);
/* TTL bounds and the like come from here; borrowed until the next call. */
void names_options(struct names *n, const struct config *conf);

/* Follows @host from now on. NULL when memory is short. Every names_follow() is one reference. */
struct name *names_follow(struct names *n, const char *host);
void name_unref(struct name *name);

struct name_view {
	const char *host;
	size_t n; /* port 0 in each; sorted, without repetitions */
	const struct sockaddr_storage *addrs;
	bool answered, ended; /* ever well; ever at all, well or not */
	bool refused;         /* the name service said that there is no such name */
	uint64_t answered_ns;
	uint32_t failures; /* in a row */
	const char *error; /* of the last look-up; NULL */
	size_t dropped;    /* addresses beyond dns.max_addresses */
};
void name_view(const struct name *name, struct name_view *ret);

/* One after the other, for reports; NULL: the first. */
struct name *names_next(const struct names *n, struct name *after);
size_t names_pending(const struct names *n); /* not ended once yet */

/* True when @host is an IP address; *ret has port 0. */
bool names_literal(const char *host, struct sockaddr_storage *ret);

#endif
