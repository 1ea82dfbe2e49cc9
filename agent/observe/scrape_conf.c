/*
 * How one target is asked. Values without sense are made sensible here (no interval of 0, no
 * verdict after 0 failures), so that scrape.c can divide and compare as it likes.
 */
#include "observe/scrape_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static const char *const default_paths[SCRAPE_CONF_URLS] = {"/metrics", "/prometheus/metrics"};

static char *copy(const char *text, bool *failed)
{
	char *r = text ? strdup(text) : NULL;

	if (text && !r)
		*failed = true;
	return r;
}

static char *join(const char *url, const char *path, bool *failed)
{
	size_t len = strlen(url);
	char *r;

	while (len && url[len - 1] == '/')
		len--;
	if (asprintf(&r, "%.*s%s%s", (int)len, url, path[0] == '/' ? "" : "/", path) < 0) {
		*failed = true;
		return NULL;
	}
	return r;
}

static void make_urls(struct scrape_conf *c, const struct scrape_target *target, bool *failed)
{
	/* trtllm-serve has its metrics at the second path; what it has at the first is taken away
	 * from others by being read. */
	unsigned first = target->engine == CONFIG_ENGINE_TRTLLM;

	if (target->metrics) {
		c->urls[c->nurls++] = copy(target->metrics, failed);
	} else if (target->metrics_path) {
		c->urls[c->nurls++] = join(target->url, target->metrics_path, failed);
	} else {
		for (unsigned i = 0; i < SCRAPE_CONF_URLS; i++)
			c->urls[c->nurls++] = join(target->url, default_paths[i ^ first], failed);
	}
}

int scrape_conf_init(struct scrape_conf *c, const struct scrape_target *target)
{
	bool failed = false;

	*c = (struct scrape_conf){
	    .tls_verify = target->tls_verify,
	    .engine = target->engine,
	    .failures = target->failures ? target->failures : 1,
	    .timeout_ms = target->timeout_ms,
	    .interval_ns = (target->interval_ms ? target->interval_ms : 1) * CLOCK_NS_PER_MS,
	    .stale_ns = target->stale_ms * CLOCK_NS_PER_MS,
	    .max_page = target->max_page,
	};
	c->name = copy(target->name ? target->name : target->url, &failed);
	c->connect_to = copy(target->connect_to, &failed);
	c->bearer = copy(target->bearer, &failed);
	c->ca_file = copy(target->ca_file, &failed);
	make_urls(c, target, &failed);
	return failed ? -ENOMEM : 0;
}

void scrape_conf_deinit(struct scrape_conf *c)
{
	free(c->name);
	for (unsigned i = 0; i < SCRAPE_CONF_URLS; i++)
		free(c->urls[i]);
	free(c->connect_to);
	if (c->bearer)
		explicit_bzero(c->bearer, strlen(c->bearer));
	free(c->bearer);
	free(c->ca_file);
	*c = (struct scrape_conf){0};
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool scrape_conf_same_server(const struct scrape_conf *a, const struct scrape_conf *b)
{
	if (a->nurls != b->nurls || a->engine != b->engine ||
	    !same_text(a->connect_to, b->connect_to))
		return false;
	for (unsigned i = 0; i < a->nurls; i++)
		if (!same_text(a->urls[i], b->urls[i]))
			return false;
	return true;
}

bool scrape_conf_same_bearer(const struct scrape_conf *a, const struct scrape_conf *b)
{
	return same_text(a->bearer, b->bearer);
}
