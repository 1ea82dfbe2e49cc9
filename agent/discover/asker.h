/*
 * Which models each server has: GET /v1/models of every server that is watched, when it appears,
 * when it comes back, on a slow timer with jitter, and after a failure again with growing pauses.
 *
 * An answer counts until the next good one: a server that restarts keeps its models.
 */
#ifndef DISCOVER_ASKER_H
#define DISCOVER_ASKER_H

#include <stdbool.h>
#include <stdint.h>
#include "discover/models.h"
#include "discover/place.h"

struct event_base;
struct http_client;
struct asker;

struct asker_hooks {
	void (*changed)(uint32_t slot, void *arg); /* its models are others now */
	void (*settled)(void *arg);                /* an inquiry ended, well or not */
	void *arg;
};

/* @slots: endpoints_max(). Borrows the rest. NULL when memory is short. */
struct asker *asker_new(struct event_base *base, struct http_client *http, uint32_t slots,
			const struct asker_hooks *hooks);
struct asker *asker_free(struct asker *a);
/* @max_models in one list and @max_page bytes of one answer; all lists together may hold four
 * times @max_models, each list that several servers share counting once. */
void asker_limits(struct asker *a, size_t max_models, uint64_t max_page);

/* Watches it from now on, or takes note that it changed. It is asked at once. Without a URL it is
 * not asked. @p must stay until asker_forget(). */
void asker_watch(struct asker *a, const struct place *p);
void asker_forget(struct asker *a, uint32_t slot);
/* It came back: ask now. */
void asker_again(struct asker *a, uint32_t slot);

enum asker_state {
	ASKER_UNWATCHED,
	ASKER_MUTE,     /* nothing to ask there: no address */
	ASKER_WAITING,  /* not answered yet */
	ASKER_ANSWERED, /* there is a list */
	ASKER_LISTLESS, /* answers that it has no such page (404, 405, 501) */
	ASKER_FAILED,   /* asked without success, and never answered before */
};

struct asker_view {
	enum asker_state state;
	const struct models *models; /* ASKER_ANSWERED; a reference of the asker's */
	uint64_t answered_ns;        /* of that list; 0: never */
	uint32_t failures;           /* in a row, since */
	const char *error;           /* of the last; NULL */
	bool absent; /* it was: nobody there, no answer in time, or one that says later (5xx) */
	size_t skipped;
};
void asker_view(const struct asker *a, uint32_t slot, struct asker_view *ret);

/* Servers that were not asked to an end yet. */
size_t asker_pending(const struct asker *a);

#endif
