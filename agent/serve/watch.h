/*
 * Discovery and scraping, wired to each other: what appears is scraped, what comes back is asked
 * for its models again. Control thread.
 */
#ifndef SERVE_WATCH_H
#define SERVE_WATCH_H

#include <stdint.h>

struct cJSON;
struct control;

/* Makes c->discover and c->scraper; they begin at once. */
int watch_new(struct control *c) __attribute__((warn_unused_result));
void watch_free(struct control *c);
/* Every second: tokens that changed, scrapes that grew old. */
void watch_tick(struct control *c);
/* Adds what the scraper knows of the endpoint to the object. */
void watch_describe(const struct control *c, uint32_t slot, struct cJSON *o);
/* Health checks answered so far, by all workers. */
uint64_t watch_checks(const struct control *c);

#endif
