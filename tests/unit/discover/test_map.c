/* The fall-back map: content, batches, file. */
#include "discover/map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "failmalloc.h"

static char *backends[] = {"llama", "phi4", "a b"};

/* A snapshot of routes alone. @n names; @target: the rewrite of each, or NULL. */
static struct snapshot *make(const char *const *names, const uint32_t *pools,
			     const char *const *targets, size_t n)
{
	struct route_def *defs = calloc(n + 1, sizeof(*defs));
	struct snapshot *s = calloc(1, sizeof(*s));

	assert_non_null(defs);
	assert_non_null(s);
	s->pools = calloc(3, sizeof(*s->pools));
	s->npools = 3;
	for (int i = 0; i < 3; i++)
		s->pools[i].backend = backends[i];
	for (size_t i = 0; i < n; i++) {
		defs[i].model = view_str(names[i]);
		defs[i].pool = pools ? pools[i] : 0;
		defs[i].target = targets && targets[i] ? view_str(targets[i]) : VIEW_NULL;
		defs[i].weight = 1;
	}
	s->routes = route_table_new(defs, n);
	assert_non_null(s->routes);
	free(defs);
	return s;
}

static const char *lines(const struct map *m)
{
	return m->text + m->head;
}

static void test_content(void **state)
{
	static const char *const names[] = {"z",   "a b",    "tab\there", "#comment",
					    "a#b", "alias",  "b",         "\xc3\xa9",
					    "a",   "spaced", "del\x7f",   "a;b\\\"c"};
	static const uint32_t pools[] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0};
	static const char *const targets[] = {NULL, NULL, NULL, NULL, NULL, "z",
					      NULL, NULL, NULL, NULL, NULL, NULL};
	struct snapshot *s = make(names, pools, targets, 12);
	struct map *m = map_new(s), *n;

	(void)state;
	assert_non_null(m);
	assert_string_equal(
	    lines(m), "a llama\na#b llama\na;b\\\"c llama\nb llama\nz phi4\n\xc3\xa9 llama\n");
	assert_int_equal(m->left_out, 6);
	assert_int_equal(m->text[0], '#');
	n = map_new(s);
	assert_true(map_same(m, n));
	map_free(n);
	map_free(m);
	snapshot_free(s);

	s = make(NULL, NULL, NULL, 0);
	m = map_new(s);
	assert_int_equal(m->n, 0);
	assert_string_equal(lines(m), "");
	assert_true(map_equals(m, view_str("")));
	assert_false(map_equals(m, view_str("0x1 a llama\n")));
	map_free(m);
	snapshot_free(s);
}

static void test_equals(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct snapshot *s = make(names, NULL, NULL, 3);
	struct map *m = map_new(s);

	(void)state;
	assert_true(map_equals(m, view_str("0x1 a llama\n0x2 b llama\n0x3 c llama\n")));
	assert_true(map_equals(m, view_str("0x1 c llama\n0x2 a llama\n0x3 b llama\n")));
	assert_false(map_equals(m, view_str("0x1 a llama\n0x2 b llama\n")));
	assert_false(map_equals(m, view_str("0x1 a llama\n0x2 b llama\n0x3 d llama\n")));
	assert_false(map_equals(m, view_str("0x1 a llama\n0x2 b llama\n0x3 c phi4\n")));
	assert_false(map_equals(m, view_str("0x1 a llama\n0x2 a llama\n0x3 b llama\n")));
	assert_false(
	    map_equals(m, view_str("0x1 a llama\n0x2 b llama\n0x3 c llama\n0x4 c llama\n")));
	map_free(m);
	snapshot_free(s);
}

static void test_batches(void **state)
{
	static const char *const names[] = {"aa", "bb", "cc", "a-longer-name-than-the-batch"};
	struct snapshot *s = make(names, NULL, NULL, 4);
	struct map *m = map_new(s);

	(void)state;
	/* "aa llama\n" is nine bytes. Whatever the size, all lines come, whole and in order. */
	for (size_t max = 1; max < 60; max++) {
		size_t at = 0, used = 0, next;
		char all[200];

		while (at < m->n) {
			struct view v = map_batch(m, at, max, &next);

			assert_true(next > at);
			assert_true(v.len <= max || next == at + 1);
			assert_int_equal(v.ptr[v.len - 1], '\n');
			memcpy(all + used, v.ptr, v.len);
			used += v.len;
			at = next;
		}
		all[used] = '\0';
		assert_string_equal(all, lines(m));
	}
	map_free(m);
	snapshot_free(s);
}

static void test_file(void **state)
{
	static const char *const names[] = {"a"};
	char dir[] = "/tmp/map.XXXXXX", file[64], target[64], command[64];
	struct snapshot *s = make(names, NULL, NULL, 1);
	struct map *m = map_new(s);
	const char *what = NULL;
	struct stat st, again;
	char text[200] = "";
	FILE *in;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(target, sizeof(target), "%s/models.map", dir);
	snprintf(file, sizeof(file), "%s/link", dir);
	assert_int_equal(map_write(m, target, &what), 1);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	/* The same again: the file is left alone. */
	assert_int_equal(map_write(m, target, &what), 0);
	assert_int_equal(stat(target, &again), 0);
	assert_int_equal(st.st_ino, again.st_ino);
	/* Through a link, with the mode that was there. */
	assert_int_equal(symlink("models.map", file), 0);
	in = fopen(target, "w");
	assert_non_null(in);
	fputs("a phi4\n", in);
	fclose(in);
	assert_int_equal(chmod(target, 0640), 0);
	assert_int_equal(map_write(m, file, &what), 1);
	assert_int_equal(lstat(file, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	in = fopen(target, "r");
	assert_true(fread(text, 1, sizeof(text) - 1, in) > 0);
	fclose(in);
	assert_string_equal(text, m->text);
	/* Nothing is left behind, and what cannot be is said. */
	snprintf(command, sizeof(command), "test $(ls -A %s | wc -l) = 2", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(map_write(m, dir, &what), -EINVAL);
	assert_int_equal(map_write(m, "/nonexistent/models.map", &what), -ENOENT);
	assert_string_equal(what, "write a file beside it");
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
	map_free(m);
	snapshot_free(s);
}

static void test_memory(void **state)
{
	static const char *const names[] = {"a", "b"};
	struct snapshot *s = make(names, NULL, NULL, 2);
	long live;

	(void)state;
	for (size_t i = 1;; i++) {
		struct map *m;

		failmalloc_arm(i);
		m = map_new(s);
		map_free(m);
		if (!failmalloc_disarm(&live)) {
			assert_non_null(m);
			assert_true(i > 3);
			break;
		}
		assert_null(m);
		assert_int_equal(live, 0);
	}
	snapshot_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_content), cmocka_unit_test(test_equals),
	    cmocka_unit_test(test_batches), cmocka_unit_test(test_file),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
