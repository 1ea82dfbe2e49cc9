/*
 * The administration port: small HTTP pages for people, probes and Prometheus. Control thread.
 */
#ifndef SERVE_ADMIN_H
#define SERVE_ADMIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/view.h"
#include "config/config.h"

struct event_base;
struct admin;

struct admin_page {
	const char *path;
	const char *content_type;
	/* Writes the body; returns the HTTP status. */
	int (*write)(void *arg, FILE *out);
	bool open; /* for probes: no token is wanted */
	/* The same for PATH/REST, as it was sent; NULL: there is nothing below. */
	int (*write_below)(void *arg, struct view rest, FILE *out);
};

/* What happened at the door since the start. */
struct admin_counts {
	uint64_t accepted, unauthorized;
	uint64_t evicted; /* made room at limits.admin_connections */
	uint64_t late;    /* past timeouts.admin */
	uint64_t held;    /* times that TLS handshakes came too fast, and had to wait */
};

/* Serves GET and HEAD of @pages (ended by a NULL path) on every address of listen.admin, with the
 * TLS and the token that @conf names on those that are not unix sockets. NULL: a line was logged
 * that says which and why. */
struct admin *admin_new(struct event_base *base, const struct config *conf,
			const struct admin_page *pages, void *arg);
/* Limits and times of @conf, and the certificate as it is on disk now. One that cannot be used is
 * logged, and the old one stays. */
void admin_reload(struct admin *a, const struct config *conf);
struct admin *admin_free(struct admin *a);

struct admin_counts admin_counts(const struct admin *a);

#endif
