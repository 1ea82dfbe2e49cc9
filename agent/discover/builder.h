/*
 * Configuration and plan + who is there + which models they have → one snapshot. Nothing is asked
 * here and nothing is kept: the same facts make the same snapshot.
 */
#ifndef DISCOVER_BUILDER_H
#define DISCOVER_BUILDER_H

#include "discover/asker.h"
#include "discover/intern.h"
#include "discover/poolset.h"
#include "discover/seed.h"
#include "discover/snapshot.h"

/* Most variant pools of one snapshot, and most endpoint places in all of them (some 40 MB). Models
 * past these use the whole pool. */
#define BUILDER_VARIANTS 4096
#define BUILDER_PLACES   262144

struct builder_input {
	const struct poolset *pools;
	struct roster *roster;
	/* What the server in @slot says of its models (asker_view()). */
	void (*models)(uint32_t slot, struct asker_view *ret, void *arg);
	void *arg;
	struct intern *pool_names, *model_names; /* indices of counters */
	struct seed seed;
	bool awaited; /* a plan is to come */
	/* Whether HAProxy has the backend of a plan's pool; NULL: it has. */
	bool (*has_backend)(struct view backend, void *arg);
	void *has_backend_arg;
	bool ready;
};

/* What was left out or decided, each with the first example. */
struct builder_notes {
	size_t doubles;   /* models of a later pool that an earlier one serves */
	size_t no_room;   /* models past limits.models */
	size_t no_pools;  /* pools past limits.pools */
	size_t no_slots;  /* servers past limits.endpoints */
	size_t unsplit;   /* models that use a whole pool for want of room for a variant */
	size_t targets;   /* targets of aliases that nobody serves */
	size_t seeded;    /* pools that stand on HAProxy's map so far */
	size_t modelless; /* pools without any model */
	size_t untold;    /* of whose models nothing is known: their servers do not answer yet */
	char modelless_pool[129], no_room_pool[129];
	char double_model[MODELS_NAME_MAX + 1], double_first[129], double_later[129];
	char target_alias[MODELS_NAME_MAX + 1], target_model[MODELS_NAME_MAX + 1];
};

/* 0 and *ret with version 0, or -ENOMEM. */
int builder_build(const struct builder_input *in, struct snapshot **ret,
		  struct builder_notes *ret_notes) __attribute__((warn_unused_result));

#endif
