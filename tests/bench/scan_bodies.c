/*
 * Each shape repeats one small thing until the size is met: a turn, a function, a number. What is
 * pretty-printed is the minified body written anew by a printer that knows brackets and strings.
 */
#include "scan_bodies.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct out {
	char *ptr;
	size_t len, cap;
	uint64_t seed;
};

static const char *const names[] = {
    [SCAN_PROMPT] = "prompt", [SCAN_TURNS] = "many-turns", [SCAN_TOOLS] = "tools",
    [SCAN_IMAGES] = "images", [SCAN_ESCAPES] = "code",     [SCAN_CJK] = "cjk",
    [SCAN_TOKENS] = "tokens", [SCAN_PRETTY] = "pretty",    [SCAN_FLOATS] = "floats",
    [SCAN_CALLS] = "calls",   [SCAN_FLAT] = "flat",
};

const char *scan_shape_name(enum scan_shape shape)
{
	return names[shape];
}

static uint32_t draw(struct out *o, uint32_t n)
{
	o->seed = o->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(o->seed >> 33) % n;
}

static void add_bytes(struct out *o, const char *bytes, size_t n)
{
	if (n > o->cap - o->len) {
		o->cap = 2 * (o->len + n) + 4096;
		o->ptr = realloc(o->ptr, o->cap);
		if (!o->ptr) {
			perror("scan_bodies");
			exit(1);
		}
	}
	memcpy(o->ptr + o->len, bytes, n);
	o->len += n;
}

static void add(struct out *o, const char *s)
{
	add_bytes(o, s, strlen(s));
}

static const char *word(struct out *o)
{
	static const char *const words[] = {
	    "the",     "of",        "and",     "to",       "a",          "in",       "is",
	    "that",    "it",        "was",     "for",      "on",         "are",      "with",
	    "as",      "they",      "at",      "one",      "have",       "this",     "from",
	    "some",    "what",      "there",   "we",       "can",        "out",      "other",
	    "were",    "all",       "your",    "when",     "document",   "contract", "through",
	    "between", "summarise", "machine", "language", "government", "number",   "temperature",
	};

	return words[draw(o, sizeof(words) / sizeof(words[0]))];
}

static void add_words(struct out *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		add(o, i ? " " : "");
		add(o, word(o));
	}
}

static void add_name(struct out *o)
{
	add(o, word(o));
	add(o, "_");
	add(o, word(o));
}

static void add_turn(struct out *o)
{
	static const char *const roles[] = {"user", "assistant"};

	add(o, "{\"role\":\"");
	add(o, roles[draw(o, 2)]);
	add(o, "\",\"content\":\"");
	add_words(o, 10 + draw(o, 90));
	if (draw(o, 3) == 0)
		add(o, "\\n\\n- \xe2\x80\x9cso it is\xe2\x80\x9d");
	add(o, "\"}");
}

static void add_property(struct out *o)
{
	static const char *const types[] = {
	    "{\"type\":\"string\"}",
	    "{\"type\":\"integer\",\"minimum\":0,\"maximum\":100}",
	    "{\"type\":\"boolean\",\"default\":false}",
	    "{\"type\":[\"string\",\"null\"],\"default\":null}",
	    "{\"type\":\"string\",\"enum\":[\"celsius\",\"fahrenheit\",\"kelvin\"]}",
	    "{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"minItems\":1}",
	    "{\"$ref\":\"#/$defs/place\"}",
	};

	add(o, "\"");
	add_name(o);
	add(o, "\":");
	if (draw(o, 2)) {
		add(o, types[draw(o, sizeof(types) / sizeof(types[0]))]);
		return;
	}
	add(o, "{\"type\":\"string\",\"description\":\"");
	add_words(o, 3 + draw(o, 9));
	add(o, "\"}");
}

static void add_function(struct out *o)
{
	unsigned n = 2 + draw(o, 6);

	add(o, "{\"type\":\"function\",\"function\":{\"name\":\"");
	add_name(o);
	add(o, "\",\"description\":\"");
	add_words(o, 5 + draw(o, 15));
	add(o, "\",\"parameters\":{\"type\":\"object\",\"properties\":{");
	for (unsigned i = 0; i < n; i++) {
		add(o, i ? "," : "");
		add_property(o);
	}
	add(o, "},\"required\":[\"");
	add_name(o);
	add(o, "\"],\"additionalProperties\":false},\"strict\":true}}");
}

static void add_image(struct out *o, size_t end)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t stop = o->len + 200 * 1024;

	add(o, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,");
	while (o->len < end && o->len < stop)
		add_bytes(o, &digits[draw(o, 64)], 1);
	add(o, "\",\"detail\":\"high\"}}");
}

static void add_code(struct out *o)
{
	static const char *const pieces[] = {
	    "if (x == \\\"y\\\") {\\n\\t",         "printf(\\\"%d\\\\n\\\", i);\\n",
	    "return \\\"caf\\u00e9\\\";\\n}\\n",   "path = \\\"C:\\\\temp\\\\file\\\";\\n\\t\\t",
	    "// \\u4f60\\u597d \\ud83d\\ude00\\n", "a[i] = '\\\\'';\\r\\n",
	    "for (i = 0; i < n; i++)\\n\\t",
	};

	add(o, pieces[draw(o, sizeof(pieces) / sizeof(pieces[0]))]);
}

static void add_cjk(struct out *o)
{
	/* U+4E00 … U+4FFF, a comma now and then */
	char c[3] = {(char)0xe4, (char)(0xb8 + draw(o, 8)), (char)(0x80 + draw(o, 64))};

	add_bytes(o, c, 3);
	if (draw(o, 30) == 0)
		add(o, draw(o, 8) ? "\xef\xbc\x8c" : "\\n");
}

static void add_token(struct out *o)
{
	char s[16];

	snprintf(s, sizeof(s), "%u", draw(o, 4) ? draw(o, 128256) : draw(o, 1000));
	add(o, s);
}

static void add_float(struct out *o)
{
	char s[32];
	double x = (draw(o, 2000000) - 1e6) / 1e6;

	snprintf(s, sizeof(s), draw(o, 16) ? "%.7f" : "%.5e", draw(o, 16) ? x / 16 : x * 1e-6);
	add(o, s);
}

static void add_call(struct out *o)
{
	static const char id[] = "call_Abc123Def456";

	add(o, "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"");
	add(o, id);
	add(o, "\",\"type\":\"function\",\"function\":{\"name\":\"");
	add_name(o);
	add(o, "\",\"arguments\":\"{\\\"");
	add_name(o);
	add(o, "\\\": \\\"");
	add_words(o, 1 + draw(o, 4));
	add(o, "\\\", \\\"days\\\": 3}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"");
	add(o, id);
	add(o, "\",\"content\":\"{\\\"result\\\": [\\\"");
	add_words(o, 1 + draw(o, 20));
	add(o, "\\\"]}\\n\"}");
}

/* One of what the shape repeats; in a list when it stands between commas. */
static void add_item(struct out *o, enum scan_shape shape, size_t end)
{
	switch (shape) {
	case SCAN_PROMPT:
		add_words(o, 1);
		add(o, " ");
		break;
	case SCAN_TURNS:
		add_turn(o);
		break;
	case SCAN_TOOLS:
	case SCAN_PRETTY:
		add_function(o);
		break;
	case SCAN_IMAGES:
		add_image(o, end);
		break;
	case SCAN_ESCAPES:
		add_code(o);
		break;
	case SCAN_CJK:
		add_cjk(o);
		break;
	case SCAN_TOKENS:
		add_token(o);
		break;
	case SCAN_FLOATS:
		add_float(o);
		break;
	case SCAN_FLAT:
		add(o, "\"");
		add_name(o);
		add(o, draw(o, 2) ? "\":{\"n\":1}" : "\":[\"a\",2]");
		break;
	case SCAN_CALLS:
	case SCAN_SHAPES:
		add_call(o);
		break;
	}
}

static const struct {
	const char *before, *between, *after;
} frames[] = {
    [SCAN_PROMPT] = {"\"messages\":[{\"role\":\"user\",\"content\":\"", "", "\"}]"},
    [SCAN_TURNS] = {"\"messages\":[", ",", "]"},
    [SCAN_TOOLS] = {"\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[", ",", "]"},
    [SCAN_IMAGES] = {"\"messages\":[{\"role\":\"user\",\"content\":[", ",", "]}]"},
    [SCAN_ESCAPES] = {"\"messages\":[{\"role\":\"user\",\"content\":\"", "", "\"}]"},
    [SCAN_CJK] = {"\"messages\":[{\"role\":\"user\",\"content\":\"", "", "\"}]"},
    [SCAN_TOKENS] = {"\"prompt\":[", ",", "]"},
    [SCAN_PRETTY] = {"\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[", ",", "]"},
    [SCAN_FLOATS] = {"\"input\":[[", ",", "]]"},
    [SCAN_CALLS] = {"\"messages\":[", ",", "]"},
    [SCAN_FLAT] = {"", ",", ""},
};

static void add_body(struct out *o, enum scan_shape shape, size_t size, const char *model)
{
	static const char options[] = "\",\"max_tokens\":256,\"temperature\":0.7,\"stream\":true}";
	size_t end = size - (size < 200 ? size / 2 : 100);
	bool first = true;

	add(o, "{");
	add(o, frames[shape].before);
	do {
		if (!first)
			add(o, frames[shape].between);
		first = false;
		add_item(o, shape, end);
	} while (o->len < end);
	add(o, frames[shape].after);
	add(o, ",\"model\":\"");
	add(o, model);
	add(o, options);
}

static void add_line(struct out *o, unsigned depth)
{
	add(o, "\n");
	while (depth--)
		add(o, "    ");
}

/* @in as a printer with an indentation of four writes it, as many of its functions as have room. */
static void add_pretty(struct out *o, const struct out *in)
{
	unsigned depth = 0;
	bool string = false;

	for (size_t i = 0; i < in->len; i++) {
		char c = in->ptr[i];

		if (c == '"' && (!string || in->ptr[i - 1] != '\\'))
			string = !string;
		if (!string && (c == '}' || c == ']'))
			add_line(o, --depth);
		add_bytes(o, &c, 1);
		if (string)
			continue;
		if (c == '{' || c == '[')
			add_line(o, ++depth);
		else if (c == ',')
			add_line(o, depth);
		else if (c == ':')
			add(o, " ");
	}
	add(o, "\n");
}

char *scan_body_make(enum scan_shape shape, size_t size, const char *model, size_t *ret_len)
{
	struct out o = {.seed = 20240607};
	size_t minified = size;

	add_body(&o, shape, size, model);
	while (shape == SCAN_PRETTY) {
		struct out pretty = {NULL, 0, 0, 0};

		add_pretty(&pretty, &o);
		free(o.ptr);
		if (pretty.len <= size || minified < 300) {
			o = pretty;
			break;
		}
		free(pretty.ptr);
		/* less, until it fits; most of it is blanks */
		minified = minified * (size / 16 * 15) / pretty.len;
		o = (struct out){.seed = 20240607};
		add_body(&o, shape, minified, model);
	}
	*ret_len = o.len;
	return o.ptr;
}
