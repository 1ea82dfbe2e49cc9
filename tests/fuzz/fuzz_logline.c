/* HAProxy's log lines: the first byte says how the rest is read. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "observe/logline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct view part, struct view whole)
{
	if (part.len && (part.ptr < whole.ptr || part.ptr + part.len > whole.ptr + whole.len))
		abort();
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
		if (logline_parse(in, &l) == 0) {
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
