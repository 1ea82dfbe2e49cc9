/*
 * Pool + endpoint state → up to three ordered candidates, or a refusal. Pure: time and chance are
 * arguments, no I/O, no lock; any thread.
 */
#ifndef PICK_PICK_H
#define PICK_PICK_H

#include "pick/endpoint.h"
#include "pick/pool.h"

#define PICK_MAX 3

enum pick_verdict {
	PICK_OK,  /* n candidates */
	PICK_ANY, /* the pool is there, HAProxy may choose: nothing known, or all full/draining
		     and when_full is queue */
	PICK_SATURATED,   /* 429 */
	PICK_NO_ENDPOINT, /* 503: every endpoint is down */
};

struct pick_result {
	enum pick_verdict verdict;
	uint32_t n;
	uint32_t index[PICK_MAX]; /* into pool->endpoints, best first, all different */
};

struct pick_env {
	uint64_t chance;          /* uniform random bits, new for each call */
	_Atomic uint32_t *cursor; /* the pool's round-robin position */
};

/*
 * Never names an endpoint with a flag set. Without a candidate: PICK_SATURATED or PICK_ANY (as
 * when_full says) when at least one is only full, PICK_NO_ENDPOINT otherwise.
 */
void pick(const struct pool *pool, const struct endpoints *e, const struct pick_env *env,
	  struct pick_result *ret);

/* A policy orders candidates. Rows of policy.def; NULL when there is none of that name. */
const struct policy *policy_find(struct view name);
const char *policy_name(const struct policy *p);

#endif
