/*
 * The administration port: small HTTP pages for people, probes and Prometheus. Control thread.
 */
#ifndef SERVE_ADMIN_H
#define SERVE_ADMIN_H

#include <stdio.h>
#include "config/config.h"

struct event_base;
struct admin;

struct admin_page {
	const char *path;
	const char *content_type;
	/* Writes the body; returns the HTTP status. */
	int (*write)(void *arg, FILE *out);
};

/* Serves GET and HEAD of @pages (ended by a NULL path) on every address of listen.admin. NULL: a
 * line was logged that says which and why. */
struct admin *admin_new(struct event_base *base, const struct config *conf,
			const struct admin_page *pages, void *arg);
struct admin *admin_free(struct admin *a);

#endif
