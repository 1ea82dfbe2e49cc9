/* discover/kube/stream: lists and watches as the API server writes them and as it never should, at
 * every split, at a guard page, at every maximum. */
#include "discover/kube/stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit/guard.h"

#define MAX 4096

struct seen {
	char text[16384];
	size_t len;
	int left; /* parts until it says enough; < 0: never */
};

static void say(struct seen *s, const char *text, size_t n)
{
	assert_true(n < sizeof(s->text) - s->len);
	memcpy(s->text + s->len, text, n);
	s->len += n;
	s->text[s->len] = '\0';
}

/* "O:{…}\n" for an object, E for an envelope, L for one too large. */
static bool part(enum kube_stream_part part, char *text, size_t len, void *arg)
{
	struct seen *s = arg;

	assert_int_equal(text[len], '\0');
	say(s, &"OEL"[part], 1);
	say(s, ":", 1);
	say(s, text, len);
	say(s, "\n", 1);
	memset(text, 'x', len); /* it is ours to change */
	return s->left < 0 || --s->left > 0;
}

struct run {
	int r;
	bool whole;
	struct seen seen;
};

/* Feeds @text in pieces: the first of @first bytes, the others of @then. */
static struct run run(enum kube_stream_form form, struct view text, size_t max, size_t first,
		      size_t then)
{
	struct run run = {.seen = {.left = -1}};
	struct kube_stream *s = kube_stream_new(form, max, part, &run.seen);
	const char *error = NULL;

	for (size_t at = 0, n = first; run.r == 0 && at < text.len; at += n, n = then) {
		if (n > text.len - at)
			n = text.len - at;
		run.r = kube_stream_feed(s, (struct view){text.ptr + at, n}, &error);
		assert_non_null(error);
		assert_true((run.r < 0) == (*error != '\0'));
	}
	run.whole = kube_stream_whole(s);
	kube_stream_free(s);
	return run;
}

static const struct {
	enum kube_stream_form form;
	const char *text;
	const char *seen;
	int r;
	bool whole;
} cases[] = {
    {KUBE_STREAM_WATCH, "", "", 0, true},
    {KUBE_STREAM_WATCH, " \n\t\r", "", 0, true},
    {KUBE_STREAM_WATCH, "{}", "O:{}\n", 0, true},
    {KUBE_STREAM_WATCH, "{}{}\n{}", "O:{}\nO:{}\nO:{}\n", 0, true},
    {KUBE_STREAM_WATCH, "{", "", 0, false},
    {KUBE_STREAM_WATCH, "{}{\"a\":", "O:{}\n", 0, false},
    {KUBE_STREAM_WATCH, "{\"type\":\"ADDED\",\"object\":{\"a\":[1,{\"b\":\"}\"}]}}\n",
     "O:{\"type\":\"ADDED\",\"object\":{\"a\":[1,{\"b\":\"}\"}]}}\n", 0, true},
    /* Strings that look like structure, escapes of every kind before a quote. */
    {KUBE_STREAM_WATCH, "{\"a\":\"\\\"}{\"}{\"b\\\\\":\"\\\\\\\"\\u007b\"}",
     "O:{\"a\":\"\\\"}{\"}\nO:{\"b\\\\\":\"\\\\\\\"\\u007b\"}\n", 0, true},
    {KUBE_STREAM_WATCH, "{\"a\":\"\\", "", 0, false},
    {KUBE_STREAM_WATCH, "{\"a\":\"{[\xc3\xa9\xe2\x82\xac\"}",
     "O:{\"a\":\"{[\xc3\xa9\xe2\x82\xac\"}\n", 0, true},
    /* What is no object. */
    {KUBE_STREAM_WATCH, "x", "", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "{},{}", "O:{}\n", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "[{}]", "", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "null", "", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "{}}", "O:{}\n", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "\xef\xbb\xbf{}", "", -EBADMSG, true},
    {KUBE_STREAM_WATCH, "<html>", "", -EBADMSG, true},
    /* Closed, but no JSON: the parser's to refuse, and the next one is whole again. */
    {KUBE_STREAM_WATCH, "{]{}", "O:{]\nO:{}\n", 0, true},
    {KUBE_STREAM_WATCH, "{\"items\":[1,2]}", "O:{\"items\":[1,2]}\n", 0, true},

    {KUBE_STREAM_LIST, "", "", 0, false},
    {KUBE_STREAM_LIST, "{}", "E:{}\n", 0, true},
    {KUBE_STREAM_LIST, "{\"kind\":\"PodList\",\"items\":[]}\n",
     "E:{\"kind\":\"PodList\",\"items\":[]}\n", 0, true},
    {KUBE_STREAM_LIST, "{\"items\":null,\"x\":1}", "E:{\"items\":null,\"x\":1}\n", 0, true},
    {KUBE_STREAM_LIST,
     "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},"
     "\"items\":[{\"a\":1},{\"b\":[{}]}]}",
     "O:{\"a\":1}\nO:{\"b\":[{}]}\n"
     "E:{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[]}\n",
     0, true},
    /* Items first, white space anywhere. */
    {KUBE_STREAM_LIST, " { \"items\" : [ {} , {} ] , \"metadata\" : { } } ",
     "O:{}\nO:{}\nE:{ \"items\" : [] , \"metadata\" : { } }\n", 0, true},
    /* Only the top level's. */
    {KUBE_STREAM_LIST, "{\"metadata\":{\"items\":[1]},\"items\":[{\"items\":[{}]}]}",
     "O:{\"items\":[{}]}\nE:{\"metadata\":{\"items\":[1]},\"items\":[]}\n", 0, true},
    {KUBE_STREAM_LIST, "{\"x\":\"items\",\"y\":[1],\"items \":[2],\"item\":[3]}",
     "E:{\"x\":\"items\",\"y\":[1],\"items \":[2],\"item\":[3]}\n", 0, true},
    {KUBE_STREAM_LIST, "{\"items\":{\"a\":[1]}}", "E:{\"items\":{\"a\":[1]}}\n", 0, true},
    {KUBE_STREAM_LIST, "{\"items\":[{}]} {}", "O:{}\nE:{\"items\":[]}\n", -EBADMSG, true},
    {KUBE_STREAM_LIST, "{\"items\":[{}{}]}", "O:{}\n", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[{},]}", "O:{}\n", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[,{}]}", "", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[1]}", "", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[[{}]]}", "", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[null]}", "", -EBADMSG, false},
    {KUBE_STREAM_LIST, "[]", "", -EBADMSG, false},
    {KUBE_STREAM_LIST, "{\"items\":[{}", "O:{}\n", 0, false},
    {KUBE_STREAM_LIST, "{\"items\":[{}]", "O:{}\n", 0, false},

    /* managedFields: of the object's metadata, and nowhere else. */
    {KUBE_STREAM_LIST,
     "{\"items\":[{\"metadata\":{\"name\":\"a\",\"managedFields\":[{\"x\":\"]}\\\"\"},[[]]],"
     "\"uid\":1},\"spec\":{\"managedFields\":[1]}}]}",
     "O:{\"metadata\":{\"name\":\"a\",\"managedFields\":[],\"uid\":1},"
     "\"spec\":{\"managedFields\":[1]}}\nE:{\"items\":[]}\n",
     0, true},
    {KUBE_STREAM_WATCH,
     "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\" : [ {} ] ,\"name\":\"a\"}}}"
     "{\"object\":{\"metadata\":{\"managedFields\":null}}}",
     "O:{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\" : [] ,\"name\":\"a\"}}}\n"
     "O:{\"object\":{\"metadata\":{\"managedFields\":null}}}\n",
     0, true},
    {KUBE_STREAM_WATCH,
     "{\"object\":{\"metadata\":{\"labels\":{\"managedFields\":[1]},"
     "\"a\":\"managedFields\",\"b\":[2]}},\"metadata\":{\"managedFields\":[3]}}",
     "O:{\"object\":{\"metadata\":{\"labels\":{\"managedFields\":[1]},"
     "\"a\":\"managedFields\",\"b\":[2]}},\"metadata\":{\"managedFields\":[3]}}\n",
     0, true},
};

static void check(const struct run *run, size_t i)
{
	assert_int_equal(run->r, cases[i].r);
	assert_string_equal(run->seen.text, cases[i].seen);
	assert_int_equal(run->whole, cases[i].whole);
}

static void test_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guard g = guard_new(strlen(cases[i].text));
		struct view text = guard_put(&g, view_str(cases[i].text));
		struct run r = run(cases[i].form, text, MAX, text.len, 1);

		check(&r, i);
		for (size_t first = 1; first <= text.len; first++) {
			r = run(cases[i].form, text, MAX, first, text.len);
			check(&r, i);
		}
		for (size_t step = 1; step < 8; step++) {
			r = run(cases[i].form, text, MAX, step, step);
			check(&r, i);
		}
		guard_free(&g);
	}
}

/* An object that is one byte too large is left out, its beginning told, and what follows it is
 * read as before; one that just fits is whole. */
static void test_maximum(void **state)
{
	char text[8192], wanted[16384];

	(void)state;
	for (size_t size = 10; size < 3000; size += size < 40 ? 1 : 371) {
		size_t begin = size < 1024 ? size : 1024;
		int n;
		struct run r;

		/* Of @size bytes, and of one more. */
		n = snprintf(text, sizeof(text), "{\"a\":\"%0*d\"} {\"b\":\"%0*d\"} {\"c\":[]}",
			     (int)size - 8, 1, (int)size - 7, 2);
		for (size_t step = 1; step < 4000; step = step * 3 + 1) {
			r = run(KUBE_STREAM_WATCH, (struct view){text, (size_t)n}, size, step,
				step);
			assert_int_equal(r.r, 0);
			assert_true(r.whole);
			snprintf(wanted, sizeof(wanted), "O:%.*s\nL:%.*s\nO:{\"c\":[]}\n",
				 (int)size, text, (int)begin, text + size + 1);
			assert_string_equal(r.seen.text, wanted);
		}
	}
	/* Too large an item does not spoil the list, too large an envelope does. */
	{
		struct view list = VIEW_LIT("{\"items\":[{\"a\":1111111111111111111111},{}]}");
		struct run r = run(KUBE_STREAM_LIST, list, 20, 3, 3);

		assert_int_equal(r.r, 0);
		assert_string_equal(r.seen.text,
				    "L:{\"a\":111111111111111\nO:{}\nE:{\"items\":[]}\n");
		r = run(KUBE_STREAM_LIST, list, 11, 3, 3);
		assert_int_equal(r.r, -EBADMSG);
	}
}

static void test_enough(void **state)
{
	struct seen seen = {.left = 2};
	struct kube_stream *s = kube_stream_new(KUBE_STREAM_WATCH, MAX, part, &seen);
	const char *error;

	(void)state;
	assert_int_equal(kube_stream_feed(s, VIEW_LIT("{}{\"a\":1}{}{"), &error), 1);
	assert_string_equal(seen.text, "O:{}\nO:{\"a\":1}\n");
	kube_stream_free(s);
}

static bool counts(enum kube_stream_part p, char *text, size_t len, void *arg)
{
	(void)text;
	(void)len;
	(void)p;
	++*(size_t *)arg;
	return true;
}

/* Linear: millions of brackets, fed byte by byte, in an object that is long too large. */
static void test_long(void **state)
{
	static const char piece[] = "[{\"metadata\":{\"managedFields\":[[]]}}],";
	size_t n = 0;
	struct kube_stream *s = kube_stream_new(KUBE_STREAM_WATCH, 1 << 20, counts, &n);
	const char *error;

	(void)state;
	assert_int_equal(kube_stream_feed(s, VIEW_LIT("{\"a\":["), &error), 0);
	for (size_t i = 0; i < 200000; i++)
		for (size_t j = 0; j < sizeof(piece) - 1; j++)
			assert_int_equal(kube_stream_feed(s, (struct view){piece + j, 1}, &error),
					 0);
	assert_int_equal(kube_stream_feed(s, VIEW_LIT("1]}{}"), &error), 0);
	assert_int_equal(n, 2);
	kube_stream_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_split),
	    cmocka_unit_test(test_maximum),
	    cmocka_unit_test(test_enough),
	    cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
