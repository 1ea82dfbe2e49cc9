/* Whatever the API server may send: the same objects at every split; each is balanced, begins and
 * ends with its braces, and is no larger than the maximum. Input: form, maximum, split, text. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "discover/kube/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t hash;
	size_t n, max;
};

static bool part(enum kube_stream_part part, char *text, size_t len, void *arg)
{
	struct seen *s = arg;

	assert(text[len] == '\0' && len <= s->max);
	if (part == KUBE_STREAM_TOO_LARGE)
		assert(len <= 1024 && (len == 0 || text[0] == '{'));
	else
		assert(len >= 2 && text[0] == '{' && strchr("]}", text[len - 1]));
	s->n++;
	s->hash = (s->hash ^ (uint64_t)part) * 1099511628211u;
	for (size_t i = 0; i < len; i++)
		s->hash = (s->hash ^ (uint8_t)text[i]) * 1099511628211u;
	memset(text, '"', len);
	return s->n < 1000;
}

static int run(enum kube_stream_form form, const char *text, size_t size, size_t step, size_t max,
	       struct seen *seen, bool *whole)
{
	struct kube_stream *s = kube_stream_new(form, max, part, seen);
	const char *error;
	int r = 0;

	assert(s);
	for (size_t at = 0; r == 0 && at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		char *piece = malloc(n);

		assert(piece);
		memcpy(piece, text + at, n);
		r = kube_stream_feed(s, (struct view){piece, n}, &error);
		assert((r < 0) == (*error != '\0'));
		free(piece);
	}
	*whole = kube_stream_whole(s);
	kube_stream_free(s);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum kube_stream_form form;
	size_t max, step;
	struct seen a = {0}, b = {0};
	bool whole_a, whole_b;

	if (size < 3)
		return 0;
	form = data[0] & 1 ? KUBE_STREAM_LIST : KUBE_STREAM_WATCH;
	max = data[1] == 255 ? 1 << 20 : data[1] * 8u;
	step = data[2] + 1u;
	data += 3;
	size -= 3;
	a.max = b.max = max;
	assert(run(form, (const char *)data, size, size ? size : 1, max, &a, &whole_a) ==
	       run(form, (const char *)data, size, step, max, &b, &whole_b));
	assert(a.n == b.n && a.hash == b.hash && whole_a == whole_b);
	return 0;
}
