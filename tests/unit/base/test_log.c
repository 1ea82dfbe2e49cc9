/*
 * What leaves the process, byte by byte: stderr is a pipe, a socket or /dev/full here, and the
 * real one is put back before cmocka speaks.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static int real_stderr, reader = -1;

static void stderr_to(int fd)
{
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

static int setup(void **state)
{
	int fd[2];

	(void)state;
	real_stderr = dup(STDERR_FILENO);
	if (pipe(fd))
		return -1;
	reader = fd[0];
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	fcntl(reader, F_SETFL, O_NONBLOCK);
	stderr_to(fd[1]);
	close(fd[1]);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_DEBUG);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(reader);
	return 0;
}

/* What was written since the last call, without the time of the first line. */
static const char *taken(void)
{
	static char text[1 << 17];
	ssize_t n = read(reader, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return n > 25 ? text + 25 : text;
}

static void test_form(void **state)
{
	char line[256];
	regex_t form;
	ssize_t n;

	(void)state;
	log_event(LOG_LEVEL_INFO, "started", "config", "/etc/a.yaml", "none", NULL, "pools", "2",
		  NULL);
	n = read(reader, line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_int_equal(regcomp(&form,
				 "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:"
				 "[0-6][0-9]\\.[0-9]{3}Z level=info event=started "
				 "config=/etc/a.yaml pools=2\n$",
				 REG_EXTENDED | REG_NOSUB),
			 0);
	assert_int_equal(regexec(&form, line, 0, NULL, 0), 0);
	regfree(&form);
}

static void test_values(void **state)
{
	static const struct {
		struct view in;
		const char *out;
	} cases[] = {
	    {VIEW_LIT("meta-llama/Llama-3.1-8B_Instruct@x+y"),
	     "meta-llama/Llama-3.1-8B_Instruct@x+y"},
	    {VIEW_LIT("[::1]:8000"), "[::1]:8000"},
	    {VIEW_LIT(""), "\"\""},
	    {VIEW_LIT("two words"), "\"two words\""},
	    {VIEW_LIT("a=b"), "\"a=b\""},
	    {VIEW_LIT("say \"hi\" \\o/"), "\"say \\\"hi\\\" \\\\o/\""},
	    {VIEW_LIT("x\n2026-01-01T00:00:00.000Z level=error event=forged"),
	     "\"x\\x0a2026-01-01T00:00:00.000Z level=error event=forged\""},
	    {VIEW_LIT("\r\t\0\x1b[31m\x7f"), "\"\\x0d\\x09\\x00\\x1b[31m\\x7f\""},
	    {VIEW_LIT("Grüße, 東京 🙂"), "\"Grüße, 東京 🙂\""},
	    /* NEL, CSI, line separator, right-to-left override */
	    {VIEW_LIT("\xc2\x85\xc2\x9b\xe2\x80\xa8\xe2\x80\xae"),
	     "\"\\xc2\\x85\\xc2\\x9b\\xe2\\x80\\xa8\\xe2\\x80\\xae\""},
	    /* stray, overlong, surrogate, past the end of Unicode, cut short */
	    {VIEW_LIT("\xff\x80"), "\"\\xff\\x80\""},
	    {VIEW_LIT("\xc0\xaf\xe0\x80\x8a\xf0\x80\x80\x8a"),
	     "\"\\xc0\\xaf\\xe0\\x80\\x8a\\xf0\\x80\\x80\\x8a\""},
	    {VIEW_LIT("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\""},
	    {VIEW_LIT("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\""},
	    {VIEW_LIT("ok\xe2\x82"), "\"ok\\xe2\\x82\""},
	    {VIEW_LIT("\xe2\x82\xac\xe2\x82"), "\"€\\xe2\\x82\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_line l;
		char want[512];

		log_begin(&l, LOG_LEVEL_WARNING, "e");
		log_view(&l, "v", cases[i].in);
		log_int(&l, "after", -7);
		log_end(&l);
		snprintf(want, sizeof(want), "level=warning event=e v=%s after=-7\n", cases[i].out);
		assert_string_equal(taken(), want);
	}
}

static void test_kinds(void **state)
{
	struct log_line l;

	(void)state;
	log_begin(&l, LOG_LEVEL_ERROR, "e");
	log_int(&l, "min", INT64_MIN);
	log_double(&l, "half", 0.5);
	log_double(&l, "nan", (double)NAN);
	log_errno(&l, "error", ECONNREFUSED);
	log_str(&l, "none", NULL);
	log_view(&l, "absent", VIEW_NULL);
	errno = EXDEV;
	log_end(&l);
	assert_int_equal(errno, EXDEV);
	assert_string_equal(taken(), "level=error event=e min=-9223372036854775808 half=0.5 "
				     "nan=nan error=\"Connection refused\"\n");
}

static void test_level(void **state)
{
	struct log_line l;

	(void)state;
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_WARNING);
	assert_int_equal(log_get_level(), LOG_LEVEL_WARNING);
	log_event(LOG_LEVEL_INFO, "quiet", "k", "v", NULL);
	log_begin(&l, LOG_LEVEL_DEBUG, "quiet");
	log_str(&l, "k", "v");
	log_int(&l, "k", 1);
	log_end(&l);
	assert_string_equal(taken(), "");
	log_event(LOG_LEVEL_WARNING, "loud", NULL);
	assert_string_equal(taken(), "level=warning event=loud\n");
}

/* Each length of each kind of value, across the limit: never past it, never half an escape. */
static void test_cut(void **state)
{
	static const struct {
		const char *unit, *out; /* what is repeated; as it is written */
		bool quoted;
	} kinds[] = {
	    {"a", "a", false}, {"\n", "\\x0a", true}, {"\"", "\\\"", true}, {"€", "€", true}};
	static char value[4096];

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		size_t unit = strlen(kinds[k].unit), out = strlen(kinds[k].out);
		bool cut_seen = false, whole_seen = false;

		for (size_t n = 200; n < 1100; n++) {
			struct log_line l;
			const char *line, *p;
			size_t units = 0;
			bool cut;

			for (size_t i = 0; i < n; i++)
				memcpy(value + i * unit, kinds[k].unit, unit);
			log_begin(&l, LOG_LEVEL_INFO, "e");
			log_view(&l, "v", (struct view){value, n * unit});
			log_str(&l, "tail", "end");
			assert_true(l.len < sizeof(l.text));
			log_end(&l);
			line = taken();
			p = line + strlen("level=info event=e v=");
			if (kinds[k].quoted)
				assert_int_equal(*p++, '"');
			while (strncmp(p, kinds[k].out, out) == 0) {
				p += out;
				units++;
			}
			cut = units < n;
			if (cut) {
				assert_memory_equal(p, "…", 3);
				p += 3;
			}
			if (kinds[k].quoted)
				assert_int_equal(*p++, '"');
			/* What follows whole values is the next field or the mark in its place. */
			if (!cut && strcmp(p, " tail=end\n") != 0 && strcmp(p, "…\n") != 0)
				assert_true(strncmp(p, " tail=", 6) == 0 &&
					    strcmp(p + strlen(p) - 4, "…\n") == 0);
			if (cut)
				assert_string_equal(p, "\n");
			cut_seen |= cut;
			whole_seen |= !cut;
		}
		assert_true(cut_seen && whole_seen);
	}
}

static void test_stderr_fails(void **state)
{
	uint64_t before = log_dropped();
	int full = open("/dev/full", O_WRONLY), saved = dup(STDERR_FILENO), gone[2];

	(void)state;
	assert_true(full >= 0);
	stderr_to(full);
	log_event(LOG_LEVEL_INFO, "lost", NULL);
	assert_int_equal(log_dropped(), before + 1);
	close(full);

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(gone), 0);
	stderr_to(gone[1]);
	close(gone[0]);
	close(gone[1]);
	log_event(LOG_LEVEL_INFO, "lost", NULL);
	assert_int_equal(log_dropped(), before + 2);

	stderr_to(saved);
	close(saved);
	while (log_dropped() == before + 2)
		log_event(LOG_LEVEL_INFO, "fills_the_pipe", NULL);
	for (size_t i = 0; i < 3; i++)
		taken();
	log_event(LOG_LEVEL_INFO, "again", NULL);
	assert_string_equal(taken(), "level=info event=again\n");
	assert_int_equal(log_dropped(), before + 3);
}

/* A file that takes a part of a line only: the next line stands on its own. */
static void test_torn(void **state)
{
	char path[] = "/tmp/test_log.XXXXXX", text[4096];
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	struct rlimit old, small;
	uint64_t before = log_dropped();
	ssize_t n;

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	stderr_to(fd);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 40;
	setrlimit(RLIMIT_FSIZE, &small);
	log_event(LOG_LEVEL_INFO, "torn", "v", "a b", NULL);
	setrlimit(RLIMIT_FSIZE, &old);
	stderr_to(saved);
	close(saved);
	assert_int_equal(log_dropped(), before + 1);

	dup2(fd, STDERR_FILENO);
	log_event(LOG_LEVEL_INFO, "next", NULL);
	log_event(LOG_LEVEL_INFO, "last", NULL);
	dup2(reader, STDERR_FILENO);
	n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	assert_true(n > 40);
	text[n] = '\0';
	assert_int_equal(text[40], '\n');
	assert_non_null(strstr(text + 41, "Z level=info event=next\n2"));
	assert_non_null(strstr(text + 41, "Z level=info event=last\n"));
	assert_null(strstr(text, "\n\n"));
}

static void *writer(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_event(LOG_LEVEL_INFO, "thread", "who", arg, "text", "a value in quotes", NULL);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	static char all[1 << 17];
	uint64_t before = log_dropped();
	size_t len = 0, lines = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, writer, (void *)(uintptr_t)(&"abcd"[i])), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (ssize_t n; (n = read(reader, all + len, sizeof(all) - 1 - len)) > 0;)
		len += (size_t)n;
	all[len] = '\0';
	for (char *line = all, *end; (end = strchr(line, '\n')); line = end + 1) {
		static const char tail[] = " text=\"a value in quotes\"";
		*end = '\0';
		assert_memory_equal(line + 25, "level=info event=thread who=", 28);
		assert_string_equal(end - strlen(tail), tail);
		lines++;
	}
	assert_int_equal(lines + (log_dropped() - before), 800);
}

static atomic_bool enough;

static void *long_writer(void *arg)
{
	char text[900];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	while (!atomic_load(&enough))
		log_event(LOG_LEVEL_INFO, "thread", "who", arg, "text", text, NULL);
	return NULL;
}

/* After a moment without a reader. No assert: stderr is what they write to. */
static void end_writers(const pthread_t *threads, size_t n)
{
	const struct timespec moment = {.tv_nsec = 100000000};
	struct timespec end;

	nanosleep(&moment, NULL);
	atomic_store(&enough, true);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 60;
	for (size_t i = 0; i < n; i++)
		if (pthread_timedjoin_np(threads[i], NULL, &end) != 0)
			abort();
}

/* A reader that has stopped, on a pipe that blocks: lines are lost, and nobody waits for it. */
static void test_stopped_reader(void **state)
{
	int saved = dup(STDERR_FILENO), stopped[2];
	uint64_t before = log_dropped();
	pthread_t threads[64];
	char page[4096];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(stopped), 0);
	stderr_to(stopped[1]);
	atomic_store(&enough, false);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, long_writer, "a"), 0);
	/* Not at once: each page that becomes free is one that all of them find. */
	for (int i = 0; i < 400; i++) {
		const struct timespec pause = {.tv_nsec = i % 8 ? 0 : 1000000};

		n = read(stopped[0], page, sizeof(page));
		if (n <= 0)
			abort();
		nanosleep(&pause, NULL);
	}
	end_writers(threads, 64);
	assert_true(log_dropped() > before + 1000);

	/* It reads again: whole lines, and new ones find room. */
	for (int i = 0; i < 8; i++) {
		n = read(stopped[0], page, sizeof(page));
		assert_true(n > 0);
	}
	before = log_dropped();
	log_event(LOG_LEVEL_INFO, "again", NULL);
	assert_int_equal(log_dropped(), before);
	stderr_to(saved);
	close(saved);
	close(stopped[0]);
	close(stopped[1]);
}

/* A socket that blocks, as journald's is, whose reader has stopped. */
static void test_stopped_socket(void **state)
{
	int saved = dup(STDERR_FILENO), stopped[2];
	uint64_t before = log_dropped();
	pthread_t threads[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stopped), 0);
	stderr_to(stopped[1]);
	atomic_store(&enough, false);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, long_writer, "a"), 0);
	end_writers(threads, 8);
	assert_true(log_dropped() > before + 1000);
	stderr_to(saved);
	close(saved);
	close(stopped[0]);
	close(stopped[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_form, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_values, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_level, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stderr_fails, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stopped_reader, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stopped_socket, setup, teardown),
	};

	/* cmocka writes to stderr too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
