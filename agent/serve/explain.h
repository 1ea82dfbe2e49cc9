/*
 * `spoa-inference explain`: where a body would go now, and why. Finds and asks everything once,
 * like the service would, decides with the same code, and prints.
 */
#ifndef SERVE_EXPLAIN_H
#define SERVE_EXPLAIN_H

#include <stdio.h>
#include "config/config.h"

/* Strings that are NULL were not given. */
struct explain_options {
	const char *host; /* default: the header Host */
	const char *path;
	uint32_t port;            /* of HAProxy, that it comes in by; 0: not told */
	const char *method;       /* default: POST */
	const char *content_type; /* default: the header Content-Type, else application/json */
	size_t nheaders;
	const char **headers; /* NAME: VALUE each; Content-Encoding is heeded, too */
};

/* The exit status: 0 routed; 1 not routed, or what decides it could not be found out. */
int explain_consume(struct config *conf, const struct explain_options *options, FILE *in,
		    FILE *out);

#endif
