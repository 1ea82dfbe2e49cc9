/* Metric pages: lines, samples, labels, and what each engine's rows make of them. */
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "observe/engine.h"
#include "observe/promtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sample(struct view line, const struct promtext_sample *s)
{
	const char *end = line.ptr + line.len;
	struct view labels = s->labels;
	struct promtext_label l;
	size_t n = 0;

	assert(s->name.ptr == line.ptr && s->name.len > 0 && promtext_is(line, s->name));
	assert(labels.len == 0 || (labels.ptr > line.ptr && labels.ptr + labels.len < end));
	while (promtext_label(&labels, &l)) {
		assert(l.name.len > 0 && l.value.ptr + l.value.len < end);
		assert(promtext_label_find(s->labels, l.name).ptr != NULL);
		n++;
	}
	/* A line that was taken has nothing but labels between its braces. */
	for (size_t i = 0; i < labels.len; i++)
		assert(labels.ptr[i] == ' ' || labels.ptr[i] == '\t');
	assert(n <= s->labels.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct promtext p;
	enum promtext_kind kind;
	struct view page, line;
	/* Exactly as large as the page, so that one byte too far is seen. */
	char *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	page = (struct view){copy, size};
	p = promtext_open(page);
	while (promtext_next(&p, &kind, &line)) {
		struct promtext_sample s;

		assert(line.ptr >= copy && line.ptr + line.len <= copy + size);
		if (kind == PROMTEXT_SAMPLE && promtext_parse(line, &s) == 0)
			check_sample(line, &s);
	}
	/* As any engine, and as the one that the page's length chooses. */
	for (int i = 0; i < 2; i++) {
		int configured =
		    i == 0 ? CONFIG_ENGINE_AUTO : (int)(size % (CONFIG_ENGINE_NONE + 1));
		struct engine_report r, again;
		enum engine_result result = engine_read(configured, ENGINE_NONE, page, &r);

		assert(result != ENGINE_BAD || r.bad);
		assert(r.kv_usage == -1 || (r.kv_usage >= 0 && r.kv_usage <= 1));
		assert(r.kv_blocks >= 0 && r.kv_block_size >= 0);
		if (result != ENGINE_TOLD)
			continue;
		assert(isfinite(r.waiting) && r.waiting >= 0);
		assert(isfinite(r.running) && r.running >= 0);
		/* What was found is found again when it is expected. */
		assert(engine_read(configured, r.engine, page, &again) == ENGINE_TOLD);
		assert(again.waiting == r.waiting && again.running == r.running);
	}
	free(copy);
	return 0;
}
