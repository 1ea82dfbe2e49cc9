/* Random bodies: valid JSON and valid multipart with everything that is awkward in them. */
#ifndef TESTS_GENERATE_H
#define TESTS_GENERATE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct gen {
	uint64_t seed;
	char *out;
	size_t n, room;
	/* what was put in */
	bool model;
	size_t key_at;              /* the quote of the key */
	size_t model_at, model_len; /* raw bytes */
};

static uint32_t gen_next(struct gen *g)
{
	g->seed ^= g->seed << 13;
	g->seed ^= g->seed >> 7;
	g->seed ^= g->seed << 17;
	return (uint32_t)(g->seed >> 32);
}

static uint32_t gen_below(struct gen *g, uint32_t n)
{
	return gen_next(g) % n;
}

static void gen_bytes(struct gen *g, const char *s, size_t n)
{
	assert(g->n + n <= g->room);
	memcpy(g->out + g->n, s, n);
	g->n += n;
}

static void gen_text(struct gen *g, const char *s)
{
	gen_bytes(g, s, strlen(s));
}

static void gen_ws(struct gen *g)
{
	static const char blanks[] = " \n\t\r";

	if (gen_below(g, 3))
		return;
	for (uint32_t k = gen_below(g, gen_below(g, 20) ? 3 : 60); k > 0; k--)
		gen_bytes(g, &blanks[gen_below(g, 4)], 1);
}

/* The inside of a string: text that looks like JSON from either side. */
static void gen_inside(struct gen *g, uint32_t units)
{
	static const char *const bits[] = {
	    "a",
	    "model",
	    " ",
	    ",",
	    ":",
	    "{",
	    "}",
	    "[",
	    "]",
	    "\\\"",
	    "\\\\",
	    "\\/",
	    "\\n",
	    "\\u0041",
	    "\\u005c",
	    "\\u0022",
	    "\\ud83d\\ude00",
	    "\\ud800",
	    "\\udfff",
	    "\\u0000",
	    "é",
	    "千",
	    "😀",
	    "\x7f",
	    "1e9",
	    "true",
	    "\\\\\\\"",
	    "\\\\\\\\",
	    "\\\",\\\"model\\\":\\\"no\\\"}",
	    "\\\\\\\"}",
	    "0123456789abcdef0123456789abcdef",
	};

	while (units--)
		gen_text(g, bits[gen_below(g, sizeof(bits) / sizeof(*bits))]);
}

static void gen_string(struct gen *g)
{
	gen_text(g, "\"");
	gen_inside(g, gen_below(g, gen_below(g, 8) ? 6 : 80));
	gen_text(g, "\"");
}

static void gen_number(struct gen *g)
{
	char buf[64];

	switch (gen_below(g, 5)) {
	case 0:
		snprintf(buf, sizeof(buf), "%u", gen_below(g, 100));
		break;
	case 1:
		snprintf(buf, sizeof(buf), "-%u.%u", gen_below(g, 10), gen_next(g));
		break;
	case 2:
		snprintf(buf, sizeof(buf), "%ue%c%u", gen_next(g), "+-"[gen_below(g, 2)],
			 gen_below(g, 1000));
		break;
	case 3:
		snprintf(buf, sizeof(buf), "0.%uE%u", gen_next(g), gen_below(g, 10));
		break;
	default:
		snprintf(buf, sizeof(buf), "%s", gen_below(g, 2) ? "0" : "-0");
	}
	gen_text(g, buf);
}

static void gen_value(struct gen *g, unsigned depth);

static void gen_object(struct gen *g, unsigned depth)
{
	uint32_t members = gen_below(g, 4);

	gen_text(g, "{");
	gen_ws(g);
	for (uint32_t i = 0; i < members; i++) {
		if (gen_below(g, 3))
			gen_string(g);
		else
			gen_text(g, "\"model\"");
		gen_ws(g);
		gen_text(g, ":");
		gen_ws(g);
		gen_value(g, depth);
		gen_ws(g);
		if (i + 1 < members) {
			gen_text(g, ",");
			gen_ws(g);
		}
	}
	gen_text(g, "}");
}

static void gen_array(struct gen *g, unsigned depth)
{
	uint32_t elements = gen_below(g, 5);

	gen_text(g, "[");
	gen_ws(g);
	for (uint32_t i = 0; i < elements; i++) {
		gen_value(g, depth);
		gen_ws(g);
		if (i + 1 < elements) {
			gen_text(g, ",");
			gen_ws(g);
		}
	}
	gen_text(g, "]");
}

static void gen_value(struct gen *g, unsigned depth)
{
	switch (gen_below(g, depth > 0 ? 9 : 6)) {
	case 0:
		gen_text(g, "true");
		break;
	case 1:
		gen_text(g, gen_below(g, 2) ? "false" : "null");
		break;
	case 2:
		gen_number(g);
		break;
	case 6:
	case 7:
		gen_object(g, depth - 1);
		break;
	case 8:
		gen_array(g, depth - 1);
		break;
	default:
		gen_string(g);
	}
}

/* The key @key, partly in escapes. */
static void gen_key(struct gen *g, const char *key)
{
	gen_text(g, "\"");
	for (size_t i = 0; i < 5; i++) {
		char buf[8];

		if (gen_below(g, 6))
			snprintf(buf, sizeof(buf), "%c", key[i]);
		else
			snprintf(buf, sizeof(buf), gen_below(g, 2) ? "\\u%04x" : "\\u%04X",
				 (unsigned)key[i]);
		gen_text(g, buf);
	}
	gen_text(g, "\"");
}

static void gen_key_model(struct gen *g)
{
	g->key_at = g->n;
	gen_key(g, "model");
}

/* Mostly good names; some that may not be one. */
static void gen_name(struct gen *g)
{
	static const char *const bits[] = {
	    "a",   "B",    "7",    "-",       "/", ":",  " ",
	    "\\/", "\\\"", "\\\\", "\\u00e9", "é", "千", "\\ud83d\\ude00",
	    "😀"};
	uint32_t k = 1 + gen_below(g, gen_below(g, 10) ? 12 : 90);

	gen_text(g, "\"");
	g->model_at = g->n;
	if (gen_below(g, 30) == 0)
		gen_inside(g, k);
	else
		while (k--)
			gen_text(g, bits[gen_below(g, sizeof(bits) / sizeof(*bits))]);
	g->model_len = g->n - g->model_at;
	gen_text(g, "\"");
}

/* One valid JSON text; mostly an object with one top-level "model" or none. */
static void gen_json(struct gen *g)
{
	static const char *const likes[] = {"Model", "MODEL", "modeL", "mOdEl"};
	uint32_t members = gen_below(g, 6), model = gen_below(g, 8);

	g->n = 0;
	g->model = false;
	gen_ws(g);
	if (gen_below(g, 25) == 0) {
		gen_value(g, 4);
		gen_ws(g);
		return;
	}
	gen_text(g, "{");
	gen_ws(g);
	for (uint32_t i = 0; i <= members; i++) {
		if (i == model || (i == members && model == 6)) {
			gen_key_model(g);
			g->model = true;
		} else if (gen_below(g, 30) == 0) {
			gen_key(g, likes[gen_below(g, 4)]);
		} else {
			gen_text(g, "\"k");
			gen_inside(g, gen_below(g, 3));
			gen_text(g, "\"");
		}
		gen_ws(g);
		gen_text(g, ":");
		gen_ws(g);
		if (i == model || (i == members && model == 6))
			gen_name(g);
		else
			gen_value(g, 1 + gen_below(g, 5));
		gen_ws(g);
		if (i < members) {
			gen_text(g, ",");
			gen_ws(g);
		}
	}
	gen_text(g, "}");
	gen_ws(g);
}

/* Changes a few bytes, so that the text is mostly no longer valid. */
static void gen_spoil(struct gen *g)
{
	static const char bytes[] = "{}[]\":,\\u0e-+. \n\ttfnm\x01\x80\xc3\xa9\xe2\xed\xa0\xf0\xff";

	for (uint32_t k = 1 + gen_below(g, 3); k > 0 && g->n > 0; k--) {
		size_t at = gen_below(g, (uint32_t)g->n);
		char c = bytes[gen_below(g, sizeof(bytes))];

		switch (gen_below(g, 4)) {
		case 0:
			g->out[at] = c;
			break;
		case 1:
			memmove(g->out + at, g->out + at + 1, g->n - at - 1);
			g->n--;
			break;
		case 2:
			if (g->n == g->room)
				break;
			memmove(g->out + at + 1, g->out + at, g->n - at);
			g->out[at] = c;
			g->n++;
			break;
		default:
			g->n = at;
		}
	}
}

static void gen_file(struct gen *g)
{
	static const char *const bits[] = {
	    "\r",
	    "\n",
	    "\r\n",
	    "-",
	    "--",
	    "--b0",
	    "\r\n-",
	    "\n--b0",
	    "\r--b0\r\n",
	    "x",
	    "{\"model\":\"no\"}",
	    "RIFF",
	    "Content-Disposition: form-data; name=\"model\"\r\n\r\nno"};
	size_t from = g->n;

	for (uint32_t k = gen_below(g, 40); k > 0; k--) {
		size_t n = g->n;
		char byte = (char)gen_next(g);

		if (gen_below(g, 4))
			gen_text(g, bits[gen_below(g, sizeof(bits) / sizeof(*bits))]);
		else
			gen_bytes(g, &byte, 1);
		if (memmem(g->out + from - 2, g->n - from + 2, "\r\n--b0", 6))
			g->n = n;
	}
}

/* multipart/form-data; boundary=b0, with one field "model" or none, among files and fields. */
static void gen_multipart(struct gen *g)
{
	uint32_t parts = 1 + gen_below(g, 5), model = gen_below(g, 7);

	g->n = 0;
	g->model = false;
	if (gen_below(g, 6) == 0)
		gen_text(g, "preamble\r\n\r\n");
	for (uint32_t i = 0; i < parts; i++) {
		gen_text(g, gen_below(g, 8) ? "--b0\r\n" : "--b0 \t\r\n");
		if (gen_below(g, 4) == 0)
			gen_text(g, "Content-Type: text/plain; name=\"model\"\r\n");
		if (i != model) {
			static const char *const names[] = {"file", "modell", "Model", "language"};

			gen_text(g, "Content-Disposition: form-data; name=\"");
			gen_text(g, names[gen_below(g, 4)]);
			gen_text(g, gen_below(g, 2) ? "\"; filename=\"a; name model\"\r\n\r\n"
						    : "\"\r\n\r\n");
			gen_file(g);
		} else {
			g->model = true;
			g->key_at = g->n;
			gen_text(g, gen_below(g, 2)
					? "Content-Disposition: form-data; name=\"model\"\r\n\r\n"
					: "content-disposition:form-data;name=model\r\n\r\n");
			g->model_at = g->n;
			for (uint32_t k = 1 + gen_below(g, 40); k > 0; k--)
				gen_text(g, gen_below(g, 3) ? "w" : gen_below(g, 2) ? "-" : "é");
			g->model_len = g->n - g->model_at;
		}
		gen_text(g, "\r\n");
	}
	gen_text(g, "--b0--");
	if (gen_below(g, 4))
		gen_text(g, "\r\n");
	if (gen_below(g, 6) == 0)
		gen_text(g, "\r\nepilogue --b0\r\n");
}

#endif
