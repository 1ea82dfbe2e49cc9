/*
 * The whole agent in a process of its own: real files, sockets and signals. Reloads that fail and
 * reloads that do not, and the ways to its end.
 */
#include "unit/serve/house.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "serve/control.h"
#include "unit/serve/loop.h"

struct agent {
	char folder[64], file[96], spop[96];
	unsigned admin, feedback;
	pid_t pid;
};

static void write_config(const struct agent *a, const char *drain, const char *models)
{
	FILE *f = fopen(a->file, "w");

	assert_non_null(f);
	fprintf(f,
		"listen:\n"
		"  spop: [\"unix@%s\"]\n"
		"  admin: [\"127.0.0.1:%u\"]\n"
		"  feedback: [\"127.0.0.1:%u\"]\n"
		"drain: %s\n"
		"workers: 2\n"
		"scrape: {engine: none}\n"
		"pools:\n"
		"  llama:\n"
		"    endpoints: [{address: \"127.0.0.1:1\", server: l1}]\n"
		"    models: %s\n",
		a->spop, a->admin, a->feedback, drain, models);
	fclose(f);
}

static int run(const char *file)
{
	struct config_errors errors;
	struct config *conf;
	struct control *c;

	signal(SIGPIPE, SIG_IGN);
	if (config_load(file, &conf, &errors) < 0) {
		config_errors_print(&errors, file, stderr);
		return 3;
	}
	c = control_new_consume(conf);
	if (!c)
		return 4;
	control_run(c);
	control_free(c);
	return 0;
}

static bool listens(const struct agent *a)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	strcpy(un.sun_path, a->spop);
	yes = connect(fd, (void *)&un, sizeof(un)) == 0;
	close(fd);
	return yes;
}

static void launch(struct agent *a)
{
	a->pid = fork();
	assert_true(a->pid >= 0);
	/* By exit(), so that a sanitizer tells what was lost. */
	if (a->pid == 0)
		exit(run(a->file));
	for (unsigned i = 0; i < PATIENCE_MS && !listens(a); i++)
		usleep(1000);
	assert_true(listens(a));
}

static void begin(struct agent *a, const char *drain)
{
	memset(a, 0, sizeof(*a));
	strcpy(a->folder, "/tmp/control.XXXXXX");
	assert_non_null(mkdtemp(a->folder));
	snprintf(a->file, sizeof(a->file), "%s/agent.yaml", a->folder);
	snprintf(a->spop, sizeof(a->spop), "%s/spop.sock", a->folder);
	a->admin = free_port();
	a->feedback = free_port();
	write_config(a, drain, "[A]");
	launch(a);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Its exit status; it must come to its end by itself. */
static int await(struct agent *a)
{
	int status = -1;

	for (unsigned i = 0; i < PATIENCE_MS; i++) {
		if (waitpid(a->pid, &status, WNOHANG) == a->pid) {
			a->pid = 0;
			return status;
		}
		usleep(1000);
	}
	kill(a->pid, SIGKILL);
	waitpid(a->pid, &status, 0);
	fail_msg("it did not end");
	return status;
}

static void clean(struct agent *a)
{
	/* Nothing of it is left but its configuration. */
	assert_int_equal(unlink(a->file), 0);
	assert_int_equal(rmdir(a->folder), 0);
}

static struct peer *connect_peer(const struct agent *a, bool healthcheck)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct peer *p = calloc(1, sizeof(*p));

	strcpy(un.sun_path, a->spop);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(p->fd, (void *)&un, sizeof(un)), 0);
	p->buf = malloc(2 * FRAME_MAX);
	spop_client_init(&p->client, FRAME_MAX - 4, SPOP_CAP_PIPELINING, healthcheck);
	return p;
}

static bool asks_well(struct peer *p, uint64_t id, const char *body, const char *verdict)
{
	struct answer a;

	ask(p, id, body);
	hear(p, &a);
	return a.id == id && strstr(a.text, verdict);
}

/* Until the answer to @body is @verdict. */
static void becomes(struct peer *p, const char *body, const char *verdict)
{
	static uint64_t id = 1000;

	for (unsigned i = 0; i < PATIENCE_MS / 10; i++) {
		if (asks_well(p, ++id, body, verdict))
			return;
		usleep(10000);
	}
	fail_msg("%s never became %s", body, verdict);
}

static struct peer *greet(const struct agent *a)
{
	struct peer *p = connect_peer(a, false);

	hello(p);
	return p;
}

/* To somebody who comes now. */
static void serves(const struct agent *a, const char *body)
{
	struct peer *p = greet(a);

	becomes(p, body, "verdict=routed");
	leave(p);
}

/* Asked to, it ends well and leaves nothing behind. */
static void ends(struct agent *a)
{
	kill(a->pid, SIGTERM);
	assert_int_equal(await(a), 0);
	clean(a);
}

static void get(const struct agent *a, const char *path, char *buf, size_t cap)
{
	int fd = dial(a->admin, SOCK_STREAM);
	char request[128];
	size_t n = 0;
	ssize_t r;

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while (n + 1 < cap && readable(fd, PATIENCE_MS) &&
	       (r = recv(fd, buf + n, cap - 1 - n, 0)) > 0)
		n += (size_t)r;
	buf[n] = '\0';
	close(fd);
}

static void page_says(const struct agent *a, const char *path, const char *text)
{
	static char page[256 * 1024];

	for (unsigned i = 0; i < PATIENCE_MS / 10; i++) {
		get(a, path, page, sizeof(page));
		if (strstr(page, text))
			return;
		usleep(10000);
	}
	fail_msg("%s never says %s:\n%s", path, text, page);
}

static bool health_check(const struct agent *a)
{
	struct peer *p = connect_peer(a, true);
	struct spop_client_input in;
	uint8_t frame[256];
	size_t n = spop_client_write_hello(&p->client, frame, sizeof(frame), NULL);
	bool good;

	push(p, frame, n);
	good = pull(p, &in) && in.event == SPOP_CLIENT_EV_HELLO;
	leave(p);
	return good;
}

static void reloads(void **state)
{
	struct agent a;
	struct peer *p;
	FILE *f;

	(void)state;
	begin(&a, "100ms");
	p = greet(&a);
	becomes(p, "{\"model\":\"A\"}", "verdict=routed");
	assert_true(asks_well(p, 1, "{\"model\":\"B\"}", "verdict=model_not_found"));
	page_says(&a, "/readyz", "ready");
	page_says(&a, "/v1/models", "\"id\":\"A\"");

	/* A file that is wrong, one that is no YAML, none at all: nothing changes. */
	write_config(&a, "soon", "[B]");
	kill(a.pid, SIGHUP);
	page_says(&a, "/metrics", "spoa_inference_reloads_total{result=\"failed\"} 1");
	f = fopen(a.file, "w");
	fputs("{[", f);
	fclose(f);
	kill(a.pid, SIGHUP);
	page_says(&a, "/metrics", "spoa_inference_reloads_total{result=\"failed\"} 2");
	assert_int_equal(unlink(a.file), 0);
	kill(a.pid, SIGHUP);
	page_says(&a, "/metrics", "spoa_inference_reloads_total{result=\"failed\"} 3");
	assert_true(asks_well(p, 2, "{\"model\":\"A\"}", "verdict=routed"));
	assert_true(asks_well(p, 3, "{\"model\":\"B\"}", "verdict=model_not_found"));

	/* A good one; the connection stays. */
	write_config(&a, "100ms", "[B]");
	kill(a.pid, SIGHUP);
	page_says(&a, "/metrics", "spoa_inference_reloads_total{result=\"ok\"} 1");
	becomes(p, "{\"model\":\"B\"}", "verdict=routed");
	becomes(p, "{\"model\":\"A\"}", "verdict=model_not_found");

	/* Many at once, with requests between. */
	for (unsigned i = 0; i < 50; i++) {
		write_config(&a, "100ms", i % 2 ? "[B]" : "[B, C]");
		kill(a.pid, SIGHUP);
		assert_true(asks_well(p, 10 + i, "{\"model\":\"B\"}", "verdict=routed"));
	}
	write_config(&a, "100ms", "[B, D]");
	kill(a.pid, SIGHUP);
	becomes(p, "{\"model\":\"D\"}", "verdict=routed");
	leave(p);
	ends(&a);
}

/* What needs a restart stays as it was, and the rest of the file is taken. */
static void a_reload_that_asks_for_too_much(void **state)
{
	struct agent a;
	unsigned old;

	(void)state;
	begin(&a, "100ms");
	old = a.admin;
	a.admin = free_port();
	write_config(&a, "100ms", "[E]");
	a.admin = old;
	kill(a.pid, SIGHUP);
	page_says(&a, "/metrics", "spoa_inference_reloads_total{result=\"ok\"} 1");
	serves(&a, "{\"model\":\"E\"}");
	kill(a.pid, SIGINT);
	assert_int_equal(await(&a), 0);
	clean(&a);
}

static void it_drains(void **state)
{
	struct agent a;
	struct peer *p;
	double since;

	(void)state;
	begin(&a, "1500ms");
	p = greet(&a);
	becomes(p, "{\"model\":\"A\"}", "verdict=routed");
	assert_true(health_check(&a));
	since = now_s();
	kill(a.pid, SIGTERM);
	page_says(&a, "/readyz", "draining");
	/* HAProxy is told to look elsewhere; until it does, all is answered, new connections too.
	 */
	assert_false(health_check(&a));
	assert_true(asks_well(p, 1, "{\"model\":\"A\"}", "verdict=routed"));
	{
		struct peer *late = connect_peer(&a, false);

		hello(late);
		assert_true(asks_well(late, 1, "{\"model\":\"A\"}", "verdict=routed"));
		leave(late);
	}
	/* Not the time for it. */
	write_config(&a, "60s", "[Z]");
	kill(a.pid, SIGHUP);
	expect_goodbye(p, SPOP_ERR_NONE);
	assert_int_equal(await(&a), 0);
	assert_true(now_s() - since >= 1.4);
	leave(p);
	clean(&a);
}

static void a_second_signal_ends_the_wait(void **state)
{
	struct agent a;
	struct peer *p;

	(void)state;
	begin(&a, "10m");
	p = greet(&a);
	kill(a.pid, SIGTERM);
	page_says(&a, "/readyz", "draining");
	kill(a.pid, SIGTERM);
	assert_int_equal(await(&a), 0);
	leave(p);
	clean(&a);
}

static void with_nobody_there_it_ends_at_once(void **state)
{
	struct agent a;

	(void)state;
	begin(&a, "10m");
	page_says(&a, "/metrics", "spoa_inference_spop_connections 0\n");
	ends(&a);
}

/* A second agent for the same address fails, and leaves the first one's socket alone. */
static void there_is_one(void **state)
{
	struct agent a;
	pid_t second;
	int status;

	(void)state;
	begin(&a, "100ms");
	second = fork();
	if (second == 0)
		_exit(run(a.file));
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 4);
	serves(&a, "{\"model\":\"A\"}");
	ends(&a);
}

/* Killed without a chance to tidy up, it starts again on what is left. */
static void after_a_kill(void **state)
{
	struct agent a;
	int status;

	(void)state;
	begin(&a, "100ms");
	kill(a.pid, SIGKILL);
	assert_int_equal(waitpid(a.pid, &status, 0), a.pid);
	launch(&a);
	page_says(&a, "/healthz", "ok");
	serves(&a, "{\"model\":\"A\"}");
	ends(&a);
}

/* What goes in and out leaves no descriptor behind. */
static void no_descriptor_is_lost(void **state)
{
	static char page[256 * 1024];
	struct agent a;
	unsigned before = 0;

	(void)state;
	begin(&a, "100ms");
	for (unsigned round = 0; round < 2; round++) {
		char expected[64], *at;

		for (unsigned i = 0; i < 100; i++) {
			struct peer *p = connect_peer(&a, false);
			int fd = dial(a.feedback, SOCK_STREAM);

			hello(p);
			assert_true(health_check(&a));
			if (i % 10 == 0)
				kill(a.pid, SIGHUP);
			close(fd);
			leave(p);
		}
		page_says(&a, "/metrics", "spoa_inference_spop_connections 0\n");
		usleep(300000);
		get(&a, "/metrics", page, sizeof(page));
		at = strstr(page, "\nspoa_inference_process_open_fds ");
		assert_non_null(at);
		if (round == 0)
			before = (unsigned)strtoul(strchr(at, ' '), NULL, 10);
		snprintf(expected, sizeof(expected), "\nspoa_inference_process_open_fds %u\n",
			 before);
		if (round == 1)
			page_says(&a, "/metrics", expected);
	}
	ends(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reloads),
	    cmocka_unit_test(a_reload_that_asks_for_too_much),
	    cmocka_unit_test(it_drains),
	    cmocka_unit_test(a_second_signal_ends_the_wait),
	    cmocka_unit_test(with_nobody_there_it_ends_at_once),
	    cmocka_unit_test(there_is_one),
	    cmocka_unit_test(after_a_kill),
	    cmocka_unit_test(no_descriptor_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
