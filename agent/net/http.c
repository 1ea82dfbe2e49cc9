/*
 * Outgoing HTTP(S): the transfers of a client and their owners.
 *
 * libcurl runs on the loop by http_loop.c; what has come and what has ended is collected afterwards
 * by collect(), which is the only place that calls users back. So no user code ever runs inside a
 * libcurl callback, and users may start, cancel and free from theirs. A client that is freed
 * inside one is taken apart when collect() returns; a stream that is cancelled inside its own hook
 * when that returns.
 *
 * A transfer is in exactly one list: the line (waiting for one of max_connections places), under
 * way (in the multi handle), broken (it could not be started, or said nothing for too long; to be
 * told from the loop) or spare. Streams with something to hand over are in the list of fresh ones
 * besides. Spare transfers keep their easy handle and buffer, a bounded number of them, so that
 * asking a hundred servers each second allocates next to nothing.
 *
 * A stream's bytes wait in its buffer until collect(). When that is full libcurl stops reading, and
 * so, by TCP, does the server stop writing.
 */
#include "net/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "net/http_loop.h"
#include "net/http_options.h"
#include "net/http_receive.h"

#define SPARE_MAX 8 /* transfers kept for reuse */

struct http_transfer {
	TAILQ_ENTRY(http_transfer) link;
	struct http_client *client;
	enum {
		TRANSFER_SPARE,
		TRANSFER_LINE,
		TRANSFER_UNDER_WAY,
		TRANSFER_BROKEN,
		TRANSFER_TELLING,
		TRANSFER_CANCELLED /* inside its own hook */
	} state;
	CURL *easy;
	struct http_options options;
	struct http_receive in;
	http_done done;
	void *arg;

	/* Of a stream. */
	struct http_stream_hooks stream; /* done: NULL if it is none */
	TAILQ_ENTRY(http_transfer) fresh_link;
	bool fresh, head_told, calling, paused;
	struct event *idle;
	uint64_t idle_ns, heard_ns; /* 0: any silence is fine; when it said something last */

	char detail[CURL_ERROR_SIZE];
};

TAILQ_HEAD(transfer_list, http_transfer);

struct http_client {
	struct event_base *base;
	struct http_loop *loop;
	CURLM *multi; /* the loop's */
	unsigned max_connections, nunder_way, nspare;
	struct transfer_list line, under_way, broken, spare, fresh;
	struct http_room *room; /* NULL: none */
	bool collecting, dying;
};

const char *http_error_name(enum http_error e)
{
	switch (e) {
	case HTTP_OK:
		return "ok";
	case HTTP_CONNECT:
		return "connect";
	case HTTP_TIMEOUT:
		return "timeout";
	case HTTP_TLS:
		return "tls";
	case HTTP_TOO_LARGE:
		return "too_large";
	case HTTP_PROTOCOL:
		return "protocol";
	case HTTP_CANCELLED:
		return "cancelled";
	case HTTP_MEMORY:
		return "memory";
	}
	return "unknown";
}

/* A transfer's own callbacks, called by libcurl */

/* A stream has something for its owner. */
static void freshen(struct http_transfer *t)
{
	if (!t->fresh && t->stream.done) {
		t->fresh = true;
		TAILQ_INSERT_TAIL(&t->client->fresh, t, fresh_link);
	}
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct http_transfer *t = arg;

	n *= one;
	t->heard_ns = t->idle_ns ? clock_mono_ns() : 0;
	switch (http_receive_body(&t->in, (struct view){data, n})) {
	case HTTP_RECEIVE_GO_ON:
		freshen(t);
		return n;
	case HTTP_RECEIVE_PAUSE:
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	case HTTP_RECEIVE_END:
		break;
	}
	return 0;
}

static size_t on_header(char *data, size_t one, size_t n, void *arg)
{
	struct http_transfer *t = arg;

	n *= one;
	t->heard_ns = t->idle_ns ? clock_mono_ns() : 0;
	if (!http_receive_header(&t->in, (struct view){data, n}))
		return 0;
	if (t->in.status && !t->head_told)
		freshen(t);
	return n;
}

/* The ends of transfers */

static void transfer_destroy(struct http_transfer *t)
{
	if (t->easy)
		curl_easy_cleanup(t->easy);
	http_options_deinit(&t->options);
	http_receive_deinit(&t->in);
	if (t->idle)
		event_free(t->idle);
	free(t);
}

/* From TELLING or out of no list to the spare ones, or away. */
static void transfer_recycle(struct http_transfer *t)
{
	struct http_client *c = t->client;

	if (c->nspare >= SPARE_MAX || c->dying) {
		transfer_destroy(t);
		return;
	}
	/* The handle forgets its options (a token among them), not its buffers. */
	curl_easy_reset(t->easy);
	http_options_deinit(&t->options);
	http_receive_reset(&t->in, 0, false, NULL);
	if (t->idle)
		event_free(t->idle);
	t->idle = NULL;
	t->state = TRANSFER_SPARE;
	TAILQ_INSERT_HEAD(&c->spare, t, link);
	c->nspare++;
}

/* Takes it out of whatever holds it. */
static void transfer_unlink(struct http_transfer *t)
{
	struct http_client *c = t->client;

	if (t->fresh) {
		TAILQ_REMOVE(&c->fresh, t, fresh_link);
		t->fresh = false;
	}
	if (t->idle)
		event_del(t->idle);
	switch (t->state) {
	case TRANSFER_LINE:
		TAILQ_REMOVE(&c->line, t, link);
		break;
	case TRANSFER_UNDER_WAY:
		TAILQ_REMOVE(&c->under_way, t, link);
		c->nunder_way--;
		curl_multi_remove_handle(c->multi, t->easy);
		if (!TAILQ_EMPTY(&c->line))
			http_loop_kick(c->loop);
		break;
	case TRANSFER_BROKEN:
		TAILQ_REMOVE(&c->broken, t, link);
		break;
	case TRANSFER_SPARE:
	case TRANSFER_TELLING:
	case TRANSFER_CANCELLED:
		break;
	}
}

static enum http_error error_of(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_INTERFACE_FAILED:
		return HTTP_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_TIMEOUT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_USE_SSL_FAILED:
		return HTTP_TLS;
	case CURLE_FILESIZE_EXCEEDED:
		return HTTP_TOO_LARGE;
	case CURLE_OUT_OF_MEMORY:
		return HTTP_MEMORY;
	default:
		return HTTP_PROTOCOL;
	}
}

/* libcurl counts milliseconds in the commonest two: the same trouble would be new each time to
 * whoever logs what is new. */
static const char *detail_of(struct http_transfer *t, CURLcode code)
{
	curl_off_t connected = 0;
	long number = 0;

	if (code == CURLE_OPERATION_TIMEDOUT) {
		curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &connected);
		return connected ? "no whole answer in time" : "no connection in time";
	}
	if (code == CURLE_COULDNT_CONNECT) {
		curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number);
		if (number)
			return strerror((int)number);
	}
	return t->detail[0] ? t->detail : curl_easy_strerror(code);
}

static void tell(struct http_transfer *t, CURLcode code)
{
	struct http_answer answer = {.error = t->in.error, .detail = "", .body = {"", 0}};
	char *type = NULL;
	long status = 0;

	if (answer.error == HTTP_OK)
		answer.error = error_of(code);
	/* libcurl calls it an answer when a connection ends within the head. */
	if (answer.error == HTTP_OK && t->in.status == 0) {
		answer.error = HTTP_PROTOCOL;
		t->in.why = "the connection was closed within the headers";
	}
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	answer.status = (int)status;
	answer.content_type = view_str(type);
	answer.retry_after = t->in.retry_after;
	if (t->in.len && !t->in.stream)
		answer.body = (struct view){t->in.body, t->in.len};
	if (t->in.why)
		answer.detail = t->in.why;
	else if (code != CURLE_OK)
		answer.detail = detail_of(t, code);
	transfer_unlink(t);
	t->state = TRANSFER_TELLING;
	t->done(&answer, t->arg);
	transfer_recycle(t);
}

/* Its end comes from outside of libcurl; told from the loop. */
static void transfer_break(struct http_transfer *t, enum http_error error, const char *why)
{
	struct http_client *c = t->client;

	transfer_unlink(t);
	t->in.error = error;
	t->in.why = why;
	t->state = TRANSFER_BROKEN;
	TAILQ_INSERT_TAIL(&c->broken, t, link);
	http_loop_kick(c->loop);
}

/* Streams */

/* Hands over what has come. False: the transfer is gone. */
static bool hand_over(struct http_transfer *t)
{
	struct http_receive *in = &t->in;

	if (t->fresh) {
		TAILQ_REMOVE(&t->client->fresh, t, fresh_link);
		t->fresh = false;
	}
	t->calling = true;
	if (in->status && !t->head_told) {
		t->head_told = true;
		if (t->stream.head)
			t->stream.head(in->status, t->arg);
	}
	if (in->len && t->state != TRANSFER_CANCELLED && !t->client->dying)
		t->stream.chunk(in->status, (struct view){in->body, in->len}, t->arg);
	t->calling = false;
	if (t->state == TRANSFER_CANCELLED) {
		transfer_recycle(t);
		return false;
	}
	http_receive_taken(in);
	if (t->paused && t->state == TRANSFER_UNDER_WAY) {
		t->paused = false;
		curl_easy_pause(t->easy, CURLPAUSE_CONT); /* may call on_body() */
	}
	return true;
}

/* Has it been silent for too long? */
static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct http_transfer *t = arg;
	uint64_t silent = clock_mono_ns() - t->heard_ns, left;
	struct timeval tv;

	(void)fd;
	(void)what;
	if (silent >= t->idle_ns) {
		transfer_break(t, HTTP_TIMEOUT, "the server has fallen silent");
		return;
	}
	left = (t->idle_ns - silent) / 1000 + 1;
	tv = (struct timeval){(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};
	if (event_add(t->idle, &tv) < 0)
		transfer_break(t, HTTP_MEMORY, "out of memory");
}

static void start_waiting(struct http_client *c)
{
	struct http_transfer *t;

	while (c->nunder_way < c->max_connections && (t = TAILQ_FIRST(&c->line))) {
		if (curl_multi_add_handle(c->multi, t->easy) != CURLM_OK) {
			transfer_break(t, HTTP_MEMORY, "the transfer could not be started");
			continue;
		}
		TAILQ_REMOVE(&c->line, t, link);
		t->state = TRANSFER_UNDER_WAY;
		TAILQ_INSERT_TAIL(&c->under_way, t, link);
		c->nunder_way++;
		if (t->idle) {
			t->heard_ns = clock_mono_ns();
			on_idle(-1, 0, t);
		}
	}
}

static void client_destroy(struct http_client *c);

/* Tells what has come and what has ended, starts what waits. The client may be gone afterwards. */
static void collect(void *arg)
{
	struct http_client *c = arg;
	struct http_transfer *t;
	CURLMsg *message;
	int left;

	assert(!c->collecting);
	c->collecting = true;
	while (!c->dying && (t = TAILQ_FIRST(&c->fresh)))
		hand_over(t);
	while (!c->dying && (message = curl_multi_info_read(c->multi, &left))) {
		CURLcode code = message->data.result;
		char *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		t = (struct http_transfer *)private;
		if (!t->fresh || (hand_over(t) && !c->dying))
			tell(t, code);
	}
	while (!c->dying && (t = TAILQ_FIRST(&c->broken)))
		if (t->in.len == 0 || !t->stream.done || (hand_over(t) && !c->dying))
			tell(t, CURLE_OUT_OF_MEMORY);
	c->collecting = false;
	if (c->dying)
		client_destroy(c);
	else
		start_waiting(c);
}

/* Clients */

struct http_client *http_client_new(struct event_base *base, unsigned max_connections)
{
	struct http_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	TAILQ_INIT(&c->line);
	TAILQ_INIT(&c->under_way);
	TAILQ_INIT(&c->broken);
	TAILQ_INIT(&c->spare);
	TAILQ_INIT(&c->fresh);
	c->base = base;
	c->max_connections = max_connections ? max_connections : 1;
	c->loop = http_loop_new(base, collect, c);
	if (!c->loop) {
		free(c);
		return NULL;
	}
	c->multi = http_loop_multi(c->loop);
	http_client_keep(c, c->max_connections);
	return c;
}

void http_client_keep(struct http_client *c, unsigned idle_connections)
{
	/* 0 would mean libcurl's own choice. */
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS,
			  (long)(idle_connections ? idle_connections : 1));
}

void http_client_share(struct http_client *c, struct http_room *room)
{
	c->room = room;
}

static void destroy_list(struct transfer_list *list)
{
	struct http_transfer *t;

	while ((t = TAILQ_FIRST(list))) {
		if (t->state == TRANSFER_SPARE)
			TAILQ_REMOVE(list, t, link);
		else
			transfer_unlink(t);
		transfer_destroy(t);
	}
}

static void client_destroy(struct http_client *c)
{
	destroy_list(&c->line);
	destroy_list(&c->under_way);
	destroy_list(&c->broken);
	destroy_list(&c->spare);
	http_loop_free(c->loop);
	free(c);
}

struct http_client *http_client_free(struct http_client *c)
{
	if (c) {
		c->dying = true;
		if (!c->collecting)
			client_destroy(c);
	}
	return NULL;
}

/* Requests */

static int set_callbacks(struct http_transfer *t)
{
	if (curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t) != CURLE_OK ||
	    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->detail) != CURLE_OK ||
	    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK ||
	    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t) != CURLE_OK ||
	    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK ||
	    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t) != CURLE_OK)
		return -ENOMEM;
	return 0;
}

static struct http_transfer *transfer_take(struct http_client *c)
{
	struct http_transfer *t = TAILQ_FIRST(&c->spare);

	if (t) {
		TAILQ_REMOVE(&c->spare, t, link);
		c->nspare--;
	} else {
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
		t->client = c;
		t->easy = curl_easy_init();
		if (!t->easy) {
			free(t);
			return NULL;
		}
	}
	t->stream = (struct http_stream_hooks){0};
	t->head_told = t->calling = t->paused = false;
	t->idle_ns = 0;
	t->detail[0] = '\0';
	return t;
}

/* @hooks: NULL, or a stream's. */
static int transfer_start(struct http_client *c, const struct http_request *req, http_done done,
			  const struct http_stream_hooks *hooks, void *arg,
			  struct http_transfer **ret)
{
	struct http_options options;
	struct http_transfer *t;
	int r;

	if (c->dying)
		return -EINVAL;
	r = http_options_init(&options, req);
	if (r < 0)
		return r;
	t = transfer_take(c);
	if (!t) {
		http_options_deinit(&options);
		return -ENOMEM;
	}
	t->options = options;
	t->done = done;
	t->arg = arg;
	http_receive_reset(&t->in, req->max_body, hooks != NULL, hooks ? NULL : c->room);
	if (hooks) {
		t->stream = *hooks;
		t->idle_ns = req->idle_ms * CLOCK_NS_PER_MS;
		if (t->idle_ns)
			t->idle = event_new(c->base, -1, 0, on_idle, t);
		if (t->idle_ns && !t->idle)
			r = -ENOMEM;
	}
	if (r == 0)
		r = http_options_apply(&t->options, req, hooks != NULL, t->easy);
	if (r == 0)
		r = set_callbacks(t);
	if (r < 0) {
		transfer_recycle(t);
		return r;
	}
	t->state = TRANSFER_LINE;
	TAILQ_INSERT_TAIL(&c->line, t, link);
	start_waiting(c);
	if (ret)
		*ret = t;
	return 0;
}

int http_send(struct http_client *c, const struct http_request *req, http_done done, void *arg,
	      struct http_transfer **ret)
{
	return transfer_start(c, req, done, NULL, arg, ret);
}

int http_get(struct http_client *c, const struct http_request *req, http_done done, void *arg,
	     struct http_transfer **ret)
{
	return req->method == HTTP_GET ? http_send(c, req, done, arg, ret) : -EINVAL;
}

int http_stream(struct http_client *c, const struct http_request *req,
		const struct http_stream_hooks *hooks, void *arg, struct http_transfer **ret)
{
	return transfer_start(c, req, hooks->done, hooks, arg, ret);
}

void http_cancel(struct http_transfer *t)
{
	if (!t || t->state == TRANSFER_TELLING || t->state == TRANSFER_CANCELLED)
		return;
	transfer_unlink(t);
	if (t->calling)
		t->state = TRANSFER_CANCELLED;
	else
		transfer_recycle(t);
}
