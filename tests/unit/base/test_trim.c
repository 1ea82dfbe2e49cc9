/* What is dropped comes back as it was, and resident memory is less for it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trim.h"

/* Relocated by the loader, then made read-only: it must not be what the file says. */
static const char *const words[] = {"one", "two", "three"};
static int written = 1;

/* Resident pages of files. */
static long shared_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, resident, shared;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld %ld", &size, &resident, &shared), 3);
	fclose(f);
	return shared;
}

static int backwards(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

static void everything_is_still_there(void **state)
{
	char *kept[3], *heap = strdup("kept"), text[32];

	(void)state;
	written = 7;
	for (unsigned round = 0; round < 3; round++) {
		trim_after_start();
		for (unsigned i = 0; i < 3; i++)
			kept[i] = strdup(words[i]);
		qsort(kept, 3, sizeof(kept[0]), backwards);
		assert_string_equal(kept[0], "two");
		assert_string_equal(kept[2], "one");
		snprintf(text, sizeof(text), "%s %d %.3f", heap, written, strtod("1.5", NULL));
		assert_string_equal(text, "kept 7 1.500");
		for (unsigned i = 0; i < 3; i++)
			free(kept[i]);
	}
	free(heap);
}

static void less_is_resident(void **state)
{
	long before, after;

	(void)state;
	before = shared_pages();
	trim_after_start();
	after = shared_pages();
	if (after >= before)
		fail_msg("%ld pages of files were resident, now %ld", before, after);
}

int main(void)
{
	/* In this order: the first call finds what starting left, the other what the first used. */
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(less_is_resident),
	    cmocka_unit_test(everything_is_still_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
