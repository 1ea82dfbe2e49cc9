/*
 * Any bytes as a whole JSON body, with a small and the default depth: the same verdict, name and
 * position as the reference reader, and the same in two pieces, with each reader of blocks that
 * this machine has.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "unit/request/readers.h"
#include "unit/request/reference.h"
#include "request/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct request *a, const struct request *b)
{
	if (a->status != b->status || !view_eq(a->model, b->model) || a->model_at != b->model_at ||
	    a->model_len != b->model_len || a->at != b->at || a->why != b->why)
		abort();
}

/* With the reader in use. The first byte says where the pieces touch. */
static void read_both(struct request *whole, const uint8_t *data, size_t size,
		      const struct request_limits *limits)
{
	struct request_input in = {.body = {(const char *)data + 1, size - 1},
				   .body_len = -1,
				   .body_size = -1,
				   .content_length = -1};
	struct request halves;
	size_t cut = (size_t)data[0] * (size - 1) / 255;

	request_read(whole, &in, limits);
	in.head = (struct view){in.body.ptr, cut};
	in.tail = (struct view){in.body.ptr + cut, in.body.len - cut};
	in.body_len = (int64_t)in.body.len;
	in.body = VIEW_NULL;
	request_read(&halves, &in, limits);
	same(whole, &halves);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum request_status verdicts[] = {
	    [REF_OK] = REQUEST_OK, [REF_NO_MODEL] = REQUEST_NO_MODEL, [REF_BAD] = REQUEST_BAD};
	static struct ref_answer a;

	if (size < 2 || size > 65536)
		return 0;
	for (int deep = 0; deep < 2; deep++) {
		struct request_limits limits = {deep ? 512 : 3, 16384, false};
		struct request plain, blocks;

		if (!text_use_blocks("none"))
			abort();
		read_both(&plain, data, size, &limits);
		ref_answer(&a, (const char *)data + 1, size - 1, limits.max_depth);
		if (plain.status != verdicts[a.verdict])
			abort();
		if (a.verdict == REF_OK &&
		    (!view_eq(plain.model, (struct view){a.name, a.name_len}) ||
		     plain.model_at != (int64_t)a.at || plain.model_len != (int64_t)a.len))
			abort();
		for (int i = 0; i < READERS; i++) {
			if (!text_use_blocks(reader_names[i]))
				continue;
			read_both(&blocks, data, size, &limits);
			same(&plain, &blocks);
		}
	}
	return 0;
}
