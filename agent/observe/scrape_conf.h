/*
 * How one target is asked, for scrape.c only: a scrape_target with its strings copied and its URLs
 * made.
 */
#ifndef OBSERVE_SCRAPE_CONF_H
#define OBSERVE_SCRAPE_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include "observe/scrape.h"

#define SCRAPE_CONF_URLS 2

struct scrape_conf {
	char *name, *connect_to, *bearer, *ca_file;
	char *urls[SCRAPE_CONF_URLS]; /* tried in this order, from the one that last had a page */
	unsigned nurls;
	bool tls_verify;
	int engine;
	uint32_t failures, timeout_ms;
	uint64_t interval_ns, stale_ns, max_page;
};

/* 0, or -ENOMEM; scrape_conf_deinit() in both cases. */
int scrape_conf_init(struct scrape_conf *c, const struct scrape_target *target)
    __attribute__((warn_unused_result));
void scrape_conf_deinit(struct scrape_conf *c);

/* Whether what is known about the one still holds for the other. */
bool scrape_conf_same_server(const struct scrape_conf *a, const struct scrape_conf *b);
bool scrape_conf_same_bearer(const struct scrape_conf *a, const struct scrape_conf *b);

#endif
