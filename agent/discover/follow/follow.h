/*
 * Our own HAProxy follows a plan: pools are its backends, members its servers.
 *
 * Two files in a folder that HAProxy loads from always say what is wanted, so any HAProxy that
 * starts or reloads has it; what can be changed while it runs is changed at once through the
 * runtime socket; only what cannot (a new backend before 3.4, header rules) asks the master for a
 * reload, at most one per reload_ms. What HAProxy has is read back after each change and every
 * poll_ms, so that a restart, a lost command or somebody's manual change is put right by itself.
 *
 * HAProxy is started as
 *   haproxy -W -S MASTER -f DIR/00-inference-env.cfg -f haproxy.cfg -f DIR/90-inference-pools.cfg
 * Both files must exist then; empty ones are enough, but the environment must say INFERENCE_POOLS=1
 * and INFERENCE_KUBERNETES=1 as the first file would.
 */
#ifndef DISCOVER_FOLLOW_FOLLOW_H
#define DISCOVER_FOLLOW_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/view.h"

#define FOLLOW_ENV_FILE   "00-inference-env.cfg"
#define FOLLOW_POOLS_FILE "90-inference-pools.cfg"

/* Checked every two seconds, suspected at once when connections fail. Commands at run time take
 * nothing from a `default-server` line, so every server has them in full. */
#define FOLLOW_KEYWORDS                                                                            \
	"check inter 2s fastinter 500ms downinter 1s fall 3 rise 1 "                               \
	"observe layer4 error-limit 5 on-error fastinter"

struct event_base;
struct follow;
struct plan;

/* Texts are borrowed until the next follow_reload() or follow_free(). */
struct follow_conf {
	const char *dir;    /* of the generated files */
	const char *socket; /* runtime socket, level admin: a path or HOST:PORT */
	const char *master; /* master socket; NULL or "": nobody can be asked to reload */
	uint32_t poll_ms, timeout_ms;
	uint64_t max_answer;
	uint32_t reload_ms; /* at most one reload in this time */
	const char
	    *keywords; /* of every server line, as haproxy.cfg has them; NULL: FOLLOW_KEYWORDS */
	const char *certificates; /* HAProxy's: a folder or a file; when it changes HAProxy is
				     reloaded; NULL: not looked at */
};

struct follow_hooks {
	/* HAProxy's backends are others than before, or HAProxy is another process: what
	 * follow_has() says may have changed. May be NULL. */
	void (*backends)(void *arg);
	void *arg;
};

/* Nothing is written or asked before the first follow_want(). NULL when memory is short. */
struct follow *follow_new(struct event_base *base, const struct follow_hooks *hooks,
			  const struct follow_conf *conf);
struct follow *follow_free(struct follow *f);
/* Keywords count from the next follow_want() on, all else at once. */
void follow_reload(struct follow *f, const struct follow_conf *conf);

/* This is wanted from now on; @p is read during the call only. The files are written before it
 * returns, the rest goes its way on the loop. 0, or -ENOMEM and what was wanted before stays. */
int follow_want(struct follow *f, const struct plan *p) __attribute__((warn_unused_result));

/* The HAProxy that answered last has this backend and sends requests to it. A pool that is named to
 * HAProxy earlier is answered by its default_backend. */
bool follow_has(const struct follow *f, struct view backend);

enum follow_state {
	FOLLOW_WAITING, /* nothing is wanted yet, or HAProxy has not answered yet */
	FOLLOW_BUSY,    /* commands or a reload are under way or due */
	FOLLOW_CURRENT, /* HAProxy has what is wanted */
	FOLLOW_FAILED,  /* see error; tried again */
};
const char *follow_state_name(enum follow_state s);

struct follow_status {
	enum follow_state state;
	char version[32]; /* HAProxy's; "" before it answered */
	uint32_t pid;
	uint64_t current_ns;   /* clock_mono_ns() when HAProxy last had all; 0: never */
	size_t pools, servers; /* wanted */
	size_t missing;        /* pools that HAProxy does not have yet */
	size_t leaving;        /* servers that are not wanted any more and still have streams */
	uint64_t commands, refusals, reloads, reload_failures, writes;
	const char *error;      /* NULL: none; of the sockets, commands and reloads */
	const char *file_error; /* NULL: none; of the files */
};
void follow_status(const struct follow *f, struct follow_status *ret);

#endif
