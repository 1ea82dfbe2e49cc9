/*
 * One answer of the API server while it comes.
 *
 * cJSON's strings end at NUL, so that what an escaped one cuts off would make one text look like
 * another: it becomes U+FFFD. And cJSON makes a node of 64 bytes of every value: what has more of
 * them than JSON of any object is refused before it is parsed.
 */
#include "discover/kube/answer.h"

#include <cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "discover/kube/stream.h"

#define CONTINUE_MAX (64 * 1024)
#define VALUE_LEAST  4 /* bytes of text for each value in it */

static const char *text_of(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static cJSON *parse(char *text, size_t len)
{
	size_t values = 0;
	bool string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (string && c == '\\') {
			if (len - i > 5 && memcmp(text + i, "\\u0000", 6) == 0)
				memcpy(text + i, "\\ufffd", 6);
			i++;
		} else if (c == '"') {
			string = !string;
		} else if (!string && (c == ',' || c == '[' || c == '{')) {
			values++;
		}
	}
	return values > len / VALUE_LEAST + 64 ? NULL : cJSON_ParseWithLength(text, len);
}

static void unreadable(struct kube_answer *a, const char *why)
{
	a->hooks->unreadable(why, a->arg);
}

static void fail(struct kube_answer *a, const char *why)
{
	a->result = (struct kube_result){.failure = KUBE_UNHEALTHY, .retry_after = -1};
	snprintf(a->result.message, sizeof(a->result.message), "%s", why);
	a->broken = a->result.message;
}

/* An object that is there. */
static void tell(struct kube_answer *a, const cJSON *object)
{
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
	const char *name = text_of(metadata, "name");

	if (!name[0])
		unreadable(a, "it has no name");
	else if (a->hooks->upsert(object, text_of(metadata, "namespace"), name, a->arg) < 0)
		fail(a, "out of memory");
}

static void read_envelope(struct kube_answer *a, const cJSON *list)
{
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(list, "metadata");
	const char *version = text_of(metadata, "resourceVersion");
	const char *go_on = text_of(metadata, "continue");
	const cJSON *items = cJSON_GetObjectItemCaseSensitive(list, "items");

	/* An empty list takes everything away, so it has to be one. Go may write it as null. */
	if (!cJSON_IsArray(items) && !cJSON_IsNull(items)) {
		fail(a, "a list without items");
	} else if (!version[0] || strlen(version) >= sizeof(a->version)) {
		fail(a, "a list without a resource version");
	} else if (strlen(go_on) > CONTINUE_MAX) {
		fail(a, "a list whose mark for the next page has no end");
	} else {
		memcpy(a->version, version, strlen(version) + 1);
		if (go_on[0]) {
			a->go_on = strdup(go_on);
			if (!a->go_on)
				fail(a, "out of memory");
		}
	}
}

static void read_event(struct kube_answer *a, const cJSON *event)
{
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(event, "object");
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
	const char *type = text_of(event, "type"), *version;

	if (strcmp(type, "ERROR") == 0) {
		a->event = true;
		kube_result_read_event(&a->result, object);
		a->broken = a->result.message;
		return;
	}
	if (!cJSON_IsObject(object)) {
		unreadable(a, "an event without an object");
		return;
	}
	if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0) {
		tell(a, object);
	} else if (strcmp(type, "DELETED") == 0) {
		a->hooks->remove(text_of(metadata, "namespace"), text_of(metadata, "name"), a->arg);
	} else if (strcmp(type, "BOOKMARK") != 0) {
		unreadable(a, "an event of an unknown type");
		return;
	}
	version = text_of(metadata, "resourceVersion");
	if (!a->broken && version[0] && strlen(version) < KUBE_VERSION_MAX)
		a->hooks->version(version, a->arg);
}

static bool on_part(enum kube_stream_part part, char *text, size_t len, void *arg)
{
	struct kube_answer *a = arg;
	cJSON *json;

	if (part == KUBE_STREAM_TOO_LARGE) {
		unreadable(a, "it is larger than the maximum");
		return true;
	}
	if (part == KUBE_STREAM_OBJECT && a->kind == KUBE_ANSWER_CLOCK)
		return true;
	json = parse(text, len);
	if (!json && part == KUBE_STREAM_ENVELOPE)
		fail(a, "the list is no JSON");
	else if (!json)
		unreadable(a, "it is no JSON");
	else if (part == KUBE_STREAM_ENVELOPE)
		read_envelope(a, json);
	else if (a->kind == KUBE_ANSWER_WATCH)
		read_event(a, json);
	else
		tell(a, json);
	cJSON_Delete(json);
	return !a->broken;
}

int kube_answer_init(struct kube_answer *a, enum kube_answer_kind kind, size_t max_object,
		     const struct kube_answer_hooks *hooks, void *arg)
{
	*a = (struct kube_answer){.kind = kind, .hooks = hooks, .arg = arg};
	a->stream =
	    kube_stream_new(kind == KUBE_ANSWER_WATCH ? KUBE_STREAM_WATCH : KUBE_STREAM_LIST,
			    max_object, on_part, a);
	return a->stream ? 0 : -ENOMEM;
}

void kube_answer_deinit(struct kube_answer *a)
{
	a->stream = kube_stream_free(a->stream);
	free(a->go_on);
	a->go_on = NULL;
}

bool kube_answer_feed(struct kube_answer *a, struct view bytes)
{
	const char *why = "";

	if (kube_stream_feed(a->stream, bytes, &why) < 0)
		fail(a, why);
	return !a->broken;
}

bool kube_answer_end(struct kube_answer *a)
{
	if (a->kind == KUBE_ANSWER_WATCH || kube_stream_whole(a->stream))
		return true;
	fail(a, "the answer ended half-way");
	return false;
}
