#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "request/request.h"
#include "unit/request/readers.h"

/* Which of HAProxy's arguments decides, and what is said when some are missing. */

static const struct request_limits slices = {512, 16384, false};
static const struct request_limits whole = {512, 16384, true};

static const struct request_input nothing = {
    .body_len = -1, .body_size = -1, .content_length = -1, .buffer_size = 16384};

static struct request read_input(struct request_input in, const struct request_limits *limits)
{
	static struct request req; /* model may point into it */

	memset(&req, 0xa5, sizeof(req));
	request_read(&req, &in, limits);
	return req;
}

#define ASSERT_STATUS(want, in, limits)                                                            \
	assert_string_equal(request_status_name(read_input(in, limits).status), want)

static void assert_model(struct request_input in, const struct request_limits *limits,
			 const char *model, int64_t at)
{
	static struct request req;

	request_read(&req, &in, limits);
	assert_string_equal(request_status_name(req.status), "ok");
	assert_true(view_eq(req.model, view_str(model)));
	assert_int_equal(req.model_at, at);
	assert_int_equal(req.model_len, at < 0 ? -1 : (int64_t)strlen(model));
}

static void no_bytes(void **state)
{
	struct request_input in = nothing;

	(void)state;
	ASSERT_STATUS("no_model", in, &slices);
	ASSERT_STATUS("no_model", in, &whole);
	in.body = VIEW_LIT("");
	ASSERT_STATUS("no_model", in, &slices);
	in.content_length = 0;
	in.content_encoding = VIEW_LIT("gzip");
	ASSERT_STATUS("no_model", in, &slices);
	in = nothing;
	in.head = VIEW_LIT("");
	in.tail = VIEW_LIT("");
	in.body_len = 0;
	ASSERT_STATUS("no_model", in, &slices);
	ASSERT_STATUS("no_model", in, &whole);
}

/* HAProxy says it holds more than it sent: what was sent is not the whole. */
static void less_than_body_len(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.body = VIEW_LIT("{\"model\":\"m\",");
	in.body_len = 100;
	assert_model(in, &slices, "m", 10);
	assert_true(read_input(in, &slices).truncated);
	in.body = VIEW_LIT("{\"a\":1,");
	ASSERT_STATUS("too_large", in, &slices);
}

static void model_alone(void **state)
{
	struct request_input in = nothing;
	char name[258];

	(void)state;
	in.model = VIEW_LIT("org/m 1");
	assert_model(in, &slices, "org/m 1", -1);
	assert_model(in, &whole, "org/m 1", -1);
	in.body = VIEW_LIT("");
	in.body_len = 0;
	assert_model(in, &slices, "org/m 1", -1);

	in.model = VIEW_LIT("");
	ASSERT_STATUS("bad_request", in, &slices);
	in.model = VIEW_LIT("a\nb");
	ASSERT_STATUS("bad_request", in, &slices);
	in.model = VIEW_LIT("a\xc2\x85");
	ASSERT_STATUS("bad_request", in, &slices);
	in.model = VIEW_LIT("caf\xe9");
	ASSERT_STATUS("bad_request", in, &slices);
	memset(name, 'x', sizeof(name));
	in.model = (struct view){name, 256};
	ASSERT_STATUS("ok", in, &slices);
	in.model = (struct view){name, 257};
	ASSERT_STATUS("bad_request", in, &slices);
}

static void bytes_win(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.model = VIEW_LIT("argument");
	in.body = VIEW_LIT("{\"model\":\"body\"}");
	assert_model(in, &slices, "body", 10);
	in.body = VIEW_LIT("{\"model\":1}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.body = VIEW_LIT("{\"a\":1}");
	ASSERT_STATUS("no_model", in, &slices);
	in.content_encoding = VIEW_LIT("br");
	ASSERT_STATUS("unsupported_encoding", in, &slices);
	/* what was not read cannot win */
	in.content_type = VIEW_LIT("audio/wav");
	assert_model(in, &slices, "argument", -1);
	in.content_encoding = VIEW_NULL;
	in.content_type = VIEW_LIT("application/x-www-form-urlencoded");
	in.body = VIEW_LIT("a=b");
	assert_model(in, &slices, "argument", -1);
}

static void model_instead_of_need_body(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.head = VIEW_LIT("{\"a\":\"");
	in.body_len = in.content_length = 100;
	ASSERT_STATUS("need_body", in, &slices);
	in.model = VIEW_LIT("argument");
	assert_model(in, &slices, "argument", -1);
	ASSERT_STATUS("need_body", in, &whole);
	in.model = VIEW_LIT("not\na name");
	ASSERT_STATUS("need_body", in, &slices);
	/* the same where the rest is not held */
	in.content_length = 200;
	ASSERT_STATUS("too_large", in, &slices);
	in.model = VIEW_LIT("argument");
	assert_model(in, &slices, "argument", -1);
	assert_true(read_input(in, &slices).truncated);
}

static void whole_wants_every_byte(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.head = VIEW_LIT("{\"model\":\"m\",\"a\":\"");
	in.tail = VIEW_LIT("\"}");
	in.body_len = in.content_length = 100;
	assert_model(in, &slices, "m", 10);
	ASSERT_STATUS("need_body", in, &whole);
	in.body_len = in.content_length = (int64_t)(in.head.len + in.tail.len);
	assert_model(in, &whole, "m", 10);
	in.content_type = VIEW_LIT("image/png");
	in.body_len = in.content_length = 100;
	ASSERT_STATUS("no_model", in, &whole);

	/* a name that HAProxy found in a body of which it sent nothing else */
	in = nothing;
	in.model = VIEW_LIT("m");
	in.body_len = in.content_length = 2000000;
	assert_model(in, &slices, "m", -1);
	ASSERT_STATUS("need_body", in, &whole);
	in.content_type = VIEW_LIT("image/png");
	ASSERT_STATUS("need_body", in, &whole);
	/* what was cut off may name another model */
	in = nothing;
	in.body = VIEW_LIT("{\"model\":\"m\",\"a\":\"");
	in.content_length = 100;
	assert_model(in, &slices, "m", 10);
	ASSERT_STATUS("too_large", in, &whole);
	in.content_length = -1;
	in.body_len = in.body_size = (int64_t)in.body.len;
	in.buffer_size = (uint32_t)in.body.len + 10;
	assert_model(in, &slices, "m", 10);
	ASSERT_STATUS("too_large", in, &whole);
	in.body = VIEW_LIT("{\"model\":\"m\"} ");
	in.body_len = in.body_size = (int64_t)in.body.len;
	assert_model(in, &whole, "m", 10);
	/* from a header: the body that is here carries none */
	in = nothing;
	in.model = VIEW_LIT("m");
	in.content_type = VIEW_LIT("image/png");
	in.body = VIEW_LIT("\x89PNG");
	in.body_len = in.content_length = 4;
	assert_model(in, &whole, "m", -1);
}

static void slices_of_unknown_place(void **state)
{
	struct request_input in = nothing;

	(void)state;
	/* no body_len: nobody knows where the tail stands, or whether the head is all */
	in.head = VIEW_LIT("{\"a\":1,");
	in.tail = VIEW_LIT(",\"model\":\"m\"}");
	ASSERT_STATUS("need_body", in, &slices);
	in.head = VIEW_LIT("{\"model\":\"m\"");
	in.tail = VIEW_NULL;
	assert_model(in, &slices, "m", 10);
	in.head = VIEW_LIT("{\"model\":\"m\"}");
	in.content_length = (int64_t)in.head.len;
	assert_model(in, &whole, "m", 10);
	/* a tail alone */
	in = nothing;
	in.tail = VIEW_LIT("xx\"}],\"model\":\"m\"}");
	in.body_len = in.content_length = 1000;
	assert_model(in, &slices, "m", 1000 - 3);
	/* a head alone that is everything, and one that is not */
	in = nothing;
	in.head = VIEW_LIT("{\"a\":1}");
	in.body_len = in.content_length = 7;
	ASSERT_STATUS("no_model", in, &slices);
	in.head = VIEW_LIT("{\"a\":1");
	ASSERT_STATUS("need_body", in, &slices);
	/* slices longer than what they are cut from */
	in.head = VIEW_LIT("{\"model\":\"m\"}");
	in.tail = in.head;
	in.body_len = in.content_length = 5;
	assert_model(in, &slices, "m", 10);
	in.head = VIEW_NULL;
	assert_model(in, &slices, "m", 10);
}

static void duplicate_over_the_gap(void **state)
{
	struct request_input in = nothing;
	struct request req;

	(void)state;
	in.head = VIEW_LIT("{\"model\":\"a\",\"x\":\"");
	in.tail = VIEW_LIT("\",\"model\":\"b\"}");
	in.body_len = in.content_length = 1000;
	req = read_input(in, &slices);
	assert_int_equal(req.status, REQUEST_BAD);
	assert_string_equal(req.why, "a second top-level \"model\"");
	in.head = VIEW_LIT("{\"model\":\"a"); /* its key was seen */
	ASSERT_STATUS("bad_request", in, &slices);
	in.head = VIEW_LIT("{\"x\":{\"model\":\"a\"},\"y\":\"");
	assert_model(in, &slices, "b", 1000 - 3);
	/* overlapping: the same bytes are no second model */
	in.head = VIEW_LIT("{\"model\":\"a\",");
	in.tail = VIEW_LIT("\"model\":\"a\",\"b\":1}");
	in.body_len = in.content_length = 19;
	assert_model(in, &slices, "a", 10);
	/* multipart */
	in.content_type = VIEW_LIT("multipart/form-data; boundary=b");
	in.head = VIEW_LIT("--b\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--b\r\n");
	in.tail =
	    VIEW_LIT("\r\n--b\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--b--");
	in.body_len = in.content_length = 1000;
	ASSERT_STATUS("bad_request", in, &slices);
	in.head.len = 5;
	assert_model(in, &slices, "a", 1000 - 8);
}

static void wrong_in_the_slices(void **state)
{
	struct request_input in = nothing;
	struct request req;

	(void)state;
	in.body_len = in.content_length = 1000;
	in.head = VIEW_LIT("{\"model\":\"a\",");
	in.tail = VIEW_LIT("x\"],\"b\":[1]"); /* does not end */
	req = read_input(in, &slices);
	assert_int_equal(req.status, REQUEST_BAD);
	assert_int_equal(req.at, 1000);
	in.tail = VIEW_LIT("x\"],\"b\":01}");
	req = read_input(in, &slices);
	assert_int_equal(req.status, REQUEST_BAD);
	assert_int_equal(req.at, 998);
	in.tail = VIEW_LIT("x\",\"b\":\"\xff\"}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("\xff\xff\",\"b\":1}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("\xa9\x80\",\"b\":1}"); /* may follow F0 9F */
	ASSERT_STATUS("ok", in, &slices);
	in.tail = VIEW_LIT("x\"}]}"); /* no wonder: [ and { stand in the gap */
	ASSERT_STATUS("ok", in, &slices);
	in.tail = VIEW_LIT("x\"]]"); /* a body that began with a brace */
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("x{\"b\":1}"); /* another document */
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT(" {\"b\":1}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("x\",\"model\":null}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.head = VIEW_LIT("{\"a\":\"");
	in.tail = VIEW_LIT("x\",\"model\":\"\\n\"}");
	ASSERT_STATUS("bad_request", in, &slices);
}

/* HAProxy's json_query is no reader of JSON: what it does not find may be there. */
static void nothing_found_by_haproxy(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.body_len = in.body_size = in.content_length = 2000000;
	ASSERT_STATUS("need_body", in, &slices);
	ASSERT_STATUS("need_body", in, &whole);
	in.model = VIEW_LIT("caf\xe9"); /* "caf\\u00e9" */
	ASSERT_STATUS("need_body", in, &slices);
	in.model = VIEW_LIT("caf\xc3\xa9");
	assert_model(in, &slices, "caf\xc3\xa9", -1);
	in.model = VIEW_LIT("a\n");
	ASSERT_STATUS("bad_request", in, &slices);
	in.model = VIEW_NULL;
	in.content_type = VIEW_LIT("multipart/form-data; boundary=b");
	ASSERT_STATUS("need_body", in, &slices);
	in.content_length = 3000000;
	ASSERT_STATUS("too_large", in, &slices);
	in.content_encoding = VIEW_LIT("gzip");
	ASSERT_STATUS("unsupported_encoding", in, &slices);
	in.content_type = VIEW_LIT("image/png");
	ASSERT_STATUS("no_model", in, &slices);
	in = nothing;
	in.body_len = in.body_size = in.content_length = 0;
	ASSERT_STATUS("no_model", in, &slices);
}

/* What ended in the head ended: bytes of the tail are wrong then, whatever the length. */
static void bytes_behind_the_end(void **state)
{
	struct request_input in = nothing;
	struct request req;

	(void)state;
	in.body_len = in.content_length = 1000;
	in.head = VIEW_LIT("{\"model\":\"a\"} ");
	in.tail = VIEW_LIT(" \n\t");
	assert_model(in, &slices, "a", 10);
	in.tail = VIEW_LIT(" \n}");
	req = read_input(in, &slices);
	assert_int_equal(req.status, REQUEST_BAD);
	assert_string_equal(req.why, "bytes after the end of the JSON");
	assert_int_equal(req.at, 999);
	in.content_length = 2000; /* cut */
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("   ");
	assert_model(in, &slices, "a", 10);
	in.content_length = -1; /* large buffers, no length */
	in.buffer_size = 500;
	in.tail = VIEW_LIT(" \xed");
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_NULL;
	assert_model(in, &slices, "a", 10);
	/* no object */
	in = nothing;
	in.body_len = in.content_length = 1000;
	in.head = VIEW_LIT("[1,{\"model\":\"a\"},\"");
	in.tail = VIEW_LIT("x\",{\"model\":\"b\"}]");
	ASSERT_STATUS("no_model", in, &slices);
	in.tail = VIEW_LIT("x\",01]");
	ASSERT_STATUS("bad_request", in, &slices);
	in.tail = VIEW_LIT("x\"}");
	ASSERT_STATUS("bad_request", in, &slices);
	in.head = VIEW_LIT("\"{");
	in.tail = VIEW_LIT("}\"");
	ASSERT_STATUS("no_model", in, &slices);
}

/* A body of unknown length that ends in an inner brace must not pass as closed. */
static void inner_brace_at_the_cut(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.head = VIEW_LIT("{\"messages\":[{\"content\":\"");
	in.tail = VIEW_LIT("xx\",\"model\":\"inner\"}");
	in.body_len = 16000;
	ASSERT_STATUS("need_body", in, &slices);
	in.content_length = 16000;
	assert_model(in, &slices, "inner", 16000 - 7);
	in.content_length = -1;
	in.body_len = 1000; /* far from a full buffer: it is all there */
	in.buffer_size = 65536;
	assert_model(in, &slices, "inner", 1000 - 7);
	in.body_len = 200000; /* large buffers */
	ASSERT_STATUS("need_body", in, &slices);
	in.body_size = 300000;
	ASSERT_STATUS("too_large", in, &slices);
	in.head = VIEW_LIT("{\"model\":\"outer\",\"messages\":[{\"content\":\"");
	assert_model(in, &slices, "outer", 10);
}

/* A number at the head's end may go on: "3" is closed, "3e" is not. */
static void number_at_the_end_of_the_head(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.head = VIEW_LIT("3");
	in.body_len = 100;
	in.buffer_size = 100;
	ASSERT_STATUS("need_body", in, &slices);
	in.head = VIEW_LIT("null");
	ASSERT_STATUS("no_model", in, &slices);
	in.head = VIEW_LIT("3");
	in.content_length = 100;
	ASSERT_STATUS("no_model", in, &slices);
}

/* The closing delimiter may have its CRLF left out only where the body ends. */
static void boundary_at_the_end_of_the_head(void **state)
{
	struct request_input in = nothing;

	(void)state;
	in.content_type = VIEW_LIT("multipart/form-data; boundary=b");
	in.head = VIEW_LIT("x\r\n--b--");
	in.tail =
	    VIEW_LIT("\r\n--b\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--b--");
	in.body_len = in.content_length = 1000;
	assert_model(in, &slices, "a", 1000 - 8);
	in.head = VIEW_LIT("x\r\n--b--\r\n");
	ASSERT_STATUS("bad_request", in, &slices); /* a delimiter behind the closing one */
	in.tail = VIEW_LIT("x--b\r\nContent-Disposition: form-data; name=model\r\n\r\na");
	ASSERT_STATUS("no_model", in, &slices);
	in.body = VIEW_LIT("x\r\n--b--");
	in.body_len = -1;
	ASSERT_STATUS("too_large", in, &slices);
	in.content_length = (int64_t)in.body.len;
	ASSERT_STATUS("no_model", in, &slices);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_bytes),
	    cmocka_unit_test(less_than_body_len),
	    cmocka_unit_test(model_alone),
	    cmocka_unit_test(bytes_win),
	    cmocka_unit_test(model_instead_of_need_body),
	    cmocka_unit_test(whole_wants_every_byte),
	    cmocka_unit_test(slices_of_unknown_place),
	    cmocka_unit_test(duplicate_over_the_gap),
	    cmocka_unit_test(wrong_in_the_slices),
	    cmocka_unit_test(bytes_behind_the_end),
	    cmocka_unit_test(nothing_found_by_haproxy),
	    cmocka_unit_test(inner_brace_at_the_cut),
	    cmocka_unit_test(number_at_the_end_of_the_head),
	    cmocka_unit_test(boundary_at_the_end_of_the_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return readers_each(run);
}
