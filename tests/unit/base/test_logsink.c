/* The log daemon's socket: what is sent, and daemons that are absent, stopped, restarted, or of the
 * kind that wants a stream. */
#include "base/logsink.h"

#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/logsink.XXXXXX", path[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	logsink_close();
	unlink(path);
	return rmdir(dir);
}

static int daemon_up(int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(a.sun_path, path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static const char *taken(int fd)
{
	static char text[2048];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_form(void **state)
{
	static char text[1024];
	char want[64];
	regex_t form;
	const char *line;
	int fd = daemon_up(SOCK_DGRAM);

	(void)state;
	logsink_open(path);
	assert_true(logsink_syslog(LOG_WARNING, "level=warning event=e", 21));
	line = taken(fd);
	assert_int_equal(
	    regcomp(&form,
		    "^<28>[A-Z][a-z][a-z] [ 123][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] "
		    "spoa-inference\\[[0-9]+\\]: level=warning event=e$",
		    REG_EXTENDED | REG_NOSUB),
	    0);
	assert_int_equal(regexec(&form, line, 0, NULL, 0), 0);
	regfree(&form);
	snprintf(want, sizeof(want), "spoa-inference[%d]: ", (int)getpid());
	assert_non_null(strstr(line, want));
	/* The longest line there is. */
	memset(text, 'x', sizeof(text));
	assert_true(logsink_syslog(LOG_DEBUG, text, sizeof(text)));
	assert_memory_equal(taken(fd), "<31>", 4);
	close(fd);
}

static void test_comes_and_goes(void **state)
{
	int fd;

	(void)state;
	logsink_open(path);
	assert_false(logsink_syslog(LOG_INFO, "nobody", 6));
	fd = daemon_up(SOCK_DGRAM);
	assert_true(logsink_syslog(LOG_INFO, "one", 3));
	assert_non_null(strstr(taken(fd), ": one"));
	close(fd);
	assert_false(logsink_syslog(LOG_INFO, "lost", 4));
	fd = daemon_up(SOCK_DGRAM);
	assert_true(logsink_syslog(LOG_INFO, "two", 3));
	close(fd);
	/* Restarted between two lines: neither is lost. */
	fd = daemon_up(SOCK_DGRAM);
	assert_true(logsink_syslog(LOG_INFO, "three", 5));
	assert_non_null(strstr(taken(fd), ": three"));
	close(fd);
	logsink_close();
	fd = daemon_up(SOCK_DGRAM);
	assert_false(logsink_syslog(LOG_INFO, "closed", 6));
	close(fd);
}

static void test_stream(void **state)
{
	int fd = daemon_up(SOCK_STREAM), peer;
	const char *text;

	(void)state;
	logsink_open(path);
	assert_true(logsink_syslog(LOG_INFO, "one", 3));
	assert_true(logsink_syslog(LOG_INFO, "two", 3));
	peer = accept(fd, NULL, NULL);
	assert_true(peer >= 0);
	text = taken(peer);
	assert_non_null(strstr(text, ": one"));
	assert_non_null(strstr(text + strlen(text) + 1, ": two"));
	close(peer);
	assert_true(logsink_syslog(LOG_INFO, "three", 5));
	peer = accept(fd, NULL, NULL);
	assert_non_null(strstr(taken(peer), ": three"));
	close(peer);
	close(fd);
}

static void *talk(void *arg)
{
	uintptr_t lost = 0;

	(void)arg;
	for (int i = 0; i < 500; i++)
		lost += !logsink_syslog(LOG_INFO, "a line", 6);
	return (void *)lost;
}

/* Its queue is full and stays so: lines are lost, and nobody waits. */
static void stopped(int type)
{
	struct timespec end;
	pthread_t threads[8];
	int fd = daemon_up(type);

	logsink_open(path);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 60;
	while (logsink_syslog(LOG_INFO, "fills the queue", 15))
		;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, NULL), 0);
	for (size_t i = 0; i < 8; i++) {
		void *lost;

		assert_int_equal(pthread_timedjoin_np(threads[i], &lost, &end), 0);
		assert_true((uintptr_t)lost > 0);
	}
	close(fd);
}

static void test_stopped(void **state)
{
	(void)state;
	stopped(SOCK_DGRAM);
	stopped(SOCK_STREAM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_form, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_comes_and_goes, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stopped, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
