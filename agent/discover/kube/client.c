/*
 * Requests to one API server.
 *
 * Every answer is taken as a stream, since only its head says whether it is objects or a Status;
 * of anything but 2xx the beginning is kept and read. What the server means is told in one word,
 * kube_failure, so that reflectors and writers decide by that and not by numbers: the numbers are
 * ambiguous (a 504 may be a time-out or a resource version from the future; "too old" comes as 410
 * of a list, and in a watch as an event of an answer that began with 200).
 */
#include "discover/kube/client.h"

#include <assert.h>
#include <cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "discover/kube/access.h"

/* A watch for each kind in each namespace has one for ever, so this is no place to be thrifty: who
 * waits in line behind watches waits for good. */
#define CONNECTIONS_MAX 4096

#define CONNECT_MS 10000 /* look-up, TCP and TLS */
#define STATUS_MAX 16384 /* of an answer that is no 2xx */

struct kube_client {
	struct event_base *base;
	struct kube_access *access;
	struct http_client *http;
	unsigned pending;
};

struct kube_pending {
	struct kube_client *client;
	struct http_transfer *transfer;
	struct kube_call_hooks hooks;
	void *arg;
	uint64_t version; /* of the credentials */
	char *body;       /* of anything but 2xx */
	size_t len;
};

const char *kube_failure_name(enum kube_failure f)
{
	static const char *const names[] = {"ok",        "unreachable", "unauthorized", "forbidden",
					    "not_found", "conflict",    "expired",      "too_new",
					    "busy",      "invalid",     "unhealthy"};

	return names[f];
}

/* What answers mean */

static enum kube_failure failure_of(int status)
{
	switch (status) {
	case 401:
		return KUBE_UNAUTHORIZED;
	case 403:
		return KUBE_FORBIDDEN;
	case 404:
		return KUBE_NOT_FOUND;
	case 409:
		return KUBE_CONFLICT;
	case 410:
		return KUBE_EXPIRED;
	case 429:
		return KUBE_BUSY;
	case 400:
	case 405:
	case 406:
	case 413:
	case 415:
	case 422:
		return KUBE_INVALID;
	default:
		return KUBE_UNHEALTHY;
	}
}

/* A copy of what fits, cut between characters, on one line. */
static void copy_text(char *out, size_t size, struct view v)
{
	size_t n = v.len < size - 1 ? v.len : size - 1, full = n;

	while (n && full - n < 3 && n < v.len && ((unsigned char)v.ptr[n] & 0xc0) == 0x80)
		n--;
	if (n < v.len && ((unsigned char)v.ptr[n] & 0xc0) == 0x80)
		n = full; /* no character has so many bytes: it is not UTF-8 */
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)v.ptr[i] < 0x20 ? ' ' : v.ptr[i];
	out[n] = '\0';
}

static const char *text_of(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static void read_status(struct kube_result *r, const cJSON *status)
{
	const cJSON *details = cJSON_GetObjectItemCaseSensitive(status, "details"), *item;
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(status, "code");

	if (cJSON_IsNumber(code) && code->valuedouble >= 100 && code->valuedouble < 1000)
		r->status = (int)code->valuedouble;
	r->failure = failure_of(r->status);
	copy_text(r->reason, sizeof(r->reason), view_str(text_of(status, "reason")));
	if (text_of(status, "message")[0])
		copy_text(r->message, sizeof(r->message), view_str(text_of(status, "message")));
	if (strcmp(r->reason, "Expired") == 0 || strcmp(r->reason, "Gone") == 0)
		r->failure = KUBE_EXPIRED;
	item = cJSON_GetObjectItemCaseSensitive(details, "retryAfterSeconds");
	if (r->retry_after < 0 && cJSON_IsNumber(item) && item->valuedouble > 0 &&
	    item->valuedouble < 86400)
		r->retry_after = (int64_t)item->valuedouble;
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(details, "causes"))
	{
		if (strcmp(text_of(item, "reason"), "ResourceVersionTooLarge") == 0)
			r->failure = KUBE_TOO_NEW;
	}
	/* Before 1.18 the text alone tells. */
	if (r->status == 504 && strstr(r->message, "Too large resource version"))
		r->failure = KUBE_TOO_NEW;
}

void kube_result_read_event(struct kube_result *r, const struct cJSON *status)
{
	*r = (struct kube_result){.retry_after = -1};
	snprintf(r->message, sizeof(r->message), "the server says no more than ERROR");
	read_status(r, status);
}

void kube_result_read(struct kube_result *r, int status, int64_t retry_after, struct view body)
{
	cJSON *json =
	    body.len && body.ptr[0] == '{' ? cJSON_ParseWithLength(body.ptr, body.len) : NULL;

	*r = (struct kube_result){
	    .failure = failure_of(status), .status = status, .retry_after = retry_after};
	while (body.len && strchr(" \t\r\n", body.ptr[body.len - 1]))
		body.len--;
	if (!json && body.len && body.ptr[0] != '<' && body.ptr[0] != '{')
		copy_text(r->message, sizeof(r->message), body);
	else
		snprintf(r->message, sizeof(r->message), "HTTP status %d", status);
	if (strcmp(text_of(json, "kind"), "Status") == 0) {
		read_status(r, json);
		r->status = status;
	}
	cJSON_Delete(json);
}

/* Calls */

static void on_head(int status, void *arg)
{
	struct kube_pending *p = arg;

	if (status >= 200 && status < 300 && p->hooks.head)
		p->hooks.head(status, p->arg);
}

static void on_chunk(int status, struct view bytes, void *arg)
{
	struct kube_pending *p = arg;

	if (status >= 200 && status < 300) {
		if (p->hooks.chunk)
			p->hooks.chunk(bytes, p->arg);
		return;
	}
	if (!p->body)
		p->body = malloc(STATUS_MAX);
	if (!p->body)
		return;
	if (bytes.len > STATUS_MAX - p->len)
		bytes.len = STATUS_MAX - p->len;
	memcpy(p->body + p->len, bytes.ptr, bytes.len);
	p->len += bytes.len;
}

static void pending_free(struct kube_pending *p)
{
	p->client->pending--;
	free(p->body);
	free(p);
}

static void on_done(const struct http_answer *answer, void *arg)
{
	struct kube_pending *p = arg;
	struct kube_call_hooks hooks = p->hooks;
	struct kube_result r = {.status = answer->status, .retry_after = answer->retry_after};
	void *owner = p->arg;

	if (answer->status >= 300) {
		kube_result_read(&r, answer->status, answer->retry_after,
				 (struct view){p->body, p->len});
	} else if (answer->error != HTTP_OK) {
		r.failure = KUBE_UNREACHABLE;
		snprintf(r.message, sizeof(r.message), "%s: %s", http_error_name(answer->error),
			 answer->detail);
	} else {
		snprintf(r.message, sizeof(r.message), "HTTP status %d", answer->status);
	}
	if (r.failure == KUBE_UNAUTHORIZED)
		r.renewed = kube_access_refused(p->client->access, p->version, clock_mono_ns());
	pending_free(p);
	hooks.done(&r, owner);
}

static int start(struct kube_pending *p, const struct kube_call *call)
{
	static const struct http_stream_hooks hooks = {on_head, on_chunk, on_done};
	const char *headers[3] = {"Accept: application/json"};
	char *url = NULL, *authorization = NULL;
	struct kube_credentials c;
	int r = -ENOMEM;

	kube_access_get(p->client->access, clock_mono_ns(), &c);
	p->version = c.version;
	if (asprintf(&url, "%s%s", c.url, call->path) < 0)
		url = NULL;
	if (c.authorization && asprintf(&authorization, "Authorization: %s", c.authorization) < 0)
		authorization = NULL;
	headers[1] = authorization;
	if (url && (authorization || !c.authorization)) {
		struct http_request req = {
		    .url = url,
		    .tls_verify = !c.insecure,
		    .timeout_ms = CONNECT_MS,
		    .method = call->method,
		    .body = call->body,
		    .content_type = call->content_type,
		    .headers = headers,
		    .tls = {c.ca, c.cert, c.key, c.server_name},
		    .keepalive = true,
		    .idle_ms = call->idle_ms,
		};

		r = http_stream(p->client->http, &req, &hooks, p, &p->transfer);
	}
	if (authorization)
		explicit_bzero(authorization, strlen(authorization));
	free(authorization);
	free(url);
	return r;
}

int kube_client_call(struct kube_client *c, const struct kube_call *call,
		     const struct kube_call_hooks *hooks, void *arg, struct kube_pending **ret)
{
	struct kube_pending *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->client = c;
	p->hooks = *hooks;
	p->arg = arg;
	c->pending++;
	r = start(p, call);
	if (r < 0)
		pending_free(p);
	else
		*ret = p;
	return r;
}

void kube_call_cancel(struct kube_pending *p)
{
	if (p) {
		http_cancel(p->transfer);
		pending_free(p);
	}
}

/* Clients */

struct kube_client *kube_client_new(struct event_base *base, struct kube_access *access)
{
	struct kube_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->base = base;
	c->access = access;
	c->http = http_client_new(base, CONNECTIONS_MAX);
	if (!c->http) {
		free(c);
		return NULL;
	}
	return c;
}

struct kube_client *kube_client_free(struct kube_client *c)
{
	if (c) {
		assert(c->pending == 0);
		http_client_free(c->http);
		free(c);
	}
	return NULL;
}

struct event_base *kube_client_base(const struct kube_client *c)
{
	return c->base;
}

/* Kubernetes' names and what is in its URLs: nothing here needs an escape. */
static bool is_word(const char *text)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "-._:";

	return *text && strspn(text, word) == strlen(text) && strcmp(text, ".") != 0 &&
	       strcmp(text, "..") != 0;
}

bool kube_client_path(char *out, size_t size, const struct kube_resource *r, const char *namespace,
		      const char *name, const char *tail)
{
	bool core = !r->group[0];
	int n;

	if ((!core && !is_word(r->group)) || !is_word(r->version) || !is_word(r->plural) ||
	    (namespace && !is_word(namespace)) || (name && !is_word(name)))
		return false;
	n = snprintf(out, size, "%s%s/%s%s%s/%s%s%s%s", core ? "/api" : "/apis/", r->group,
		     r->version, namespace ? "/namespaces/" : "", namespace ? namespace : "",
		     r->plural, name ? "/" : "", name ? name : "", tail);
	return n > 0 && (size_t)n < size;
}
