/* One line for each kind of thing that was left out, with its first example and the remedy. */
#include "discover/notes.h"

#include <string.h>
#include "base/log.h"

static bool same_notes(const struct builder_notes *a, const struct builder_notes *b)
{
	return a->doubles == b->doubles && a->no_room == b->no_room && a->no_pools == b->no_pools &&
	       a->no_slots == b->no_slots && a->unsplit == b->unsplit && a->targets == b->targets &&
	       a->seeded == b->seeded && a->modelless == b->modelless && a->untold == b->untold &&
	       strcmp(a->double_model, b->double_model) == 0 &&
	       strcmp(a->double_later, b->double_later) == 0 &&
	       strcmp(a->target_alias, b->target_alias) == 0 &&
	       strcmp(a->modelless_pool, b->modelless_pool) == 0 &&
	       strcmp(a->no_room_pool, b->no_room_pool) == 0;
}

static void log_count(const char *event, const char *what, size_t n, const char *remedy)
{
	struct log_line l;

	if (n == 0)
		return;
	log_begin(&l, LOG_LEVEL_WARNING, event);
	log_int(&l, what, (int64_t)n);
	log_str(&l, "remedy", remedy);
	log_end(&l);
}

void notes_log(const struct builder_notes *n, struct builder_notes *told)
{
	struct log_line l;

	if (same_notes(n, told))
		return;
	if (n->doubles) {
		log_begin(&l, LOG_LEVEL_WARNING, "model_in_two_pools");
		log_str(&l, "model", n->double_model);
		log_str(&l, "used", n->double_first);
		log_str(&l, "ignored", n->double_later);
		log_int(&l, "models", (int64_t)n->doubles);
		log_end(&l);
	}
	if (n->targets) {
		log_begin(&l, LOG_LEVEL_WARNING, "alias_without_model");
		log_str(&l, "alias", n->target_alias);
		log_str(&l, "model", n->target_model);
		log_int(&l, "targets", (int64_t)n->targets);
		log_end(&l);
	}
	if (n->modelless) {
		log_begin(&l, LOG_LEVEL_WARNING, "pool_without_models");
		log_str(&l, "pool", n->modelless_pool);
		log_int(&l, "pools", (int64_t)n->modelless);
		if (n->untold) {
			log_int(&l, "silent", (int64_t)n->untold);
			log_str(&l, "effect", "models that nobody told are answered 503, not 404");
		}
		log_str(&l, "remedy",
			"list its models where its servers tell none; a model belongs to the first "
			"pool that has it");
		log_end(&l);
	}
	if (n->no_room) {
		log_begin(&l, LOG_LEVEL_WARNING, "models_left_out");
		log_int(&l, "models", (int64_t)n->no_room);
		log_str(&l, "pool", n->no_room_pool);
		log_str(&l, "remedy",
			"raise limits.models, or write down under the pool's models which of its "
			"servers' are meant");
		log_end(&l);
	}
	log_count("endpoints_left_out", "endpoints", n->no_slots, "raise limits.endpoints");
	log_count("pools_left_out", "pools", n->no_pools, "raise limits.pools");
	log_count("models_unsplit", "models", n->unsplit,
		  "servers of one pool with fewer different sets of models");
	*told = *n;
}
