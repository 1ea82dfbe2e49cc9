/*
 * The rows themselves, the reference made from them, and what config.h promises beside parsing:
 * reading files, bounds, what a reload keeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "config/config.h"
#include "config/mistakes.h"
#include "config/option.h"
#include "config/suggest.h"
#include "failmalloc.h"

#define SMALLEST "haproxy: {socket: /s}\npools: {p: }\n"

static struct config *parse(const char *text)
{
	struct config_errors errors;
	struct config *c = NULL;
	int ret = config_parse("f", text, strlen(text), &c, &errors);

	if (ret)
		config_errors_print(&errors, "f", stderr);
	assert_int_equal(ret, 0);
	config_errors_deinit(&errors);
	return c;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];

		assert_ptr_equal(option_find(o->section, view_str(o->key)), o);
		assert_true(strlen(o->doc) > 4);
		assert_null(strchr(o->doc, '\n'));
		/* Only these sections are compared by config_keep_fixed(). */
		assert_true(o->reload || o->section < OPTION_POOL);
	}
}

/* Every default, written into a file as the reference shows it, is what no file gives. */
static void test_defaults_can_be_written(void **state)
{
	struct config *plain = parse(SMALLEST);

	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option *o = &option_rows[i];
		const char *section = option_section_name(o->section);
		struct config *c;
		char text[1024];

		if (o->section >= OPTION_POOL || o->section == OPTION_HAPROXY || !*o->fallback)
			continue;
		snprintf(text, sizeof(text),
			 *section ? SMALLEST "%s: {%s: '%s'}\n" : SMALLEST "%s%s: '%s'\n", section,
			 o->key, o->fallback);
		c = parse(text);
		assert_true(
		    option_equal(o, o->section == OPTION_SCRAPE ? (void *)&c->scrape : c,
				 o->section == OPTION_SCRAPE ? (void *)&plain->scrape : plain));
		config_free(c);
	}
	config_free(plain);
}

/* The words stand in two rooms, of which the lower one may not look up. */
static void test_words(void **state)
{
	static const char *const policies[] = {
#define POLICY(name, function, text) name,
#include "pick/policy.def"
#undef POLICY
	};
	size_t n = sizeof(policies) / sizeof(policies[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_string_equal(config_enum_policy[i], policies[i]);
	assert_null(config_enum_policy[n]);
	assert_string_equal(config_enum_log_level[LOG_LEVEL_ERROR], "error");
	assert_string_equal(config_enum_log_level[LOG_LEVEL_DEBUG], "debug");
	assert_string_equal(config_enum_log_target[LOG_TARGET_SYSLOG], "syslog");
	assert_string_equal(config_enum_engine[CONFIG_ENGINE_NONE], "none");
	assert_string_equal(config_enum_scheme[CONFIG_SCHEME_HTTPS], "https");
	assert_string_equal(config_enum_when_full[CONFIG_FULL_REJECT], "reject");
	assert_string_equal(config_enum_no_model[CONFIG_NO_MODEL_REJECT], "reject");
	assert_string_equal(config_enum_unknown_model[CONFIG_UNKNOWN_DEFAULT], "default");
	assert_string_equal(config_enum_body[CONFIG_BODY_WHOLE], "whole");
}

static void test_reference(void **state)
{
	static char kept[1 << 17];
	FILE *in = fopen(TESTS_DIR "/../agent/config/REFERENCE.md", "r"), *out;
	char *made;
	size_t size;

	(void)state;
	assert_non_null(in);
	kept[fread(kept, 1, sizeof(kept) - 1, in)] = '\0';
	fclose(in);
	out = open_memstream(&made, &size);
	config_document(out);
	fclose(out);
	if (strcmp(kept, made) != 0)
		print_error("config.def and REFERENCE.md differ; write it anew:\n"
			    "  spoa-inference --help-config > agent/config/REFERENCE.md\n");
	assert_true(strcmp(kept, made) == 0);
	free(made);
}

static void note_key(const char *key, void *arg)
{
	char *keys = arg;

	snprintf(keys + strlen(keys), 512 - strlen(keys), "%s ", key);
}

static void test_keep_fixed(void **state)
{
	struct config *old =
	    parse("haproxy: {socket: /s}\nlisten: {spop_group: g}\npools: {p: }\n");
	const char *text = "haproxy: {socket: /t}\nworkers: 3\n"
			   "listen: {spop: [unix@/a, unix@/b], spop_mode: 600}\n"
			   "log: {target: syslog, level: debug}\nlimits: {models: 5, tickets: 99}\n"
			   "pools: {q: }\n";
	struct config *new = parse(text);
	char keys[512] = "";

	(void)state;
	assert_int_equal(config_keep_fixed(old, new, note_key, keys), 0);
	assert_string_equal(keys, "listen.spop listen.spop_mode listen.spop_group workers "
				  "log.target limits.tickets ");
	assert_int_equal(new->workers, 1);
	assert_int_equal(new->listen.spop.n, 1);
	assert_string_equal(new->listen.spop.items[0],
			    "unix@/var/lib/haproxy/spoa-inference/spop.sock");
	assert_string_equal(new->listen.spop_group, "g");
	assert_int_equal(new->listen.spop_mode, 0660);
	assert_int_equal(new->log.target, LOG_TARGET_STDERR);
	assert_int_equal(new->limits.tickets, 65536);
	/* what a reload applies stays as it is in the new file */
	assert_int_equal(new->log.level, LOG_LEVEL_DEBUG);
	assert_int_equal(new->limits.models, 5);
	assert_string_equal(new->haproxy.socket, "/t");
	assert_non_null(config_pool_find(new, "q"));
	assert_null(config_pool_find(new, "p"));

	keys[0] = '\0';
	assert_int_equal(config_keep_fixed(old, new, note_key, keys), 0);
	assert_string_equal(keys, "");
	config_free(new);

	for (size_t i = 1;; i++) {
		long live;
		int ret;

		new = parse(text);
		keys[0] = '\0';
		failmalloc_arm(i);
		ret = config_keep_fixed(old, new, note_key, keys);
		if (!failmalloc_disarm(&live)) {
			assert_int_equal(ret, 0);
			config_free(new);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_true(new->listen.spop.n > 0);
		config_free(new);
	}
	config_free(old);
}

/* The only error that reading @path gives. */
static void assert_unreadable(const char *path, const char *text)
{
	struct config_errors errors;
	struct config *c = NULL;

	assert_int_equal(config_load(path, &c, &errors), -EINVAL);
	assert_null(c);
	assert_int_equal(errors.n, 1);
	assert_int_equal(errors.items[0].line, 0);
	assert_string_equal(errors.items[0].text, text);
	config_errors_deinit(&errors);
}

static void test_files(void **state)
{
	char path[] = "/tmp/test_option.XXXXXX";
	int fd = mkstemp(path), in = dup(STDIN_FILENO);
	struct config_errors errors;
	struct config *c;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, SMALLEST, strlen(SMALLEST)), strlen(SMALLEST));
	assert_int_equal(config_load(path, &c, &errors), 0);
	assert_string_equal(c->path, path);
	config_free(c);

	for (size_t i = 1;; i++) {
		long live;
		int ret;

		failmalloc_arm(i);
		ret = config_load(path, &c, &errors);
		if (ret == 0)
			config_free(c);
		config_errors_deinit(&errors);
		if (!failmalloc_disarm(&live)) {
			assert_int_equal(ret, 0);
			break;
		}
		assert_true(ret == -ENOMEM || ret == 0); /* stdio lives without its buffer */
		assert_int_equal(live, 0);
	}

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	dup2(fd, STDIN_FILENO);
	assert_int_equal(config_load("-", &c, &errors), 0);
	config_free(c);
	dup2(in, STDIN_FILENO);
	close(in);
	close(fd);
	unlink(path);

	assert_unreadable(path, "cannot be read: No such file or directory");
	assert_unreadable("/", "cannot be read: Is a directory");
	assert_unreadable("/dev/zero", "larger than 16 MB: this is no configuration");
}

/* A file may be 16 MB long: many names, many errors, many keys. */
static void test_large(void **state)
{
	size_t size = 15 << 20, len = 0, n = 0;
	char *text = malloc(size + 64);
	struct config_errors errors;
	struct config *c;

	(void)state;
	assert_non_null(text);
	len = (size_t)sprintf(text, "haproxy: {socket: /s}\nlimits: {models: 1048576}\npools:\n"
				    " p:\n  models:\n");
	for (; n < 200000 && len < size; n++)
		len += (size_t)sprintf(text + len, "  - model-%zu\n", n);
	assert_int_equal(config_parse("f", text, len, &c, &errors), 0);
	assert_int_equal(c->pools[0].nmodels, n);
	config_free(c);

	for (len = n = 0; n < 200000 && len < size; n++)
		len += (size_t)sprintf(text + len, "key%zu: x\n", n % 1000);
	assert_int_equal(config_parse("f", text, len, &c, &errors), -EINVAL);
	assert_int_equal(errors.n, MISTAKES_MAX);
	assert_int_equal(errors.items[0].line, 1);
	assert_string_equal(errors.items[1].text,
			    "no pools: the smallest configuration is "
			    "{haproxy: {socket: /run/haproxy/admin.sock}, pools: {NAME: {}}}");
	assert_int_equal(errors.items[998].line, 998);
	assert_non_null(strstr(errors.items[998].text, "\"key997\" is unknown"));
	/* 199,000 repeated keys, 200,000 unknown ones, no pools, one of them given way to this line
	 */
	assert_string_equal(errors.items[999].text, "and 398002 more errors");
	config_errors_deinit(&errors);

	memset(text, '[', size);
	assert_int_equal(config_parse("f", text, size, &c, &errors), -EINVAL);
	config_errors_deinit(&errors);
	free(text);
}

static void test_suggest(void **state)
{
	static const struct {
		const char *a, *b;
		size_t distance;
	} cases[] = {{"", "", 0},         {"", "abc", 3},
		     {"abc", "", 3},      {"socket", "sokcet", 1},
		     {"ab", "ba", 1},     {"kitten", "sitting", 3},
		     {"Poll", "poll", 0}, {"a-b", "a_b", 0},
		     {"abcd", "badc", 2}};
	static const char *const words[] = {"interval", "timeout", "models_interval", "on"};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(suggest_distance(view_str(cases[i].a), view_str(cases[i].b)),
				 cases[i].distance);
		assert_int_equal(suggest_distance(view_str(cases[i].b), view_str(cases[i].a)),
				 cases[i].distance);
	}
	assert_string_equal(suggest_nearest(VIEW_LIT("intreval"), words, 4), "interval");
	assert_string_equal(suggest_nearest(VIEW_LIT("time"), words, 4), "timeout");
	assert_string_equal(suggest_nearest(VIEW_LIT("models"), words, 4), "models_interval");
	assert_null(suggest_nearest(VIEW_LIT(""), words, 4));
	assert_null(suggest_nearest(VIEW_LIT("xy"), words, 4));
	assert_null(suggest_nearest(VIEW_LIT("colour"), words, 4));
	assert_null(suggest_nearest(
	    VIEW_LIT("a key that is much longer than any that there is, by far"), words, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),       cmocka_unit_test(test_defaults_can_be_written),
	    cmocka_unit_test(test_words),      cmocka_unit_test(test_reference),
	    cmocka_unit_test(test_keep_fixed), cmocka_unit_test(test_files),
	    cmocka_unit_test(test_large),      cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
