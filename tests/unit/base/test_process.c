/*
 * Who is there, and who is whose sibling: with real processes.
 */
#include "base/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* A child that is there, under @name, when this returns. */
static pid_t child(const char *name, pid_t *ret_grandchild)
{
	int ready[2];
	pid_t pid, theirs = 0;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_NAME, name);
		/* The last of the line tells, when nothing can outlive us any more. */
		if (!ret_grandchild || fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			theirs = getpid();
			(void)!write(ready[1], &theirs, sizeof(theirs));
		}
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &theirs, sizeof(theirs)), sizeof(theirs));
	if (ret_grandchild)
		*ret_grandchild = theirs;
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_there(void **state)
{
	pid_t pid = child("haproxy", NULL);

	(void)state;
	assert_true(process_there((uint32_t)getpid()));
	assert_true(process_there((uint32_t)pid));
	assert_true(process_there(1)); /* somebody else's */
	finish(pid);
	assert_false(process_there((uint32_t)pid));
	assert_false(process_siblings((uint32_t)pid, (uint32_t)pid));
}

static void test_siblings(void **state)
{
	char name[16];
	pid_t grandchild;
	pid_t a = child("a) R 1 (b", NULL), b = child("a) R 1 (b", NULL), c = child("other", NULL);
	pid_t d = child("a) R 1 (b", &grandchild);

	(void)state;
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	assert_int_equal(prctl(PR_SET_NAME, "a) R 1 (b"), 0);
	assert_true(process_siblings((uint32_t)a, (uint32_t)b));
	assert_true(process_siblings((uint32_t)b, (uint32_t)a));
	assert_true(process_siblings((uint32_t)a, (uint32_t)d));
	assert_false(process_siblings((uint32_t)a, (uint32_t)c));
	assert_false(process_siblings((uint32_t)a, (uint32_t)grandchild));
	assert_false(process_siblings((uint32_t)a, (uint32_t)getpid()));
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	finish(d);
	finish(a);
	finish(b);
	finish(c);
}

/* Two of one name that are no workers of one master: somebody else began them. */
static void test_of_no_master(void **state)
{
	pid_t a = child("haproxy", NULL), b = child("haproxy", NULL);
	char name[16];

	(void)state;
	assert_false(process_siblings((uint32_t)a, (uint32_t)b));
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	assert_int_equal(prctl(PR_SET_NAME, "haproxy"), 0);
	assert_true(process_siblings((uint32_t)a, (uint32_t)b));
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	finish(a);
	finish(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there),
	    cmocka_unit_test(test_siblings),
	    cmocka_unit_test(test_of_no_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
