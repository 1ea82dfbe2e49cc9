/*
 * The follower alone, for end-to-end tests: plans in, one JSON object a line on stdin; its state
 * out, one JSON object a line on stdout, whenever that has changed.
 *
 *   spoa-follow DIR RUNTIME_SOCKET MASTER_SOCKET [POLL_MS [RELOAD_MS [KEYWORDS]]]
 *
 * A plan: {"pools": {"NAME": {"h2c": true, "servers": {"POD": "127.0.0.1:80" or
 * {"at": …, "draining": true}}}}, "headers": [{"route": …, "set" / "add" / "del": NAME,
 * "value": …}], "hdrs": true}. End of file ends it.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <event2/util.h>
#include <unistd.h>

#include "base/log.h"
#include "discover/arena.h"
#include "discover/follow/follow.h"
#include "discover/plan.h"

#define LINE_MAX_BYTES (16 * 1024 * 1024)

struct program {
	struct event_base *base;
	struct follow *follow;
	char *line;
	size_t len, plans, changes;
	cJSON *plan; /* the last one */
	char shown[1024];
};

static const char *text_of(const cJSON *object, const char *name, const char *otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(item) ? item->valuestring : otherwise;
}

static bool is_true(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void *get(struct arena *a, size_t n, size_t size)
{
	void *p = arena_get(a, n * size + 1);

	if (!p)
		abort();
	return p;
}

static void read_pool(struct arena *a, const cJSON *from, struct plan_pool *to)
{
	const cJSON *servers = cJSON_GetObjectItemCaseSensitive(from, "servers"), *s;
	struct plan_member *members = get(a, (size_t)cJSON_GetArraySize(servers), sizeof(*members));

	to->name = to->backend = view_str(from->string);
	to->h2c = is_true(from, "h2c");
	to->members = members;
	cJSON_ArrayForEach(s, servers)
	{
		struct plan_member *m = &members[to->nmembers++];
		const char *at = cJSON_IsString(s) ? s->valuestring : text_of(s, "at", "");
		int len = sizeof(m->addr);

		m->name = view_str(s->string);
		m->draining = is_true(s, "draining");
		if (evutil_parse_sockaddr_port(at, (struct sockaddr *)&m->addr, &len) < 0)
			fprintf(stderr, "not an address: %s\n", at);
	}
}

static void read_header(const cJSON *from, struct plan_header *to)
{
	static const char *const actions[] = {
	    [PLAN_HEADER_SET] = "set", [PLAN_HEADER_ADD] = "add", [PLAN_HEADER_REMOVE] = "del"};

	to->route = view_str(text_of(from, "route", ""));
	to->value = view_str(text_of(from, "value", ""));
	for (int i = PLAN_HEADER_SET; i <= PLAN_HEADER_REMOVE; i++) {
		const char *name = text_of(from, actions[i], NULL);

		if (name) {
			to->action = (enum plan_header_action)i;
			to->name = view_str(name);
		}
	}
}

static void want(struct program *p, const cJSON *from)
{
	static const struct rule_header other = {{"x-other", 7}, {"1", 1}};
	static const struct rule_def rule = {.headers = &other, .nheaders = 1};
	const cJSON *pools = cJSON_GetObjectItemCaseSensitive(from, "pools"), *item;
	const cJSON *headers = cJSON_GetObjectItemCaseSensitive(from, "headers");
	struct arena *a = arena_new();
	struct plan plan = {0};
	struct plan_pool *to;
	struct plan_header *h;

	if (!a)
		abort();
	to = get(a, (size_t)cJSON_GetArraySize(pools), sizeof(*to));
	h = get(a, (size_t)cJSON_GetArraySize(headers), sizeof(*h));
	cJSON_ArrayForEach(item, pools) read_pool(a, item, &to[plan.npools++]);
	cJSON_ArrayForEach(item, headers) read_header(item, &h[plan.nheaders++]);
	plan.pools = to;
	plan.headers = h;
	if (is_true(from, "hdrs")) {
		plan.rules = &rule;
		plan.nrules = 1;
	}
	if (follow_want(p->follow, &plan) < 0)
		abort();
	p->plans++;
	arena_free(a);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct program *p = arg;
	ssize_t n = read(fd, p->line + p->len, LINE_MAX_BYTES - p->len);
	char *end;

	(void)what;
	if (n <= 0) {
		event_base_loopbreak(p->base);
		return;
	}
	p->len += (size_t)n;
	while ((end = memchr(p->line, '\n', p->len))) {
		cJSON *plan = cJSON_ParseWithLength(p->line, (size_t)(end - p->line));

		if (!plan) {
			fprintf(stderr, "not a plan: %.*s\n", (int)(end - p->line), p->line);
			abort();
		}
		want(p, plan);
		cJSON_Delete(p->plan);
		p->plan = plan;
		p->len -= (size_t)(end + 1 - p->line);
		memmove(p->line, end + 1, p->len);
	}
}

static void on_backends(void *arg)
{
	((struct program *)arg)->changes++;
}

/* How many of the wanted pools HAProxy has. */
static double has(const struct program *p)
{
	const cJSON *item;
	double n = 0;

	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(p->plan, "pools")) n +=
	    follow_has(p->follow, view_str(item->string));
	return n;
}

static void show(evutil_socket_t fd, short what, void *arg)
{
	struct program *p = arg;
	struct follow_status s;
	cJSON *out = cJSON_CreateObject();
	char *text;

	(void)fd;
	(void)what;
	follow_status(p->follow, &s);
	cJSON_AddStringToObject(out, "state", follow_state_name(s.state));
	cJSON_AddNumberToObject(out, "plans", (double)p->plans);
	cJSON_AddNumberToObject(out, "has", has(p));
	cJSON_AddNumberToObject(out, "changes", (double)p->changes);
	cJSON_AddStringToObject(out, "version", s.version);
	cJSON_AddNumberToObject(out, "pid", s.pid);
	cJSON_AddNumberToObject(out, "pools", (double)s.pools);
	cJSON_AddNumberToObject(out, "servers", (double)s.servers);
	cJSON_AddNumberToObject(out, "missing", (double)s.missing);
	cJSON_AddNumberToObject(out, "leaving", (double)s.leaving);
	cJSON_AddNumberToObject(out, "commands", (double)s.commands);
	cJSON_AddNumberToObject(out, "refusals", (double)s.refusals);
	cJSON_AddNumberToObject(out, "reloads", (double)s.reloads);
	cJSON_AddNumberToObject(out, "reload_failures", (double)s.reload_failures);
	cJSON_AddNumberToObject(out, "writes", (double)s.writes);
	cJSON_AddStringToObject(out, "error", s.error ? s.error : "");
	cJSON_AddStringToObject(out, "file_error", s.file_error ? s.file_error : "");
	text = cJSON_PrintUnformatted(out);
	if (text && strcmp(text, p->shown) != 0) {
		snprintf(p->shown, sizeof(p->shown), "%s", text);
		puts(text);
		fflush(stdout);
	}
	free(text);
	cJSON_Delete(out);
}

int main(int argc, char **argv)
{
	struct program p = {.base = event_base_new(), .line = malloc(LINE_MAX_BYTES)};
	struct follow_conf conf = {
	    .poll_ms = 1000, .timeout_ms = 2000, .max_answer = 16 * 1024 * 1024, .reload_ms = 1000};
	const struct follow_hooks hooks = {on_backends, &p};
	struct event *input, *timer;

	if (argc < 4 || !p.base || !p.line) {
		fprintf(stderr, "%s DIR RUNTIME MASTER [POLL_MS [RELOAD_MS [KEYWORDS]]]\n",
			argv[0]);
		return 2;
	}
	conf.dir = argv[1];
	conf.socket = argv[2];
	conf.master = argv[3];
	if (argc > 4)
		conf.poll_ms = (uint32_t)atoi(argv[4]);
	if (argc > 5)
		conf.reload_ms = (uint32_t)atoi(argv[5]);
	if (argc > 6)
		conf.keywords = argv[6];
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_DEBUG);
	p.follow = follow_new(p.base, &hooks, &conf);
	input = event_new(p.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &p);
	timer = event_new(p.base, -1, EV_PERSIST, show, &p);
	if (!p.follow || !input || !timer || event_add(input, NULL) < 0 ||
	    event_add(timer, &(struct timeval){0, 10000}) < 0)
		abort();
	event_base_dispatch(p.base);
	event_free(input);
	event_free(timer);
	follow_free(p.follow);
	event_base_free(p.base);
	cJSON_Delete(p.plan);
	free(p.line);
	return 0;
}
