/* What the bodies of several transfers take together: net/http_receive.h by itself. */
#include "net/http_receive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define KB ((size_t)1024)
#define MB (1024 * KB)

static char piece[16 * KB];

/* How many of @want bytes it takes in pieces, as libcurl hands them over. */
static size_t take(struct http_receive *in, size_t want)
{
	size_t took = 0;

	for (; took < want; took += sizeof(piece))
		if (http_receive_body(in, (struct view){piece, sizeof(piece)}) !=
		    HTTP_RECEIVE_GO_ON)
			break;
	return took;
}

static void test_shared(void **state)
{
	struct http_room room = {.max = 3 * MB + 3 * MB / 4};
	struct http_receive in[6] = {0};

	(void)state;
	for (size_t i = 0; i < 6; i++)
		http_receive_reset(&in[i], 4 * MB, false, &room);
	/* The usual size takes nothing of it. */
	assert_int_equal(take(&in[0], 256 * KB), 256 * KB);
	assert_int_equal(room.used, 0);
	/* 4 MB less what is free fill it up. */
	assert_int_equal(take(&in[1], 4 * MB), 4 * MB);
	assert_int_equal(room.used, room.max);
	assert_int_equal(take(&in[2], 4 * MB), 256 * KB);
	assert_int_equal(in[2].error, HTTP_TOO_LARGE);
	assert_int_equal(in[2].len, 256 * KB);
	/* Whoever keeps to the usual is heard all the same. */
	assert_int_equal(take(&in[3], 256 * KB), 256 * KB);
	assert_int_equal(in[3].error, HTTP_OK);
	/* The large one has ended: the next has its room. */
	http_receive_reset(&in[1], 0, false, NULL);
	assert_int_equal(room.used, 0);
	assert_int_equal(take(&in[4], 2 * MB), 2 * MB);
	assert_int_equal(room.used, 2 * MB - 256 * KB);
	/* A reload made it smaller than what is here: what is here goes on as far as it is. */
	room.max = MB;
	assert_int_equal(take(&in[4], 16 * KB), 0);
	assert_int_equal(in[4].error, HTTP_TOO_LARGE);
	assert_int_equal(take(&in[5], MB), 256 * KB);
	for (size_t i = 0; i < 6; i++)
		http_receive_deinit(&in[i]);
	assert_int_equal(room.used, 0);
}

/* Without a room max_body alone holds. */
static void test_alone(void **state)
{
	struct http_receive in = {0};

	(void)state;
	http_receive_reset(&in, 3 * MB, false, NULL);
	assert_int_equal(take(&in, 4 * MB), 3 * MB);
	assert_int_equal(in.error, HTTP_TOO_LARGE);
	http_receive_deinit(&in);
}

/* A buffer that is kept for the next transfer is no part of a room. */
static void test_kept(void **state)
{
	struct http_room room = {.max = MB};
	struct http_receive in = {0};

	(void)state;
	http_receive_reset(&in, 4 * MB, false, &room);
	assert_int_equal(take(&in, 128 * KB), 128 * KB);
	http_receive_reset(&in, 4 * MB, false, NULL);
	assert_int_equal(take(&in, MB), MB);
	assert_int_equal(room.used, 0);
	http_receive_reset(&in, 4 * MB, false, &room);
	assert_int_equal(take(&in, 4 * MB), MB);
	assert_true(room.used <= room.max);
	http_receive_deinit(&in);
	assert_int_equal(room.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shared),
	    cmocka_unit_test(test_alone),
	    cmocka_unit_test(test_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
