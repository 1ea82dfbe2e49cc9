/* net/http over TLS, against openssl's server with a certificate made now. */
#include "net/http.h"

#include <signal.h>
#include <sys/wait.h>

#include "unit/folder.h"
#include "unit/net/get.h"

static pid_t tls_pid;
static uint16_t tls_port;

static int tls_start(void **state)
{
	char command[1024], line[256];
	int out[2];
	FILE *f;

	if (folder_make(state) < 0)
		return -1;
	snprintf(command, sizeof(command),
		 "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		 "-keyout key -out cert -days 2 -subj /CN=localhost "
		 "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null && "
		 "printf 'vllm:num_requests_running 1\\n' > metrics",
		 folder);
	if (system(command) != 0)
		return -1;
	if (pipe(out) < 0)
		return -1;
	tls_pid = fork();
	if (tls_pid == 0) {
		dup2(out[1], 1);
		close(2);
		close(out[0]);
		if (chdir(folder) < 0)
			_exit(1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "cert",
		       "-key", "key", "-WWW", (char *)NULL);
		_exit(1);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	while (fgets(line, sizeof(line), f)) {
		const char *colon = strrchr(line, ':');

		if (strncmp(line, "ACCEPT", 6) == 0 && colon) {
			tls_port = (uint16_t)atoi(colon + 1);
			break;
		}
	}
	/* The pipe stays open: the server goes on writing there. */
	return tls_port ? 0 : -1;
}

static int tls_end(void **state)
{
	if (tls_pid > 0) {
		kill(tls_pid, SIGTERM);
		waitpid(tls_pid, NULL, 0);
	}
	return folder_drop(state);
}

static void test_tls(void **state)
{
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 2);
	struct http_request req;
	char url[128], ca[128], where[64];

	(void)state;
	snprintf(url, sizeof(url), "https://localhost:%u/metrics", tls_port);
	snprintf(ca, sizeof(ca), "%s/cert", folder);
	snprintf(where, sizeof(where), "127.0.0.1:%u", tls_port);
	req = get_request(url);
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.ca_file = ca;
	get_wait(c, &req, &o);
	if (o.error != HTTP_OK)
		fail_msg("%s", o.detail);
	assert_int_equal(o.status, 200);
	assert_string_equal(o.body, "vllm:num_requests_running 1\n");
	/* Not by a connection that was trusted under other rules. */
	req.ca_file = NULL;
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.tls_verify = false;
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	req.tls_verify = true;
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	/* The name is checked, also where the address is given. */
	snprintf(url, sizeof(url), "https://other.invalid:%u/metrics", tls_port);
	req.ca_file = ca;
	req.connect_to = where;
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	req.connect_to = NULL;
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/metrics", tls_port);
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_OK);
	req.ca_file = "/nonexistent/ca.pem";
	get_wait(c, &req, &o);
	assert_int_equal(o.error, HTTP_TLS);
	got_end(&o, c);
}

/* Plain HTTP where TLS is spoken, and the other way round. */
static void test_tls_mixed_up(void **state)
{
	struct peer *p = peer_start(peer_raw, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
	struct got o = {.base = event_base_new()};
	struct http_client *c = http_client_new(o.base, 2);
	struct http_request req;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", p->port);
	req = get_request(url);
	req.timeout_ms = 500;
	get_wait(c, &req, &o);
	/* The peer waits for the end of a request's head that never comes. */
	assert_true(o.error == HTTP_TLS || o.error == HTTP_TIMEOUT);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", tls_port);
	get_wait(c, &req, &o);
	assert_int_not_equal(o.error, HTTP_OK);
	got_end(&o, c);
	peer_stop(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tls),
	    cmocka_unit_test(test_tls_mixed_up),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, tls_start, tls_end);
}
