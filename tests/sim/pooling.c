/*
 * Numbers come from a hash of the text, so equal texts have equal vectors and scores wherever they
 * are asked. The answer is written while the request is read; the engine then makes it wait for
 * the prefill of what was read.
 */
#include "pooling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A PNG of one grey point. */
#define PIXEL                                                                                      \
	"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJ"         \
	"RU5ErkJggg=="

static void put_vector(struct buf *b, uint64_t seed, uint32_t n, bool base64)
{
	if (base64) {
		struct buf floats = {0};

		for (uint32_t i = 0; i < n; i++) {
			float f = (float)words_number(seed, i);

			buf_add(&floats, &f, sizeof(f));
		}
		buf_puts(b, "\"");
		buf_base64(b, floats.p, floats.len);
		buf_puts(b, "\"");
		buf_deinit(&floats);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		buf_printf(b, "%s%.9g", i ? "," : "[", (double)(float)words_number(seed, i));
	buf_puts(b, "]");
}

static void put_json_head(struct reading *r, const char *object)
{
	buf_printf(&r->whole,
		   "{\"id\":\"%s-%llu\",\"object\":\"%s\",\"created\":%lld,\"model\":", object,
		   (unsigned long long)r->s->serial, object, (long long)time(NULL));
	buf_json(&r->whole, r->model->id);
}

static void put_usage_end(struct reading *r)
{
	uint32_t n = prompt_tokens(&r->prompt);

	buf_printf(&r->whole,
		   "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":0,"
		   "\"prompt_tokens_details\":null}}",
		   n, n);
}

bool pooling_embeddings(struct reading *r)
{
	const cJSON *input = reading_member(r->root, "input"), *one, *v;
	const char *format = reading_string(r->root, "encoding_format");
	uint32_t n = r->s->conf.dimensions, i = 0;
	bool base64 = format && strcmp(format, "base64") == 0;

	if (!input)
		return reading_missing(r, "input");
	if (format && !base64 && strcmp(format, "float") != 0)
		return READING_WRONG(r, "encoding_format",
				     "encoding_format must be float or base64");
	v = reading_member(r->root, "dimensions");
	if (v && (!cJSON_IsNumber(v) || v->valueint < 1 || v->valueint > 65536))
		return READING_WRONG(r, "dimensions", "dimensions must be between 1 and 65536");
	if (v)
		n = (uint32_t)v->valueint;
	put_json_head(r, "list");
	buf_puts(&r->whole, ",\"data\":[");
	one = cJSON_IsArray(input) && !cJSON_IsNumber(input->child) ? input->child : input;
	for (; one; one = one == input ? NULL : one->next) {
		struct prompt p;
		bool fine;

		prompt_init(&p, 16, r->model->id);
		fine = reading_feed_input(&p, one) && reading_feed_input(&r->prompt, one);
		if (fine) {
			buf_printf(&r->whole,
				   "%s{\"index\":%u,\"object\":\"embedding\",\"embedding\":",
				   i ? "," : "", i);
			put_vector(&r->whole, prompt_hash(&p), n, base64);
			buf_puts(&r->whole, "}");
			i++;
		}
		prompt_deinit(&p);
		if (!fine)
			return READING_WRONG(r, "input",
					     "input must be text or tokens, or a list of them");
	}
	put_usage_end(r);
	return true;
}

struct scored {
	int index;
	const char *text;
	double score;
};

static int by_score(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	return x->score < y->score ? 1 : x->score > y->score ? -1 : x->index - y->index;
}

static double score(const char *query, const char *text)
{
	struct prompt p;
	uint64_t h;

	prompt_init(&p, 16, query);
	prompt_puts(&p, text);
	h = prompt_hash(&p);
	prompt_deinit(&p);
	return (words_number(h, 0) + 1) / 2;
}

/* Text, or an object with one. */
static const char *text_of(const cJSON *v)
{
	return cJSON_IsString(v) ? v->valuestring : reading_string(v, "text");
}

bool pooling_rerank(struct reading *r)
{
	const cJSON *documents = reading_member(r->root, "documents"), *d,
		    *top = reading_member(r->root, "top_n");
	const char *query = reading_string(r->root, "query");
	int size = cJSON_GetArraySize(documents), n = 0, shown;
	struct scored *list;
	bool fine = true;

	if (!query)
		return reading_missing(r, "query");
	if (!cJSON_IsArray(documents))
		return reading_missing(r, "documents");
	list = calloc((size_t)size + 1, sizeof(*list));
	cJSON_ArrayForEach(d, documents)
	{
		const char *text = text_of(d);

		if (!text) {
			fine = false;
			break;
		}
		prompt_puts(&r->prompt, query);
		prompt_puts(&r->prompt, text);
		list[n] = (struct scored){n, text, score(query, text)};
		n++;
	}
	if (!fine) {
		free(list);
		return READING_WRONG(r, "documents", "documents must be a list of texts");
	}
	qsort(list, (size_t)n, sizeof(*list), by_score);
	shown = cJSON_IsNumber(top) && top->valueint > 0 && top->valueint < n ? top->valueint : n;
	buf_printf(&r->whole,
		   "{\"id\":\"rerank-%llu\",\"model\":", (unsigned long long)r->s->serial);
	buf_json(&r->whole, r->model->id);
	buf_printf(&r->whole, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u},\"results\":[",
		   prompt_tokens(&r->prompt), prompt_tokens(&r->prompt));
	for (int i = 0; i < shown; i++) {
		buf_printf(&r->whole, "%s{\"index\":%d,\"document\":{\"text\":", i ? "," : "",
			   list[i].index);
		buf_json(&r->whole, list[i].text);
		buf_printf(&r->whole, "},\"relevance_score\":%.6f}", list[i].score);
	}
	buf_puts(&r->whole, "]}");
	free(list);
	return true;
}

bool pooling_score(struct reading *r)
{
	const cJSON *a = reading_member(r->root, "text_1"), *b = reading_member(r->root, "text_2");
	const cJSON *x, *y;
	int n = 0;

	if (!a || !b)
		return reading_missing(r, a ? "text_2" : "text_1");
	x = cJSON_IsArray(a) ? a->child : a;
	y = cJSON_IsArray(b) ? b->child : b;
	if (cJSON_IsArray(a) && cJSON_GetArraySize(a) > 1 &&
	    cJSON_GetArraySize(a) != cJSON_GetArraySize(b))
		return READING_WRONG(r, "text_1", "Input lengths must be either 1:1, 1:N or N:N");
	put_json_head(r, "list");
	buf_puts(&r->whole, ",\"data\":[");
	for (; x && y; y = y == b ? NULL : y->next) {
		if (!text_of(x) || !text_of(y))
			return READING_WRONG(r, "text_2",
					     "text_1 and text_2 must be texts or lists of them");
		prompt_puts(&r->prompt, text_of(x));
		prompt_puts(&r->prompt, text_of(y));
		buf_printf(&r->whole, "%s{\"index\":%d,\"object\":\"score\",\"score\":%.6f}",
			   n ? "," : "", n, score(text_of(x), text_of(y)));
		n++;
		if (cJSON_IsArray(a) && cJSON_GetArraySize(a) > 1)
			x = x->next;
	}
	put_usage_end(r);
	return true;
}

bool pooling_images(struct reading *r)
{
	const char *prompt = reading_string(r->root, "prompt");
	const cJSON *n = reading_member(r->root, "n");
	int count = cJSON_IsNumber(n) ? n->valueint : 1;

	if (!prompt)
		return reading_missing(r, "prompt");
	if (count < 1 || count > 10)
		return READING_WRONG(r, "n", "n must be between 1 and 10");
	prompt_puts(&r->prompt, prompt);
	buf_printf(&r->whole, "{\"created\":%lld,\"data\":[", (long long)time(NULL));
	for (int i = 0; i < count; i++)
		buf_printf(&r->whole, "%s{\"b64_json\":\"" PIXEL "\"}", i ? "," : "");
	buf_puts(&r->whole, "]}");
	return true;
}
