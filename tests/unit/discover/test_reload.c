/* What a master says to a reload: recorded from 3.0, 3.2 and 3.4, and what 2.6's process list
 * tells. */
#include "discover/follow/reload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "unit/guard.h"

static void test_read(void **state)
{
	static const struct {
		const char *answer;
		int r;
		enum reload_result result;
		const char *message;
	} cases[] = {
	    {"", -EAGAIN, 0, ""},
	    {"Success=1\n--\n[NOTICE]   (8) : Loading success.\n\n", 0, RELOAD_DONE, ""},
	    {"Success=1\n", 0, RELOAD_DONE, ""},
	    {"Success=0\n--\n[NOTICE]   (8696) : haproxy version is 3.0.11\n"
	     "[ALERT]    (8696) : config : parsing [/x/00.cfg:3] : unknown keyword 'x'\n"
	     "[ALERT]    (8696) : config : Fatal errors found in configuration.\n\n",
	     0, RELOAD_REFUSED, "config : parsing [/x/00.cfg:3] : unknown keyword 'x'"},
	    {"Success=0\n--\n[WARNING]  (1) : a worker ended\n", 0, RELOAD_REFUSED,
	     "a worker ended"},
	    {"Success=0\n", 0, RELOAD_REFUSED, ""},
	    {"Success=0", 0, RELOAD_REFUSED, ""},
	    {"Permission denied\n\n", 0, RELOAD_FAILED, "Permission denied"},
	    {"Success=10\n", 0, RELOAD_FAILED, "Success=10"},
	    {"\nSuccess=1\n", 0, RELOAD_FAILED, ""},
	    {"[ALERT] ) : x", 0, RELOAD_FAILED, "x"},
	};
	struct guard g = guard_new(4096);
	enum reload_result result;
	char message[100];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		result = RELOAD_FAILED;
		assert_int_equal(reload_read(guard_put(&g, view_str(cases[i].answer)), &result,
					     message, sizeof(message)),
				 cases[i].r);
		if (cases[i].r == 0)
			assert_int_equal(result, cases[i].result);
		assert_string_equal(message, cases[i].message);
	}
	/* A long line is cut. */
	assert_int_equal(reload_read(VIEW_LIT("a long line"), &result, message, 5), 0);
	assert_string_equal(message, "a lo");
	guard_free(&g);
}

static void test_failures(void **state)
{
	static const struct {
		const char *answer;
		int64_t n;
	} cases[] = {
	    {"#<PID>          <type>          <reloads>       <uptime>        <version>      \n"
	     "8517            master          3 [failed: 1]   0d00h00m02s     2.6.12-1+deb12u4\n"
	     "# workers\n8537            worker          1               0d00h00m01s     "
	     "2.6.12\n\n",
	     1},
	    {"8517 master 0 [failed: 0] 0d00h00m02s", 0},
	    {"8517 master 0 [failed: 4294967] 0d", 4294967},
	    {"8517 master 0 0d00h00m02s", -EPROTO},
	    {"", -EPROTO},
	    {"[failed: ", -EPROTO},
	    {"[failed: 1", -EPROTO},
	    {"[failed: ]", -EPROTO},
	    {"[failed: -1]", -EPROTO},
	    {"[failed: 1x]", -EPROTO},
	    {"[failed: 99999999999999999999999]", -EPROTO},
	};
	struct guard g = guard_new(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(reload_failures(guard_put(&g, view_str(cases[i].answer))),
				 cases[i].n);
	guard_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
