/*
 * Asking the master for a reload.
 *
 * Since 2.7 the answer comes when it is over: Success=0 or 1, and the lines HAProxy had to say.
 * 2.6 starts itself anew in the middle of the answer and closes; then `show proc` is asked until
 * the new master listens again, and its count of failed reloads tells. (A connect waits in the
 * backlog of the listener that the new master inherits, so the old one cannot answer it.) Why it
 * failed stands in HAProxy's own log only, there.
 *
 * Up to 3.0 the master starts itself anew for every reload, also for one that fails, and for a
 * moment nobody listens; so a connect that is refused is tried again for a while.
 *
 * The master's socket does not close after an answer, hence the `quit`.
 */
#include "discover/follow/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/ask.h"
#include "net/timer.h"

#define ANSWER_MAX  (1024 * 1024)
#define AGAIN_MS    100
#define ASK_PROC_MS 5000
#define PATIENCE_MS 2000

struct reload {
	struct event_base *base;
	char *master;
	struct ask *ask;
	struct timer *timer;
	uint64_t deadline_ns, patience_ns;
	bool counting; /* it was asked; now for what came of it */
	reload_done done;
	void *arg;
	bool telling;
};

static void destroy(struct reload *r)
{
	if (r->ask)
		ask_cancel(r->ask);
	timer_free(r->timer);
	free(r->master);
	free(r);
}

static void finish(struct reload *r, enum reload_result result, const char *message)
{
	r->telling = true;
	r->done(result, message, r->arg);
	destroy(r);
}

static struct view line_of(struct view *text)
{
	const char *end = text->len ? memchr(text->ptr, '\n', text->len) : NULL;
	size_t len = end ? (size_t)(end - text->ptr) : text->len;
	struct view line = {text->ptr, len};

	text->ptr += end ? len + 1 : len;
	text->len -= end ? len + 1 : len;
	return line;
}

/* "[ALERT]    (PID) : TEXT" → TEXT: the process is another one each time. */
static struct view text_of(struct view line)
{
	const char *at = line.len ? memmem(line.ptr, line.len, ") : ", 4) : NULL;

	if (!at || line.ptr[0] != '[')
		return line;
	at += 4;
	return (struct view){at, (size_t)(line.ptr + line.len - at)};
}

int reload_read(struct view answer, enum reload_result *ret_result, char *message, size_t size)
{
	struct view line = line_of(&answer), first = VIEW_NULL;

	message[0] = '\0';
	if (line.len == 0 && answer.len == 0)
		return -EAGAIN;
	if (view_eq(line, VIEW_LIT("Success=1"))) {
		*ret_result = RELOAD_DONE;
		return 0;
	}
	*ret_result = view_eq(line, VIEW_LIT("Success=0")) ? RELOAD_REFUSED : RELOAD_FAILED;
	if (*ret_result == RELOAD_FAILED)
		first = line;
	while (*ret_result == RELOAD_REFUSED && answer.len) {
		line = line_of(&answer);
		if (line.len > 7 && memcmp(line.ptr, "[ALERT]", 7) == 0) {
			first = line;
			break;
		}
		if (!first.ptr && line.len && !view_eq(line, VIEW_LIT("--")))
			first = line;
	}
	first = text_of(first);
	snprintf(message, size, "%.*s", (int)(first.len < size ? first.len : size - 1),
		 first.ptr ? first.ptr : "");
	return 0;
}

int64_t reload_failures(struct view answer)
{
	static const char words[] = "[failed: ";
	const char *at =
	    answer.len ? memmem(answer.ptr, answer.len, words, sizeof(words) - 1) : NULL;
	int64_t n = 0;
	size_t digits = 0;

	if (!at)
		return -EPROTO;
	at += sizeof(words) - 1;
	for (; at + digits < answer.ptr + answer.len && digits < 10; digits++) {
		if (at[digits] < '0' || at[digits] > '9')
			return digits && at[digits] == ']' ? n : -EPROTO;
		n = n * 10 + (at[digits] - '0');
	}
	return -EPROTO;
}

static void counted(const struct ask_answer *answer, void *arg)
{
	struct reload *r = arg;
	int64_t failures;

	r->ask = NULL;
	failures = answer->error == ASK_OK ? reload_failures(answer->text) : -EPROTO;
	if (failures == 0)
		finish(r, RELOAD_DONE, "");
	else if (failures > 0)
		finish(r, RELOAD_REFUSED, "HAProxy's own log says why");
	else if (clock_mono_ns() >= r->deadline_ns)
		finish(r, RELOAD_FAILED, "the master did not come back");
	else if (timer_start(r->timer, AGAIN_MS * CLOCK_NS_PER_MS) < 0)
		finish(r, RELOAD_FAILED, "out of memory");
}

static void count(struct reload *r)
{
	r->counting = true;
	if (ask(r->base, r->master, VIEW_LIT("show proc;quit\n"), ASK_PROC_MS, ANSWER_MAX, counted,
		r, &r->ask) < 0) {
		r->ask = NULL;
		finish(r, RELOAD_FAILED, "out of memory");
	}
}

static int order(struct reload *r);

static void again(void *arg)
{
	struct reload *r = arg;

	if (r->counting)
		count(r);
	else if (order(r) < 0)
		finish(r, RELOAD_FAILED, "out of memory");
}

static void answered(const struct ask_answer *answer, void *arg)
{
	struct reload *r = arg;
	enum reload_result result;
	char message[300];

	r->ask = NULL;
	/* 2.6 may reset the connection instead of closing it. */
	if (answer->error == ASK_OK || (answer->error == ASK_BROKEN && answer->text.len == 0)) {
		if (reload_read(answer->text, &result, message, sizeof(message)) == 0)
			finish(r, result, message);
		else
			count(r);
		return;
	}
	if (answer->error == ASK_CONNECT && clock_mono_ns() < r->patience_ns &&
	    timer_start(r->timer, AGAIN_MS * CLOCK_NS_PER_MS) == 0)
		return;
	snprintf(message, sizeof(message), "%s%s%s", ask_error_name(answer->error),
		 answer->err ? ": " : "", answer->err ? strerror(answer->err) : "");
	finish(r, RELOAD_FAILED, message);
}

static int order(struct reload *r)
{
	int e = ask(r->base, r->master, VIEW_LIT("reload;quit\n"), RELOAD_TIMEOUT_MS, ANSWER_MAX,
		    answered, r, &r->ask);

	if (e < 0)
		r->ask = NULL;
	return e;
}

int reload_start(struct event_base *base, const char *master, reload_done done, void *arg,
		 struct reload **ret)
{
	struct reload *r = calloc(1, sizeof(*r));
	int e = -ENOMEM;

	if (!r)
		return -ENOMEM;
	*r = (struct reload){.base = base, .done = done, .arg = arg};
	r->deadline_ns = clock_mono_ns() + RELOAD_TIMEOUT_MS * CLOCK_NS_PER_MS;
	r->patience_ns = clock_mono_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
	r->master = strdup(master);
	r->timer = timer_new(base, again, r);
	if (r->master && r->timer)
		e = order(r);
	if (e < 0) {
		destroy(r);
		return e;
	}
	*ret = r;
	return 0;
}

void reload_cancel(struct reload *r)
{
	if (r && !r->telling)
		destroy(r);
}
