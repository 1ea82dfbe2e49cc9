/*
 * Makes the n-th allocation of this program fail, those of shared libraries included: included by
 * one .c of a test, it takes the place of the C library's malloc(), with AddressSanitizer under
 * it as well.
 *
 *   for (size_t i = 1;; i++) {
 *           failmalloc_arm(i);
 *           ... one run, freed again ...
 *           if (!failmalloc_disarm(&live))
 *                   break;           // fewer than i allocations: all are through
 *           assert_int_equal(live, 0);
 *   }
 */
#ifndef FAILMALLOC_H
#define FAILMALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FAILMALLOC_REAL(name) __interceptor_##name
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FAILMALLOC_REAL(name) __interceptor_##name
#endif
#ifndef FAILMALLOC_REAL
#define FAILMALLOC_REAL(name) __libc_##name
#endif

void *FAILMALLOC_REAL(malloc)(size_t size);
void *FAILMALLOC_REAL(calloc)(size_t n, size_t size);
void *FAILMALLOC_REAL(realloc)(void *p, size_t size);
void FAILMALLOC_REAL(free)(void *p);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
void free(void *p);

static size_t failmalloc_at, failmalloc_count;
static long failmalloc_live;
static bool failmalloc_armed;

static bool failmalloc_fails(void)
{
	if (!failmalloc_armed || ++failmalloc_count != failmalloc_at)
		return false;
	errno = ENOMEM;
	return true;
}

static void *failmalloc_counted(void *p)
{
	failmalloc_live += failmalloc_armed && p;
	return p;
}

void *malloc(size_t size)
{
	return failmalloc_fails() ? NULL : failmalloc_counted(FAILMALLOC_REAL(malloc)(size));
}

void *calloc(size_t n, size_t size)
{
	return failmalloc_fails() ? NULL : failmalloc_counted(FAILMALLOC_REAL(calloc)(n, size));
}

void *realloc(void *p, size_t size)
{
	if (!p)
		return malloc(size);
	return failmalloc_fails() ? NULL : FAILMALLOC_REAL(realloc)(p, size);
}

void free(void *p)
{
	failmalloc_live -= failmalloc_armed && p;
	FAILMALLOC_REAL(free)(p);
}

/* AddressSanitizer's own would not come by here. */
char *strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, s, len);
		copy[len] = '\0';
	}
	return copy;
}

char *strdup(const char *s)
{
	return strndup(s, strlen(s));
}

static void failmalloc_arm(size_t at)
{
	failmalloc_at = at;
	failmalloc_count = 0;
	failmalloc_live = 0;
	failmalloc_armed = true;
}

/* Did one fail? *live: allocations less frees since failmalloc_arm(). */
static bool failmalloc_disarm(long *live)
{
	failmalloc_armed = false;
	*live = failmalloc_live;
	return failmalloc_count >= failmalloc_at;
}

#endif
