/* The backends that HAProxy serves: found, compared, kept. */
#include "discover/follow/backends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "failmalloc.h"

static const struct view three[] = {{"a", 1}, {"ab", 2}, {"llama", 5}};

static void test_set_and_have(void **state)
{
	struct backends b = {0};

	(void)state;
	assert_false(backends_have(&b, VIEW_LIT("a")));
	assert_false(backends_set(&b, NULL, 0));
	assert_true(backends_set(&b, three, 3));
	assert_false(backends_set(&b, three, 3));
	for (int i = 0; i < 3; i++)
		assert_true(backends_have(&b, three[i]));
	assert_false(backends_have(&b, VIEW_LIT("")));
	assert_false(backends_have(&b, VIEW_LIT("abc")));
	assert_false(backends_have(&b, VIEW_LIT("llam")));
	assert_false(backends_have(&b, VIEW_LIT("z")));
	assert_true(backends_set(&b, three, 2));
	assert_false(backends_have(&b, three[2]));
	assert_true(backends_set(&b, three + 1, 2));
	assert_false(backends_have(&b, three[0]));
	assert_true(backends_set(&b, NULL, 0));
	backends_deinit(&b);
	backends_deinit(&b);
}

/* Those that could not be kept come with the next answer. */
static void test_short_of_memory(void **state)
{
	long live;

	(void)state;
	for (size_t i = 1;; i++) {
		struct backends b = {0};
		bool failed;

		failmalloc_arm(i);
		assert_true(backends_set(&b, three, 3));
		failed = b.n < 3;
		assert_int_equal(backends_have(&b, three[2]), !failed);
		backends_deinit(&b);
		if (!failmalloc_disarm(&live)) {
			assert_false(failed);
			break;
		}
		assert_true(failed);
		assert_int_equal(live, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_set_and_have),
	    cmocka_unit_test(test_short_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
