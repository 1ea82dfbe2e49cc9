/*
 * The administration port's pages of an agent that is whole but for its loop: what they say when
 * memory is short (500, or everything), and what /v1/models keeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/discover.h"
#include "failmalloc.h"
#include "pick/endpoint.h"
#include "serve/control.h"
#include "serve/page.h"
#include "base/textfile.h"

#define POOLS  3
#define MODELS 30

static struct control *agent;
static char folder[] = "/tmp/test_page.XXXXXX";

static struct config *write_config(void)
{
	struct config_errors errors = {0};
	struct config *conf;
	char file[128];
	FILE *f;

	snprintf(file, sizeof(file), "%s/agent.yaml", folder);
	f = fopen(file, "w");
	assert_non_null(f);
	fprintf(f,
		"listen: {spop: [\"unix@%s/spop\"], admin: [\"unix@%s/admin\"], feedback: []}\n"
		"scrape: {engine: none}\npools:\n",
		folder, folder);
	for (int i = 0; i < POOLS; i++) {
		fprintf(f,
			"  pool%d:\n    endpoints: [\"127.0.0.1:%d\", \"[::1]:%d\"]\n    models:\n",
			i, i + 1, i + 1);
		for (int k = 0; k < MODELS; k++)
			fprintf(f, "      - \"model-%d-%d\"\n", i, k);
	}
	fclose(f);
	assert_int_equal(config_load(file, &conf, &errors), 0);
	return conf;
}

static int begin(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	assert_non_null(mkdtemp(folder));
	agent = control_new_consume(write_config());
	assert_non_null(agent);
	for (int i = 0; i < 1000 && !control_ready(agent); i++) {
		event_base_loop(agent->base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	assert_true(control_ready(agent));
	return 0;
}

static int end(void **state)
{
	char path[128];

	(void)state;
	control_free(agent);
	snprintf(path, sizeof(path), "%s/agent.yaml", folder);
	unlink(path);
	return rmdir(folder);
}

/* As the administration port makes one. NULL: 500. */
static char *write_page_below(const struct admin_page *page, struct view below, size_t *ret_len)
{
	struct textfile file;
	char *body = NULL;
	int status = 500;

	if (textfile_open(&file)) {
		status = below.len ? page->write_below(agent, below, file.out)
				   : page->write(agent, file.out);
		body = textfile_close(&file, ret_len);
	}
	if (body && status != 500)
		return body;
	free(body);
	return NULL;
}

static char *write_page(const struct admin_page *page, size_t *ret_len)
{
	return write_page_below(page, VIEW_NULL, ret_len);
}

/* Numbers differ from one moment to the next; how many lines, names and braces there are does not.
 */
static size_t shape(const char *body)
{
	size_t n = 0;

	for (; *body; body++)
		n += strchr("\n{}[]\",", *body) != NULL;
	return n;
}

static void no_half_page(const struct admin_page *p, struct view below)
{
	size_t len, usual, refused = 0;
	char *body = write_page_below(p, below, &len);
	bool failed = true;
	long live;

	assert_non_null(body);
	usual = shape(body);
	free(body);
	for (size_t i = 1; failed; i++) {
		/* So that the list is made anew. */
		agent->models_page = models_page_free(agent->models_page);
		agent->models_page = models_page_new(agent->started_ns);
		assert_non_null(agent->models_page);
		failmalloc_arm(i);
		body = write_page_below(p, below, &len);
		failed = failmalloc_disarm(&live);
		refused += !body;
		if (body && shape(body) != usual)
			fail_msg("%s, allocation %zu: %zu instead of %zu marks", p->path, i,
				 shape(body), usual);
		free(body);
	}
	assert_true(refused > 0);
}

static void memory_is_short(void **state)
{
	char *body;
	size_t len;

	(void)state;
	for (const struct admin_page *p = page_table; p->path; p++) {
		no_half_page(p, VIEW_NULL);
		if (p->write_below) {
			no_half_page(p, VIEW_LIT("model-1-7"));
			no_half_page(p, VIEW_LIT("nobody"));
		}
	}
	body = write_page(&page_table[3], &len);
	assert_non_null(body);
	free(body);
}

static const struct admin_page *page_of(const char *path)
{
	const struct admin_page *p = page_table;

	while (strcmp(p->path, path) != 0)
		p++;
	return p;
}

static bool is_told(const char *name)
{
	struct textfile file;
	char *body, id[300];
	size_t len;
	int status;
	bool same;

	assert_true(textfile_open(&file));
	status = page_model(agent, view_str(name), file.out);
	body = textfile_close(&file, &len);
	assert_non_null(body);
	snprintf(id, sizeof(id), "{\"id\":\"%s\",\"object\":\"model\"", "model-1-7");
	same = strncmp(body, id, strlen(id)) == 0;
	assert_int_equal(status, same ? 200 : 404);
	if (!same)
		assert_non_null(strstr(body, "\"code\":\"model_not_found\""));
	free(body);
	return same;
}

/* By its name as it stands in a path: escaped or not. */
static void one_model(void **state)
{
	static const char *const same[] = {"model-1-7", "model%2D1-7", "model%2d1%2D7",
					   "%6d%6F%64%65l-1-7"};
	static const char *const others[] = {
	    "model-1-70",    "model-1-",     "MODEL-1-7", "model-1-7/", "model-1-7%",
	    "model-1%2",     "model-1-7%00", "%",         "%2",         "%zz",
	    "model%252D1-7", "..",           ""};
	const struct pool *p = &discover_snapshot(agent->discover)->pools[1];

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_true(is_told(same[i]));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(is_told(others[i]));
	/* While nobody serves it, it is not there, as in the list. */
	for (uint32_t i = 0; i < p->n; i++)
		endpoint_set_flags(agent->endpoints, p->slots[i], 0, ENDPOINT_DOWN);
	assert_false(is_told("model-1-7"));
	for (uint32_t i = 0; i < p->n; i++)
		endpoint_set_flags(agent->endpoints, p->slots[i], ENDPOINT_DOWN, 0);
	assert_true(is_told("model-1-7"));
}

static void models_are_kept(void **state)
{
	const struct admin_page *page = page_of("/v1/models");
	size_t len, made, kept;
	char *first, *next;
	long live;

	(void)state;
	agent->models_page = models_page_free(agent->models_page);
	agent->models_page = models_page_new(agent->started_ns);
	failmalloc_arm(SIZE_MAX);
	first = write_page(page, &len);
	failmalloc_disarm(&live);
	made = failmalloc_count;
	failmalloc_arm(SIZE_MAX);
	next = write_page(page, &len);
	failmalloc_disarm(&live);
	kept = failmalloc_count;
	assert_string_equal(first, next);
	assert_true(made > POOLS * MODELS);
	assert_true(kept < 20);
	free(next);
	free(first);
}

static void kept_models_follow_their_servers(void **state)
{
	const struct snapshot *s = discover_snapshot(agent->discover);
	const struct admin_page *page = page_of("/v1/models");
	const struct pool *p = &s->pools[1];
	char *body;
	size_t len;

	(void)state;
	for (unsigned flag = 1; flag <= ENDPOINT_FLAG_LAST; flag <<= 1) {
		for (uint32_t i = 0; i < p->n; i++)
			endpoint_set_flags(agent->endpoints, p->slots[i], 0, flag);
		body = write_page(page, &len);
		assert_non_null(strstr(body, "\"model-0-7\""));
		/* A full one is worth waiting for. */
		assert_true((strstr(body, "\"model-1-7\"") != NULL) == (flag == ENDPOINT_FULL));
		free(body);
		endpoint_set_flags(agent->endpoints, p->slots[0], flag, 0);
		body = write_page(page, &len);
		assert_non_null(strstr(body, "\"model-1-7\""));
		free(body);
		for (uint32_t i = 0; i < p->n; i++)
			endpoint_set_flags(agent->endpoints, p->slots[i], flag, 0);
	}
}

/* Made anew at other moments of a second: the second that the agent began in stays. */
static void models_keep_their_second(void **state)
{
	const struct admin_page *page = page_of("/v1/models");
	const struct pool *p = &discover_snapshot(agent->discover)->pools[1];
	char first[32] = "", *body;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 24; i++) {
		for (uint32_t k = 0; k < p->n; k++)
			endpoint_set_flags(agent->endpoints, p->slots[k], i & 1 ? 0 : ENDPOINT_DOWN,
					   i & 1 ? ENDPOINT_DOWN : 0);
		body = write_page(page, &len);
		if (!*first)
			memcpy(first, strstr(body, "\"created\":"), sizeof(first) - 1);
		for (char *at = body; (at = strstr(at, "\"created\":")); at++)
			assert_memory_equal(at, first, strlen("\"created\":0123456789"));
		free(body);
		usleep(50000);
	}
	for (uint32_t k = 0; k < p->n; k++)
		endpoint_set_flags(agent->endpoints, p->slots[k], ENDPOINT_DOWN, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memory_is_short),
	    cmocka_unit_test(one_model),
	    cmocka_unit_test(models_are_kept),
	    cmocka_unit_test(kept_models_follow_their_servers),
	    cmocka_unit_test(models_keep_their_second),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
