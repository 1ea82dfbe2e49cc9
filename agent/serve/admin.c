/*
 * The administration port, on libevent's HTTP server.
 *
 * It has no secrets but also no rights: every page is read-only. Answers are built whole before
 * the first byte leaves, so a slow reader holds a page's memory for timeouts.admin at most.
 */
#include "serve/admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "serve/address.h"

/* No request here needs a body, and none needs long headers. */
#define HEADERS_MAX 16384
#define BODY_MAX    1024

struct admin {
	struct evhttp *http;
	const struct admin_page *pages;
	void *arg;
	size_t naddresses;
	struct address *addresses;
};

static void answer(struct evhttp_request *req, int status, const char *type, const char *body,
		   size_t len)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	struct evbuffer *out = evbuffer_new();
	char length[24];

	if (!out) {
		evhttp_send_error(req, HTTP_INTERNAL, NULL);
		return;
	}
	snprintf(length, sizeof(length), "%zu", len);
	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Content-Length", length);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	if (evhttp_request_get_command(req) != EVHTTP_REQ_HEAD)
		evbuffer_add(out, body, len);
	evhttp_send_reply(req, status, NULL, out);
	evbuffer_free(out);
}

static void answer_page(struct admin *a, struct evhttp_request *req, const struct admin_page *page)
{
	char *body = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&body, &len);
	int status;

	if (!out) {
		evhttp_send_error(req, HTTP_INTERNAL, NULL);
		return;
	}
	status = page->write(a->arg, out);
	if (fclose(out) == 0)
		answer(req, status, page->content_type, body, len);
	else
		evhttp_send_error(req, HTTP_INTERNAL, NULL);
	free(body);
}

static void answer_list(struct admin *a, struct evhttp_request *req, int status)
{
	char text[512] = "spoa-inference\n";
	size_t len = strlen(text);

	for (const struct admin_page *p = a->pages; p->path; p++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", p->path);
	answer(req, status, "text/plain; charset=utf-8", text, len);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	enum evhttp_cmd_type method = evhttp_request_get_command(req);
	struct admin *a = arg;

	if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", "GET, HEAD");
		evhttp_send_error(req, HTTP_BADMETHOD, NULL);
		return;
	}
	for (const struct admin_page *p = a->pages; path && p->path; p++) {
		if (strcmp(path, p->path) == 0) {
			answer_page(a, req, p);
			return;
		}
	}
	answer_list(a, req, path && strcmp(path, "/") == 0 ? HTTP_OK : HTTP_NOTFOUND);
}

static int listen_on(struct event_base *base, struct admin *a, const char *text)
{
	struct address *address = &a->addresses[a->naddresses];
	struct evconnlistener *listener;
	int fd = address_parse(text, address);

	if (fd == 0)
		fd = address_listen(address, SOCK_STREAM, 64, 0600, NULL);
	if (fd < 0)
		return fd;
	a->naddresses++;
	listener = evconnlistener_new(base, NULL, NULL,
				      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	if (!evhttp_bind_listener(a->http, listener)) {
		evconnlistener_free(listener);
		return -ENOMEM;
	}
	return 0;
}

struct admin *admin_new(struct event_base *base, const struct config *conf,
			const struct admin_page *pages, void *arg)
{
	struct admin *a = calloc(1, sizeof(*a));
	struct log_line l;

	if (!a)
		return NULL;
	a->pages = pages;
	a->arg = arg;
	a->http = evhttp_new(base);
	a->addresses = calloc(conf->listen.admin.n + 1, sizeof(*a->addresses));
	if (!a->http || !a->addresses)
		return admin_free(a);
	evhttp_set_max_headers_size(a->http, HEADERS_MAX);
	evhttp_set_max_body_size(a->http, BODY_MAX);
	evhttp_set_timeout(a->http, (int)((conf->timeouts.admin_ms + 999) / 1000));
	evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
						EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE);
	evhttp_set_gencb(a->http, on_request, a);
	for (size_t i = 0; i < conf->listen.admin.n; i++) {
		int r = listen_on(base, a, conf->listen.admin.items[i]);

		if (r < 0) {
			log_begin(&l, LOG_LEVEL_ERROR, "listen_failed");
			log_str(&l, "option", "listen.admin");
			log_str(&l, "address", conf->listen.admin.items[i]);
			log_errno(&l, "error", -r);
			log_end(&l);
			return admin_free(a);
		}
	}
	return a;
}

struct admin *admin_free(struct admin *a)
{
	if (a) {
		for (size_t i = 0; i < a->naddresses; i++)
			address_unlink(&a->addresses[i]);
		if (a->http)
			evhttp_free(a->http);
		free(a->addresses);
		free(a);
	}
	return NULL;
}
