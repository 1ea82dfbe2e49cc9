/* Who has asked of late: nobody is forgotten while there is room, and who comes again is back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "serve/peers.h"

static void few_are_all_known(void **state)
{
	struct peers p = {0};

	(void)state;
	assert_false(peers_has(&p, 0));
	peers_note(&p, 0);
	assert_false(peers_has(&p, 0));
	for (uint32_t pid = 1; pid <= PEERS_KEPT; pid++)
		for (unsigned again = 0; again < 3; again++)
			peers_note(&p, pid);
	for (uint32_t pid = 1; pid <= PEERS_KEPT; pid++)
		assert_true(peers_has(&p, pid));
	assert_false(peers_has(&p, PEERS_KEPT + 1));
}

static void many_reloads(void **state)
{
	enum { STAYS = 5 };
	struct peers p = {0};

	(void)state;
	for (uint32_t pid = 100; pid < 10000; pid++) {
		peers_note(&p, STAYS);
		peers_note(&p, pid);
		assert_true(peers_has(&p, pid));
		assert_true(peers_has(&p, pid - 1) || pid == 100);
	}
	peers_note(&p, STAYS);
	assert_true(peers_has(&p, STAYS));
	assert_false(peers_has(&p, 100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(few_are_all_known),
	    cmocka_unit_test(many_reloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
