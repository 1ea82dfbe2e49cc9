/*
 * A server's answer to GET /v1/models, read into a list that several servers share.
 *
 * Shapes: {"data":[{"id","root","parent"}…]} (OpenAI; vLLM, SGLang, TensorRT-LLM, llama.cpp),
 * {"models":[{"name" or "model"}…]} (Ollama, older llama.cpp), a bare array of either, and plain
 * strings in the place of objects. An adapter names its base model in `parent` (vLLM, SGLang), or
 * in `root` when that is another id of the same list (vLLM before 0.6). `aliases`, an array of
 * strings, are further names of an entry, each as good as its id (llama.cpp with several --alias).
 */
#ifndef DISCOVER_MODELS_H
#define DISCOVER_MODELS_H

#include <stdint.h>
#include "base/view.h"

#define MODELS_NAME_MAX 256

struct model {
	struct view id;
	struct view parent; /* absent: not an adapter */
};

/* Immutable, sorted: what is no adapter first, then by id, each id once. */
struct models {
	uint32_t refs;
	uint64_t hash[2]; /* of the content */
	size_t n;
	size_t
	    skipped; /* entries that were no models, or whose names are not usable, or too many */
	struct model *items;
};

/*
 * Reads @body. At most @max models are kept. 0 and a list with one reference, -EINVAL and
 * *ret_error (a constant) when it is no list of models, -ENOMEM. Names that are empty, longer than
 * MODELS_NAME_MAX, not UTF-8 or hold control characters are skipped and counted.
 *
 * Memory: while it is read at most 20 times the body, afterwards the kept names and 48 bytes each.
 */
int models_parse(struct view body, size_t max, struct models **ret, const char **ret_error)
    __attribute__((warn_unused_result));

struct models *models_ref(struct models *m);
struct models *models_unref(struct models *m); /* NULL is fine; returns NULL */
bool models_equal(const struct models *a, const struct models *b);
/* Binary search; NULL when it is not there. */
const struct model *models_find(const struct models *m, struct view id);

/* UTF-8 of 1 to MODELS_NAME_MAX bytes without control characters. */
bool models_name_valid(struct view name);

#endif
