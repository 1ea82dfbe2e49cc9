/*
 * One resolution from beginning to end: Gateways, the routes attached to them, the pools that these
 * refer to, the plan. All of it is made anew each time: a thousand pods, two hundred pools and as
 * many routes take a few milliseconds, and what is never patched cannot drift.
 *
 * Two arenas: the plan's outlives the objects, so every string in it is a copy; the result's is
 * gone once statuses are compared, and its views point into the store where they can.
 */
#include "discover/kube/resolve.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "discover/kube/owner.h"
#include "discover/kube/resolve_parts.h"
#include "discover/plan.h"

#define TEXT_MAX 1024

/* --- memory --- */

void *resolve_get(struct resolving *r, size_t size)
{
	void *p = arena_get(r->arena, size);

	if (!p)
		r->failed = true;
	return p;
}

void *resolve_more(struct resolving *r, void *items, size_t n, size_t *room, size_t size)
{
	void *more;

	if (n < *room)
		return items;
	more = resolve_get(r, (*room ? *room * 2 : 16) * size);
	if (!more)
		return NULL;
	if (n)
		memcpy(more, items, n * size);
	*room = *room ? *room * 2 : 16;
	return more;
}

struct view resolve_keep(struct resolving *r, struct view v)
{
	char *copy = arena_dup(r->lasting, v);

	if (v.ptr && !copy)
		r->failed = true;
	return (struct view){copy, copy ? v.len : 0};
}

struct view resolve_text(struct resolving *r, const char *fmt, ...)
{
	char text[TEXT_MAX];
	struct view v;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	v = view_str(text);
	v.ptr = arena_dup(r->arena, v);
	if (!v.ptr) {
		r->failed = true;
		return VIEW_LIT("");
	}
	return v;
}

/* --- conditions, problems, wishes --- */

bool resolve_conditions(struct resolving *r, struct resolve_conditions *c, int64_t generation)
{
	c->items = resolve_get(r, RESOLVE_CONDITIONS_MAX * sizeof(*c->items));
	c->n = 0;
	c->generation = generation;
	return c->items != NULL;
}

void resolve_condition(struct resolve_conditions *c, const char *type, bool status,
		       const char *reason, struct view message)
{
	if (c->n < RESOLVE_CONDITIONS_MAX)
		c->items[c->n++] = (struct kube_condition){
		    .type = view_str(type),
		    .reason = view_str(reason),
		    .message = message.ptr ? message : VIEW_LIT(""),
		    .status = status ? KUBE_TRUE : KUBE_FALSE,
		    .generation = c->generation,
		};
}

static struct view keep(struct resolving *r, struct view v)
{
	char *copy = arena_dup(r->arena, v.ptr ? v : VIEW_LIT(""));

	r->failed |= !copy;
	return copy ? (struct view){copy, v.len} : VIEW_LIT("");
}

void resolve_problem(struct resolving *r, const struct kube_entry *e, struct view text)
{
	struct kube_problem *items =
	    resolve_more(r, r->problems, r->nproblems, &r->problems_room, sizeof(*items));

	if (!items)
		return;
	r->problems = items;
	/* Asked for at any time, as by /state: nothing of the store's. */
	items[r->nproblems++] =
	    (struct kube_problem){e->kind, keep(r, e->namespace), keep(r, e->name), keep(r, text)};
}

struct kube_wanted *resolve_want(struct resolving *r, const struct kube_entry *e)
{
	struct kube_wanted *items =
	    resolve_more(r, r->wanted, r->nwanted, &r->wanted_room, sizeof(*items));

	if (!items)
		return NULL;
	r->wanted = items;
	items[r->nwanted] =
	    (struct kube_wanted){.kind = e->kind, .namespace = e->namespace, .name = e->name};
	return &items[r->nwanted++];
}

/* --- all of it --- */

static void report_errors(struct resolving *r)
{
	for (enum kube_kind k = 0; k < KUBE_KINDS; k++) {
		size_t n;
		const struct kube_entry *const *entries = kube_store_all(r->s, k, &n);

		for (size_t i = 0; i < n; i++)
			if (entries[i]->error)
				resolve_problem(r, entries[i],
						resolve_text(r, "%s", entries[i]->error));
	}
}

static struct kube_resolved *finish(struct resolving *r)
{
	struct kube_resolved *result = resolve_get(r, sizeof(*result));

	if (!result || r->failed)
		return NULL;
	plan_seal(r->plan);
	*result = (struct kube_resolved){
	    .plan = r->plan,
	    .wanted = r->wanted,
	    .nwanted = r->nwanted,
	    .problems = r->problems,
	    .nproblems = r->nproblems,
	    .counts = r->counts,
	    .arena = r->arena,
	};
	return result;
}

int kube_resolve(struct kube_store *s, const struct kube_settings *set, const struct plan *before,
		 struct kube_resolved **ret)
{
	struct resolving r = {
	    .s = s, .set = set, .before = before, .arena = arena_new(), .lasting = arena_new()};
	struct kube_resolved *result = NULL;

	if (r.arena && r.lasting)
		r.plan = arena_get(r.lasting, sizeof(*r.plan));
	if (r.plan) {
		r.plan->arena = r.lasting;
		r.plan->route_by_models = set->by_models;
		report_errors(&r);
		if (!set->by_models) {
			resolve_gateways(&r);
			resolve_listeners(&r);
			resolve_routes(&r);
		}
		resolve_pools(&r);
		if (!set->by_models)
			resolve_rules(&r);
		resolve_adapters(&r);
		resolve_finish(&r);
		result = finish(&r);
	}
	if (!result) {
		arena_free(r.arena);
		arena_free(r.lasting);
		return -ENOMEM;
	}
	*ret = result;
	return 0;
}

struct kube_resolved *kube_resolved_free(struct kube_resolved *r)
{
	if (r) {
		plan_free(r->plan);
		arena_free(r->arena);
	}
	return NULL;
}
