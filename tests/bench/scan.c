/*
 * bench-scan: the body scanner alone, beside parsers and beside memchr over the same bytes.
 *
 * Each measurement reads one body again and again for a few milliseconds; the readers take turns,
 * round after round, so that a noisy moment hits all of them. The parsers do more (they build a
 * tree) and less (a model that stands twice is nothing to them); the question they are asked is
 * the same: which model?
 *
 * SPOA_TEXT=none, avx2, avx512 or neon: with that reader of blocks, not the best there is.
 */
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bodies.h"
#include "request/request.h"
#include "request/text.h"
#include "scan_bodies.h"
#include "scan_simdjson.h"
#ifdef HAVE_YYJSON
#include <yyjson.h>
#endif

#define MODEL      "meta-llama/Llama-3.1-8B-Instruct"
#define ROUNDS_MAX 101

struct job {
	char *body; /* a NUL and 64 bytes more behind it, as parsers want */
	size_t len;
	const char *content_type;
};

static bool is_model(const char *name, size_t len)
{
	return len == sizeof(MODEL) - 1 && memcmp(name, MODEL, len) == 0;
}

static bool by_request(const struct job *j)
{
	static const struct request_limits limits = {.max_depth = 512, .cut_margin = 16384};
	static struct request r;
	struct request_input in = {
	    .body = {j->body, j->len},
	    .content_type = {j->content_type, strlen(j->content_type)},
	    .body_len = -1,
	    .body_size = -1,
	    .content_length = (int64_t)j->len,
	    .buffer_size = 2 * 1024 * 1024,
	};

	request_read(&r, &in, &limits);
	return r.status == REQUEST_OK && is_model(r.model.ptr, r.model.len);
}

static bool by_cjson(const struct job *j)
{
	cJSON *root = cJSON_ParseWithLength(j->body, j->len);
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "model"));
	bool found = name && is_model(name, strlen(name));

	cJSON_Delete(root);
	return found;
}

#ifdef HAVE_YYJSON
static bool by_yyjson(const struct job *j)
{
	yyjson_doc *doc = yyjson_read(j->body, j->len, 0);
	yyjson_val *v = yyjson_obj_get(yyjson_doc_get_root(doc), "model");
	bool found = v && is_model(yyjson_get_str(v), yyjson_get_len(v));

	yyjson_doc_free(doc);
	return found;
}
#endif

#ifdef HAVE_SIMDJSON
static bool by_simdjson(const struct job *j)
{
	return scan_simdjson(j->body, j->len, MODEL);
}
#endif

/* A byte that no body holds: every byte is looked at. */
static bool by_memchr(const struct job *j)
{
	return memchr(j->body, 0, j->len) == NULL;
}

static const struct reader {
	const char *name;
	bool (*read)(const struct job *j);
} readers[] = {
    {"request", by_request},   {"memchr", by_memchr}, {"cJSON", by_cjson},
#ifdef HAVE_YYJSON
    {"yyjson", by_yyjson},
#endif
#ifdef HAVE_SIMDJSON
    {"simdjson", by_simdjson},
#endif
};
#define READERS (sizeof(readers) / sizeof(readers[0]))

static uint64_t now_ns(void)
{
	struct timespec t;

	/* Time on the processor: what others do in between does not count. */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double nanoseconds(const struct reader *r, const struct job *j, unsigned times)
{
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < times; i++) {
		if (!r->read(j)) {
			fprintf(stderr, "bench-scan: %s did not find the model\n", r->name);
			exit(1);
		}
		__asm__ volatile("" ::: "memory");
	}
	return (double)(now_ns() - begin) / times;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(struct job *j, const char *shape, size_t size, unsigned rounds,
		    double milliseconds)
{
	static double ns[READERS][ROUNDS_MAX];
	unsigned times[READERS];

	j->body = realloc(j->body, j->len + 65);
	memset(j->body + j->len, 0, 65);

	for (unsigned r = 0; r < READERS; r++) {
		double once = nanoseconds(&readers[r], j, 3);

		times[r] = (unsigned)(milliseconds * 1e6 / (once + 1)) + 1;
	}
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned r = 0; r < READERS; r++)
			ns[r][round] = nanoseconds(&readers[r], j, times[r]);
	for (unsigned r = 0; r < READERS; r++) {
		qsort(ns[r], rounds, sizeof(double), ascending);
		printf("{\"shape\":\"%s\",\"size\":%zu,\"bytes\":%zu,\"reader\":\"%s\",\"ns\":%.1f,"
		       "\"gb_per_s\":%.3f,\"low\":%.3f,\"high\":%.3f}\n",
		       shape, size, j->len, readers[r].name, ns[r][rounds / 2],
		       (double)j->len / ns[r][rounds / 2], (double)j->len / ns[r][rounds - 1],
		       (double)j->len / ns[r][0]);
	}
	fflush(stdout);
	free(j->body);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {1024, 8192, 220 * 1024, 900 * 1024};
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 15;
	double milliseconds = argc > 2 ? atof(argv[2]) : 4;
	const char *reader = getenv("SPOA_TEXT");

	if (rounds < 1 || rounds > ROUNDS_MAX || milliseconds <= 0) {
		fprintf(stderr, "usage: %s [ROUNDS [MILLISECONDS]]\n", argv[0]);
		return 2;
	}
	if (reader && !text_use_blocks(reader)) {
		fprintf(stderr, "bench-scan: no reader of blocks is called %s here\n", reader);
		return 2;
	}
	for (unsigned i = 0; i < 4 * BODY_MULTIPART; i++) {
		enum body_shape shape = (enum body_shape)(i / 4);
		struct job j = {.content_type = body_content_type(shape)};

		j.body = body_make(shape, sizes[i % 4], MODEL, false, &j.len);
		measure(&j, body_shape_name(shape), sizes[i % 4], rounds, milliseconds);
	}
	for (unsigned i = 0; i < 4 * SCAN_SHAPES; i++) {
		enum scan_shape shape = (enum scan_shape)(i / 4);
		struct job j = {.content_type = "application/json"};

		j.body = scan_body_make(shape, sizes[i % 4], MODEL, &j.len);
		measure(&j, scan_shape_name(shape), sizes[i % 4], rounds, milliseconds);
	}
	return 0;
}
