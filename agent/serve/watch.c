#include "serve/watch.h"

#include <errno.h>

#include "serve/control.h"

static void on_added(const struct place *p, void *arg)
{
	(void)p;
	(void)arg;
}

int watch_new(struct control *c)
{
	const struct discover_env env = {
	    .base = c->base,
	    .endpoints = c->endpoints,
	    .http = c->http,
	    .dns = c->dns,
	    .places = {.added = on_added, .arg = c},
	    .arg = c,
	};

	c->discover = discover_new(&env, c->conf);
	return c->discover ? 0 : -ENOMEM;
}

void watch_free(struct control *c)
{
	c->discover = discover_free(c->discover);
}

void watch_tick(struct control *c)
{
	(void)c;
}

void watch_describe(const struct control *c, uint32_t slot, struct cJSON *o)
{
	(void)c;
	(void)slot;
	(void)o;
}

uint64_t watch_checks(const struct control *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->nworkers; i++)
		n += stat_get(&c->workers[i].stats->health_checks);
	return n;
}
