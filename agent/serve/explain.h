/*
 * `spoa-inference explain`: where a body would go now, and why. Finds and asks everything once,
 * like the service would, decides with the same code, and prints.
 */
#ifndef SERVE_EXPLAIN_H
#define SERVE_EXPLAIN_H

#include <stdio.h>
#include "config/config.h"

struct explain_options {
	const char *path; /* NULL: none */
	const char
	    *content_type; /* NULL: application/json, unless the body begins like multipart */
};

/* The exit status: 0 routed, 1 not routed or nothing could be found out. */
int explain_consume(struct config *conf, const struct explain_options *options, FILE *in,
		    FILE *out);

#endif
