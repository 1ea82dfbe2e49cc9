/*
 * What HAProxy sent → what it shall do: read the body, find the pool, pick the endpoint.
 *
 * The pool is that of the rule that matches where there are rules; else that of the model; else
 * the default pool where the configuration says so.
 *
 * Pure but for the round-robin cursor: no I/O, no lock, no ticket; the workers, `explain` and the
 * tests call the same function.
 */
#ifndef SERVE_DECIDE_H
#define SERVE_DECIDE_H

#include <stdatomic.h>
#include "config/config.h"
#include "discover/snapshot.h"
#include "pick/pick.h"
#include "request/request.h"

enum verdict {
#define VERDICT(symbol, name, status, when) VERDICT_##symbol,
#include "serve/verdict.def"
#undef VERDICT
	VERDICT_COUNT
};

const char *verdict_name(enum verdict v);
struct view verdict_view(enum verdict v);
int verdict_status(enum verdict v);
const char *verdict_meaning(enum verdict v);

/* What of the configuration a decision needs; immutable. */
struct decide_conf {
	struct request_limits limits;
	bool no_model_default; /* a request without a model goes to the default pool */
	bool no_model_reject;  /* or is answered 404 */
	bool unknown_default;  /* an unknown model goes to the default pool */
};

struct decide_conf decide_conf_of(const struct config *conf);

struct decide_env {
	const struct decide_conf *conf;
	const struct snapshot *snapshot;
	const struct endpoints *endpoints;
	_Atomic uint32_t *cursors; /* by pool->stat */
	uint64_t chance;           /* uniform random bits, new for each call */
};

struct decision {
	enum verdict verdict;
	int status;              /* HTTP; 0: HAProxy goes on */
	bool has_model;          /* request.model is a name that may be repeated to others */
	bool has_target;         /* target was found (by name) */
	bool has_rule;           /* rule matched */
	bool unready;            /* nobody knows yet who serves it: the agent has just started */
	const struct pool *pool; /* NULL: none */
	struct route_target target;
	struct rule_target rule;
	struct pick_result pick;
	struct request request; /* must not move while the decision is used */
};

/* @where: host, path, method and headers, for rules; what it says of models is not read. */
void decide(const struct decide_env *env, const struct request_input *in,
	    const struct rule_request *where, struct decision *ret);

#endif
