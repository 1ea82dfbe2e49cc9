/*
 * golden/config.md case by case: what is said about a file, or what it means; then each case again
 * with every allocation failing in turn. GOLDEN_UPDATE=1 writes what is said now.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "failmalloc.h"
#include "unit/config/dump.h"
#include "unit/golden.h"

#define CASES_MAX 400

struct golden {
	char *name, *text, *want;
	size_t len;
	bool escaped;
	char *raw; /* as it stands in the file */
};

static struct golden cases[CASES_MAX];
static size_t ncases;
static char *intro;

/* The lines up to the next fence, which is skipped. */
static char *block(char **p)
{
	char *end = strncmp(*p, "```\n", 4) == 0 ? *p : strstr(*p, "\n```\n"), *copy;

	assert_non_null(end);
	if (end != *p)
		end++;
	copy = strndup(*p, (size_t)(end - *p));
	assert_non_null(copy);
	*p = end + 4;
	return copy;
}

static size_t unescape(char *text)
{
	char *to = text;

	for (char *p = text; *p;) {
		if (p[0] == '\\' && p[1] == 'x') {
			char hex[3] = {p[2], p[3]};

			*to++ = (char)strtoul(hex, NULL, 16);
			p += 4;
		} else if (strcmp(p, "\\0\n") == 0) {
			break;
		} else if (p[0] == '\\' && p[1] == 'r') {
			*to++ = '\r';
			p += 2;
		} else {
			*to++ = *p++;
		}
	}
	*to = '\0';
	return (size_t)(to - text);
}

static int load_cases(void **state)
{
	char *all = (char *)golden_read("config.md").ptr, *p = strstr(all, "\n## ");

	(void)state;
	assert_non_null(p);
	intro = strndup(all, (size_t)(p + 1 - all));
	while ((p = strstr(p, "\n## "))) {
		struct golden *g = &cases[ncases++];
		char *end = strchr(p + 4, '\n');

		assert_true(ncases < CASES_MAX);
		g->name = strndup(p + 4, (size_t)(end - p - 4));
		p = strstr(end, "```yaml");
		assert_non_null(p);
		g->escaped = strncmp(p + 7, " escaped\n", 9) == 0;
		p = strchr(p, '\n') + 1;
		g->raw = block(&p);
		g->text = strdup(g->raw);
		g->len = g->escaped ? unescape(g->text) : strlen(g->text);
		p = strstr(p, "```\n");
		assert_non_null(p);
		p += 4;
		g->want = block(&p);
		p--;
	}
	free(all);
	return 0;
}

static int free_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ncases; i++) {
		free(cases[i].name);
		free(cases[i].text);
		free(cases[i].want);
		free(cases[i].raw);
	}
	free(intro);
	return 0;
}

/* What is said about @text, of which not a byte more may be read. */
static char *answer(const char *text, size_t len, int *ret)
{
	struct config_errors errors;
	struct config *c = NULL;
	char *exact = malloc(len ? len : 1), *said = NULL;
	size_t size;
	FILE *out = open_memstream(&said, &size);

	assert_non_null(out);
	memcpy(exact, text, len);
	*ret = config_parse("f.yaml", exact, len, &c, &errors);
	free(exact);
	if (*ret == 0) {
		fputs("ok\n", out);
		dump_config(c, out);
		assert_int_equal(errors.n, 0);
		assert_string_equal(c->path, "f.yaml");
	} else {
		assert_null(c);
		config_errors_print(&errors, "f.yaml", out);
	}
	config_errors_deinit(&errors);
	config_free(c);
	fclose(out);
	return said;
}

static void test_golden(void **state)
{
	const char *update = getenv("GOLDEN_UPDATE");
	FILE *out = update ? fopen(TESTS_DIR "/golden/config.md", "w") : NULL;
	size_t wrong = 0;

	(void)state;
	assert_true(ncases >= 80);
	if (out)
		fputs(intro, out);
	for (size_t i = 0; i < ncases; i++) {
		const struct golden *g = &cases[i];
		int ret;
		char *said = answer(g->text, g->len, &ret);

		assert_true(ret == 0 || ret == -EINVAL);
		assert_true(said[0] != '\0');
		if (out)
			fprintf(out, "%s## %s\n\n```yaml%s\n%s```\n\n```\n%s```\n", i ? "\n" : "",
				g->name, g->escaped ? " escaped" : "", g->raw, said);
		else if (strcmp(said, g->want) != 0) {
			print_error("%s:\n--- wanted\n%s--- said\n%s", g->name, g->want, said);
			wrong++;
		}
		free(said);
	}
	if (out)
		fclose(out);
	assert_int_equal(wrong, 0);
}

/* Errors come in the order of their places. */
static void test_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < ncases; i++) {
		struct config_errors errors;
		struct config *c;

		if (config_parse("f", cases[i].text, cases[i].len, &c, &errors) == 0)
			config_free(c);
		for (size_t j = 1; j < errors.n; j++) {
			const struct config_error *a = &errors.items[j - 1], *b = &errors.items[j];

			assert_true(a->line < b->line || (a->line == b->line && a->col <= b->col));
			assert_true(a->line != b->line || a->col != b->col ||
				    strcmp(a->text, b->text) != 0);
		}
		for (size_t j = 0; j < errors.n; j++)
			assert_null(strchr(errors.items[j].text, '\n'));
		config_errors_deinit(&errors);
	}
}

/* Every prefix of every case: no crash, and an error or a configuration. */
static void test_prefixes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ncases; i++) {
		for (size_t len = 0; len < cases[i].len; len += 1 + cases[i].len / 200) {
			int ret;
			char *said = answer(cases[i].text, len, &ret);

			assert_true(ret == 0 || ret == -EINVAL);
			free(said);
		}
	}
}

static void test_failing_allocations(void **state)
{
	size_t runs = 0;

	(void)state;
	for (size_t i = 0; i < ncases; i++) {
		struct config_errors errors;
		struct config *c;
		long live;
		int whole = config_parse("f", cases[i].text, cases[i].len, &c, &errors);

		if (whole == 0)
			config_free(c);
		config_errors_deinit(&errors);
		for (size_t n = 1;; n++, runs++) {
			int ret;
			bool failed;

			c = NULL;
			failmalloc_arm(n);
			ret = config_parse("f", cases[i].text, cases[i].len, &c, &errors);
			if (ret == 0)
				config_free(c);
			config_errors_deinit(&errors);
			failed = failmalloc_disarm(&live);
			if (live != 0 || (ret != -ENOMEM && ret != whole))
				print_error("%s: allocation %zu: returned %d, %ld left\n",
					    cases[i].name, n, ret, live);
			assert_int_equal(live, 0);
			assert_true(ret == -ENOMEM || ret == whole);
			if (!failed)
				break;
		}
	}
	assert_true(runs > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_golden),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, load_cases, free_cases);
}
