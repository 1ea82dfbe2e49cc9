/*
 * What HAProxy has against what is wanted, as a table: a plan, HAProxy's state, the commands.
 *
 * HAProxy's state is a line of text too: backends separated by " | ", with ~ where unpublished,
 * and servers NAME=ADDRESS:PORT@ADMIN, with w0 behind it for weight 0 and x for a check that is
 * off. What real HAProxies answer to these commands is tests/e2e/test_follow.py's matter.
 */
#include "discover/follow/diff.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "discover/follow/generate.h"
#include "failmalloc.h"
#include "unit/guard.h"
#include "unit/discover/plans.h"

#define SERVERS_HEAD                                                                               \
	"1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "    \
	"srv_check_state srv_port srv_fqdn srv_use_ssl\n"
#define STAT_HEAD "# pxname,svname,qcur,scur,slim,status,bck,type\n"

static void put_servers(FILE *out, const char *have)
{
	char *copy = strdup(have), *word, *rest, *backend = NULL;

	fputs(SERVERS_HEAD, out);
	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '='), *at = strchr(word, '@'), *colon;

		if (strcmp(word, "|") == 0) {
			backend = NULL;
		} else if (!backend) {
			backend = word;
			if (word[strlen(word) - 1] == '~')
				word[strlen(word) - 1] = '\0';
		} else {
			assert_non_null(equals);
			assert_non_null(at);
			*equals = *at = '\0';
			colon = strrchr(equals + 1, ':');
			*colon = '\0';
			fprintf(out, "3 %s 1 %s %s 2 %d %d %d %s - 0\n", backend, word, equals + 1,
				atoi(at + 1), strstr(at + 1, "w0") ? 0 : 1,
				strchr(at + 1, 'x') ? 2 : 6, colon + 1);
		}
	}
	fputc('\n', out);
	free(copy);
}

static void put_stat(FILE *out, const char *have)
{
	char *copy = strdup(have), *word, *rest;
	bool first = true;

	fputs(STAT_HEAD "inference-agent,BACKEND,0,0,200,UP,0,1\n", out);
	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		size_t len = strlen(word);

		if (first) {
			bool hidden = word[len - 1] == '~';

			fprintf(out, "%.*s,BACKEND,0,0,200,UP%s,0,1\n", (int)(len - hidden), word,
				hidden ? " (UNPUB)" : "");
		}
		first = strcmp(word, "|") == 0;
	}
	fputc('\n', out);
	free(copy);
}

/* The whole answer. @stamp: NULL: the variable is not set. */
static char *answer_of(const char *version, const char *stamp, const char *have, int stopping)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	if (stamp)
		fprintf(out, GENERATE_STAMP "=%s\n\n", stamp);
	else
		fputs("Variable not found\n\n", out);
	fprintf(out, "Name: HAProxy\nVersion: %s\nPid: 77\nUptime_sec: 5\nStopping: %d\n\n",
		version, stopping);
	put_servers(out, have);
	put_stat(out, have);
	assert_int_equal(fclose(out), 0);
	return text;
}

static bool owns(struct view backend, void *arg)
{
	const char *owned = arg;
	char name[100];

	snprintf(name, sizeof(name), " %.*s ", (int)backend.len, backend.ptr);
	return strstr(owned, name) != NULL;
}

#define OWNED " llama phi4 gone "
#define KEYS  "check inter 2s"
#define ADDED(name, at)                                                                            \
	"add server " name " " at " " KEYS "\nenable health " name "\nset server " name            \
	" state ready\n"
#define GROWN(name, at, cookie)                                                                    \
	"add server " name " " at " " KEYS " cookie " cookie "\nenable health " name               \
	"\nset server " name " state ready\n"

enum {
	OLD = 1,
	NONE = 2,
	ADD = 4
}; /* another stamp; none; a pool is missing: both need a reload */

static const struct {
	const char *name, *version, *plan, *have, *commands;
	int reload;
	size_t missing, leaving;
} cases[] = {
    {"nothing", "2.6.12", "", "", "", 0, 0, 0},
    {"as wanted", "2.6.12", "llama a=10.0.0.1:80 | phi4", "llama a=10.0.0.1:80@0 | phi4", "", 0, 0,
     0},
    {"a new pod", "3.2.26-1", "llama a=10.0.0.1:80 b=[fd00::2]:81", "llama a=10.0.0.1:80@0",
     ADDED("llama/b", "[fd00::2]:81"), 0, 0, 0},
    {"a new pod on 3.4", "3.4.7-1", "llama a=10.0.0.1:80", "llama",
     GROWN("llama/a", "10.0.0.1:80", "a"), 0, 0, 0},
    {"speaking h2c", "3.2.26", "llama* a=10.0.0.1:80", "llama",
     "add server llama/a 10.0.0.1:80 " KEYS " proto h2\nenable health llama/a\n"
     "set server llama/a state ready\n",
     0, 0, 0},
    {"a new pod that drains already", "3.2.26", "llama a=10.0.0.1:80!", "llama", "", 0, 0, 0},
    {"a pod is gone", "3.0.11", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@0 b=10.0.0.2:80@0",
     "set server llama/b state maint\ndel server llama/b\n", 0, 0, 1},
    {"still there", "3.0.11", "llama", "llama b=10.0.0.2:80@1", "del server llama/b\n", 0, 0, 1},
    {"drained, and gone", "3.0.11", "llama", "llama b=10.0.0.2:80@8",
     "set server llama/b state maint\ndel server llama/b\n", 0, 0, 1},
    {"drains", "2.6.12", "llama a=10.0.0.1:80!", "llama a=10.0.0.1:80@0",
     "set server llama/a state drain\n", 0, 0, 0},
    {"drains already", "2.6.12", "llama a=10.0.0.1:80!", "llama a=10.0.0.1:80@8", "", 0, 0, 0},
    {"drains, in maintenance", "2.6.12", "llama a=10.0.0.1:80!", "llama a=10.0.0.1:80@1", "", 0, 0,
     0},
    {"drains where it was", "2.6.12", "llama a=10.0.0.2:80!", "llama a=10.0.0.1:80@8", "", 0, 0, 0},
    {"ready again", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@8",
     "set server llama/a state ready\n", 0, 0, 0},
    {"set to maintenance by hand", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@1",
     "set server llama/a state ready\n", 0, 0, 0},
    {"disabled in a file", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@5",
     "set server llama/a state ready\n", 0, 0, 0},
    {"disabled in a file, enabled since", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@4",
     "", 0, 0, 0},
    {"its check was switched off", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@0x",
     "enable health llama/a\n", 0, 0, 0},
    {"its weight was taken", "2.6.12", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@0w0",
     "set weight llama/a 100%\n", 0, 0, 0},
    {"at another address", "2.6.12", "llama a=10.0.0.2:80", "llama a=10.0.0.1:80@0",
     "set server llama/a addr 10.0.0.2 port 80\n", 0, 0, 0},
    {"at another port", "2.6.12", "llama a=10.0.0.1:81", "llama a=10.0.0.1:80@0",
     "set server llama/a addr 10.0.0.1 port 81\n", 0, 0, 0},
    {"of another family", "2.6.12", "llama a=[fd00::1]:80", "llama a=10.0.0.1:80@0",
     "set server llama/a addr fd00::1 port 80\n", 0, 0, 0},
    {"the same, written otherwise", "2.6.12", "llama a=[fd00:0:0::1]:80", "llama a=fd00::1:80@0",
     "", 0, 0, 0},
    {"comes back elsewhere while it is leaving", "3.0.11", "llama a=10.0.0.2:80",
     "llama a=10.0.0.1:80@1",
     "set server llama/a addr 10.0.0.2 port 80\nset server llama/a state ready\n", 0, 0, 0},
    {"added by hand", "3.0.11", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@0 z=10.0.0.9:1@0",
     "set server llama/z state maint\ndel server llama/z\n", 0, 0, 1},
    {"another has the address of one that goes", "3.0.11", "llama b=10.0.0.1:80",
     "llama a=10.0.0.1:80@0",
     ADDED("llama/b", "10.0.0.1:80") "set server llama/a state maint\ndel server llama/a\n", 0, 0,
     1},
    {"a new pool", "3.2.26", "llama a=10.0.0.1:80 | phi4", "llama a=10.0.0.1:80@0", "", ADD, 1, 0},
    {"a new pool on 3.4", "3.4.7", "llama a=10.0.0.1:80", "",
     "add backend llama from inference-added mode http\n" GROWN("llama/a", "10.0.0.1:80",
								"a") "publish backend llama\n",
     0, 1, 0},
    {"a new pool on 4.0", "4.0-dev1", "llama", "",
     "add backend llama from inference-added mode http\npublish backend llama\n", 0, 1, 0},
    {"a new pool on 3.10", "3.10.0", "llama", "",
     "add backend llama from inference-added mode http\npublish backend llama\n", 0, 1, 0},
    {"a new pool on 3.4 without our files", "3.4.7", "llama a=10.0.0.1:80", "", "", NONE, 1, 0},
    {"without our files", "3.2.26", "llama a=10.0.0.1:80", "llama a=10.0.0.1:80@0", "", NONE, 0, 0},
    {"unpublished by hand", "3.4.7", "llama a=10.0.0.1:80", "llama~ a=10.0.0.1:80@0",
     "publish backend llama\n", 0, 1, 0},
    {"other rules", "3.4.7", "llama a=10.0.0.1:80 | phi4", "llama a=10.0.0.1:80@0",
     "add backend phi4 from inference-added mode http\npublish backend phi4\n", OLD, 1, 0},
    {"other rules, and a pod", "3.2.26", "llama a=10.0.0.1:80", "llama",
     ADDED("llama/a", "10.0.0.1:80"), OLD, 0, 0},
    {"a pool is gone", "3.2.26", "llama", "gone a=10.0.0.1:80@0 | llama",
     "set server gone/a state maint\ndel server gone/a\n", 0, 0, 1},
    {"and empty", "3.2.26", "llama", "gone | llama", "", 0, 0, 0},
    {"a pool is gone on 3.4", "3.4.7", "llama", "gone a=10.0.0.1:80@0 | llama",
     "set server gone/a state maint\ndel server gone/a\nunpublish backend gone\n", 0, 0, 1},
    {"and empty on 3.4", "3.4.7", "llama", "gone~ | llama", "del backend gone\n", 0, 0, 0},
    {"somebody's own backend", "3.4.7", "llama", "llama | site w1=10.0.0.1:80@1", "", 0, 0, 0},
};

static void put_commands(const struct diff *d, char *out)
{
	for (size_t n = 0; n < d->ncommands; n++) {
		strncat(out, d->commands[n].text.ptr, d->commands[n].text.len);
		strcat(out, "\n");
	}
}

static void check(size_t i)
{
	struct plans p;
	struct diff_how how = {owns, OWNED, false};
	struct want *w;
	struct diff *d;
	struct view error;
	char *answer, commands[2000] = "";

	plans_init(&p, cases[i].plan);
	w = want_new(&p.plan, VIEW_LIT(KEYS));
	assert_non_null(w);
	answer = answer_of(cases[i].version,
			   cases[i].reload & NONE  ? NULL
			   : cases[i].reload & OLD ? "0123456789abcdef"
						   : w->stamp,
			   cases[i].have, 0);
	assert_int_equal(diff_new(w, view_str(answer), &how, &d, &error), 0);
	put_commands(d, commands);
	if (strcmp(commands, cases[i].commands) != 0)
		fail_msg("%s:\n%s", cases[i].name, commands);
	if (!!d->reload != !!cases[i].reload || d->missing != cases[i].missing ||
	    d->leaving != cases[i].leaving)
		fail_msg("%s: reload %s missing %zu leaving %zu", cases[i].name,
			 d->reload ? d->reload : "no", d->missing, d->leaving);
	assert_int_equal(d->info.pid, 77);
	diff_free(d);
	free(answer);
	want_free(w);
	plans_deinit(&p);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(i);
}

/* Whatever it is cut to, it is no answer; the last byte lies against a page that cannot be read. */
static void test_cut(void **state)
{
	struct plans p;
	struct diff_how how = {owns, OWNED, false};
	struct guard g = guard_new(8192);
	struct want *w;
	struct diff *d;
	struct view error;
	char *answer;
	size_t len;

	(void)state;
	plans_init(&p, "llama a=10.0.0.1:80");
	w = want_new(&p.plan, VIEW_LIT(KEYS));
	answer = answer_of("3.2.26", w->stamp, "llama a=10.0.0.1:80@0 | gone b=10.0.0.2:80@0", 0);
	len = strlen(answer);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(
		    diff_new(w, guard_put(&g, (struct view){answer, n}), &how, &d, &error),
		    -EAGAIN);
	assert_int_equal(diff_new(w, guard_put(&g, (struct view){answer, len}), &how, &d, &error),
			 0);
	diff_free(d);
	free(answer);
	guard_free(&g);
	want_free(w);
	plans_deinit(&p);
}

static void test_other_answers(void **state)
{
	struct plans p;
	struct diff_how how = {owns, OWNED, false};
	struct want *w;
	struct diff *d;
	struct view error;
	char *stopping;

	(void)state;
	plans_init(&p, "llama a=10.0.0.1:80");
	w = want_new(&p.plan, VIEW_LIT(KEYS));
	stopping = answer_of("2.6.12", w->stamp, "llama", 1);
	assert_int_equal(diff_new(w, view_str(stopping), &how, &d, &error), -ESTALE);
	free(stopping);
	assert_int_equal(diff_new(w, VIEW_LIT("Permission denied\n\n"), &how, &d, &error), -EACCES);
	assert_true(view_eq(error, VIEW_LIT("Permission denied")));
	/* Level user: the variable alone is refused. */
	stopping = answer_of("2.6.12", w->stamp, "llama", 0);
	memcpy(stopping, "Permission denied                   ", sizeof(GENERATE_STAMP) + 16);
	assert_int_equal(diff_new(w, view_str(stopping), &how, &d, &error), -EACCES);
	free(stopping);
	assert_int_equal(
	    diff_new(w, VIEW_LIT("220 mail.example ESMTP\r\n\r\nwhat?\n\n"), &how, &d, &error),
	    -EPROTO);
	want_free(w);
	plans_deinit(&p);
}

/* The backends are sorted, and those that take no requests are not among them. */
static void test_backends(void **state)
{
	struct plans p;
	struct diff_how how = {owns, OWNED, false};
	struct want *w;
	struct diff *d;
	struct view error;
	char *answer;

	(void)state;
	plans_init(&p, "");
	w = want_new(&p.plan, VIEW_LIT(KEYS));
	answer = answer_of("3.4.7", w->stamp, "zeta | llama~ | a | ab | phi4", 0);
	assert_int_equal(diff_new(w, view_str(answer), &how, &d, &error), 0);
	assert_int_equal(d->nbackends, 5);
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = {"a", "ab", "inference-agent", "phi4", "zeta"};

		assert_true(view_eq(d->backends[i], view_str(names[i])));
	}
	diff_free(d);
	free(answer);
	want_free(w);
	plans_deinit(&p);
}

/* Now and then the idle connections of what is leaving are closed, before 3.2. */
static void test_nudge(void **state)
{
	static const struct {
		const char *version, *have, *commands;
	} nudges[] = {
	    {"2.6.12", "llama b=10.0.0.2:80@0",
	     "set server llama/b state maint\ndel server llama/b\n"},
	    {"2.6.12", "llama b=10.0.0.2:80@1",
	     "set server llama/b addr 127.0.0.1 port 1\nset server llama/b addr 127.0.0.1 port 2\n"
	     "del server llama/b\n"},
	    {"3.1.9", "llama b=10.0.0.2:80@1",
	     "set server llama/b addr 127.0.0.1 port 1\nset server llama/b addr 127.0.0.1 port 2\n"
	     "del server llama/b\n"},
	    {"3.2.0", "llama b=10.0.0.2:80@1", "del server llama/b\n"},
	};
	struct diff_how how = {owns, OWNED, true};
	struct plans p;

	(void)state;
	plans_init(&p, "llama");
	for (size_t i = 0; i < sizeof(nudges) / sizeof(nudges[0]); i++) {
		struct want *w = want_new(&p.plan, VIEW_LIT(KEYS));
		char *answer = answer_of(nudges[i].version, w->stamp, nudges[i].have, 0);
		char commands[500] = "";
		struct view error;
		struct diff *d;

		assert_int_equal(diff_new(w, view_str(answer), &how, &d, &error), 0);
		put_commands(d, commands);
		assert_string_equal(commands, nudges[i].commands);
		diff_free(d);
		free(answer);
		want_free(w);
	}
	plans_deinit(&p);
}

static void test_answers(void **state)
{
	static const struct {
		const char *text, *answers; /* each in [] */
	} texts[] = {
	    {"", ""},
	    {"\n", "[]"},
	    {"\n\n\n", "[][][]"},
	    {"New server registered.\n\n\n\n", "[New server registered.][][]"},
	    {"a\nb\n\nc\n\n", "[a\nb][c]"},
	    {"a\n\nb\n", "[a]"},
	    {"a\n\nb", "[a]"},
	    {"a", ""},
	    {"a\n", ""},
	};
	struct guard g = guard_new(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct view text = guard_put(&g, view_str(texts[i].text)), one;
		char got[100] = "";

		while (diff_answer_next(&text, &one)) {
			strcat(got, "[");
			strncat(got, one.len ? one.ptr : "", one.len);
			strcat(got, "]");
		}
		assert_string_equal(got, texts[i].answers);
	}
	guard_free(&g);
}

static void test_accepted(void **state)
{
	static const struct {
		enum diff_kind kind;
		const char *answer;
		bool accepted;
	} answers[] = {
	    {DIFF_ADD, "New server registered.", true},
	    {DIFF_ADD, "Already exists a server with the same name in backend.", false},
	    {DIFF_ADD, "", false},
	    {DIFF_READY, "", true},
	    {DIFF_READY, "No such server.", false},
	    {DIFF_DRAIN, "Permission denied", false},
	    {DIFF_DELETE, "Server deleted.", true},
	    {DIFF_DELETE, "Server still has connections attached to it, cannot remove it.", true},
	    {DIFF_DELETE, "Only servers in maintenance mode can be deleted.", false},
	    {DIFF_DELETE_BACKEND, "Backend deleted.", true},
	    {DIFF_DELETE_BACKEND, "Server deleted.\nServer deleted.\nBackend deleted.", true},
	    {DIFF_DELETE_BACKEND, "Only a backend without server can be deleted.", false},
	    {DIFF_ADD_BACKEND, "New backend registered.", true},
	    {DIFF_PUBLISH, "Backend published.", true},
	    {DIFF_PUBLISH, "Backend unpublished.", false},
	    {DIFF_UNPUBLISH, "Backend unpublished.", true},
	    {DIFF_MOVE, "IP changed from '10.0.0.1' to '10.0.0.2' by 'stats socket command'", true},
	    {DIFF_MOVE, "no need to change the addr, port changed from '1' to '2'", true},
	    {DIFF_MOVE, "nothing changed", true},
	    {DIFF_MOVE, "No such server.", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (diff_accepted(answers[i].kind, view_str(answers[i].answer)) !=
		    answers[i].accepted)
			fail_msg("%d %s", (int)answers[i].kind, answers[i].answer);
}

static void test_short_of_memory(void **state)
{
	struct plans p;
	struct diff_how how = {owns, OWNED, false};
	struct want *w;
	struct view error;
	char *answer;
	long live;

	(void)state;
	plans_init(&p, "llama a=10.0.0.1:80 b=10.0.0.2:80");
	w = want_new(&p.plan, VIEW_LIT(KEYS));
	answer = answer_of("3.4.7", w->stamp, "llama a=10.0.0.9:80@1 | gone c=10.0.0.3:80@0", 0);
	for (size_t i = 1;; i++) {
		struct diff *d = NULL;
		int r;

		failmalloc_arm(i);
		r = diff_new(w, view_str(answer), &how, &d, &error);
		if (r == 0)
			diff_free(d);
		if (!failmalloc_disarm(&live)) {
			assert_int_equal(r, 0);
			assert_true(i > 5);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(live, 0);
	}
	free(answer);
	want_free(w);
	plans_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_backends), cmocka_unit_test(test_other_answers),
	    cmocka_unit_test(test_answers),  cmocka_unit_test(test_nudge),
	    cmocka_unit_test(test_accepted), cmocka_unit_test(test_short_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
