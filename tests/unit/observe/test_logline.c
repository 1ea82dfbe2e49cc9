/* HAProxy's end-of-request lines: a table of lines, framing at every split. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "observe/logline.h"

#define HEAD "<134>1 2026-03-01T10:20:30.123456+00:00 gw haproxy 7 - "

/* log-format-sd of haproxy.cfg, all but the closing bracket */
#define SHIPPED(ticket, backend, server, status, ts, ta)                                           \
	"[inference@32473 ticket=\"" ticket "\" rt=\"17\" backend=\"" backend                      \
	"\" server=\"" server "\" status=\"" status "\" ts=\"" ts "\" ta=\"" ta "\""

static const struct line_case {
	const char *line;
	int result;
	int64_t ticket;
	const char *backend, *server, *ts;
	int status;
	int64_t ta_ms;
} cases[] = {
    /* as HAProxy 2.6 and 3.4 write it */
    {HEAD "[inference@32473 ticket=\"5764607523034234881\" backend=\"llama\" server=\"llama1\" "
	  "status=\"200\" ts=\"--\" tr=\"12\" ta=\"345\" bytes=\"6789\"] 127.0.0.1:5 …",
     0, INT64_C(5764607523034234881), "llama", "llama1", "--", 200, -1},
    /* as haproxy.cfg has it, and its order broken, cut short, gone on with */
    {HEAD SHIPPED("5764607523034234881", "llama", "llama1", "200", "--", "345") "] m", 0,
     INT64_C(5764607523034234881), "llama", "llama1", "--", 200, -1},
    {HEAD SHIPPED("", "phi4", "<NOSRV>", "-1", "CR", "17") "]", 0, 0, "phi4", "<NOSRV>", "CR", -1,
     17},
    {HEAD SHIPPED("9", "a\\\"b", "s", "200", "--", "3") "]", 0, 9, "a\\\"b", "s", "--", 200, -1},
    {HEAD SHIPPED("9", "b", "s", "200", "--", "3") " server=\"t\"]", 0, 9, "b", "t", "--", 200, -1},
    {HEAD SHIPPED("9", "b", "s", "200", "--", "3") "][i ticket=\"8\" server=\"t\"]", 0, 9, "b", "s",
     "--", 200, -1},
    {HEAD SHIPPED("9", "b", "s", "200", "--", "3"), -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "[inference@32473 ticket=\"9\" rt=\"1\" server=\"s\" backend=\"b\"]", 0, 9, "b", "s", "",
     -1, -1},
    {HEAD "[inference@32473x ticket=\"9\" rt=\"1\"]", 0, 9, "", "", "", -1, -1},
    /* no ticket: the agent was not asked, or did not place it */
    {HEAD "[inference@32473 ticket=\"\" backend=\"phi4\" server=\"phi1\" status=\"200\"] x", 0, 0,
     "phi4", "phi1", "", 200, -1},
    {HEAD "[inference@32473 ticket=\"-\" backend=\"phi4\" server=\"<NOSRV>\" status=\"503\" "
	  "ts=\"SC\" tr=\"-1\" ta=\"+3\"]",
     0, 0, "phi4", "<NOSRV>", "SC", 503, 3},
    /* a client that went before the headers: no status */
    {HEAD "[i@1 ticket=\"7\" status=\"-1\" ts=\"CH\" tr=\"-1\"]", 0, 7, "", "", "CH", -1, -1},
    /* names that end or begin as ours do, or are longer than any */
    {HEAD "[i xticket=\"1\" tickets=\"2\" myticket=\"3\" a.long.ticket=\"4\" ticke=\"6\" =\"7\" "
	  "t=\"8\" mybackend=\"b\" xxserver=\"s\" ticket=\"5\" backend=\"\"]",
     0, 5, "", "", "", -1, -1},
    /* values and escapes at every place of a word of eight bytes */
    {HEAD "[i a=\"1234567\\\"\" b=\"123456\\\\\" c=\"12345678\\]\" server=\"12345678\" "
	  "backend=\"1234567890abcdefg\" ts=\"\" ta=\"12345678901\" status=\"404\"]",
     0, 0, "1234567890abcdefg", "12345678", "", 404, INT64_C(12345678901)},
    /* other elements before and after; escapes in values that are none of ours */
    {HEAD "[a b=\"x\\\"] ticket=\\\"9\\\"\"][i@1 ticket=\"8\"][z ticket=\"10\"] m", 0, 8, "", "",
     "", -1, -1},
    {HEAD "[a b=\"\\]\\\\\"][i@1 server=\"s\" ticket=\"8\"]", 0, 8, "", "s", "", -1, -1},
    /* an element that lacks a ticket leaves nothing behind */
    {HEAD "[a server=\"evil\" status=\"1\"][i@1 ticket=\"8\"]", 0, 8, "", "", "", -1, -1},
    {HEAD "[a]", 0, 0, "", "", "", -1, -1},
    {HEAD "[a ]", 0, 0, "", "", "", -1, -1},
    /* numbers that are none */
    {HEAD "[i ticket=\"12x\"]", 0, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=\"99999999999999999999\"]", 0, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=\"9223372036854775808\"]", 0, 0, "", "", "", -1, -1},
    /* the largest name that a ticket can have */
    {HEAD "[i ticket=\"9223372036854775807\"]", 0, INT64_MAX, "", "", "", -1, -1},
    {HEAD "[i ticket=\"-5\"]", 0, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=\"5\" status=\"1000\"]", 0, 5, "", "", "", -1, -1},
    /* not such a line */
    {"", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "-", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "", -EINVAL, 0, "", "", "", -1, -1},
    {"<134>Mar  1 10:20:30 haproxy[7]: 127.0.0.1 [x ticket=\"5\"]", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=\"5\"", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=\"5", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "[i ticket=5]", -EINVAL, 0, "", "", "", -1, -1},
    {HEAD "[i ticket", -EINVAL, 0, "", "", "", -1, -1},
    {"GET / HTTP/1.1", -EINVAL, 0, "", "", "", -1, -1},
    {"<134", -EINVAL, 0, "", "", "", -1, -1},
};

/* A copy whose last byte touches an unreadable page. */
static char *at_the_wall(const char *bytes, size_t len, char **ret_map, size_t *ret_size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (len / page + 2) * page;
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + size - page, page, PROT_NONE), 0);
	memcpy(map + size - page - len, bytes, len);
	*ret_map = map;
	*ret_size = size;
	return map + size - page - len;
}

static void reads_the_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct line_case *c = &cases[i];
		struct logline l;
		size_t len = strlen(c->line), size;
		char *map, *line = at_the_wall(c->line, len, &map, &size);

		if (logline_parse((struct view){line, len}, &l) != c->result)
			fail_msg("case %zu: %s", i, c->line);
		if (c->result == 0) {
			assert_true(l.ticket == c->ticket);
			assert_true(view_eq(l.backend, view_str(c->backend)));
			assert_true(view_eq(l.server, view_str(c->server)));
			assert_true(view_eq(l.state, view_str(c->ts)));
			assert_int_equal(l.status, c->status);
			assert_true(l.ta_ms == c->ta_ms);
			assert_true(c->ticket == 0 || l.key == 0);
		}
		munmap(map, size);
	}
}

/* Numbers of all lengths, right, and wrong at each place. */
static void numbers(void **state)
{
	static const char wrong[] = "/:x\xb5\x80 ";

	(void)state;
	for (unsigned len = 1; len < 21; len++) {
		const char digits[] = "98765432101234567890";
		char line[200];
		struct logline l;
		int64_t want = 0;

		for (unsigned i = 0; i < len && len < 19; i++)
			want = want * 10 + (digits[i] - '0');
		/* 9876543210123456789 is more than fits, as is all that is longer. */
		snprintf(line, sizeof(line), HEAD "[i ticket=\"%.*s\" x=\"\"]", (int)len, digits);
		assert_int_equal(logline_parse(view_str(line), &l), 0);
		assert_true(l.ticket == want);
		for (unsigned i = 0; i < len; i++) {
			for (const char *w = wrong; *w; w++) {
				char *at = strchr(line, '"') + 1 + i, kept = *at;

				*at = *w;
				assert_int_equal(logline_parse(view_str(line), &l), 0);
				assert_true(l.ticket == 0);
				*at = kept;
			}
		}
	}
}

static void who_wrote_it(void **state)
{
	static const struct {
		const char *line;
		uint32_t pid;
	} rows[] = {
	    {HEAD "[a b=\"c\"]", 7},
	    {"<134>1 - - haproxy 4194304 - -", 4194304},
	    {"<134>1 - - haproxy 2147483647 - -", 2147483647},
	    {"<134>1 - - haproxy 2147483648 - -", 0},
	    {"<134>1 - - haproxy 99999999999999999999 - -", 0},
	    {"<134>1 - - haproxy - - -", 0},
	    {"<134>1 - - haproxy  - -", 0},
	    {"<134>1 - - haproxy 0 - -", 0},
	    {"<134>1 - - haproxy -5 - -", 0},
	    {"<134>1 - - haproxy 5x - -", 0},
	    {"<134>1 - - haproxy 77", 0},
	    {"<134>1 - -", 0},
	    {"<134>2 - - haproxy 7 - -", 0},
	    {"", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(logline_pid(view_str(rows[i].line)), rows[i].pid);
}

static void what_is_no_request(void **state)
{
	static const struct {
		const char *line;
		bool notice;
	} rows[] = {
	    /* as HAProxy 2.6 and 3.4 write it when a reload replaces them */
	    {"<132>1 2026-11-23T05:34:20.089894+00:00 - haproxy 13803 - - Proxy inference stopped "
	     "(cumulated conns: FE: 9, BE: 0).",
	     true},
	    {"<129>1 - - haproxy 1 - - Server llama/llama1 is DOWN.", true},
	    {"<133>1 - - haproxy 1 - -", true},
	    /* requests, without log-format-sd: these are said to be wrong */
	    {"<134>1 - - haproxy 1 - - 127.0.0.1:5 …", false},
	    {"<131>1 - - haproxy 1 - - with log-separate-errors", false},
	    {"<133>1 - - haproxy 1 - [a b=\"c\"]", false},
	    {"<133>1 - - haproxy 1 - -x", false},
	    {"<133>1 - - haproxy 1 -", false},
	    {"<133>2 - - haproxy 1 - -", false},
	    {"<x>1 - - haproxy 1 - -", false},
	    {"<>1 - - haproxy 1 - -", false},
	    {"<133", false},
	    {"", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(logline_is_notice(view_str(rows[i].line)), rows[i].notice);
}

static void keys(void **state)
{
	struct logline l;

	(void)state;
	assert_int_equal(logline_parse(view_str(HEAD "[i ticket=\"\" rt=\"12345\" ta=\"7\"]"), &l),
			 0);
	assert_true(l.key == logline_key_of_number(12345) && l.ta_ms == 7);
	assert_int_equal(logline_parse(view_str(HEAD "[i ticket=\"9\" rt=\"12345\" ta=\"7\"]"), &l),
			 0);
	assert_true(l.key == 0 && l.ta_ms == -1 && l.ticket == 9);
	assert_true(logline_key(view_str("12345")) == logline_key_of_number(12345));
	assert_true(logline_key(view_str("")) == 0);
	assert_true(logline_key(view_str("1234a")) >> 63);
	assert_true(logline_key(view_str("a")) != logline_key(view_str("b")));
	assert_true(logline_key(view_str("12345678901234567890")) >> 63);
}

static void no_truncation_reads_too_far(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t len = 0; len < strlen(cases[i].line); len++) {
			struct logline l;
			size_t size;
			char *map, *line = at_the_wall(cases[i].line, len, &map, &size);

			(void)!logline_parse((struct view){line, len}, &l);
			munmap(map, size);
		}
	}
}

/* Feeds @stream in pieces of @step; returns the messages joined by '|'. */
static void pieces(const char *stream, size_t step, char *joined)
{
	size_t len = strlen(stream), have = 0, pos = 0;

	joined[0] = '\0';
	while (pos < len) {
		struct view line;
		ssize_t n = logline_next((struct view){stream + pos, have - pos}, 100, &line);

		if (n < 0) {
			strcat(joined, n == -EMSGSIZE ? "!long" : "!bad");
			return;
		}
		if (n == 0) {
			if (have == len)
				return;
			have = have + step < len ? have + step : len;
			continue;
		}
		strncat(joined, line.ptr, line.len);
		strcat(joined, "|");
		pos += (size_t)n;
	}
}

static void frames_at_every_split(void **state)
{
	static const struct {
		const char *stream, *messages;
	} streams[] = {
	    {"5 <1>ab6 <2>abc", "<1>ab|<2>abc|"},
	    {"<1>a\n<2>b\n", "<1>a|<2>b|"},
	    {"<1>a\n5 <2>bb\n<3>c\n", "<1>a|<2>bb||<3>c|"},
	    {"5 <1>ab0 ", "<1>ab|!bad"},
	    {"101 x", "!long"},
	    {"99999999999999999999 x", "!long"},
	    {"5x<1>ab", "!bad"},
	    {"GET / HTTP/1.1\r\n", "!bad"},
	    {"3 <1>", "<1>|"},
	    {"4 <1>", ""},
	};
	char joined[256];

	(void)state;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		for (size_t step = 1; step <= strlen(streams[i].stream); step++) {
			pieces(streams[i].stream, step, joined);
			assert_string_equal(joined, streams[i].messages);
		}
	}
}

static void a_line_without_an_end(void **state)
{
	char text[200];
	struct view line;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[0] = '<';
	assert_int_equal(logline_next((struct view){text, 100}, 100, &line), 0);
	assert_int_equal(logline_next((struct view){text, 101}, 100, &line), -EMSGSIZE);
	text[100] = '\n';
	assert_int_equal(logline_next((struct view){text, 200}, 100, &line), 101);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_the_table),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(keys),
	    cmocka_unit_test(who_wrote_it),
	    cmocka_unit_test(what_is_no_request),
	    cmocka_unit_test(no_truncation_reads_too_far),
	    cmocka_unit_test(frames_at_every_split),
	    cmocka_unit_test(a_line_without_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
