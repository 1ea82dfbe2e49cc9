#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit/request/slices.h"
#include "unit/request/readers.h"

/*
 * Bodies of a megabyte as the official clients build them: everything long first, the model near
 * the end (chat: messages, model, …; embeddings: input, model; Anthropic: max_tokens, messages,
 * model), and with the model first or in the middle. The default slices must settle what lies in
 * them without asking for the body.
 */

#define ROOM (4 << 20)
#define HEAD 32768
#define TAIL 8192

static char room[ROOM];
static size_t len;
static const struct request_limits limits = {512, 16384, false};

static void add(const char *s)
{
	size_t n = strlen(s);

	assert_true(len + n <= ROOM);
	memcpy(room + len, s, n);
	len += n;
}

static void add_times(const char *s, size_t bytes)
{
	for (size_t n = 0; n < bytes; n += strlen(s))
		add(s);
}

static const char *const contents[] = {
    "\"The quick brown fox jumps over the lazy dog. \"",
    "\"int main(void)\\n{\\n\\tputs(\\\"{\\\\\\\"model\\\\\\\": 1}\\\");\\n}\\n\"",
    "\"{\\\"model\\\":\\\"inner\\\"}\"",
    "\"人工智能正在改变世界的每一个角落😀\"",
    "\"\\u4eba\\u5de5\\ud83d\\ude00\"",
    "\"\\\\\\\\\\\\\\\"\"",
    "\"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk\"",
};

/* One string of about @bytes out of content @k. */
static void add_prompt(size_t k, size_t bytes)
{
	char unit[256];
	size_t n = strlen(contents[k]) - 2;

	memcpy(unit, contents[k] + 1, n);
	unit[n] = '\0';
	add("\"");
	add_times(unit, bytes);
	add("\"");
}

static void add_turns(size_t k, size_t bytes)
{
	for (size_t from = len; len < from + bytes;) {
		add("{\"role\": \"user\", \"model\": \"inner\", \"content\": [{\"type\": \"text\", "
		    "\"text\": ");
		add(contents[k]);
		add("}]}, ");
	}
	add("{\"role\": \"user\", \"content\": null}");
}

static struct request_input input(const char *type)
{
	return (struct request_input){.body = {room, len},
				      .content_type = view_str(type),
				      .body_len = -1,
				      .body_size = (int64_t)len,
				      .content_length = (int64_t)len,
				      .buffer_size = 65536};
}

/* The whole says @model; the slices the same where @in_sight, else need_body. */
static void check(const char *type, const char *model, bool in_sight)
{
	struct request_input in = input(type);
	struct request whole, part;

	assert_true(len > 1000000);
	request_read(&whole, &in, &limits);
	assert_int_equal(whole.status, REQUEST_OK);
	assert_true(view_eq(whole.model, view_str(model)));
	assert_memory_equal(room + whole.model_at, model, strlen(model));
	slices_read(&part, &in, HEAD, TAIL, &limits);
	if (in_sight && !slices_same(&part, &whole))
		slices_differ("in sight", HEAD, TAIL, &whole, &part);
	if (!in_sight)
		assert_int_equal(part.status, REQUEST_NEED_BODY);
	for (size_t head = 0; head < len; head += slices_step(len, 9)) {
		slices_check(&whole, &in, head, TAIL, &limits, true);
		slices_check(&whole, &in, HEAD, head, &limits, true);
		slices_check(&whole, &in, head, len - head, &limits, true);
	}
	/* no length, HTTP/2: the tail alone is not believed */
	in.content_length = -1;
	in.body_size = 0;
	slices_read(&part, &in, HEAD, TAIL, &limits);
	assert_true(part.status == REQUEST_NEED_BODY || slices_same(&part, &whole));
	in.body = (struct view){room, len};
	request_read(&part, &in, &limits);
	assert_true(slices_same(&part, &whole));
}

static void prompts(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(contents) / sizeof(*contents); k++) {
		slices_name = contents[k];
		len = 0;
		add("{\"messages\":[{\"role\":\"user\",\"content\":");
		add_prompt(k, 1 << 20);
		add("}],\"model\":\"gpt-4o\",\"max_tokens\":16,\"stream\":true}");
		check("application/json", "gpt-4o", true);
		len = 0;
		add("{\"model\":\"m\",\"prompt\":");
		add_prompt(k, 1 << 20);
		add("}");
		check("application/json", "m", true);
		len = 0;
		add("{\"input\":");
		add_prompt(k, 1 << 19);
		add(",\"model\":\"org/embed\",\"metadata\":{\"model\":");
		add_prompt(k, 1 << 19);
		add("}}");
		check("application/json", "org/embed", false);
	}
}

static void turns(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(contents) / sizeof(*contents); k++) {
		slices_name = contents[k];
		len = 0;
		add("{\"max_tokens\": 1024, \"messages\": [");
		add_turns(k, 1 << 20);
		add("], \"model\": \"claude\", \"system\": \"\\\"model\\\": \", \"tools\": "
		    "[{\"name\": \"f\", "
		    "\"input_schema\": {\"properties\": {\"model\": {\"type\": \"string\"}}}}]}\n");
		check("application/json; charset=utf-8", "claude", true);
	}
}

static void token_ids(void **state)
{
	(void)state;
	slices_name = "token ids";
	len = 0;
	add("{\"input\":[[");
	add_times("128000,-1,0.5e-7,", 1 << 20);
	add("1]],\"model\":\"e5\",\"encoding_format\":\"base64\"}");
	check("application/json", "e5", true);
}

static void audio(void **state)
{
	static const char field[] =
	    "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n";
	static const char file[] = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; "
				   "filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
	const char *type = "multipart/form-data; boundary=XyZ";

	(void)state;
	slices_name = "audio";
	for (int last = 0; last < 2; last++) {
		len = 0;
		if (!last)
			add(field);
		add(file);
		for (size_t i = 0; i < 3 << 20; i++)
			room[len++] = (char)(i * i >> 7);
		add("\r\n");
		if (last)
			add(field);
		add("--XyZ\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nde\r\n");
		add("--XyZ--\r\n");
		check(type, "whisper-1", true);
	}
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(prompts),
	    cmocka_unit_test(turns),
	    cmocka_unit_test(token_ids),
	    cmocka_unit_test(audio),
	};

	return cmocka_run_group_tests(tests, slices_make, slices_drop);
}

int main(void)
{
	return readers_each(run);
}
