/*
 * Text comes from a small generator over a fixed list of words, so that it has the letters,
 * lengths and line breaks of prose without being anybody's. The sizes are met by filling the one
 * long part of each shape up to what the rest leaves.
 */
#include "bodies.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUNDARY "----formdata-bench-0123456789"

struct text {
	char *ptr;
	size_t len, cap;
	uint64_t seed;
};

static const char *const names[] = {
    [BODY_LONG] = "long",           [BODY_PLAIN] = "plain",     [BODY_TURNS] = "turns",
    [BODY_MEDIA] = "media",         [BODY_ESCAPES] = "escapes", [BODY_UTF8] = "utf8",
    [BODY_MULTIPART] = "multipart",
};

const char *body_shape_name(enum body_shape shape)
{
	return names[shape];
}

enum body_shape body_shape_find(const char *name)
{
	unsigned i = 0;

	while (i < BODY_SHAPES && strcmp(names[i], name) != 0)
		i++;
	return (enum body_shape)i;
}

const char *body_content_type(enum body_shape shape)
{
	return shape == BODY_MULTIPART ? "multipart/form-data; boundary=" BOUNDARY
				       : "application/json";
}

static uint32_t draw(struct text *t, uint32_t n)
{
	t->seed = t->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(t->seed >> 33) % n;
}

static void add_bytes(struct text *t, const char *bytes, size_t n)
{
	if (n > t->cap - t->len) {
		t->cap = 2 * (t->len + n) + 4096;
		t->ptr = realloc(t->ptr, t->cap);
		if (!t->ptr) {
			perror("bodies");
			exit(1);
		}
	}
	memcpy(t->ptr + t->len, bytes, n);
	t->len += n;
}

static void add(struct text *t, const char *s)
{
	add_bytes(t, s, strlen(s));
}

static const char *word(struct text *t)
{
	static const char *const words[] = {
	    "the",       "of",         "and",       "to",       "a",       "in",
	    "is",        "that",       "it",        "was",      "for",     "on",
	    "are",       "with",       "as",        "his",      "they",    "be",
	    "at",        "one",        "have",      "this",     "from",    "or",
	    "had",       "by",         "hot",       "but",      "some",    "what",
	    "there",     "we",         "can",       "out",      "other",   "were",
	    "all",       "your",       "when",      "use",      "word",    "how",
	    "said",      "an",         "each",      "which",    "their",   "time",
	    "summarise", "document",   "contract",  "through",  "between", "government",
	    "question",  "understand", "following", "language", "machine", "temperature",
	};

	return words[draw(t, sizeof(words) / sizeof(words[0]))];
}

/* Prose up to @end bytes in all, with an escaped line break at each paragraph's end. */
static void add_prose(struct text *t, size_t end, size_t paragraph)
{
	size_t begun = t->len;

	while (t->len < end) {
		add(t, word(t));
		if (t->len - begun > paragraph) {
			add(t, draw(t, 3) ? ".\\n\\n" : ".\\n");
			begun = t->len;
		} else {
			add(t, draw(t, 12) ? " " : draw(t, 2) ? ", " : ". ");
		}
	}
}

static void add_utf8(struct text *t, size_t end)
{
	while (t->len < end) {
		/* U+4E00 … U+4FFF */
		char c[3] = {(char)0xe4, (char)(0xb8 + draw(t, 8)), (char)(0x80 + draw(t, 64))};

		add_bytes(t, c, 3);
		if (draw(t, 30) == 0)
			add(t, draw(t, 8) ? "\xef\xbc\x8c" : "\\n");
	}
}

static void add_code(struct text *t, size_t end)
{
	static const char *const pieces[] = {
	    "if (x == \\\"y\\\") {\\n\\t",         "printf(\\\"%d\\\\n\\\", i);\\n",
	    "return \\\"caf\\u00e9\\\";\\n}\\n",   "path = \\\"C:\\\\temp\\\\file\\\";\\n\\t\\t",
	    "// \\u4f60\\u597d \\ud83d\\ude00\\n", "a[i] = '\\\\'';\\r\\n",
	    "for (i = 0; i < n; i++)\\n\\t",
	};

	while (t->len < end)
		add(t, pieces[draw(t, sizeof(pieces) / sizeof(pieces[0]))]);
}

static void add_base64(struct text *t, size_t end)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	while (t->len < end)
		add_bytes(t, &digits[draw(t, 64)], 1);
}

static void add_turns(struct text *t, size_t end)
{
	bool user = true;

	while (t->len + 60 < end) {
		size_t stop = t->len + 60 + draw(t, 500);

		add(t, user ? "{\"role\":\"user\",\"content\":\""
			    : "{\"role\":\"assistant\",\"content\":\"");
		add_prose(t, stop < end ? stop : end, 200);
		add(t, draw(t, 4) ? "\"}," : " \xe2\x80\x93 caf\xc3\xa9 \xf0\x9f\x98\x80\"},");
		user = !user;
	}
}

static void add_media(struct text *t, size_t end)
{
	static const char tool[] =
	    "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":"
	    "\"Current temperature for a location\",\"parameters\":{\"type\":\"object\","
	    "\"properties\":{\"location\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\","
	    "\"minimum\":1,\"maximum\":14},\"units\":{\"enum\":[\"celsius\",\"kelvin\"]}},"
	    "\"required\":[\"location\"],\"additionalProperties\":false},\"strict\":true}}";
	size_t room = end > t->len ? end - t->len : 0;

	add(t, "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"what is this?\"},"
	       "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,");
	add_base64(t, t->len + room * 3 / 4);
	add(t, "\"}}]}],\"tools\":[");
	for (;;) {
		add(t, tool);
		if (t->len + sizeof(tool) > end)
			break;
		add(t, ",");
	}
	add(t, "],\"x\":[{}");
}

static void make_multipart(struct text *t, size_t size, const char *model, bool model_first)
{
	static const char field[] =
	    "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n";

	if (model_first) {
		add(t, field);
		add(t, model);
		add(t, "\r\n");
	}
	add(t, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"file\"; "
	       "filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n");
	while (t->len + 200 < size) {
		char c[8];

		for (unsigned i = 0; i < sizeof(c); i++)
			c[i] = (char)draw(t, 256);
		add_bytes(t, c, sizeof(c));
	}
	add(t, "\r\n");
	if (!model_first) {
		add(t, field);
		add(t, model);
		add(t, "\r\n");
	}
	add(t, "--" BOUNDARY "--\r\n");
}

static void make_json(struct text *t, enum body_shape shape, size_t size, const char *model,
		      bool model_first)
{
	static const char options[] = ",\"max_tokens\":256,\"temperature\":0.7,\"stream\":true}";
	size_t tail = sizeof(options) + 4 + (model_first ? 0 : strlen(model) + 12);
	size_t end = size > tail ? size - tail : 0;

	add(t, "{");
	if (model_first) {
		add(t, "\"model\":\"");
		add(t, model);
		add(t, "\",");
	}
	add(t, "\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful "
	       "assistant.\"},");
	if (shape == BODY_TURNS)
		add_turns(t, end);
	if (shape == BODY_MEDIA) {
		add_media(t, end);
	} else {
		add(t, "{\"role\":\"user\",\"content\":\"");
		if (shape == BODY_ESCAPES)
			add_code(t, end);
		else if (shape == BODY_UTF8)
			add_utf8(t, end);
		else
			add_prose(t, end, shape == BODY_PLAIN ? SIZE_MAX : 600);
		add(t, "\"}");
	}
	add(t, "]");
	if (!model_first) {
		add(t, ",\"model\":\"");
		add(t, model);
		add(t, "\"");
	}
	add(t, options);
}

char *body_make(enum body_shape shape, size_t size, const char *model, bool model_first,
		size_t *ret_len)
{
	struct text t = {.seed = 20240607};

	if (shape == BODY_MULTIPART)
		make_multipart(&t, size, model, model_first);
	else
		make_json(&t, shape, size, model, model_first);
	*ret_len = t.len;
	return t.ptr;
}
