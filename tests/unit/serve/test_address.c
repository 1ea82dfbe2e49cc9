/* Sockets by their text: whose they are, who may connect, and whose file is removed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve/address.h"
#include "unit/folder.h"

/* "unix@FOLDER/name"; the path alone is the text behind the "@". */
static const char *at(const char *name)
{
	static char text[128];

	snprintf(text, sizeof(text), "unix@%s/%s", folder, name);
	return text;
}

static int open_at(const char *text, int type, struct address *a)
{
	assert_int_equal(address_parse(text, a), 0);
	return address_listen(a, type, 8, 0600, NULL);
}

static bool answers(const struct address *a, int type)
{
	int fd = socket(a->addr.ss_family, type, 0);
	bool yes = connect(fd, (const void *)&a->addr, a->len) == 0;

	close(fd);
	return yes;
}

static bool there(const char *text)
{
	struct stat st;

	return lstat(strchr(text, '@') + 1, &st) == 0;
}

static void texts(void **state)
{
	static const struct {
		const char *text;
		int result, family, port;
	} table[] = {
	    {"127.0.0.1:80", 0, AF_INET, 80},
	    {"*:65535", 0, AF_INET, 65535},
	    {":0", 0, AF_INET, 0},
	    {"localhost:9", 0, AF_INET, 9},
	    {"[::1]:80", 0, AF_INET6, 80},
	    {"[::]:80", 0, AF_INET6, 80},
	    {"unix@/x", 0, AF_UNIX, 0},
	    {"/x", 0, AF_UNIX, 0},
	    {"abns@x", 0, AF_UNIX, 0},
	    {"", -EINVAL, 0, 0},
	    {"127.0.0.1", -EINVAL, 0, 0},
	    {"127.0.0.1:", -EINVAL, 0, 0},
	    {"127.0.0.1:65536", -EINVAL, 0, 0},
	    {"127.0.0.1:99999999999999999999", -EINVAL, 0, 0},
	    {"127.0.0.1:-1", -EINVAL, 0, 0},
	    {"127.0.0.1:80x", -EINVAL, 0, 0},
	    {"256.0.0.1:80", -EINVAL, 0, 0},
	    {"example.org:80", -EINVAL, 0, 0},
	    {"[::1", -EINVAL, 0, 0},
	    {"[::1]", -EINVAL, 0, 0},
	    {"[]:80", -EINVAL, 0, 0},
	    {"unix@", -EINVAL, 0, 0},
	    {"unix@x", -EINVAL, 0, 0},
	    {"abns@", -EINVAL, 0, 0},
	    {":", -EINVAL, 0, 0},
	};
	char long_path[200];
	struct address a;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int r = address_parse(table[i].text, &a);

		if (r != table[i].result)
			fail_msg("%s: %d", table[i].text, r);
		if (r == 0)
			assert_int_equal(a.addr.ss_family, table[i].family);
		if (r == 0 && table[i].family != AF_UNIX)
			assert_int_equal(ntohs(((struct sockaddr_in *)&a.addr)->sin_port),
					 table[i].port);
	}
	/* 107 bytes and an end are what the kernel takes. */
	memset(long_path, 'x', sizeof(long_path));
	long_path[0] = '/';
	long_path[107] = '\0';
	assert_int_equal(address_parse(long_path, &a), 0);
	long_path[107] = 'x';
	long_path[108] = '\0';
	assert_int_equal(address_parse(long_path, &a), -EINVAL);
}

static void a_socket_has_its_mode_at_once(void **state)
{
	struct address a;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(address_parse(at("mode"), &a), 0);
	fd = address_listen(&a, SOCK_STREAM, 8, 0620, NULL);
	assert_true(fd >= 0);
	assert_int_equal(stat(strchr(at("mode"), '@') + 1, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0620);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(answers(&a, SOCK_STREAM));
	address_unlink(&a);
	close(fd);
	assert_false(there(at("mode")));
	assert_int_equal(address_parse(at("mode"), &a), 0);
	assert_int_equal(address_listen(&a, SOCK_STREAM, 8, 0600, "no-such-group"), -EINVAL);
	assert_false(there(at("mode")));
}

static void the_living_are_not_robbed(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	struct address first, second;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		int fd = open_at(at("living"), types[i / 2], &first);

		assert_true(fd >= 0);
		assert_int_equal(open_at(at("living"), types[i % 2], &second), -EADDRINUSE);
		assert_true(answers(&first, types[i / 2]));
		address_unlink(&first);
		close(fd);
	}
}

static void the_dead_are_replaced(void **state)
{
	struct address first, second;
	int fd = open_at(at("dead"), SOCK_STREAM, &first);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_true(there(at("dead")));
	fd = open_at(at("dead"), SOCK_STREAM, &second);
	assert_true(fd >= 0);
	assert_true(answers(&second, SOCK_STREAM));
	/* The first one comes to its end only now: the file is not its own any more. */
	address_unlink(&first);
	assert_true(answers(&second, SOCK_STREAM));
	address_unlink(&second);
	assert_false(there(at("dead")));
	close(fd);
}

static void what_is_no_socket_stays(void **state)
{
	const char *text = at("precious");
	struct address a;
	char read_back[8] = "";
	FILE *f = fopen(strchr(text, '@') + 1, "w");
	int fd;

	(void)state;
	fputs("gold", f);
	fclose(f);
	fd = open_at(text, SOCK_STREAM, &a);
	assert_int_equal(fd, -ENOTSOCK);
	f = fopen(strchr(text, '@') + 1, "r");
	assert_non_null(f);
	assert_non_null(fgets(read_back, sizeof(read_back), f));
	fclose(f);
	assert_string_equal(read_back, "gold");
	/* Nor is anything removed by who never listened there. */
	address_unlink(&a);
	assert_true(there(text));
}

static void a_port_has_one_owner(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	struct address a, b;
	socklen_t len;
	char text[64];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = open_at("127.0.0.1:0", types[i], &a);

		assert_true(fd >= 0);
		len = sizeof(a.addr);
		assert_int_equal(getsockname(fd, (void *)&a.addr, &len), 0);
		snprintf(text, sizeof(text), "127.0.0.1:%u",
			 ntohs(((struct sockaddr_in *)&a.addr)->sin_port));
		assert_int_equal(open_at(text, types[i], &b), -EADDRINUSE);
		close(fd);
	}
}

static void an_abstract_name(void **state)
{
	struct address a, b;
	char text[64];
	int fd;

	(void)state;
	snprintf(text, sizeof(text), "abns@spoa-test-%d", (int)getpid());
	fd = open_at(text, SOCK_STREAM, &a);
	assert_true(fd >= 0);
	assert_true(answers(&a, SOCK_STREAM));
	assert_int_equal(open_at(text, SOCK_STREAM, &b), -EADDRINUSE);
	address_unlink(&a);
	close(fd);
}

#ifdef HAVE_SYSTEMD
/* In a process of its own: descriptor 3 is the one that was handed over. */
static int take_over(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct address a;
	char pid[16];
	int fd;

	strcpy(un.sun_path, strchr(at("handed"), '@') + 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(fd, (void *)&un, sizeof(un)) < 0 || listen(fd, 8) < 0 || dup2(fd, 3) < 0)
		return 1;
	if (fd != 3)
		close(fd);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (address_parse(at("handed"), &a) != 0)
		return 2;
	if (address_listen(&a, SOCK_STREAM, 8, 0600, NULL) != 3)
		return 3;
	/* Whoever made it may have left it blocking: one accept too many would stop everything. */
	if (!(fcntl(3, F_GETFL) & O_NONBLOCK))
		return 4;
	if (!(fcntl(3, F_GETFD) & FD_CLOEXEC))
		return 5;
	address_unlink(&a);
	return there(at("handed")) ? 0 : 6;
}

static void a_socket_that_was_handed_over(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0)
		_exit(take_over());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(texts),
	    cmocka_unit_test(a_socket_has_its_mode_at_once),
	    cmocka_unit_test(the_living_are_not_robbed),
	    cmocka_unit_test(the_dead_are_replaced),
	    cmocka_unit_test(what_is_no_socket_stays),
	    cmocka_unit_test(a_port_has_one_owner),
	    cmocka_unit_test(an_abstract_name),
#ifdef HAVE_SYSTEMD
	    cmocka_unit_test(a_socket_that_was_handed_over),
#endif
	};

	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
