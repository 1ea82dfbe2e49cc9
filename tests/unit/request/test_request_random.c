#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <cjson/cJSON.h>

#include "unit/request/generate.h"
#include "unit/request/readers.h"
#include "unit/request/reference.h"
#include "unit/request/slices.h"

/*
 * Random bodies against the reference reader and cJSON, sent in random slices. SPOA_TEST_ROUNDS
 * and SPOA_TEST_SEED change how many and which; a failure names its seed.
 */

#define ROOM (1 << 20)

static char room[ROOM];
static char name[64];
static const struct request_limits limits = {512, 16384, false};

static unsigned long from_env(const char *key, unsigned long value)
{
	const char *s = getenv(key);

	return s ? strtoul(s, NULL, 10) : value;
}

static struct gen begin(unsigned long round)
{
	struct gen g = {.out = room, .room = ROOM};

	g.seed = (from_env("SPOA_TEST_SEED", 1) << 32) + round * 2 + 1;
	snprintf(name, sizeof(name), "seed %lu round %lu", from_env("SPOA_TEST_SEED", 1), round);
	slices_name = name;
	for (int i = 0; i < 8; i++)
		gen_next(&g);
	return g;
}

static struct request_input whole_of(const struct gen *g, const char *type)
{
	return (struct request_input){
	    .body = {g->out, g->n},
	    .content_type = view_str(type),
	    .body_len = -1,
	    .body_size = -1,
	    .content_length = (int64_t)g->n,
	};
}

static void wrong(const struct gen *g, const struct request *r, const char *what)
{
	fprintf(stderr, "%s: %s\n%.*s\n", name, what, (int)(g->n < 4000 ? g->n : 4000), g->out);
	slices_print("got", r);
	abort();
}

static void against_reference(const struct gen *g, const struct request *r)
{
	static const enum request_status verdicts[] = {
	    [REF_OK] = REQUEST_OK, [REF_NO_MODEL] = REQUEST_NO_MODEL, [REF_BAD] = REQUEST_BAD};
	static struct ref_answer a;

	ref_answer(&a, g->out, g->n, limits.max_depth);
	if (r->status != verdicts[a.verdict])
		wrong(g, r, "the reference says otherwise");
	if (a.verdict == REF_OK && (!view_eq(r->model, (struct view){a.name, a.name_len}) ||
				    r->model_at != (int64_t)a.at || r->model_len != (int64_t)a.len))
		wrong(g, r, "another name than the reference's");
}

/* cJSON takes more than RFC 8259, so it can only confirm what is valid. */
static void against_cjson(const struct gen *g, const struct request *r)
{
	struct ref ref;
	bool valid = ref_json(&ref, g->out, g->n, 512);
	cJSON *json, *model;

	if (valid && !ref.lone && !ref.nul) {
		json = cJSON_ParseWithLength(g->out, g->n);
		if (!json)
			wrong(g, r, "cJSON refuses it");
		model = cJSON_GetObjectItemCaseSensitive(json, "model");
		if (r->status == REQUEST_OK &&
		    (!cJSON_IsString(model) || !view_eq(view_str(model->valuestring), r->model)))
			wrong(g, r, "another name than cJSON's");
		if (r->status == REQUEST_NO_MODEL && cJSON_IsObject(json) && model)
			wrong(g, r, "cJSON finds a model");
		cJSON_Delete(json);
	}
	ref_free(&ref);
}

/* Sizes that are often tiny and often nearly everything. */
static size_t some(struct gen *g, size_t n)
{
	size_t k = gen_below(g, (uint32_t)n + 1);

	switch (gen_below(g, 4)) {
	case 0:
		return k % (n < 8 ? n + 1 : 8);
	case 1:
		return n - k % (n < 8 ? n + 1 : 8);
	default:
		return k;
	}
}

/* What slices must not ask the body for: a member that lies in them with its whole key. */
static void must_find(const struct gen *g, const struct request_input *in,
		      const struct request *want, size_t head, size_t tail)
{
	struct request got;
	size_t tail_at = g->n - tail;
	bool in_head = g->model_at + g->model_len < head;
	bool in_tail = g->key_at > tail_at;

	if (in->content_type.len > 20) {
		in_head = g->model_at + g->model_len + 10 <= head;
		in_tail = g->key_at >= tail_at + 60;
	}
	if (want->status != REQUEST_OK || !g->model || !(in_head || in_tail))
		return;
	slices_read(&got, in, head, tail, &limits);
	if (!slices_same(&got, want))
		slices_differ("in sight", head, tail, want, &got);
}

static void json_whole_and_slices(void **state)
{
	unsigned long rounds = from_env("SPOA_TEST_ROUNDS", 20000);

	(void)state;
	for (unsigned long round = 0; round < rounds; round++) {
		struct gen g = begin(round);
		struct request_input in;
		struct request want;

		gen_json(&g);
		in = whole_of(&g, "");
		request_read(&want, &in, &limits);
		against_reference(&g, &want);
		against_cjson(&g, &want);
		if (g.model && (want.status == REQUEST_NO_MODEL))
			wrong(&g, &want, "there is a model");
		for (int k = 0; k < 16; k++) {
			size_t head = some(&g, g.n), tail = some(&g, g.n);
			bool strict = want.status == REQUEST_OK || want.status == REQUEST_NO_MODEL;

			slices_check(&want, &in, head, tail, &limits, strict);
			slices_check(&want, &in, head, g.n - head, &limits, strict);
			must_find(&g, &in, &want, head, tail);
		}
	}
}

/* No length was announced and the buffer is full: the body may be cut anywhere, also right behind
 * a bracket. Slices of what is held must mean what all that is held means, or need_body. */
static void json_cut_unannounced(void **state)
{
	unsigned long rounds = from_env("SPOA_TEST_ROUNDS", 20000);

	(void)state;
	for (unsigned long round = 0; round < rounds; round++) {
		struct gen g = begin(round + 1000000);
		struct request_input in;
		struct request want;

		gen_json(&g);
		g.n = some(&g, g.n);
		if (gen_below(&g, 2))
			while (g.n && g.out[g.n - 1] != '}')
				g.n--;
		if (g.n == 0)
			continue;
		in = whole_of(&g, "");
		in.content_length = -1;
		in.buffer_size = (uint32_t)g.n + 1;
		request_read(&want, &in, &limits);
		for (int k = 0; k < 8; k++) {
			size_t head = some(&g, g.n), tail = some(&g, g.n);
			struct request told = want, got;

			/* whether it is cut may lie in the gap; the answer must not */
			slices_read(&got, &in, head, tail, &limits);
			if (head + tail < g.n && got.status == REQUEST_OK && !got.truncated)
				told.truncated = false;
			/* it is cut, and what the head lacks is not looked for in the gap */
			if (got.status == REQUEST_TOO_LARGE && head + tail < g.n &&
			    want.truncated && want.model_at + want.model_len >= (int64_t)head)
				continue;
			slices_check(&told, &in, head, tail, &limits, want.status != REQUEST_BAD);
			slices_check(&want, &in, head, g.n - head, &limits, true);
		}
	}
}

/* A known length says the body is cut: the head alone counts, and the tail is not its end. */
static void json_cut_announced(void **state)
{
	unsigned long rounds = from_env("SPOA_TEST_ROUNDS", 20000);

	(void)state;
	for (unsigned long round = 0; round < rounds; round++) {
		struct gen g = begin(round + 2000000);
		struct request_input in;
		struct request whole, want, got;
		size_t full, head, tail;

		gen_json(&g);
		in = whole_of(&g, "");
		request_read(&whole, &in, &limits);
		full = g.n;
		if (whole.status == REQUEST_BAD || full < 2)
			continue;
		g.n = 1 + some(&g, full - 2);
		in.body.len = g.n;
		in.content_length = (int64_t)full;
		request_read(&want, &in, &limits);
		if (want.status !=
		    (whole.status == REQUEST_OK && whole.model_at + whole.model_len < (int64_t)g.n
			 ? REQUEST_OK
			 : REQUEST_TOO_LARGE))
			wrong(&g, &want, "cut");
		head = some(&g, g.n);
		tail = some(&g, g.n);
		slices_read(&got, &in, head, tail, &limits);
		if (got.status == REQUEST_TOO_LARGE && head + tail < g.n &&
		    (want.status == REQUEST_TOO_LARGE ||
		     want.model_at + want.model_len >= (int64_t)head))
			continue;
		if (!slices_same(&got, &want))
			slices_differ("cut", head, tail, &want, &got);
	}
}

static void json_spoiled(void **state)
{
	unsigned long rounds = from_env("SPOA_TEST_ROUNDS", 20000) * 5;

	(void)state;
	for (unsigned long round = 0; round < rounds; round++) {
		struct gen g = begin(round + 3000000);
		struct request_input in;
		struct request want;

		gen_json(&g);
		gen_spoil(&g);
		if (g.n == 0)
			continue;
		in = whole_of(&g, "");
		request_read(&want, &in, &limits);
		against_reference(&g, &want);
		for (int k = 0; k < 4; k++) {
			size_t head = some(&g, g.n);

			slices_check(&want, &in, head, g.n - head, &limits, false);
			slices_check(&want, &in, head, some(&g, g.n), &limits,
				     want.status == REQUEST_OK || want.status == REQUEST_NO_MODEL);
		}
	}
}

static void multipart(void **state)
{
	unsigned long rounds = from_env("SPOA_TEST_ROUNDS", 20000);

	(void)state;
	for (unsigned long round = 0; round < rounds; round++) {
		struct gen g = begin(round + 4000000);
		struct request_input in;
		struct request want;

		gen_multipart(&g);
		in = whole_of(&g, "multipart/form-data; boundary=b0");
		request_read(&want, &in, &limits);
		if (want.status != (g.model ? REQUEST_OK : REQUEST_NO_MODEL))
			wrong(&g, &want, "multipart");
		if (g.model &&
		    (want.model_at != (int64_t)g.model_at ||
		     !view_eq(want.model, (struct view){g.out + g.model_at, g.model_len})))
			wrong(&g, &want, "another field");
		for (int k = 0; k < 16; k++) {
			size_t head = some(&g, g.n), tail = some(&g, g.n);

			slices_check(&want, &in, head, tail, &limits, true);
			slices_check(&want, &in, head, g.n - head, &limits, true);
			must_find(&g, &in, &want, head, tail);
		}
	}
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_whole_and_slices),
	    cmocka_unit_test(json_cut_unannounced),
	    cmocka_unit_test(json_cut_announced),
	    cmocka_unit_test(json_spoiled),
	    cmocka_unit_test(multipart),
	};

	return cmocka_run_group_tests(tests, slices_make, slices_drop);
}

int main(void)
{
	return readers_each(run);
}
