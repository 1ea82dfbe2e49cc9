/*
 * Outgoing HTTP(S) by libcurl's multi-socket interface on the libevent loop.
 *
 * libcurl tells which descriptors it wants watched and when it wants to be called (on_socket,
 * on_timeout); the loop calls curl_multi_socket_action(); what ended is collected afterwards by
 * collect(), which is the only place that calls users back. So no user code ever runs inside a
 * libcurl callback, and users may start, cancel and free from theirs. A client that is freed
 * inside one is taken apart when collect() returns.
 *
 * A transfer is in exactly one list: the line (waiting for one of max_connections places), under
 * way (in the multi handle), broken (it could not be started, to be told from the loop) or spare.
 * Spare transfers keep their easy handle and buffer, a bounded number of them, so that asking
 * a hundred servers each second allocates next to nothing.
 *
 * Bounds: the body by max_body (told early by Content-Length, and counted while it comes, so
 * endless and lying bodies end there), all headers together by HEADERS_MAX, time by one deadline.
 */
#include "net/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/queue.h>

#include "net/http_options.h"

#define HEADERS_MAX    (64 * 1024)
#define SPARE_MAX      8            /* transfers kept for reuse */
#define SPARE_BODY_MAX (256 * 1024) /* and what buffer each may keep */
#define AGAIN_MS       50

struct http_transfer {
	TAILQ_ENTRY(http_transfer) link;
	struct http_client *client;
	enum {
		TRANSFER_SPARE,
		TRANSFER_LINE,
		TRANSFER_UNDER_WAY,
		TRANSFER_BROKEN,
		TRANSFER_TELLING
	} state;
	CURL *easy;
	struct http_options options;
	http_done done;
	void *arg;
	uint64_t max_body;
	enum http_error error; /* why our callbacks ended it; HTTP_OK: they did not */
	const char *why;
	size_t header_bytes;
	char *body;
	size_t len, size;
	char detail[CURL_ERROR_SIZE];
};

TAILQ_HEAD(transfer_list, http_transfer);

struct http_client {
	struct event_base *base;
	CURLM *multi;
	struct event *timer; /* libcurl's */
	struct event *kick;  /* something to start or to tell */
	unsigned max_connections, nunder_way, nspare;
	struct transfer_list line, under_way, broken, spare;
	bool collecting, dying;
	bool timer_lost; /* libcurl wants to be called, and there is no timer for it */
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

static size_t give_up(struct http_transfer *t, enum http_error error, const char *why)
{
	t->error = error;
	t->why = why;
	return 0;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct http_transfer *t = arg;

	n *= one;
	if (n == 0)
		return 0;
	if (n > t->max_body - t->len)
		return give_up(t, HTTP_TOO_LARGE, "the body is larger than the limit");
	if (n > t->size - t->len) {
		size_t size = t->size ? t->size : 4096;
		char *body;

		while (size - t->len < n)
			size *= 2;
		body = realloc(t->body, size);
		if (!body)
			return give_up(t, HTTP_MEMORY, "out of memory");
		t->body = body;
		t->size = size;
	}
	memcpy(t->body + t->len, data, n);
	t->len += n;
	return n;
}

static struct view header_value(struct view line, const char *name)
{
	size_t len = strlen(name);

	if (line.len <= len || line.ptr[len] != ':' || strncasecmp(line.ptr, name, len) != 0)
		return VIEW_NULL;
	line.ptr += len + 1;
	line.len -= len + 1;
	while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
		line.ptr++;
		line.len--;
	}
	while (line.len && strchr(" \t\r\n", line.ptr[line.len - 1]))
		line.len--;
	return line;
}

static size_t on_header(char *data, size_t one, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	struct view line = {data, n * one}, value;

	if (line.len > HEADERS_MAX - t->header_bytes)
		return give_up(t, HTTP_TOO_LARGE, "the headers are larger than 64 kB");
	t->header_bytes += line.len;
	value = header_value(line, "content-encoding");
	if (value.len && !view_caseeq(value, VIEW_LIT("identity")))
		return give_up(t, HTTP_PROTOCOL, "compressed though not asked for");
	value = header_value(line, "transfer-encoding");
	if (value.len && !view_caseeq(value, VIEW_LIT("chunked")) &&
	    !view_caseeq(value, VIEW_LIT("identity")))
		return give_up(t, HTTP_PROTOCOL, "compressed though not asked for");
	return line.len;
}

/* The ends of transfers */

static void transfer_destroy(struct http_transfer *t)
{
	if (t->easy)
		curl_easy_cleanup(t->easy);
	http_options_deinit(&t->options);
	free(t->body);
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
	if (t->size > SPARE_BODY_MAX) {
		free(t->body);
		t->body = NULL;
		t->size = 0;
	}
	t->state = TRANSFER_SPARE;
	TAILQ_INSERT_HEAD(&c->spare, t, link);
	c->nspare++;
}

static void kick(struct http_client *c)
{
	event_active(c->kick, EV_TIMEOUT, 0);
}

/* Takes it out of whatever holds it. */
static void transfer_unlink(struct http_transfer *t)
{
	struct http_client *c = t->client;

	switch (t->state) {
	case TRANSFER_LINE:
		TAILQ_REMOVE(&c->line, t, link);
		break;
	case TRANSFER_UNDER_WAY:
		TAILQ_REMOVE(&c->under_way, t, link);
		c->nunder_way--;
		curl_multi_remove_handle(c->multi, t->easy);
		if (!TAILQ_EMPTY(&c->line))
			kick(c);
		break;
	case TRANSFER_BROKEN:
		TAILQ_REMOVE(&c->broken, t, link);
		break;
	case TRANSFER_SPARE:
	case TRANSFER_TELLING:
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

static void tell(struct http_transfer *t, CURLcode code)
{
	struct http_answer answer = {.error = t->error, .detail = "", .body = {"", 0}};
	char *type = NULL;
	long status = 0;

	if (answer.error == HTTP_OK)
		answer.error = error_of(code);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	answer.status = (int)status;
	answer.content_type = view_str(type);
	if (t->len)
		answer.body = (struct view){t->body, t->len};
	if (t->why)
		answer.detail = t->why;
	else if (code != CURLE_OK)
		answer.detail = t->detail[0] ? t->detail : curl_easy_strerror(code);
	transfer_unlink(t);
	t->state = TRANSFER_TELLING;
	t->done(&answer, t->arg);
	transfer_recycle(t);
}

static void start_waiting(struct http_client *c)
{
	struct http_transfer *t;

	while (c->nunder_way < c->max_connections && (t = TAILQ_FIRST(&c->line))) {
		TAILQ_REMOVE(&c->line, t, link);
		if (curl_multi_add_handle(c->multi, t->easy) != CURLM_OK) {
			t->error = HTTP_MEMORY;
			t->why = "the transfer could not be started";
			t->state = TRANSFER_BROKEN;
			TAILQ_INSERT_TAIL(&c->broken, t, link);
			kick(c);
			continue;
		}
		t->state = TRANSFER_UNDER_WAY;
		TAILQ_INSERT_TAIL(&c->under_way, t, link);
		c->nunder_way++;
	}
}

static void client_destroy(struct http_client *c);

/* Tells what has ended, starts what waits. The client may be gone afterwards. */
static void collect(struct http_client *c)
{
	struct http_transfer *t;
	CURLMsg *message;
	int left;

	assert(!c->collecting);
	c->collecting = true;
	while (!c->dying && (message = curl_multi_info_read(c->multi, &left))) {
		CURLcode code = message->data.result;
		char *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		tell((struct http_transfer *)private, code);
	}
	while (!c->dying && (t = TAILQ_FIRST(&c->broken)))
		tell(t, CURLE_OUT_OF_MEMORY);
	c->collecting = false;
	if (c->dying)
		client_destroy(c);
	else
		start_waiting(c);
}

/* libcurl and the loop */

/* Without memory for a timer the loop's next turn has to do. */
static void set_timer(struct http_client *c, const struct timeval *tv)
{
	if (event_add(c->timer, tv) < 0) {
		c->timer_lost = true;
		kick(c);
	}
}

/* When libcurl had no memory for its own bookkeeping it has not looked at its timers either, and
 * will not ask to be called: it is called again soon, so that deadlines hold. */
static void drive(struct http_client *c, curl_socket_t fd, int mask)
{
	static const struct timeval soon = {0, AGAIN_MS * 1000};
	int running;

	if (curl_multi_socket_action(c->multi, fd, mask, &running) != CURLM_OK)
		set_timer(c, &soon);
	collect(c);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	int mask = 0;

	if (what & EV_READ)
		mask |= CURL_CSELECT_IN;
	if (what & EV_WRITE)
		mask |= CURL_CSELECT_OUT;
	drive(arg, fd, mask);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *c = arg;
	bool lost = c->timer_lost;

	(void)fd;
	(void)what;
	c->timer_lost = false;
	if (lost)
		drive(c, CURL_SOCKET_TIMEOUT, 0);
	else
		collect(c);
}

/* A socket that cannot be watched for want of memory is left to the transfer's deadline. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_client *c = arg;
	struct event *event = socket_arg;
	short mask = EV_PERSIST;

	(void)easy;
	if (event)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		if (what & CURL_POLL_IN)
			mask |= EV_READ;
		if (what & CURL_POLL_OUT)
			mask |= EV_WRITE;
		event = event_new(c->base, fd, mask, on_event, c);
		if (event && event_add(event, NULL) < 0) {
			event_free(event);
			event = NULL;
		}
	}
	curl_multi_assign(c->multi, fd, event);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_client *c = arg;
	struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

	(void)multi;
	if (timeout_ms < 0)
		event_del(c->timer);
	else
		set_timer(c, &tv);
	return 0;
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
	c->base = base;
	c->max_connections = max_connections ? max_connections : 1;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(c);
		return NULL;
	}
	c->multi = curl_multi_init();
	c->timer = event_new(base, -1, 0, on_timer, c);
	c->kick = event_new(base, -1, 0, on_kick, c);
	if (!c->multi || !c->timer || !c->kick) {
		client_destroy(c);
		return NULL;
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	http_client_keep(c, c->max_connections);
	return c;
}

void http_client_keep(struct http_client *c, unsigned idle_connections)
{
	/* 0 would mean libcurl's own choice. */
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS,
			  (long)(idle_connections ? idle_connections : 1));
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
	if (c->multi)
		curl_multi_cleanup(c->multi); /* closes kept connections: on_socket() still runs */
	if (c->timer)
		event_free(c->timer);
	if (c->kick)
		event_free(c->kick);
	curl_global_cleanup();
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
	t->error = HTTP_OK;
	t->why = NULL;
	t->header_bytes = 0;
	t->len = 0;
	t->detail[0] = '\0';
	return t;
}

int http_get(struct http_client *c, const struct http_request *req, http_done done, void *arg,
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
	t->max_body = req->max_body;
	r = http_options_apply(&t->options, req, t->easy);
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

void http_cancel(struct http_transfer *t)
{
	if (t && t->state != TRANSFER_TELLING) {
		transfer_unlink(t);
		transfer_recycle(t);
	}
}
