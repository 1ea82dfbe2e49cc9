/* A change of HAProxy's certificates is seen from outside, however it is made. */
#include "discover/follow/certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "unit/folder.h"

/* The kubelet's way: files are links into ..data, which is a link to a folder that is swapped. */
static void link_version(const char *version, const char *text)
{
	char path[64];

	assert_int_equal(mkdir(folder_path(version), 0755), 0);
	snprintf(path, sizeof(path), "%s/tls.crt", version);
	folder_put(path, text);
	assert_int_equal(symlink(version, folder_path("next")), 0);
	assert_int_equal(rename(folder_path("next"), folder_path("..data")), 0);
}

static void test_changes(void **state)
{
	uint64_t seen = 0, before;

	(void)state;
	/* Nothing there, not even the folder. */
	assert_false(certificates_look(NULL, &seen));
	assert_false(certificates_look(folder, &seen));
	assert_false(certificates_look(folder_path("none"), &seen));
	folder_put("a.pem", "1");
	assert_true(certificates_look(folder, &seen));
	assert_false(certificates_look(folder, &seen));
	folder_put("b.pem", "2");
	assert_true(certificates_look(folder, &seen));
	/* As long, at the same moment: another inode. */
	folder_swap("a.pem", "3");
	assert_true(certificates_look(folder, &seen));
	before = seen;
	assert_int_equal(rename(folder_path("a.pem"), folder_path("c.pem")), 0);
	assert_true(certificates_look(folder, &seen));
	assert_int_equal(rename(folder_path("c.pem"), folder_path("a.pem")), 0);
	assert_true(certificates_look(folder, &seen));
	assert_true(seen == before);
	assert_int_equal(unlink(folder_path("b.pem")), 0);
	assert_true(certificates_look(folder, &seen));
	/* All gone for a moment: what was there before counts. */
	before = seen;
	assert_int_equal(unlink(folder_path("a.pem")), 0);
	assert_false(certificates_look(folder, &seen));
	assert_true(seen == before);
	/* What HAProxy does not load. */
	folder_put(".hidden", "4");
	assert_int_equal(mkdir(folder_path("sub"), 0755), 0);
	folder_put("sub/d.pem", "5");
	assert_false(certificates_look(folder, &seen));
}

static void test_links(void **state)
{
	uint64_t seen = 0;

	(void)state;
	link_version("v1", "one");
	assert_int_equal(symlink("..data/tls.crt", folder_path("site.crt")), 0);
	assert_true(certificates_look(folder, &seen));
	assert_false(certificates_look(folder, &seen));
	link_version("v2", "two");
	assert_true(certificates_look(folder, &seen));
	assert_false(certificates_look(folder, &seen));
}

static void test_one_file(void **state)
{
	const char *path = folder_put("one.pem", "1");
	uint64_t seen = 0;

	(void)state;
	assert_true(certificates_look(path, &seen));
	folder_put("two.pem", "1");
	assert_false(certificates_look(path, &seen));
	folder_swap("one.pem", "2");
	assert_true(certificates_look(path, &seen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_changes),
	    cmocka_unit_test(test_links),
	    cmocka_unit_test(test_one_file),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
