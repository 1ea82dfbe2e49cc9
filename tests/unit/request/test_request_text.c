#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <ctype.h>
#include <cmocka.h>

#include "request/text.h"
#include "unit/guard.h"
#include "unit/request/readers.h"
#include "unit/request/reference.h"

/* The loops that touch every byte against the plainest ones, at every length and place. */

#define LONGEST 300

static struct guard guard;

static size_t naive_plain(const unsigned char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] >= 0x20 && s[i] < 0x80 && s[i] != '"' && s[i] != '\\')
		i++;
	return i;
}

static size_t naive_blank(const unsigned char *s, size_t n)
{
	size_t i = 0;

	while (i < n && (s[i] == 0x20 || s[i] == 0x09 || s[i] == 0x0a || s[i] == 0x0d))
		i++;
	return i;
}

/* Every byte value at every place of runs of every length, the run's end unreadable. */
static void runs(void **state)
{
	char s[LONGEST];

	(void)state;
	for (size_t n = 0; n <= LONGEST; n += n < 150 ? 1 : 7) {
		for (size_t at = 0; at <= n; at += n < 70 ? 1 : 13) {
			for (int byte = 0; byte < 256; byte++) {
				struct view v;
				const unsigned char *u;

				memset(s, byte & 1 ? 'x' : '~', n);
				if (at < n)
					s[at] = (char)byte;
				v = guard_put(&guard, (struct view){s, n});
				u = (const unsigned char *)v.ptr;
				assert_ptr_equal(text_plain_far(v.ptr, v.ptr + n),
						 v.ptr + naive_plain(u, n));
				memset(s, "\n \t\r"[byte & 3], n);
				if (at < n)
					s[at] = (char)byte;
				v = guard_put(&guard, (struct view){s, n});
				assert_ptr_equal(text_blank(v.ptr, v.ptr + n),
						 v.ptr + naive_blank(u, n));
				assert_ptr_equal(text_blank_far(v.ptr, v.ptr + n),
						 v.ptr + naive_blank(u, n));
			}
		}
	}
}

/* Every sequence of two bytes, and every one of three and four with interesting members. */
static void utf8(void **state)
{
	static const unsigned char some[] = {
	    0x00, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
	    0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfe, 0xff};
	const size_t k = sizeof(some);
	unsigned long valid = 0;

	(void)state;
	for (unsigned a = 0x80; a < 256; a++) {
		for (size_t rest = 0; rest < k * k * k; rest++) {
			unsigned char s[5] = {(unsigned char)a, some[rest / k / k],
					      some[rest / k % k], some[rest % k]};

			for (size_t n = 1; n <= 4; n++) {
				struct view v =
				    guard_put(&guard, (struct view){(const char *)s, n});
				struct ref r = {.s = (const unsigned char *)v.ptr, .n = n};
				const char *got = text_utf8(v.ptr, v.ptr + n);
				bool good = true;

				/* past the sequences there are, up to ASCII */
				while (r.i < n && v.ptr[r.i] & 0x80 && ref_char(&r) >= 0)
					;
				assert_ptr_equal(got, v.ptr + r.i);
				while (r.i < n && good)
					good = ref_char(&r) >= 0;
				assert_int_equal(text_valid(v.ptr, v.ptr + n), good);
				valid += good;
			}
		}
	}
	assert_true(valid > 1000);
}

static uint64_t seed = 88172645463325252;

static uint32_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32);
}

/*
 * The bulk reader of strings: what it passes over must be units that a slow reader finds right, it
 * must stop at the closing quote or where a unit begins, and tell whether it passed an escape.
 */
static void judge_string(struct view v, size_t *passed,
			 const char *(*reader)(const char *, const char *, bool *), bool to_unit)
{
	bool got_escape = false, escape = false;
	const char *got = reader(v.ptr, v.ptr + v.len, &got_escape);
	struct ref r = {.s = (const unsigned char *)v.ptr, .n = v.len};
	size_t to = (size_t)(got - v.ptr);

	assert_true(got >= v.ptr && to <= v.len);
	while (r.i < to) {
		if (r.s[r.i] == '\\') {
			static const char known[] = "\"\\/bfnrtu";

			escape = true;
			assert_true(r.i + 1 < v.len && r.s[r.i + 1] && strchr(known, r.s[r.i + 1]));
			if (r.s[r.i + 1] == 'u') {
				for (size_t d = 2; d < 6; d++)
					assert_true(r.i + d < v.len && isxdigit(r.s[r.i + d]));
				r.i += 4;
			}
			r.i += 2;
			continue;
		}
		assert_true(r.s[r.i] != '"' && r.s[r.i] >= 0x20);
		assert_true(ref_char(&r) >= 0);
	}
	assert_int_equal(r.i, to);
	assert_int_equal(escape, got_escape);
	if (to_unit && to < v.len)
		assert_true(v.ptr[to] == '"' || v.ptr[to] == '\\' ||
			    (unsigned char)v.ptr[to] < 0x20 || (unsigned char)v.ptr[to] >= 0x80);
	*passed += to;
}

static const char *inline_reader(const char *p, const char *end, bool *escaped)
{
	return text_string(p, end, escaped);
}

static void strings(void **state)
{
	static const char *const bits[] = {
	    "a",
	    "word",
	    "0123456789abcdef0123456789",
	    "\\\"",
	    "\\\\",
	    "\\n",
	    "\\u0041",
	    "\\uD83d",
	    "é",
	    "千",
	    "😀",
	    "\xed\x9f\xbf",
	    "\xf4\x8f\xbf\xbf",
	    "\xe0\xa0\x80",
	    "\xf0\x90\x80\x80",
	    /* wrong ones, and the end */
	    "\"",
	    "\\",
	    "\\u00",
	    "\\x",
	    "\x80",
	    "\xc3",
	    "\xe2\x82",
	    "\xf0\x9f\x98",
	    "\xc0\xaf",
	    "\xe0\xa0",
	    "\xf0\x90",
	    "\xf0\x90\x80",
	    "\xe0\x9f\xbf",
	    "\xed\xa0\x80",
	    "\xf0\x8f\xbf\xbf",
	    "\xf4\x90\x80\x80",
	    "\xff",
	    "\n",
	};
	const uint32_t good = 15, all = sizeof(bits) / sizeof(*bits);
	size_t passed = 0, total = 0;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		char s[LONGEST];
		size_t n = 0;
		uint32_t kinds = 1 + next() % good, wrong = next() % 3 ? 200 : 20;

		while (n < LONGEST - 32) {
			uint32_t k = next() % wrong ? next() % kinds : next() % all;

			memcpy(s + n, bits[k], strlen(bits[k]));
			n += strlen(bits[k]);
			if (next() % 100 == 0)
				break;
		}
		judge_string(guard_put(&guard, (struct view){s, n}), &passed, inline_reader, true);
		judge_string(guard_put(&guard, (struct view){s, n}), &passed, text_string_far,
			     true);
		if (text_blocks)
			judge_string(guard_put(&guard, (struct view){s, n}), &passed,
				     text_blocks->string, false);
		total += n;
	}
	assert_true(passed > total / 4);
}

static int setup(void **state)
{
	(void)state;
	guard = guard_new(LONGEST);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guard_free(&guard);
	return 0;
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(runs),
	    cmocka_unit_test(utf8),
	    cmocka_unit_test(strings),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

int main(void)
{
	return readers_each(run);
}
