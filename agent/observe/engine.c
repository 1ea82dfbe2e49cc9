/*
 * The engine table applied to a page.
 *
 * One pass over the lines. A line is compared with the prefix of each engine that is looked for
 * (usually one), then its next byte with those that the engine's names have there: the very most
 * lines of a page are histogram buckets and end at that byte. A line that is wanted is parsed and
 * added to its row's sum. What a page says is put together from the rows at the end.
 *
 * Everything is bounded: the rows by the table, the ranks that are told apart by RANKS_MAX; a page
 * with more is bad, not half read.
 */
#include "observe/engine.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "observe/promtext.h"

#define RANKS_MAX 512 /* (row, dp_rank) pairs of one page */
#define KV_SLACK  1.5 /* a fraction a little above 1 is rounding; more is something else */

enum quantity { WAITING, RUNNING, KV_USAGE, KV_BLOCKS, BLOCK_SIZE, QUANTITIES };
enum aggregate { SUM, MEAN, MAX, RANKS_SUM, RANKS_MEAN };

struct row {
	enum engine engine;
	enum quantity quantity;
	unsigned alternative;
	struct view metric;
	const char *label, *value;
	enum aggregate aggregate;
	const char *from;
};

static const struct row rows[] = {
#define ENGINE(symbol, name, prefix, configured)
#define METRIC(e, quantity, alternative, metric, label, value, aggregate, from)                    \
	{ENGINE_##e, quantity, alternative, VIEW_LIT(metric), label, value, aggregate, from},
#include "observe/engine.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct {
	const char *name;
	struct view prefix;
	int configured;
} engines[ENGINES] = {
    [ENGINE_NONE] = {"none", {"", 0}, CONFIG_ENGINE_NONE},
#define ENGINE(symbol, name, prefix, configured)                                                   \
	[ENGINE_##symbol] = {name, VIEW_LIT(prefix), configured},
#define METRIC(engine, quantity, alternative, metric, label, value, aggregate, from)
#include "observe/engine.def"
};

struct tally {
	unsigned n;
	double sum, max;
};

struct rank {
	size_t row;
	uint64_t rank; /* hash of dp_rank's value */
	double max;
};

/* An engine that is looked for. */
struct wanted {
	enum engine engine;
	struct view prefix;
	size_t first, end;       /* its rows */
	uint32_t next[256 / 32]; /* the bytes that its names have behind the prefix */
};

struct reading {
	bool seen[ENGINES];
	const char *bad[ENGINES];
	struct tally tallies[ROWS];
	struct rank ranks[RANKS_MAX];
	size_t nranks;
};

const char *engine_name(enum engine e)
{
	return engines[e].name;
}

/* Collecting */

static uint64_t hash(struct view v)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (size_t i = 0; i < v.len; i++)
		h = (h ^ (unsigned char)v.ptr[i]) * UINT64_C(1099511628211);
	return h;
}

static bool note_rank(struct reading *r, size_t row, struct view labels, double value)
{
	uint64_t rank = hash(promtext_label_find(labels, VIEW_LIT("dp_rank")));

	for (size_t i = 0; i < r->nranks; i++) {
		if (r->ranks[i].row == row && r->ranks[i].rank == rank) {
			if (value > r->ranks[i].max)
				r->ranks[i].max = value;
			return true;
		}
	}
	if (r->nranks == RANKS_MAX)
		return false;
	r->ranks[r->nranks++] = (struct rank){row, rank, value};
	return true;
}

static bool is_load(const struct row *row)
{
	return row->quantity == WAITING || row->quantity == RUNNING;
}

/* A number that may be added up; the load is held to more than the rest. */
static bool is_sane(const struct row *row, double value)
{
	double most = row->quantity == KV_USAGE ? KV_SLACK : ENGINE_REQUESTS_MAX;

	if (row->quantity == KV_BLOCKS || row->quantity == BLOCK_SIZE)
		most = 1e12;
	return value >= 0 && value <= most; /* false for NaN, too */
}

/* A bad load spoils the page; a bad share of the cache is as good as none. */
static void spoil(struct reading *r, size_t row)
{
	if (is_load(&rows[row]))
		r->bad[rows[row].engine] = rows[row].metric.ptr;
	else
		r->tallies[row].sum = NAN;
}

static void note(struct reading *r, size_t row, const struct promtext_sample *s)
{
	struct tally *t = &r->tallies[row];
	double value = s->value;

	if (rows[row].label &&
	    !promtext_value_is(promtext_label_find(s->labels, view_str(rows[row].label)),
			       view_str(rows[row].value)))
		return;
	if (rows[row].from) {
		struct view text = promtext_label_find(s->labels, view_str(rows[row].from));

		/* "None" where the server does not know yet. */
		if (promtext_number(text, &value) < 0)
			return;
	}
	t->n++;
	if (!is_sane(&rows[row], value)) {
		spoil(r, row);
		return;
	}
	t->sum += value;
	if (value > t->max)
		t->max = value;
	if ((rows[row].aggregate == RANKS_SUM || rows[row].aggregate == RANKS_MEAN) &&
	    !note_rank(r, row, s->labels, value))
		spoil(r, row);
}

static void read_line(struct reading *r, const struct wanted *w, struct view line)
{
	struct promtext_sample sample;
	bool parsed = false, broken = false;

	for (size_t row = w->first; row < w->end; row++) {
		if (!promtext_is(line, rows[row].metric))
			continue;
		if (!parsed) {
			parsed = true;
			broken = promtext_parse(line, &sample) < 0;
		}
		if (broken)
			spoil(r, row);
		else
			note(r, row, &sample);
	}
}

static void read_page(struct reading *r, const struct wanted *wanted, size_t n, struct view page)
{
	struct promtext p = promtext_open(page);
	enum promtext_kind kind;
	struct view line;

	while (promtext_next(&p, &kind, &line)) {
		for (const struct wanted *w = wanted; w < wanted + n; w++) {
			unsigned char next;
			bool begins_so;

			if (line.len <= w->prefix.len || line.ptr[0] != w->prefix.ptr[0])
				continue;
			next = (unsigned char)line.ptr[w->prefix.len];
			begins_so = w->next[next / 32] >> next % 32 & 1;
			if ((!begins_so && r->seen[w->engine]) ||
			    memcmp(line.ptr, w->prefix.ptr, w->prefix.len) != 0)
				continue;
			r->seen[w->engine] = true;
			if (begins_so && kind == PROMTEXT_SAMPLE)
				read_line(r, w, line);
		}
	}
}

/* Rows of one engine stand together in the table. */
static size_t look_for(int configured, struct wanted *wanted)
{
	size_t n = 0;

	for (size_t row = 0; row < ROWS; row++) {
		enum engine e = rows[row].engine;
		unsigned char next = (unsigned char)rows[row].metric.ptr[engines[e].prefix.len];

		if (configured != CONFIG_ENGINE_AUTO && engines[e].configured != configured)
			continue;
		if (n == 0 || wanted[n - 1].engine != e)
			wanted[n++] =
			    (struct wanted){.engine = e, .prefix = engines[e].prefix, .first = row};
		wanted[n - 1].end = row + 1;
		wanted[n - 1].next[next / 32] |= UINT32_C(1) << next % 32;
	}
	return n;
}

/* Putting together */

static double total(const struct reading *r, size_t row)
{
	const struct tally *t = &r->tallies[row];
	double sum = 0;
	unsigned n = 0;

	switch (rows[row].aggregate) {
	case SUM:
		return t->sum;
	case MEAN:
		return t->sum / t->n;
	case MAX:
		return t->max + 0 * t->sum; /* a spoilt sum spoils this too */
	case RANKS_SUM:
	case RANKS_MEAN:
		for (size_t i = 0; i < r->nranks; i++) {
			if (r->ranks[i].row == row) {
				sum += r->ranks[i].max;
				n++;
			}
		}
		if (rows[row].aggregate == RANKS_SUM)
			return sum + 0 * t->sum;
		return sum / n + 0 * t->sum;
	}
	return NAN;
}

/* The quantity's lowest alternative that the page has; false when it has none. */
static bool find(const struct reading *r, enum engine e, enum quantity q, double *ret)
{
	unsigned best = UINT32_MAX;
	double sum = 0;

	for (size_t row = 0; row < ROWS; row++) {
		if (rows[row].engine != e || rows[row].quantity != q || r->tallies[row].n == 0 ||
		    rows[row].alternative > best)
			continue;
		if (rows[row].alternative < best)
			sum = 0;
		best = rows[row].alternative;
		sum += total(r, row);
	}
	if (best == UINT32_MAX || isnan(sum))
		return false;
	*ret = sum;
	return true;
}

static enum engine_result conclude(const struct reading *r, enum engine e,
				   struct engine_report *ret)
{
	bool waiting, running;

	*ret = (struct engine_report){.engine = e, .kv_usage = -1, .bad = r->bad[e]};
	waiting = find(r, e, WAITING, &ret->waiting);
	running = find(r, e, RUNNING, &ret->running);
	if (find(r, e, KV_USAGE, &ret->kv_usage))
		ret->kv_usage = fmin(ret->kv_usage, 1);
	find(r, e, KV_BLOCKS, &ret->kv_blocks);
	find(r, e, BLOCK_SIZE, &ret->kv_block_size);
	if (ret->bad)
		return ENGINE_BAD;
	return waiting || running ? ENGINE_TOLD : ENGINE_SILENT;
}

static enum engine_result read_as(int configured, struct view page, struct engine_report *ret)
{
	enum engine_result best = ENGINE_ABSENT;
	struct wanted wanted[ENGINES];
	size_t n = look_for(configured, wanted);
	struct reading r;

	/* Not the ranks: they count as far as nranks says. */
	memset(&r, 0, offsetof(struct reading, ranks));
	r.nranks = 0;
	*ret = (struct engine_report){.engine = ENGINE_NONE, .kv_usage = -1};
	read_page(&r, wanted, n, page);
	for (size_t i = 0; i < n; i++) {
		struct engine_report report;
		enum engine_result result;

		if (!r.seen[wanted[i].engine])
			continue;
		result = conclude(&r, wanted[i].engine, &report);
		if (best == ENGINE_ABSENT || (best == ENGINE_SILENT && result != ENGINE_SILENT)) {
			best = result;
			*ret = report;
		}
	}
	return best;
}

enum engine_result engine_read(int configured, enum engine expected, struct view page,
			       struct engine_report *ret)
{
	/* All rows that answer to what was expected: Triton may load the other backend. */
	if (configured == CONFIG_ENGINE_AUTO && expected != ENGINE_NONE) {
		enum engine_result result = read_as(engines[expected].configured, page, ret);

		if (result == ENGINE_TOLD || result == ENGINE_BAD)
			return result;
	}
	return read_as(configured, page, ret);
}
