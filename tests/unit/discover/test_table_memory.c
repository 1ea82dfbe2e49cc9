/* The tables of discover/ when memory is short: each with its i-th allocation failing, for every i.
 * uthash would end the program; here what found no room is not there, nothing else is lost. */
#include "discover/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "config/config.h"
#include "discover/intern.h"
#include "discover/kube/keyset.h"
#include "discover/token.h"
#include "failmalloc.h"
#include "pick/endpoint.h"
#include "unit/folder.h"

/* More than the buckets of a new table hold: it grows in between, which can fail as well. */
#define MANY 400

static void name_of(char text[16], unsigned i)
{
	snprintf(text, 16, "n%u", i);
}

static void test_intern(void **state)
{
	char text[16];
	bool failed = true;

	(void)state;
	for (size_t at = 1; failed; at++) {
		struct intern *t = intern_new(MANY);
		uint32_t index[MANY];
		long live;

		assert_non_null(t);
		failmalloc_arm(at);
		for (unsigned i = 0; i < MANY; i++) {
			name_of(text, i);
			index[i] = intern_index(t, view_str(text));
		}
		failed = failmalloc_disarm(&live);
		assert_int_equal(intern_refused(t), failed);
		assert_int_equal(intern_count(t), MANY - failed);
		for (unsigned i = 0; i < MANY; i++) {
			name_of(text, i);
			assert_string_equal(intern_name(t, index[i]), index[i] ? text : "other");
			/* The second time there is room. */
			assert_int_not_equal(intern_index(t, view_str(text)), 0);
		}
		intern_free(t);
	}
}

struct reuse {
	uint32_t last;
	int n;
};

static void reused(uint32_t index, void *arg)
{
	struct reuse *r = arg;

	r->last = index;
	r->n++;
}

/* The names of one set: "abc" is a, b and c; the indices, one letter each, "-" for none. */
static const char *set_of(struct intern *t, const char *names, bool keep)
{
	static char indices[16];
	size_t n = 0;

	intern_begin(t);
	for (; names[n]; n++) {
		uint32_t i = intern_index(t, (struct view){names + n, 1});

		indices[n] = (char)(i ? '0' + i : '-');
		if (i)
			assert_true(intern_name(t, i)[0] == names[n]);
	}
	indices[n] = '\0';
	if (keep)
		intern_keep(t);
	return indices;
}

/* Who is used keeps its index; who is not gives it away, the longest unused first. */
static void test_intern_reuse(void **state)
{
	struct intern *t = intern_new(3);
	struct reuse r = {0, 0};

	(void)state;
	intern_on_reuse(t, reused, &r);
	assert_string_equal(set_of(t, "abc", true), "123");
	/* All three are in use by the set before. */
	assert_string_equal(set_of(t, "d", true), "-");
	/* a to c are in nobody's use now; a goes first, b and c come back to theirs. */
	assert_string_equal(set_of(t, "dbc", true), "123");
	assert_int_equal(r.n, 1);
	assert_int_equal(r.last, 1);
	/* While there is room nothing is given away, however long unused. */
	assert_string_equal(set_of(t, "bc", true), "23");
	assert_string_equal(set_of(t, "bc", true), "23");
	assert_string_equal(set_of(t, "dbc", true), "123");
	/* Of two the one that has gone longer. */
	assert_string_equal(set_of(t, "bd", true), "21");
	assert_string_equal(set_of(t, "b", true), "2");
	assert_string_equal(set_of(t, "b", true), "2");
	assert_string_equal(set_of(t, "be", true), "23");
	assert_string_equal(set_of(t, "bef", true), "231");
	assert_int_equal(r.n, 3);
	/* A set that comes to nothing takes nothing from those of the one in use. */
	assert_string_equal(set_of(t, "x", false), "-");
	assert_string_equal(set_of(t, "xyz", false), "---");
	assert_string_equal(set_of(t, "x", false), "-");
	assert_string_equal(set_of(t, "bef", true), "231");
	assert_int_equal(r.n, 3);
	assert_int_equal(intern_count(t), 3);
	intern_free(t);
}

static void test_keyset(void **state)
{
	char text[16];
	bool failed = true;

	(void)state;
	for (size_t at = 1; failed; at++) {
		struct kube_keyset *s = kube_keyset_new();
		size_t there = 0;
		long live;

		assert_non_null(s);
		failmalloc_arm(at);
		for (unsigned i = 0; i < MANY; i++) {
			name_of(text, i);
			there += kube_keyset_put(s, "space", text, 1) == 0;
		}
		failed = failmalloc_disarm(&live);
		assert_int_equal(there, MANY - failed);
		assert_int_equal(kube_keyset_count(s), there);
		kube_keyset_free(s);
	}
}

static void test_token(void **state)
{
	const char *path = folder_put("token", "secret\n");
	bool failed = true;

	(void)state;
	for (size_t at = 1; failed; at++) {
		struct tokens *t = tokens_new();
		const char *error = NULL, *got;
		long live;

		assert_non_null(t);
		failmalloc_arm(at);
		got = token_get(t, path, &error);
		failed = failmalloc_disarm(&live);
		assert_true(failed ? !got : got && strcmp(got, "secret") == 0);
		assert_string_equal(token_get(t, path, &error), "secret");
		tokens_free(t);
	}
}

/* Sixty servers, half of them renamed, beside a second group: whatever fails, all slots come back.
 */
static void test_roster(void **state)
{
	enum { N = 60 };
	static char names[2][N][16];
	static const struct place_hooks hooks;
	struct config_pool pool = {.name = (char *)"p"};
	struct roster_want wants[2][N];
	bool failed = true;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct roster_want *w = &wants[0][i];

		name_of(names[0][i], i);
		name_of(names[1][i], i % 2 ? i : 1000 + i);
		*w = (struct roster_want){.name = view_str(names[0][i])};
		*(struct sockaddr_in *)&w->addr =
		    (struct sockaddr_in){.sin_family = AF_INET,
					 .sin_port = htons(80),
					 .sin_addr.s_addr = htonl(0x0a000000 + i)};
		wants[1][i] = *w;
		wants[1][i].name = view_str(names[1][i]);
	}
	for (size_t at = 1; failed; at++) {
		struct endpoints *e = endpoints_new(4 * N);
		struct roster *r = roster_new(e, &hooks);
		struct group *g;
		long live;

		assert_non_null(r);
		failmalloc_arm(at);
		for (unsigned turn = 0; turn < 2; turn++) {
			g = roster_group(r, ROSTER_LISTED, "b", "p");
			if (!g)
				continue;
			g->pool = &pool;
			roster_set(r, g, wants[turn], N);
			roster_reap(r);
		}
		failed = failmalloc_disarm(&live);
		/* Said again with memory enough it is as it was said. */
		g = roster_group(r, ROSTER_LISTED, "b", "p");
		assert_non_null(g);
		g->pool = &pool;
		roster_set(r, g, wants[1], N);
		roster_reap(r);
		assert_int_equal(g->n, N);
		assert_int_equal(roster_count(r), N);
		for (unsigned i = 0; i < N; i++)
			assert_string_equal(g->members[i]->place.name, names[1][i]);
		roster_free(r);
		endpoints_free(e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_intern), cmocka_unit_test(test_intern_reuse),
	    cmocka_unit_test(test_keyset), cmocka_unit_test(test_token),
	    cmocka_unit_test(test_roster),
	};

	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
