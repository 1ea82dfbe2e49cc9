/*
 * Routing by host, path, method and headers, as an HTTPRoute of the Gateway API says it: which
 * pool a request goes to when routes were written down, instead of following the model alone.
 *
 * One immutable table per snapshot. Rules that match a model's name by X-Gateway-Model-Name or
 * X-Gateway-Base-Model-Name are found through a hash of that name, so ten thousand of them cost a
 * request no more than two; rules without one are tried in order of precedence.
 *
 * Precedence between rules that match is Gateway API's (HTTPRouteRule): the more specific host,
 * an exact path, the longer prefix, a method, more headers; then the older route, then the route's
 * name, then the order within the route.
 */
#ifndef ROUTE_RULE_H
#define ROUTE_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

struct rules;

enum rule_path { RULE_PATH_PREFIX, RULE_PATH_EXACT };

struct rule_header {
	struct view name; /* any case */
	struct view value;
};

struct rule_backend {
	int32_t pool;    /* index into the snapshot's pools; -1: the reference leads nowhere */
	uint32_t weight; /* its share; 0: nothing */
};

/* One match of one rule. A rule with several matches is several of these. All is copied. */
struct rule_def {
	struct view host; /* absent: any; "*.example.com": one label or more in front of it */
	enum rule_path path_type;
	struct view path;   /* absent: "/" */
	struct view method; /* absent: any */
	const struct rule_header *headers;
	size_t nheaders;
	const struct rule_backend *backends;
	size_t nbackends;
	struct view route;   /* "namespace/name", for the variable `route` and for ties */
	int64_t created;     /* seconds; the older route wins a tie */
	uint32_t timeout_ms; /* 0: none */
	uint32_t listener;   /* which of the listeners' hosts it hangs on, from 1; 0: any */
	uint64_t ports;      /* of that listener host, where it hangs on; 0: any */
};

/*
 * Listeners: what requests come in by. Of those that have a request's port the one with the most
 * specific host has the request, and rules of others do not see it (the Gateway API's listener
 * isolation).
 */
struct rule_listener {
	struct view host; /* as above; each once */
	uint64_t ports;   /* bits */
};

/* The port that HAProxy tells of a request's connection → the bit that it stands for. */
struct rule_port {
	uint16_t port;
	uint8_t bit; /* 0 to 63 */
};

struct rule_listeners {
	const struct rule_listener *items;
	size_t n;
	const struct rule_port *ports; /* the first with a number counts */
	size_t nports;
};

/* The two headers that name a model, in any case. */
bool rules_is_model_header(struct view name);
bool rules_is_base_header(struct view name);

/* NULL with errno ENOMEM. */
struct rules *rules_new(const struct rule_def *defs, size_t n);
struct rules *rules_free(struct rules *r);
/* Without listeners every rule is for every request. Once; copies. 0 or -ENOMEM. */
int rules_listen(struct rules *r, const struct rule_listeners *l)
    __attribute__((warn_unused_result));
const struct rule_listeners *rules_listeners(const struct rules *r);
size_t rules_count(const struct rules *r);
/* The rule of rank @i, 0 the highest; its views live as long as the table. */
const struct rule_def *rules_at(const struct rules *r, size_t i);
/* Some rule looks at headers other than the two names of a model: HAProxy must send them. */
bool rules_want_headers(const struct rules *r);
/* Requests come in by ports that make a difference: HAProxy must send them. */
bool rules_want_port(const struct rules *r);

/*
 * Whether some rule leads requests for @model, whose base is @base, to a pool that @serves says yes
 * to, with some host, path, method and other headers. For lists of what is served.
 */
bool rules_reach(const struct rules *r, struct view model, struct view base,
		 bool (*serves)(int32_t pool, void *arg), void *arg);

/* A request. Absent views do not match a rule that wants them. */
struct rule_request {
	struct view host, path, method;
	struct view model, base; /* what the two headers will be set to */
	struct view headers;     /* req.hdrs_bin: pairs of varint-prefixed strings, ended by two
				    empty ones; absent: none were sent */
	uint32_t port; /* of HAProxy, that it came in by. One that no listener is known by, or 0:
			  the only one there is; of several, none is told from another */
};

struct rule_target {
	int32_t pool; /* -1: the rule has no backend that is there */
	uint32_t timeout_ms;
	struct view route;
	uint32_t rank; /* which rule it was, for rules_at() */
};

/* The rule of highest precedence that matches; false: none does. @chance: uniform random bits. */
bool rules_find(const struct rules *r, const struct rule_request *req, uint32_t chance,
		struct rule_target *ret);

#endif
