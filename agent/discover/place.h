/*
 * One model server as discover/ knows it: what the rest of the house needs to ask it and to name
 * it. Strings belong to discover/ and are good until the place is removed or changed; a hook that
 * wants to keep one copies it. Control thread only.
 */
#ifndef DISCOVER_PLACE_H
#define DISCOVER_PLACE_H

#include <netinet/in.h>
#include <stdint.h>
#include "config/config.h"

struct place {
	uint32_t slot;       /* of pick/endpoint.h, for as long as the place is there */
	const char *pool;    /* the first pool in the configuration's order that it belongs to */
	const char *backend; /* HAProxy's backend */
	const char *server;  /* HAProxy's name of it, or NULL: reached by dst */
	const char *name;    /* what logs and labels call it; never NULL */
	const char *url;     /* scheme://host:port without a path; NULL: nothing to ask there */
	const char
	    *connect_to;     /* IP to connect to when @url names a host; NULL: @url holds the IP */
	const char *metrics; /* a metrics URL of its own; NULL: @url and scrape->metrics_path */
	struct sockaddr_storage addr;       /* family 0: not known */
	const struct config_scrape *scrape; /* of the configuration in use */
};

/* What is told as places come and go. All are called on the control thread from within discover/;
 * they must not call back into it. Any may be NULL. */
struct place_hooks {
	/* Before the first snapshot that names it. */
	void (*added)(const struct place *p, void *arg);
	/* Name, URL or scraping options differ now; the slot is the same. */
	void (*changed)(const struct place *p, void *arg);
	/* No snapshot to come names it; its slot is given back after this. */
	void (*removed)(const struct place *p, void *arg);
	void *arg;
};

#endif
