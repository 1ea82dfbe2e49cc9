#include "serve/stats.h"

#include <stdlib.h>

static const uint64_t bounds[STATS_BUCKETS - 1] = STATS_BOUNDS;

struct stats *stats_new(uint32_t nmodels)
{
	struct stats *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->nmodels = nmodels;
	s->models = calloc(nmodels, sizeof(*s->models));
	if (!s->models)
		return stats_free(s);
	return s;
}

struct stats *stats_free(struct stats *s)
{
	if (s) {
		free(s->models);
		free(s);
	}
	return NULL;
}

void stats_time(struct stats *s, uint64_t ns)
{
	unsigned i = 0;

	while (i < STATS_BUCKETS - 1 && ns > bounds[i])
		i++;
	stat_add(&s->buckets[i], 1);
	stat_add(&s->sum_ns, ns);
}

static void add_all(stat_t *sum, const stat_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stat_add(&sum[i], stat_get(&from[i]));
}

void stats_sum(struct stats *sum, const struct stats *from)
{
	add_all(sum->verdicts, from->verdicts, VERDICT_COUNT);
	add_all(&sum->truncated, &from->truncated, 1);
	add_all(&sum->any, &from->any, 1);
	add_all(&sum->bytes, &from->bytes, 1);
	add_all(sum->buckets, from->buckets, STATS_BUCKETS);
	add_all(&sum->sum_ns, &from->sum_ns, 1);
	add_all(&sum->frames, &from->frames, 1);
	add_all(&sum->accepted, &from->accepted, 1);
	add_all(sum->closed_by, from->closed_by, sizeof(sum->closed_by) / sizeof(stat_t));
	add_all(&sum->health_checks, &from->health_checks, 1);
	for (uint32_t i = 0; i < sum->nmodels; i++)
		add_all(sum->models[i].verdicts, from->models[i].verdicts, VERDICT_COUNT);
}
