#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "request/request.h"
#include "unit/guard.h"
#include "unit/request/readers.h"

/*
 * Whatever stands wherever in a block: each reader of blocks must mean what none means, to the
 * byte and the word. Bodies that are dense in tokens, moved through a block by blanks, and
 * with every byte replaced by each of those that mean something.
 */

#define LONGEST 4096

static struct guard guard;
static const struct request_limits limits = {70, 16384, false};

static const char *const bodies[] = {
    /* keys, words and brackets */
    "{\"a\":{\"b\":[true,false,null,{}],\"c\":{\"d\":[],\"e\":\"\"}},\"model\":\"m\",\"f\":[[[1]],{"
    "\"model\":2}]}",
    "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"n\",\"parameters\":{\"type\":"
    "\"object\","
    "\"properties\":{\"x\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"x\"]}}}],"
    "\"model\":\"m\"}",
    /* the model among others like it */
    "{\"mode\":1,\"models\":2,\"\\u006dodel\":\"m\",\"m\":3,\"mo\\del\":4}",
    "{\"m\":{\"model\":1},\"modem\":[\"model\"],\"x\":\"model\",\"model\":\"m\",\"mo\\nel\":4,"
    "\"y\":{}}",
    "{\"model\":\"m\",\"a\":[1,2,3],\"b\":{\"c\":\"\\\"model\\\"\"},\"model\":\"n\"}",
    "[{\"model\":\"m\"},{\"model\":[\"model\",{\"model\":{}}]},[[],[{}],\"model\"]]",
    "{\"\\u006d\\u006f\\u0064\\u0065\\u006c\":\"m\",\"\\u006d\\u006f\\u0064\\u0065\\u006d\":\"n\"}",
    /* numbers */
    "{\"prompt\":[1,20,-3,0,0.5,-0.25,1e5,1E+5,2.5e-10,-0,12345678901234567890],\"model\":\"m\"}",
    "{\"a\":[[0.0,1.5],[10e0,-1E-1],{\"b\":3.14159}],\"model\":\"m\",\"c\":-7.25e+01}",
    "{\"a\":[123456789012345678901234567890123456789012345678901234567890123456789,1],\"model\":"
    "\"m\"}",
    /* strings: escapes, UTF-8, long ones that end anywhere */
    "{\"a\":[\"\\n\",\"\\\\\",\"\\\\\\\"\",\"\\u00e9\\uD83D\\uDE00\",\"\\/"
    "\"],\"model\":\"m\\u002f\\\"\"}",
    "{\"a\":[\"\xc3\xa9\",\"\xe4\xb8\xad\xe6\x96\x87\",\"\xf0\x9f\x98\x80\",\"x\xc3\xa9\"],"
    "\"\xc3\xa9\":1,\"model\":\"\xc3\xa9\"}",
    "{\"a\":[\"0123456789012345678901234567890123456789012345678901234567890123456789\",\"b\\nc\"],"
    "\"k012345678901234567890123456789012345678901234567890\":\"v\",\"model\":\"m\"}",
    /* blanks */
    "{\n    \"messages\": [\n        {\n            \"role\": \"user\",\n            \"content\": "
    "\"Hi\"\n"
    "        }\n    ],\n    \"model\" :\t\"m\" ,\r\n    \"n\": [ ],  \"o\": { }\n}\n",
};
#define BODIES (sizeof(bodies) / sizeof(bodies[0]))

static void read_with(const char *reader, const char *body, size_t n, struct request *r)
{
	struct view v = guard_put(&guard, (struct view){body, n});
	struct request_input in = {
	    .body = v, .body_len = -1, .body_size = -1, .content_length = (int64_t)n};

	assert_true(text_use_blocks(reader));
	request_read(r, &in, &limits);
}

static void all_the_same(const char *body, size_t n)
{
	struct request want, got;

	read_with("none", body, n, &want);
	for (int i = 0; i < READERS; i++) {
		if (!text_use_blocks(reader_names[i]))
			continue;
		read_with(reader_names[i], body, n, &got);
		if (got.status == want.status && got.at == want.at && got.why == want.why &&
		    got.model_at == want.model_at && got.model_len == want.model_len &&
		    view_eq(got.model, want.model))
			continue;
		fail_msg("%s: %s @%lld %s, without: %s @%lld %s, of %.*s", reader_names[i],
			 request_status_name(got.status), (long long)got.at, got.why ? got.why : "",
			 request_status_name(want.status), (long long)want.at,
			 want.why ? want.why : "", (int)n, body);
	}
}

/* Blanks stand behind the first bracket, where the first block begins. */
static size_t put(char *out, size_t blanks, const char *body)
{
	size_t n = strlen(body);

	out[0] = body[0];
	memset(out + 1, ' ', blanks);
	memcpy(out + 1 + blanks, body + 1, n - 1);
	/* what follows keeps the last tokens in a block */
	memset(out + blanks + n, '\n', 70);
	return blanks + n + 70;
}

static void moved(void **state)
{
	char s[LONGEST];

	(void)state;
	for (size_t i = 0; i < BODIES; i++) {
		for (size_t blanks = 0; blanks < 130; blanks++) {
			size_t n = put(s, blanks, bodies[i]);

			/* and cut everywhere */
			for (; n > blanks; n--)
				all_the_same(s, n);
		}
	}
}

static void replaced(void **state)
{
	static const char bytes[] =
	    "{}[]:,\" \n\\0159-+.eEtfnmux\x01\x7f\x80\xbf\xc0\xc3\xe0\xed\xf0\xf4\xff";
	char s[LONGEST];

	(void)state;
	for (size_t i = 0; i < BODIES; i++) {
		size_t len = strlen(bodies[i]);

		for (size_t at = 1; at < len; at++) {
			size_t blanks = at * 7 % 64, n = put(s, blanks, bodies[i]);

			for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
				s[blanks + at] = bytes[k];
				all_the_same(s, n);
			}
		}
	}
}

static void without(void **state)
{
	char s[LONGEST];

	(void)state;
	for (size_t i = 0; i < BODIES; i++) {
		for (size_t at = 1; at < strlen(bodies[i]); at++) {
			for (size_t blanks = 0; blanks < 64; blanks += 9) {
				size_t n = put(s, blanks, bodies[i]);
				size_t from = blanks + at;

				memmove(s + from, s + from + 1, n - from - 1);
				all_the_same(s, n - 1);
			}
		}
	}
}

/*
 * Brackets up to the limit and past it, of both kinds. After some of them comes another element or
 * member; after the one at @wrong a bracket of the other kind, or an element for a member.
 */
static size_t put_deep(char *s, unsigned depth, unsigned kinds, unsigned wrong, bool other)
{
	char close[80];
	size_t n = 0;

	for (unsigned i = 0; i < depth; i++) {
		bool object = kinds == 3 ? i % 3 == 0 : kinds >> (i & 1) & 1;

		s[n++] = object ? '{' : '[';
		if (object)
			n += (size_t)sprintf(s + n, "\"k\":");
		close[i] = object ? '}' : ']';
	}
	n += (size_t)sprintf(s + n, "[1]");
	for (unsigned i = depth; i-- > 0;) {
		bool here = i + 1 == wrong;

		s[n++] = here && !other ? (char)(close[i] ^ '}' ^ ']') : close[i];
		if (i == 0 || (i % 5 != 0 && !here))
			continue;
		if (here && other)
			n += (size_t)sprintf(s + n, close[i - 1] == '}' ? ",5" : ",\"z\":5");
		else
			n += (size_t)sprintf(s + n, close[i - 1] == '}' ? ",\"z\":{}" : ",[]");
	}
	return n;
}

static void deep(void **state)
{
	static char s[LONGEST];

	(void)state;
	for (unsigned depth = 1; depth < 75; depth++) {
		for (unsigned i = 0; i < 8 * (depth + 1); i++) {
			size_t n = put_deep(s, depth, i % 4, i / 8, i / 4 % 2);

			all_the_same(s, n);
			memset(s + n, ' ', 64);
			all_the_same(s, n + 64);
		}
	}
}

static int setup(void **state)
{
	(void)state;
	guard = guard_new(LONGEST);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guard_free(&guard);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(moved),
	    cmocka_unit_test(replaced),
	    cmocka_unit_test(without),
	    cmocka_unit_test(deep),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
