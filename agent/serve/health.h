/*
 * `spoa-inference health`: is the agent that runs beside us well? For health checks where there is
 * no shell and no curl, such as the agent's own image.
 */
#ifndef SERVE_HEALTH_H
#define SERVE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HEALTH_TIMEOUT_MS 2000

struct health_options {
	/* The configuration whose listen.admin is asked, the first address that answers. One that
	 * cannot be read does not make a running agent ill: then its default address is asked, and
	 * @err told. NULL: the default address. */
	const char *file;
	/* Instead of that: http(s)://IP:PORT[/PATH] or unix@PATH; IP may be localhost. */
	const char *url;
	bool ready;          /* /readyz instead of /healthz */
	uint32_t timeout_ms; /* for everything together; 0: HEALTH_TIMEOUT_MS */
};

/* The exit status: 0 the answer was 200, 1 it was not or there was none, 2 @url is none. One line
 * on @out says what was asked and answered. */
int health_ask(const struct health_options *options, FILE *out, FILE *err);

#endif
