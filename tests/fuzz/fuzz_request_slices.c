/*
 * Any bytes as a body, with head and tail chosen by the first four: slices that touch mean what the
 * whole means; with a gap, a valid body without a duplicate model means that or need_body. With a
 * known length, and with none and a full buffer. Each slice in memory of its own. With the reader
 * of blocks that the length chooses.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/request/readers.h"
#include "unit/request/reference.h"
#include "request/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct request_limits limits = {512, 16384, false};

static void check(const char *body, size_t n, size_t head, size_t tail, bool announced)
{
	static struct ref_answer a;
	struct request_input in = {.body = {body, n},
				   .body_len = -1,
				   .body_size = -1,
				   .content_length = announced ? (int64_t)n : -1,
				   .buffer_size = (uint32_t)n};
	struct request whole, part;
	char *h = malloc(head + 1), *t = malloc(tail + 1);
	bool touch = head + tail >= n;

	request_read(&whole, &in, &limits);
	memcpy(h + 1, body, head);
	memcpy(t + 1, body + (n - tail), tail);
	in.body = VIEW_NULL;
	in.body_len = (int64_t)n;
	in.head = (struct view){h + 1, head};
	in.tail = (struct view){t + 1, tail};
	request_read(&part, &in, &limits);

	ref_answer(&a, body, n, limits.max_depth);
	if (!touch && part.status == REQUEST_NEED_BODY)
		goto out;
	if (!touch && !a.duplicate_free && !whole.truncated)
		goto out;
	/* cut, and the model in the gap */
	if (!touch && part.status == REQUEST_TOO_LARGE && whole.truncated &&
	    whole.model_at + whole.model_len >= (int64_t)head)
		goto out;
	/* cut inside, with the error in the gap or at the end */
	if (!touch && whole.truncated && whole.status == REQUEST_BAD)
		goto out;
	if (part.status != whole.status || !view_eq(part.model, whole.model) ||
	    part.model_at != whole.model_at || part.model_len != whole.model_len ||
	    part.at != whole.at || part.why != whole.why)
		abort();
	if (touch && part.truncated != whole.truncated)
		abort();
out:
	free(h);
	free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *body = (const char *)data + 4;
	size_t n, head, tail;

	if (size < 5 || size > 65536)
		return 0;
	for (size_t i = size; !text_use_blocks(reader_names[i % READERS]); i++)
		;
	n = size - 4;
	head = (size_t)(data[0] | data[1] << 8) % (n + 1);
	tail = (size_t)(data[2] | data[3] << 8) % (n + 1);
	for (int announced = 0; announced < 2; announced++) {
		check(body, n, head, tail, announced);
		check(body, n, head, n - head, announced);
	}
	return 0;
}
