/*
 * What HAProxy has against what is wanted: the commands that make the one the other, and whether a
 * reload is needed as well. Pure; no memory of earlier rounds, so a command that was lost is there
 * again the next time.
 */
#ifndef DISCOVER_FOLLOW_DIFF_H
#define DISCOVER_FOLLOW_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include "base/view.h"
#include "discover/follow/want.h"
#include "discover/runtime.h"

/* The question that diff_new() reads the answer of. */
#define DIFF_QUESTION "show env INFERENCE_FOLLOW;show info;show servers state;show stat -1 2 -1\n"

enum diff_kind {
	DIFF_ADD_BACKEND,
	DIFF_PUBLISH,
	DIFF_ADD,
	DIFF_MOVE,
	DIFF_CHECK,
	DIFF_READY,
	DIFF_WEIGHT,
	DIFF_DRAIN,
	DIFF_MAINT,
	DIFF_NUDGE,
	DIFF_DELETE,
	DIFF_UNPUBLISH,
	DIFF_DELETE_BACKEND,
};

struct diff_command {
	enum diff_kind kind;
	struct view text; /* without an end of line */
};

struct diff {
	struct diff_command *commands; /* in the order in which they must be given */
	size_t ncommands;
	const char *reload;    /* why a reload is needed; NULL: none is */
	size_t missing;        /* pools without a backend that takes requests */
	size_t leaving;        /* servers that are not wanted and not gone */
	struct view *backends; /* that take requests, sorted; into the answer */
	size_t nbackends;
	struct runtime_info info;
	char *text;
};

struct diff_how {
	/* This backend is one of ours: it was wanted once. */
	bool (*owns)(struct view backend, void *arg);
	void *arg;
	/* Close the idle connections of servers that are leaving, where they hold them up: now and
	 * then, for HAProxy logs it. */
	bool nudge;
};

/* @answer must outlive the diff. 0; -EAGAIN: cut off; -EACCES: refused, -EPROTO: not HAProxy's,
 * both with *ret_error, which points into @answer or is absent; -ESTALE: an old worker on its way
 * out; -ENOMEM. */
int diff_new(const struct want *w, struct view answer, const struct diff_how *how,
	     struct diff **ret, struct view *ret_error) __attribute__((warn_unused_result));
struct diff *diff_free(struct diff *d);

/* One command's answer off those of several: true and its text without the empty line that ends
 * it; false: cut off. */
bool diff_answer_next(struct view *answers, struct view *ret);
/* That is HAProxy's word for done, or for a server that still has streams. */
bool diff_accepted(enum diff_kind kind, struct view answer);

#endif
