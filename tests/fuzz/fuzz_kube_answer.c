/* Lists, watches and errors as whatever may come: what is told has a name, versions fit, an answer
 * that is over says why. Input: kind, step, status, text. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "discover/kube/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int upsert(const struct cJSON *object, const char *namespace, const char *name, void *arg)
{
	assert(object && namespace && name[0]);
	return ++*(size_t *)arg > 1000 ? -12 : 0;
}

static void told(const char *namespace, const char *name, void *arg)
{
	assert(namespace && name && arg);
}

static void version(const char *text, void *arg)
{
	assert(text[0] && strlen(text) < KUBE_VERSION_MAX && arg);
}

static void unreadable(const char *why, void *arg)
{
	assert(why[0] && arg);
}

static void explained(const struct kube_result *r)
{
	assert(r->failure != KUBE_OK && r->message[0] && kube_failure_name(r->failure));
	assert(memchr(r->message, 0, sizeof(r->message)) &&
	       memchr(r->reason, 0, sizeof(r->reason)));
	assert(r->retry_after >= -1 && r->retry_after < 86400);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kube_answer_hooks hooks = {upsert, told, version, unreadable};
	struct kube_result result;
	struct kube_answer a;
	size_t step, n = 0;
	bool more = true;

	if (size < 3)
		return 0;
	step = data[1] + 1u;
	assert(kube_answer_init(&a, (enum kube_answer_kind)(data[0] % 3), 1 << 16, &hooks, &n) ==
	       0);
	for (size_t at = 3; more && at < size; at += step) {
		size_t len = size - at < step ? size - at : step;
		char *piece = malloc(len);

		assert(piece);
		memcpy(piece, data + at, len);
		more = kube_answer_feed(&a, (struct view){piece, len});
		free(piece);
	}
	if (more && kube_answer_end(&a))
		assert(a.kind == KUBE_ANSWER_WATCH || a.version[0]);
	else
		explained(&a.result);
	kube_answer_deinit(&a);

	/* The same bytes as the body of an error. */
	kube_result_read(&result, 300 + data[2], -1,
			 (struct view){(const char *)data + 3, size - 3});
	explained(&result);
	return 0;
}
