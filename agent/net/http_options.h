/*
 * What a request means in libcurl's words, for http.c only.
 */
#ifndef NET_HTTP_OPTIONS_H
#define NET_HTTP_OPTIONS_H

#include <curl/curl.h>
#include "net/http.h"

/* What libcurl borrows for as long as the transfer lasts. */
struct http_options {
	CURLU *url;
	struct curl_slist *headers, *connect_to;
	char *body;
};

/* 0, -EINVAL or -ENOMEM as http_get() says; on failure there is nothing to free. */
int http_options_init(struct http_options *o, const struct http_request *req)
    __attribute__((warn_unused_result));
void http_options_deinit(struct http_options *o);

/* Sets everything but callbacks on @easy, a handle that is fresh or reset. 0 or -ENOMEM. */
int http_options_apply(const struct http_options *o, const struct http_request *req, bool stream,
		       CURL *easy) __attribute__((warn_unused_result));

#endif
