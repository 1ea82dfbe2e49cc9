/*
 * What a body means, said a second time: a slow recursive reader of RFC 8259 and RFC 2046 that
 * shares no line and no idea with agent/request. The tests and the fuzz targets compare both.
 */
#ifndef TESTS_REFERENCE_H
#define TESTS_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ref {
	const unsigned char *s;
	size_t n, i;
	unsigned max_depth;
	/* findings */
	bool is_object;   /* the top-level value */
	int models;       /* top-level keys "model" */
	int likes;        /* and those that are so but for their case */
	bool string;      /* value of the last of them is a string */
	size_t at, len;   /* its raw bytes */
	uint32_t *points; /* its characters; lone surrogates as they are */
	size_t npoints;
	bool lone, nul; /* some string has half a pair, or U+0000: for parsers that mind */
	unsigned deepest;
};

static bool ref_value(struct ref *r, unsigned depth);

static void ref_ws(struct ref *r)
{
	while (r->i < r->n && strchr(" \t\r\n", r->s[r->i]) && r->s[r->i])
		r->i++;
}

/* One UTF-8 character by arithmetic; -1: none. */
static int64_t ref_char(struct ref *r)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char c = r->s[r->i];
	int len = c < 0x80             ? 1
		  : (c & 0xe0) == 0xc0 ? 2
		  : (c & 0xf0) == 0xe0 ? 3
		  : (c & 0xf8) == 0xf0 ? 4
				       : 0;
	uint32_t v;

	if (len == 0 || r->n - r->i < (size_t)len)
		return -1;
	v = len == 1 ? c : c & (0xffu >> (len + 1));
	for (int k = 1; k < len; k++) {
		if ((r->s[r->i + (size_t)k] & 0xc0) != 0x80)
			return -1;
		v = v << 6 | (r->s[r->i + (size_t)k] & 0x3f);
	}
	if (v < least[len] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return -1;
	r->i += (size_t)len;
	return v;
}

/* A string at its quote; its characters into *points (the caller frees). */
static bool ref_string(struct ref *r, uint32_t **points, size_t *npoints, size_t *at, size_t *len)
{
	uint32_t *out = malloc((r->n - r->i + 1) * sizeof(*out));
	size_t k = 0;

	*points = out;
	if (r->i >= r->n || r->s[r->i] != '"')
		return false;
	*at = ++r->i;
	while (r->i < r->n && r->s[r->i] != '"') {
		if (r->s[r->i] == '\\') {
			static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
			const char *e;

			if (++r->i >= r->n)
				return false;
			if (r->s[r->i] == 'u') {
				uint32_t v = 0;

				for (int d = 0; d < 4; d++) {
					const char *digits = "0123456789abcdefABCDEF", *hit;

					if (++r->i >= r->n || !r->s[r->i])
						return false;
					hit = strchr(digits, r->s[r->i]);
					if (!hit)
						return false;
					v = v * 16 +
					    (uint32_t)(hit - digits - (hit - digits > 15 ? 6 : 0));
				}
				r->i++;
				if (v >= 0xdc00 && v < 0xe000 && k && out[k - 1] >= 0xd800 &&
				    out[k - 1] < 0xdc00)
					out[k - 1] =
					    0x10000 + (out[k - 1] - 0xd800) * 0x400 + (v - 0xdc00);
				else
					out[k++] = v;
				continue;
			}
			e = r->s[r->i] ? strchr(from, r->s[r->i]) : NULL;
			if (!e)
				return false;
			out[k++] = (unsigned char)to[e - from];
			r->i++;
		} else {
			int64_t c;

			if (r->s[r->i] < 0x20)
				return false;
			c = ref_char(r);
			if (c < 0)
				return false;
			out[k++] = (uint32_t)c;
		}
	}
	if (r->i >= r->n)
		return false;
	*len = r->i++ - *at;
	*npoints = k;
	for (size_t p = 0; p < k; p++) {
		r->lone |= out[p] >= 0xd800 && out[p] < 0xe000;
		r->nul |= out[p] == 0;
	}
	return true;
}

static bool ref_digits(struct ref *r)
{
	size_t from = r->i;

	while (r->i < r->n && r->s[r->i] >= '0' && r->s[r->i] <= '9')
		r->i++;
	return r->i > from;
}

static bool ref_number(struct ref *r)
{
	if (r->i < r->n && r->s[r->i] == '-')
		r->i++;
	if (r->i < r->n && r->s[r->i] == '0')
		r->i++;
	else if (!ref_digits(r))
		return false;
	if (r->i < r->n && r->s[r->i] == '.') {
		r->i++;
		if (!ref_digits(r))
			return false;
	}
	if (r->i < r->n && (r->s[r->i] == 'e' || r->s[r->i] == 'E')) {
		r->i++;
		if (r->i < r->n && (r->s[r->i] == '+' || r->s[r->i] == '-'))
			r->i++;
		if (!ref_digits(r))
			return false;
	}
	return true;
}

static bool ref_member(struct ref *r, unsigned depth)
{
	uint32_t *points, *value = NULL;
	size_t n, at, len;
	bool is_model, is_like;

	ref_ws(r);
	if (!ref_string(r, &points, &n, &at, &len)) {
		free(points);
		return false;
	}
	is_model = is_like = depth == 1 && n == 5;
	for (size_t i = 0; is_like && i < n; i++) {
		is_model = is_model && points[i] == (uint32_t) "model"[i];
		is_like = points[i] == (uint32_t) "model"[i] || points[i] == (uint32_t) "MODEL"[i];
	}
	is_model = is_model && is_like;
	r->likes += is_like && !is_model;
	free(points);
	ref_ws(r);
	if (r->i >= r->n || r->s[r->i++] != ':')
		return false;
	ref_ws(r);
	if (!is_model)
		return ref_value(r, depth);
	r->models++;
	r->string = r->i < r->n && r->s[r->i] == '"';
	if (!r->string)
		return ref_value(r, depth);
	if (!ref_string(r, &value, &n, &at, &len)) {
		free(value);
		return false;
	}
	free(r->points);
	r->points = value;
	r->npoints = n;
	r->at = at;
	r->len = len;
	return true;
}

static bool ref_container(struct ref *r, unsigned depth, bool object)
{
	const unsigned char close = object ? '}' : ']';

	if (depth > r->max_depth)
		return false;
	if (depth > r->deepest)
		r->deepest = depth;
	r->i++;
	ref_ws(r);
	if (r->i < r->n && r->s[r->i] == close) {
		r->i++;
		return true;
	}
	for (;;) {
		if (!(object ? ref_member(r, depth) : ref_value(r, depth)))
			return false;
		ref_ws(r);
		if (r->i >= r->n)
			return false;
		if (r->s[r->i] == close) {
			r->i++;
			return true;
		}
		if (r->s[r->i++] != ',')
			return false;
	}
}

static bool ref_value(struct ref *r, unsigned depth)
{
	static const char *const words[] = {"true", "false", "null"};
	uint32_t *points;
	size_t n, at, len;
	bool ok;

	ref_ws(r);
	if (r->i >= r->n)
		return false;
	switch (r->s[r->i]) {
	case '{':
		return ref_container(r, depth + 1, true);
	case '[':
		return ref_container(r, depth + 1, false);
	case '"':
		ok = ref_string(r, &points, &n, &at, &len);
		free(points);
		return ok;
	default:
		for (int w = 0; w < 3; w++) {
			n = strlen(words[w]);
			if (r->n - r->i >= n && memcmp(r->s + r->i, words[w], n) == 0) {
				r->i += n;
				return true;
			}
		}
		return ref_number(r);
	}
}

/* Is it one valid JSON text? The caller frees with ref_free(). */
static inline bool ref_json(struct ref *r, const char *s, size_t n, unsigned max_depth)
{
	memset(r, 0, sizeof(*r));
	r->s = (const unsigned char *)s;
	r->n = n;
	r->max_depth = max_depth;
	ref_ws(r);
	r->is_object = r->i < n && s[r->i] == '{';
	if (!ref_value(r, 0))
		return false;
	ref_ws(r);
	return r->i == n;
}

static inline void ref_free(struct ref *r)
{
	free(r->points);
	r->points = NULL;
}

/* The characters as UTF-8 into @out (room for 4 each); false when they may not be a name. */
static inline bool ref_name(const uint32_t *points, size_t n, char *out, size_t *len)
{
	size_t k = 0;

	if (n == 0 || n > 256)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint32_t c = points[i];

		if (c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0xd800 && c <= 0xdfff))
			return false;
		if (c < 0x80) {
			out[k++] = (char)c;
		} else if (c < 0x800) {
			out[k++] = (char)(192 + c / 64);
			out[k++] = (char)(128 + c % 64);
		} else if (c < 0x10000) {
			out[k++] = (char)(224 + c / 4096);
			out[k++] = (char)(128 + c / 64 % 64);
			out[k++] = (char)(128 + c % 64);
		} else {
			out[k++] = (char)(240 + c / 262144);
			out[k++] = (char)(128 + c / 4096 % 64);
			out[k++] = (char)(128 + c / 64 % 64);
			out[k++] = (char)(128 + c % 64);
		}
	}
	*len = k;
	return k <= 256;
}

enum ref_verdict { REF_OK, REF_NO_MODEL, REF_BAD };

struct ref_answer {
	enum ref_verdict verdict;
	bool duplicate_free; /* valid JSON with at most one top-level model, in any case */
	char name[1024];
	size_t name_len;
	size_t at, len;
};

/* The contract for a whole JSON body that is not empty. */
static inline void ref_answer(struct ref_answer *a, const char *s, size_t n, unsigned max_depth)
{
	struct ref r;
	bool valid = ref_json(&r, s, n, max_depth);

	memset(a, 0, sizeof(*a));
	a->duplicate_free = valid && r.models <= 1 && !(r.models && r.likes);
	a->verdict = REF_BAD;
	if (a->duplicate_free && r.models == 0) {
		a->verdict = REF_NO_MODEL;
	} else if (a->duplicate_free && r.string &&
		   ref_name(r.points, r.npoints, a->name, &a->name_len)) {
		a->verdict = REF_OK;
		a->at = r.at;
		a->len = r.len;
	}
	ref_free(&r);
}

#endif
