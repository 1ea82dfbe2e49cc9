/* HAProxy's log lines: the first byte says how the rest is read. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "observe/logline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct view part, struct view whole)
{
	if (part.len && (part.ptr < whole.ptr || part.ptr + part.len > whole.ptr + whole.len))
		abort();
}

static bool same(struct view a, struct view b)
{
	return a.len == b.len && memcmp(a.ptr ? a.ptr : "", b.ptr ? b.ptr : "", a.len) == 0;
}

/* Whether the first element begins at @at: behind "<PRI>1 " and five fields. */
static bool is_first_element(struct view in, const char *at)
{
	const char *p = memchr(in.ptr, '>', (size_t)(at - in.ptr));
	unsigned spaces = 0;

	for (; p && p < at; p++)
		spaces += *p == ' ';
	return spaces == 6 && at[-1] == ' ';
}

/*
 * A parameter that nobody asks for, put in front of the first one, takes a line that is as
 * haproxy.cfg has it another way; it must say the same there.
 */
static void another_way(struct view in, int result, const struct logline *l)
{
	static const char id[] = "[inference@32473", more[] = " zz=\"\"";
	const char *at = memmem(in.ptr, in.len, id, sizeof(id) - 1);
	size_t before;
	struct logline other;
	char *line;

	if (!at || at + sizeof(id) - 1 == in.ptr + in.len || at[sizeof(id) - 1] != ' ' ||
	    !is_first_element(in, at))
		return;
	before = (size_t)(at - in.ptr) + sizeof(id) - 1;
	line = malloc(in.len + sizeof(more));
	memcpy(line, in.ptr, before);
	memcpy(line + before, more, sizeof(more) - 1);
	memcpy(line + before + sizeof(more) - 1, in.ptr + before, in.len - before);
	if (logline_parse((struct view){line, in.len + sizeof(more) - 1}, &other) == 0 &&
	    result == 0 &&
	    (other.ticket != l->ticket || other.status != l->status || other.key != l->key ||
	     other.ta_ms != l->ta_ms || !same(other.backend, l->backend) ||
	     !same(other.server, l->server) || !same(other.state, l->state)))
		abort();
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct view in, line;
	struct logline l;
	ssize_t n;

	if (size == 0)
		return 0;
	in = (struct view){(const char *)data + 1, size - 1};
	if (data[0] & 1) {
		int result = logline_parse(in, &l);

		another_way(in, result, &l);
		if (result == 0) {
			inside(l.backend, in);
			inside(l.server, in);
			inside(l.state, in);
			if (l.ticket < 0 || l.status < -1 || l.status > 999)
				abort();
		}
		return 0;
	}
	while ((n = logline_next(in, 64, &line)) > 0) {
		if ((size_t)n > in.len || line.len > 64)
			abort();
		inside(line, in);
		(void)!logline_parse(line, &l);
		in.ptr += n;
		in.len -= (size_t)n;
	}
	return 0;
}
