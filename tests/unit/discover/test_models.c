/* Answers to GET /v1/models, as servers give them and as they should not. */
#include "discover/models.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "failmalloc.h"
#include "unit/guard.h"

#define VLLM                                                                                       \
	"{\"object\":\"list\",\"data\":["                                                          \
	"{\"id\":\"meta-llama/"                                                                    \
	"Llama-3.1-8B-Instruct\",\"object\":\"model\",\"created\":1755000000,"                     \
	"\"owned_by\":\"vllm\",\"root\":\"/models/llama\",\"parent\":null,\"max_model_len\":8192," \
	"\"permission\":[{\"id\":\"modelperm-1\",\"object\":\"model_permission\"}]},"              \
	"{\"id\":\"sql-lora\",\"object\":\"model\",\"root\":\"/adapters/sql\","                    \
	"\"parent\":\"meta-llama/Llama-3.1-8B-Instruct\"}]}"

struct good {
	const char *what, *text;
	const char *want; /* "id<parent id …", sorted; what was skipped behind '!' */
};

static const struct good goods[] = {
    {"vllm", VLLM, "meta-llama/Llama-3.1-8B-Instruct sql-lora<meta-llama/Llama-3.1-8B-Instruct"},
    {"vllm before 0.6: the adapter's root is the base",
     "{\"data\":[{\"id\":\"base\",\"root\":\"base\",\"parent\":null},"
     "{\"id\":\"lora\",\"root\":\"base\",\"parent\":null}]}",
     "base lora<base"},
    {"sglang", "{\"object\":\"list\",\"data\":[{\"id\":\"q\",\"root\":\"q\",\"max_model_len\":1}]}",
     "q"},
    {"llama.cpp",
     "{\"models\":[{\"name\":\"x.gguf\",\"model\":\"x.gguf\"}],\"object\":\"list\","
     "\"data\":[{\"id\":\"y.gguf\",\"meta\":{\"n_params\":1e10}}]}",
     "y.gguf"},
    {"llama.cpp with several --alias: the id is among them",
     "{\"object\":\"list\",\"data\":[{\"id\":\"code\",\"aliases\":[\"code\",\"fim\",\"tinyllama-"
     "2\"],"
     "\"tags\":[\"chat\",\"small\"],\"object\":\"model\"}]}",
     "code fim tinyllama-2"},
    {"an alias is an adapter where its model is one, and never takes an id's place",
     "{\"data\":[{\"id\":\"l\",\"parent\":\"b\",\"root\":\"/"
     "l\",\"aliases\":[\"l2\",\"b\",\"l\"]},{\"id\":\"b\"}]}",
     "b l<b l2<b"},
    {"aliases that are none",
     "{\"data\":[{\"id\":\"a\",\"aliases\":[\"\",1,null,[\"x\"],{\"id\":\"y\"},\"c\\n\",\"z\"]},"
     "{\"id\":\"d\",\"aliases\":\"e\"},{\"id\":\"f\",\"aliases\":{\"g\":\"h\"}},\"s\"]}",
     "a d f s z!6"},
    {"ollama", "{\"models\":[{\"name\":\"llama3:8b\",\"size\":1}]}", "llama3:8b"},
    {"bare array of strings", "[\"b\",\"a\"]", "a b"},
    {"white space around", " \n{\"data\":[{\"id\":\"a\"}]}\r\n ", "a"},
    {"empty", "{\"data\":[]}", ""},
    {"adapters sort behind",
     "{\"data\":[{\"id\":\"a\",\"parent\":\"z\"},{\"id\":\"z\"},{\"id\":\"m\"}]}", "m z a<z"},
    {"its own parent", "{\"data\":[{\"id\":\"a\",\"parent\":\"a\"}]}", "a"},
    {"a parent that is no name",
     "{\"data\":[{\"id\":\"a\",\"parent\":7},{\"id\":\"b\",\"parent\":\"\"}]}", "a b"},
    {"twice: the first counts",
     "{\"data\":[{\"id\":\"a\",\"parent\":\"p\"},{\"id\":\"a\",\"parent\":\"q\"}]}", "a<p"},
    {"no models among them",
     "{\"data\":[{\"id\":\"\"},{\"id\":7},{},null,[],true,{\"id\":\"a\\nb\"},{\"id\":\"ok\"}]}",
     "ok!7"},
    {"escapes", "{\"data\":[{\"id\":\"\\u00e9\\ud83d\\ude00\"}]}", "\xc3\xa9\xf0\x9f\x98\x80"},
    {"C1 and DEL", "{\"data\":[{\"id\":\"\\u0085\"},{\"id\":\"\\u007f\"},{\"id\":\"a\"}]}", "a!2"},
    {"invalid UTF-8",
     "{\"data\":[{\"id\":\"\xff\"},{\"id\":\"\xc0\xaf\"},{\"id\":\"\xed\xa0\x80\"},"
     "{\"id\":\"\xf4\x90\x80\x80\"},{\"id\":\"\xe0\x80\x80\"},{\"id\":\"\xc3\"},{\"id\":\"a\"}]}",
     "a!6"},
    {"prefixes are other names", "[\"ab\",\"a\",\"abc\"]", "a ab abc"},
};

static void spell(const struct models *m, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < m->n; i++) {
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", i ? " " : "",
					 (int)m->items[i].id.len, m->items[i].id.ptr);
		if (m->items[i].parent.ptr)
			used +=
			    (size_t)snprintf(out + used, size - used, "<%.*s",
					     (int)m->items[i].parent.len, m->items[i].parent.ptr);
	}
	if (m->skipped)
		snprintf(out + used, size - used, "!%zu", m->skipped);
}

static void test_good(void **state)
{
	struct guard g = guard_new(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		const char *error = NULL;
		struct models *m;
		char text[512];

		if (models_parse(guard_put(&g, view_str(goods[i].text)), 100, &m, &error) != 0)
			fail_msg("%s: %s", goods[i].what, error);
		spell(m, text, sizeof(text));
		if (strcmp(text, goods[i].want) != 0)
			fail_msg("%s: \"%s\" is not \"%s\"", goods[i].what, text, goods[i].want);
		for (size_t k = 0; k < m->n; k++)
			assert_ptr_equal(models_find(m, m->items[k].id), &m->items[k]);
		assert_null(models_find(m, view_str("nobody")));
		models_unref(m);
	}
	guard_free(&g);
}

static const char *const bads[] = {
    "",
    " ",
    "null",
    "7",
    "\"data\"",
    "{}",
    "{\"data\":{}}",
    "{\"data\":null}",
    "{\"data\":\"a\"}",
    "{\"models\":7}",
    "{\"object\":\"error\",\"message\":\"Unauthorized\"}",
    "<html>",
    "{\"data\":[",
    "{\"data\":[]} x",
    "{\"data\":[]}{}",
    "[\"a\",]",
    "{\"data\":[{\"id\":\"a\\u0000b\"}]}",
    "{\"data\":[{\"id\":\"\\ud83d\"}]}",
};

static void test_bad(void **state)
{
	struct guard g = guard_new(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		const char *error = NULL;
		struct models *m = NULL;
		int r = models_parse(guard_put(&g, view_str(bads[i])), 100, &m, &error);

		if (r != -EINVAL || !error)
			fail_msg("%s: %d", bads[i], r);
	}
	guard_free(&g);
}

static void test_truncated(void **state)
{
	struct guard g = guard_new(4096);
	struct view whole = view_str(VLLM);

	(void)state;
	for (size_t len = 0; len < whole.len; len++) {
		const char *error = NULL;
		struct models *m = NULL;

		assert_int_equal(
		    models_parse(guard_put(&g, (struct view){whole.ptr, len}), 100, &m, &error),
		    -EINVAL);
	}
	guard_free(&g);
}

static void test_bounds(void **state)
{
	char text[2048] = "[\"", *at = text + 2;
	const char *error = NULL;
	struct models *m, *n;
	size_t len = 100000;
	char *commas;

	(void)state;
	/* 256 bytes are a name, 257 are none. */
	memset(at, 'x', 256);
	strcpy(at + 256, "\",\"");
	memset(at + 259, 'y', 257);
	strcpy(at + 259 + 257, "\"]");
	assert_int_equal(models_parse(view_str(text), 100, &m, &error), 0);
	assert_int_equal(m->n, 1);
	assert_int_equal(m->items[0].id.len, 256);
	assert_int_equal(m->skipped, 1);
	models_unref(m);

	assert_int_equal(models_parse(view_str("[\"a\",\"b\",\"c\"]"), 2, &m, &error), 0);
	assert_int_equal(m->n, 2);
	assert_int_equal(m->skipped, 1);
	models_unref(m);

	/* Values without end are refused before they cost a node each. */
	commas = malloc(len);
	assert_non_null(commas);
	memset(commas, ',', len);
	memcpy(commas, "[0", 2);
	commas[len - 1] = ']';
	for (size_t i = 3; i + 1 < len; i += 2)
		commas[i] = '0';
	assert_int_equal(models_parse((struct view){commas, len}, 100, &m, &error), -EINVAL);
	assert_string_equal(error, "too many values for its size");
	memset(commas, '[', len);
	assert_int_equal(models_parse((struct view){commas, len}, 100, &m, &error), -EINVAL);
	free(commas);

	/* Order, times and other fields do not make another list; an adapter's parent does. */
	assert_int_equal(
	    models_parse(view_str("[{\"id\":\"b\",\"created\":1},{\"id\":\"a\"}]"), 9, &m, &error),
	    0);
	assert_int_equal(models_parse(view_str("{\"data\":[\"a\",\"b\"]}"), 9, &n, &error), 0);
	assert_true(models_equal(m, n));
	models_unref(n);
	assert_int_equal(
	    models_parse(view_str("[{\"id\":\"b\",\"parent\":\"a\"},\"a\"]"), 9, &n, &error), 0);
	assert_false(models_equal(m, n));
	assert_ptr_equal(models_ref(m), m);
	models_unref(m);
	models_unref(m);
	models_unref(n);
}

static void test_memory(void **state)
{
	long live;

	(void)state;
	for (size_t i = 1;; i++) {
		const char *error = NULL;
		struct models *m = NULL;
		int r;

		failmalloc_arm(i);
		r = models_parse(view_str(VLLM), 100, &m, &error);
		if (r == 0)
			models_unref(m);
		if (!failmalloc_disarm(&live)) {
			assert_int_equal(r, 0);
			assert_true(i > 10);
			break;
		}
		/* cJSON does not tell a short memory from a wrong text. */
		assert_true(r == -ENOMEM || r == -EINVAL);
		assert_int_equal(live, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),      cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_truncated), cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
