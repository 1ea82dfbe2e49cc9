#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "request/text.h"
#include "unit/request/guard.h"
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
				v = guard_put(&guard, s, n);
				u = (const unsigned char *)v.ptr;
				assert_ptr_equal(text_plain(v.ptr, v.ptr + n),
						 v.ptr + naive_plain(u, n));
				assert_ptr_equal(text_plain_far(v.ptr, v.ptr + n),
						 v.ptr + naive_plain(u, n));
				memset(s, "\n \t\r"[byte & 3], n);
				if (at < n)
					s[at] = (char)byte;
				v = guard_put(&guard, s, n);
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
				struct view v = guard_put(&guard, (const char *)s, n);
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

static int setup(void **state)
{
	(void)state;
	guard_init(&guard, LONGEST);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guard_deinit(&guard);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(runs),
	    cmocka_unit_test(utf8),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
