/*
 * What a model server's metrics page says about its load: engine.def applied to a page.
 */
#ifndef OBSERVE_ENGINE_H
#define OBSERVE_ENGINE_H

#include <stdint.h>
#include "base/view.h"
#include "config/config.h"

enum engine {
	ENGINE_NONE,
#define ENGINE(symbol, name, prefix, configured) ENGINE_##symbol,
#define METRIC(engine, quantity, alternative, metric, label, value, aggregate, from)
#include "observe/engine.def"
	ENGINES
};

const char *engine_name(enum engine e); /* "none", "vllm", …; static */

enum engine_result {
	ENGINE_TOLD,   /* waiting, running or both were there; one that was not counts 0 */
	ENGINE_SILENT, /* the engine's page, without either: not yet, or switched off */
	ENGINE_ABSENT, /* nothing of an engine that was looked for */
	ENGINE_BAD,    /* waiting or running is no number, negative, infinite or absurd */
};

struct engine_report {
	enum engine engine; /* ENGINE_NONE when absent */
	double waiting, running;
	double kv_usage;      /* 0..1; -1: not told, or not a fraction */
	double kv_blocks;     /* of all ranks; 0: not told */
	double kv_block_size; /* tokens; 0: not told */
	const char *bad;      /* name of the metric that was bad, static; else NULL */
};

/* What counts as absurd. */
#define ENGINE_REQUESTS_MAX 1e7

/*
 * Reads @page as @configured (enum config_engine) says; with auto, as @expected first, if that is
 * not ENGINE_NONE, and as any engine when it is not (any more) that one's. Pure, no allocation,
 * time linear in the page.
 *
 * Why one missing quantity counts 0: the client libraries of these servers leave a gauge out until
 * it is first set, so what is missing beside a sibling that is there has never been anything else.
 * Both missing tells nothing, and is not taken as 0: then what we know ourselves is the load.
 */
enum engine_result engine_read(int configured, enum engine expected, struct view page,
			       struct engine_report *ret);

#endif
