/*
 * What of a plan is HAProxy's business, in HAProxy's terms: backends with servers, rules for
 * headers. A copy of its own, sorted and free of what HAProxy could not take.
 */
#ifndef DISCOVER_FOLLOW_WANT_H
#define DISCOVER_FOLLOW_WANT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/plan.h"

/* Names longer than this are left out; Kubernetes allows 253 and a namespace in front. */
#define WANT_NAME_MAX 320

struct want_server {
	struct view name;
	struct sockaddr_storage addr;
	struct view where; /* the same as text, ADDRESS:PORT, IPv6 in brackets */
	bool draining;
};

struct want_pool {
	struct view backend;
	bool h2c;
	const struct want_server *servers; /* by name */
	size_t nservers;
};

struct want {
	const struct want_pool *pools; /* by backend */
	size_t npools;
	const struct plan_header *headers; /* in the plan's order */
	size_t nheaders;
	bool hdrs;            /* some rule looks at other headers: HAProxy must send them */
	bool dst_port;        /* by which port a request came in makes a difference: as above */
	struct view keywords; /* of every server line */
	/* What HAProxy cannot change while it runs, as 16 hexadecimal digits: when it has loaded
	 * another one a reload is needed. */
	char stamp[17];
	uint64_t lasting; /* the stamp without certificates */
	size_t nservers;
	size_t left_out;        /* pools, servers and header rules that HAProxy could not take */
	char left_out_why[200]; /* the first of them */
	struct arena *arena;
};

/* @keywords: of every server line, "check inter 2s …". NULL when memory is short. */
struct want *want_new(const struct plan *p, struct view keywords);
struct want *want_free(struct want *w);

/* HAProxy must have loaded the certificates that @print stands for; 0: none are known of. */
void want_certificates(struct want *w, uint64_t print);

/* haproxy.cfg, or what is loaded beside it, has a section of this name: no backend can. */
bool want_is_reserved(struct view name);
/* Of HAProxy's alphabet for names of proxies and servers, and not too long. */
bool want_is_name(struct view v);

/* NULL: not wanted. */
const struct want_pool *want_pool(const struct want *w, struct view backend);
const struct want_server *want_server(const struct want_pool *p, struct view name);

#endif
