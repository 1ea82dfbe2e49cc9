/*
 * The state machine of a nudge.
 *
 *   REST → (missing for PATIENCE) → LIST "show sess" → LOOK "show sess ID; …" at what may be it
 *        → END "shutdown session ID; …" for what is it → REST
 *
 * Two questions, since the whole entry of each of thousands of sessions would be megabytes. A
 * forwarder in working order is connected to us, so there is nothing to ask for then. When nothing
 * is found (no ring is configured, HAProxy has not yet tried again), the next look is twice as far.
 */
#include "serve/nudge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/ask.h"

#define PATIENCE_NS (3 * CLOCK_NS_PER_S)
#define LONGEST_NS  (300 * CLOCK_NS_PER_S)

enum step { STEP_REST, STEP_LIST, STEP_LOOK, STEP_END };

struct nudge {
	struct nudge_env env;
	enum step step;
	struct ask *ask;
	uint64_t missing_ns; /* since when; 0: it is not */
	uint64_t next_ns, pause_ns;
	uint64_t count;
	char where[108]; /* of the socket, as of the first step */
	uint32_t timeout_ms;
	uint64_t max_answer;
	char ids[NUDGE_IDS][NUDGE_ID_MAX];
	size_t nids;
};

bool nudge_affected(const char *version)
{
	static const char *const affected[] = {"2.9", "3.0", "3.1"};

	for (size_t i = 0; i < sizeof(affected) / sizeof(affected[0]); i++)
		if (strncmp(version, affected[i], 3) == 0 && (version[3] < '0' || version[3] > '9'))
			return true;
	return false;
}

static struct view next_line(struct view *rest)
{
	const char *end = memchr(rest->ptr, '\n', rest->len);
	struct view line = {rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len};
	size_t used = end ? line.len + 1 : line.len;

	rest->ptr += used;
	rest->len -= used;
	return line;
}

static bool has(struct view line, const char *what)
{
	return memmem(line.ptr, line.len, what, strlen(what)) != NULL;
}

/* The id that begins an entry: "0x", hexadecimal, and then ":". */
static bool entry_id(struct view line, char *ret)
{
	size_t n = 2;

	if (line.len < 4 || memcmp(line.ptr, "0x", 2) != 0)
		return false;
	while (n < line.len && n < NUDGE_ID_MAX - 1 &&
	       strchr("0123456789abcdef", line.ptr[n]) != NULL && line.ptr[n])
		n++;
	if (n == 2 || n >= line.len || line.ptr[n] != ':')
		return false;
	memcpy(ret, line.ptr, n);
	ret[n] = '\0';
	return true;
}

size_t nudge_suspects(struct view answer, char (*ids)[NUDGE_ID_MAX], size_t max)
{
	size_t n = 0;

	while (answer.len && n < max) {
		struct view line = next_line(&answer);

		if (has(line, " proto=? ") && has(line, " exp= ") && entry_id(line, ids[n]))
			n++;
	}
	return n;
}

static bool our_port(struct view line, const uint16_t *ports, size_t nports)
{
	const char *addr = memmem(line.ptr, line.len, " addr=", 6);
	const char *end = line.ptr + line.len, *p;
	unsigned port = 0;

	if (!addr)
		return false;
	for (p = end; p > addr && p[-1] >= '0' && p[-1] <= '9'; p--)
		;
	if (p == end || p[-1] != ':' || end - p > 5)
		return false;
	for (; p < end; p++)
		port = port * 10 + (unsigned)(*p - '0');
	for (size_t i = 0; i < nports; i++)
		if (ports[i] == port)
			return true;
	return false;
}

size_t nudge_forwarders(struct view answer, const uint16_t *ports, size_t nports,
			char (*ids)[NUDGE_ID_MAX], size_t max)
{
	char id[NUDGE_ID_MAX] = "";
	bool ours = false;
	size_t n = 0;

	while (answer.len && n < max) {
		struct view line = next_line(&answer);

		if (entry_id(line, id)) {
			ours = false;
		} else if (has(line, "  server=")) {
			ours = our_port(line, ports, nports);
		} else if (id[0] && ours && has(line, "applet=<SINKFWD")) {
			memcpy(ids[n++], id, sizeof(id));
			id[0] = '\0';
		}
	}
	return n;
}

/* --- the steps --- */

static void answered(const struct ask_answer *answer, void *arg);

static void rest(struct nudge *n)
{
	n->step = STEP_REST;
	n->pause_ns = n->pause_ns * 2 < LONGEST_NS ? n->pause_ns * 2 : LONGEST_NS;
	n->next_ns = clock_mono_ns() + n->pause_ns;
}

static void step(struct nudge *n, enum step to)
{
	static const char *const words[] = {
	    [STEP_LIST] = "show sess",
	    [STEP_LOOK] = "show sess ",
	    [STEP_END] = "shutdown session ",
	};
	char question[NUDGE_IDS * (NUDGE_ID_MAX + 20) + 2];
	size_t len = 0, times = to == STEP_LIST ? 1 : n->nids;

	for (size_t i = 0; i < times; i++)
		len += (size_t)snprintf(question + len, sizeof(question) - len, "%s%s%s",
					i ? ";" : "", words[to], to == STEP_LIST ? "" : n->ids[i]);
	question[len++] = '\n';
	n->step = to;
	if (ask(n->env.base, n->where, (struct view){question, len}, n->timeout_ms, n->max_answer,
		answered, n, &n->ask) < 0)
		rest(n);
}

static void answered(const struct ask_answer *answer, void *arg)
{
	struct nudge *n = arg;
	struct log_line l;

	n->ask = NULL;
	if (answer->error != ASK_OK) {
		rest(n);
		return;
	}
	switch (n->step) {
	case STEP_LIST:
		n->nids = nudge_suspects(answer->text, n->ids, NUDGE_IDS);
		break;
	case STEP_LOOK:
		n->nids =
		    nudge_forwarders(answer->text, n->env.ports, n->env.nports, n->ids, NUDGE_IDS);
		break;
	case STEP_END:
	case STEP_REST:
		n->count += n->nids;
		log_begin(&l, LOG_LEVEL_WARNING, "ring_woken");
		log_int(&l, "forwarders", (int64_t)n->nids);
		log_str(&l, "why",
			"HAProxy's ring hung on a connection that had ended; 3.2 does not");
		log_end(&l);
		rest(n);
		return;
	}
	if (n->nids == 0)
		rest(n);
	else
		step(n, n->step + 1);
}

void nudge_tick(struct nudge *n, const struct config *conf, const char *version, bool missing,
		uint64_t now_ns)
{
	if (!missing || !conf->haproxy.socket || !nudge_affected(version)) {
		n->missing_ns = 0;
		return;
	}
	if (!n->missing_ns) {
		n->missing_ns = now_ns;
		n->pause_ns = PATIENCE_NS;
		n->next_ns = now_ns + PATIENCE_NS;
	}
	if (n->step != STEP_REST || now_ns < n->next_ns || n->env.nports == 0)
		return;
	snprintf(n->where, sizeof(n->where), "%s", conf->haproxy.socket);
	n->timeout_ms = conf->haproxy.timeout_ms;
	n->max_answer = conf->haproxy.max_answer;
	step(n, STEP_LIST);
}

uint64_t nudge_count(const struct nudge *n)
{
	return n->count;
}

struct nudge *nudge_new(const struct nudge_env *env)
{
	struct nudge *n = calloc(1, sizeof(*n));

	if (n) {
		n->env = *env;
		n->pause_ns = PATIENCE_NS;
	}
	return n;
}

struct nudge *nudge_free(struct nudge *n)
{
	if (n) {
		if (n->ask)
			ask_cancel(n->ask);
		free(n);
	}
	return NULL;
}
