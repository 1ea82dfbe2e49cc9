/* Whatever HAProxy may answer to the follower: to its question, to its commands, to a reload, and
 * what may be found where the generated file was. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "discover/follow/diff.h"
#include "discover/follow/generate.h"
#include "discover/follow/reload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool owns(struct view backend, void *arg)
{
	(void)arg;
	return backend.len % 2 == 1;
}

static void in_bounds(struct view v, struct view of)
{
	assert(v.len == 0 || (v.ptr >= of.ptr && v.ptr + v.len <= of.ptr + of.len));
}

static struct want *wanted(void)
{
	static struct plan_member members[2] = {{.name = {"a", 1}}, {.name = {"b", 1}}};
	static struct plan_pool pools[2] = {
	    {.name = {"llama", 5}, .backend = {"llama", 5}, .members = members, .nmembers = 2},
	    {.name = {"b", 1}, .backend = {"b", 1}, .h2c = true},
	};
	struct plan plan = {.pools = pools, .npools = 2};

	for (int i = 0; i < 2; i++) {
		struct sockaddr_in *in = (struct sockaddr_in *)&members[i].addr;

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0x7f000001);
		in->sin_port = htons(80);
	}
	members[1].draining = true;
	return want_new(&plan, VIEW_LIT("check"));
}

static void compare(struct view text)
{
	static struct want *w;
	struct diff_how how = {owns, NULL, true};
	struct diff *d;
	struct view error;
	int r;

	if (!w)
		w = wanted();
	assert(w);
	r = diff_new(w, text, &how, &d, &error);
	if (r < 0) {
		assert(r == -EAGAIN || r == -EACCES || r == -EPROTO || r == -ESTALE);
		in_bounds(error, text);
		return;
	}
	for (size_t i = 0; i < d->ncommands; i++) {
		struct view c = d->commands[i].text;

		/* One command is one command, whatever HAProxy calls its servers. */
		assert(c.len && !memchr(c.ptr, '\n', c.len) && !memchr(c.ptr, ';', c.len));
	}
	for (size_t i = 0; i < d->nbackends; i++) {
		in_bounds(d->backends[i], text);
		assert(i == 0 || d->backends[i - 1].len == 0 ||
		       memcmp(d->backends[i - 1].ptr, d->backends[i].ptr,
			      d->backends[i - 1].len < d->backends[i].len
				  ? d->backends[i - 1].len
				  : d->backends[i].len) <= 0);
	}
	diff_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own, so that the sanitizer sees a byte too far. */
	char *copy = malloc(size ? size : 1), message[40];
	struct view text = {copy, size}, rest, one;
	enum reload_result result;

	assert(copy);
	if (size)
		memcpy(copy, data, size);
	compare(text);
	rest = text;
	while (diff_answer_next(&rest, &one)) {
		in_bounds(one, text);
		for (int kind = DIFF_ADD_BACKEND; kind <= DIFF_DELETE_BACKEND; kind++)
			(void)diff_accepted((enum diff_kind)kind, one);
	}
	rest = text;
	while (generate_backends_next(&rest, &one)) {
		in_bounds(one, text);
		assert(one.len && !memchr(one.ptr, '\n', one.len));
	}
	if (reload_read(text, &result, message, sizeof(message)) == 0)
		assert(strlen(message) < sizeof(message));
	assert(reload_failures(text) >= -EPROTO);
	free(copy);
	return 0;
}
