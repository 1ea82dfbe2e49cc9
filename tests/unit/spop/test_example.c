/* The example agent as it is built, run as a process: against this library's own client, which says
 * what an agent must do, and against the HAProxy of this machine, which says what it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "spop/client.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

#define PATIENCE_S 10

struct world {
	char dir[64];
	char agent_path[96];
	char http_path[96];
	pid_t agent;
	pid_t haproxy;
};

static void pause_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* Connected to the unix socket at path, or -1. */
static int try_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(un.sun_path));
	strcpy(un.sun_path, path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

/* The same, as soon as somebody listens; -1 when pid has exited instead. */
static int wait_connect(const char *path, pid_t pid)
{
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		int fd = try_connect(path);

		if (fd >= 0)
			return fd;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -1;
		pause_ms(10);
	}
	return -1;
}

static int world_start(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fd;

	if (!w)
		return -1;
	strcpy(w->dir, "/tmp/spop-example-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	snprintf(w->agent_path, sizeof(w->agent_path), "%s/agent.sock", w->dir);
	snprintf(w->http_path, sizeof(w->http_path), "%s/http.sock", w->dir);
	w->agent = fork();
	if (w->agent == 0) {
		execl(EXAMPLE_AGENT, EXAMPLE_AGENT, w->agent_path, (char *)NULL);
		_exit(127);
	}
	*state = w;
	fd = wait_connect(w->agent_path, w->agent);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static void stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int world_stop(void **state)
{
	struct world *w = *state;

	stop(w->haproxy);
	stop(w->agent);
	unlink(w->agent_path);
	unlink(w->http_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* ---- our own client ---- */

struct wire {
	int fd;
	struct spop_client client;
	uint8_t in[65536];
	size_t have;
	size_t used; /* of in: the last event's bytes, which its views point into */
};

static void wire_open(struct wire *w, const char *path, bool healthcheck)
{
	memset(w, 0, sizeof(*w));
	w->fd = try_connect(path);
	assert_true(w->fd >= 0);
	spop_client_init(&w->client, 16380, SPOP_CAP_PIPELINING, healthcheck);
}

static void wire_send(const struct wire *w, const uint8_t *buf, size_t len)
{
	assert_true(len > 0);
	assert_int_equal(send(w->fd, buf, len, MSG_NOSIGNAL), len);
}

/* The next event; false when the agent closed. */
static bool wire_next(struct wire *w, struct spop_client_input *in)
{
	struct spop_fault fault;
	ssize_t n;

	memmove(w->in, w->in + w->used, w->have - w->used);
	w->have -= w->used;
	w->used = 0;
	for (;;) {
		n = spop_client_receive(&w->client, w->in, w->have, in, &fault);
		if (n < 0)
			fail_msg("the agent's bytes: %s at %zu", fault.msg, fault.at);
		if (n > 0) {
			w->used = (size_t)n;
			return true;
		}
		n = read(w->fd, w->in + w->have, sizeof(w->in) - w->have);
		if (n == 0)
			return false;
		if (n < 0)
			fail_msg("read: %s", strerror(errno));
		w->have += (size_t)n;
	}
}

static void wire_handshake(struct wire *w)
{
	struct spop_client_input in;
	uint8_t buf[256];

	wire_send(w, buf, spop_client_write_hello(&w->client, buf, sizeof(buf), "test"));
	assert_true(wire_next(w, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
}

static size_t write_notify(uint8_t *buf, size_t cap, uint64_t stream_id, size_t path_len)
{
	static uint8_t path[16384];
	struct spop_notify_builder b;

	spop_notify_begin(&b, buf, cap, stream_id, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("count"), 2);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("other"), spop_value_null());
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("path"),
			    spop_value_str(spop_view_of(path, path_len)));
	return spop_notify_end(&b);
}

static void check_ack(struct spop_client_input *in, uint64_t stream_id, int64_t length)
{
	struct spop_action action;
	int64_t got;

	assert_int_equal(in->event, SPOP_CLIENT_EV_ACK);
	assert_true(in->frame.stream_id == stream_id);
	assert_int_equal(in->frame.frame_id, 1);
	assert_true(spop_actions_next(&in->actions, &action));
	assert_int_equal(action.type, SPOP_ACT_T_SET_VAR);
	assert_int_equal(action.scope, SPOP_SCOPE_TXN);
	assert_true(spop_view_eq(action.name, SPOP_VIEW_LIT("length")));
	assert_int_equal(spop_value_integer(&action.value, &got), 0);
	assert_int_equal(got, length);
	assert_false(spop_actions_next(&in->actions, &action));
}

static void answers_pipelined_notifies(void **state)
{
	const struct world *world = *state;
	struct spop_client_input in;
	static uint8_t buf[65536];
	struct wire w;
	size_t len = 0;

	wire_open(&w, world->agent_path, false);
	wire_handshake(&w);
	assert_true(spop_client_pipelining(&w.client));
	for (uint64_t id = 1; id <= 19; id += 2)
		len += write_notify(buf + len, sizeof(buf) - len, id, id * 10);
	for (size_t at = 0; at < len; at += 37) /* in pieces that fit no frame */
		wire_send(&w, buf + at, len - at < 37 ? len - at : 37);
	for (uint64_t id = 1; id <= 19; id += 2) {
		assert_true(wire_next(&w, &in));
		check_ack(&in, id, (int64_t)id * 10);
	}
	len = write_notify(buf, sizeof(buf), 21, 16384 - 34);
	assert_int_equal(len, 16384); /* the largest frame there may be */
	wire_send(&w, buf, len);
	assert_true(wire_next(&w, &in));
	check_ack(&in, 21, 16384 - 34);
	close(w.fd);
}

static void says_goodbye(void **state)
{
	const struct world *world = *state;
	struct spop_client_input in;
	uint8_t buf[256];
	size_t len;
	struct wire w;

	wire_open(&w, world->agent_path, false);
	wire_handshake(&w);
	len = spop_disconnect_write(buf, sizeof(buf), SPOP_FRM_T_HAPROXY_DISCON, 0, SPOP_VIEW_NULL);
	wire_send(&w, buf, len);
	assert_true(wire_next(&w, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_DISCONNECT);
	assert_int_equal(in.disconnect.status, SPOP_ERR_NONE);
	assert_false(wire_next(&w, &in));
	close(w.fd);
}

static void closes_after_a_health_check(void **state)
{
	const struct world *world = *state;
	struct spop_client_input in;
	uint8_t buf[256];
	struct wire w;

	wire_open(&w, world->agent_path, true);
	wire_send(&w, buf, spop_client_write_hello(&w.client, buf, sizeof(buf), NULL));
	assert_true(wire_next(&w, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
	assert_false(wire_next(&w, &in));
	close(w.fd);
}

/* What an agent must refuse, by the status it must name, and close. */
static void refuses_by_status(void **state)
{
	static const struct {
		const char *hex;
		bool after_hello;
		uint32_t status;
	} cases[] = {
	    {"474554202f20485454502f312e310d0a0d0a", false, SPOP_ERR_TOO_BIG},
	    {GOLDEN_NOTIFY, false, SPOP_ERR_INVALID},
	    {GOLDEN_HELLO_3_2, true, SPOP_ERR_INVALID},
	    {GOLDEN_ACK, true, SPOP_ERR_INVALID},
	    {GOLDEN_UNSET, true, SPOP_ERR_FRAG_NOT_SUPPORTED},
	    {"00003ffd", true, SPOP_ERR_TOO_BIG},
	    {"00000000", true, SPOP_ERR_INVALID},
	};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spop_client_input in;
		struct wire w;
		uint8_t hello[256];
		size_t len;
		uint8_t *bytes = harness_hex(cases[i].hex, &len);

		wire_open(&w, world->agent_path, false);
		if (cases[i].after_hello)
			wire_handshake(&w);
		else
			assert_true(spop_client_write_hello(&w.client, hello, sizeof(hello), NULL) >
				    0);
		wire_send(&w, bytes, len);
		assert_true(wire_next(&w, &in));
		assert_int_equal(in.event, SPOP_CLIENT_EV_DISCONNECT);
		assert_int_equal(in.disconnect.status, cases[i].status);
		assert_false(wire_next(&w, &in));
		close(w.fd);
		free(bytes);
	}
}

/* ---- the real peer ---- */

static pid_t haproxy_start(const struct world *w)
{
	const char *binary = getenv("HAPROXY") ? getenv("HAPROXY") : "haproxy";
	char http[128], agent[128];
	pid_t pid;

	snprintf(http, sizeof(http), "unix@%s", w->http_path);
	snprintf(agent, sizeof(agent), "unix@%s", w->agent_path);
	setenv("HTTP", http, 1);
	setenv("AGENT", agent, 1);
	setenv("DIR", EXAMPLE_DIR, 1);
	setenv("INTER", "100ms", 1);
	pid = fork();
	if (pid == 0) {
		const char *path = getenv("PATH");
		char wider[4096];

		snprintf(wider, sizeof(wider), "%s:/usr/local/sbin:/usr/sbin", path ? path : "");
		setenv("PATH", wider, 1);
		execlp(binary, binary, "-db", "-q", "-f", EXAMPLE_DIR "/haproxy.cfg", (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* GET of a path of that many bytes; what the answer holds is in ret. */
static void ask(const struct world *w, size_t path_len, char *ret, size_t cap)
{
	char request[4096];
	size_t len = 0;
	ssize_t n;
	int fd = try_connect(w->http_path);

	assert_true(fd >= 0);
	assert_true(path_len > 0 && path_len < sizeof(request) - 100);
	len += (size_t)sprintf(request, "GET /");
	memset(request + len, 'p', path_len - 1);
	len += path_len - 1;
	len += (size_t)sprintf(request + len, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
	for (len = 0; (n = read(fd, ret + len, cap - 1 - len)) > 0;)
		len += (size_t)n;
	ret[len] = '\0';
	close(fd);
}

static void is_taken_by_haproxy(void **state)
{
	struct world *w = *state;
	char answer[8192], want[96];
	int status, fd;

	w->haproxy = haproxy_start(w);
	fd = wait_connect(w->http_path, w->haproxy);
	if (fd < 0) {
		/* wait_connect() reaped it: did it not exist, or not take the files? */
		w->haproxy = haproxy_start(w);
		assert_int_equal(waitpid(w->haproxy, &status, 0), w->haproxy);
		w->haproxy = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
			skip();
		fail_msg("haproxy did not start");
	}
	close(fd);
	for (size_t len = 1; len < 3000; len += 97) {
		ask(w, len, answer, sizeof(answer));
		snprintf(want, sizeof(want), "length=%zu error= agents=1\n", len);
		if (!strstr(answer, want))
			fail_msg("want %s in\n%s", want, answer);
	}
	pause_ms(600); /* several health checks, the first failure of which would show */
	ask(w, 5, answer, sizeof(answer));
	assert_non_null(strstr(answer, "length=5 error= agents=1\n"));

	/* And the check does look: without the agent the server goes down. */
	stop(w->agent);
	w->agent = 0;
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		ask(w, 5, answer, sizeof(answer));
		if (strstr(answer, "agents=0\n"))
			return;
		pause_ms(50);
	}
	fail_msg("the dead agent is still up:\n%s", answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(answers_pipelined_notifies, world_start, world_stop),
	    cmocka_unit_test_setup_teardown(says_goodbye, world_start, world_stop),
	    cmocka_unit_test_setup_teardown(closes_after_a_health_check, world_start, world_stop),
	    cmocka_unit_test_setup_teardown(refuses_by_status, world_start, world_stop),
	    cmocka_unit_test_setup_teardown(is_taken_by_haproxy, world_start, world_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
