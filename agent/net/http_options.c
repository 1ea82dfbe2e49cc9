/*
 * What a request means in libcurl's words.
 *
 * QUICK_EXIT lets go of libcurl's resolver thread when a transfer ends before the look-up did;
 * without it libcurl joins the thread, and the loop would stand still for as long as the resolver
 * takes. libcurl would keep a CA file for a day; a rotated one is wanted sooner.
 *
 * libcurl has no option for a certificate's name that is not the URL's host. So the URL gets that
 * name for a host, the connection goes where the host was (CONNECT_TO), and Host is written out.
 */
#include "net/http_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RECEIVE_BUFFER (16L * 1024)
#define STREAM_BUFFER  (16L * 1024)
#define DNS_CACHE_S    10L /* names are looked up for new connections only */
#define CA_CACHE_S     60L /* a changed CA file is seen after this */
#define CONNECT_TO_MAX 128

/* keepalive: after so long a silence, so often, dead after so long. */
#define KEEPALIVE_IDLE_S  10L
#define KEEPALIVE_EVERY_S 5L
#define KEEPALIVE_DEAD_MS 30000

static int read_url(const char *text, CURLU **ret)
{
	CURLUcode r;
	CURLU *url;

	/* Other schemes, and none, are as wrong as what libcurl cannot read. */
	if (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
		return -EINVAL;
	url = curl_url();
	if (!url)
		return -ENOMEM;
	r = curl_url_set(url, CURLUPART_URL, text, 0);
	if (r != CURLUE_OK) {
		curl_url_cleanup(url);
		return r == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
	}
	*ret = url;
	return 0;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static bool all_digits(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 5;
}

/* "::HOST:PORT", libcurl's way to say: whatever the URL says, connect there. */
static int write_connect_to(char *out, size_t size, const char *where)
{
	const char *colon = strrchr(where, ':');
	struct in6_addr v6;
	char host[INET6_ADDRSTRLEN + 2];
	size_t len = strlen(where);
	const char *port = "";

	if (inet_pton(AF_INET6, where, &v6) == 1) {
		snprintf(out, size, "::[%s]:", where);
		return 0;
	}
	if (colon && (len < 1 || where[len - 1] != ']')) {
		if (!all_digits(colon + 1))
			return -EINVAL;
		port = colon + 1;
		len = (size_t)(colon - where);
	}
	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, where, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &v6) != 1)
			return -EINVAL;
		host[len - 1] = ']';
	} else if (inet_pton(AF_INET, host, &v6) != 1) {
		return -EINVAL;
	}
	snprintf(out, size, "::%s:%s", host, port);
	return 0;
}

static int append(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);

	if (!longer)
		return -ENOMEM;
	*list = longer;
	return 0;
}

/* Swaps the URL's host for @name, as above; @where stays if it says where to connect. */
static int set_server_name(struct http_options *o, const char *name, bool connects)
{
	char *host = NULL, *port = NULL, *text = NULL;
	struct in6_addr v6;
	int r = -ENOMEM;

	if (curl_url_get(o->url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		goto out;
	if (curl_url_get(o->url, CURLUPART_PORT, &port, 0) == CURLUE_OUT_OF_MEMORY)
		goto out;
	if (asprintf(&text, "Host: %s%s%s", host, port ? ":" : "", port ? port : "") < 0) {
		text = NULL;
		goto out;
	}
	r = append(&o->headers, text);
	free(text);
	text = NULL;
	if (r == 0 && !connects) {
		r = -ENOMEM;
		if (asprintf(&text, "::%s:%s", host, port ? port : "") < 0) {
			text = NULL;
			goto out;
		}
		r = append(&o->connect_to, text);
		free(text);
		text = NULL;
	}
	if (r < 0)
		goto out;
	if (asprintf(&text, inet_pton(AF_INET6, name, &v6) == 1 ? "[%s]" : "%s", name) < 0) {
		text = NULL;
		r = -ENOMEM;
	} else {
		CURLUcode code = curl_url_set(o->url, CURLUPART_HOST, text, 0);

		r = code == CURLUE_OK ? 0 : code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
	}
out:
	free(text);
	curl_free(host);
	curl_free(port);
	return r;
}

static int set_headers(struct http_options *o, const struct http_request *req)
{
	char *type;
	int r = 0;

	for (size_t i = 0; r == 0 && req->headers && req->headers[i]; i++)
		r = has_control(req->headers[i]) ? -EINVAL : append(&o->headers, req->headers[i]);
	if (r == 0 && req->method != HTTP_GET) {
		if (req->content_type && has_control(req->content_type))
			return -EINVAL;
		/* Without a type libcurl would say it is a form. */
		if (asprintf(&type, "Content-Type:%s%s", req->content_type ? " " : "",
			     req->content_type ? req->content_type : "") < 0)
			return -ENOMEM;
		r = append(&o->headers, type);
		free(type);
		if (r == 0)
			r = append(&o->headers, "Expect:"); /* asks nobody for leave to send */
	}
	return r;
}

/* What is sent must outlive the caller's. */
static int keep_body(struct http_options *o, struct view body)
{
	o->body = malloc(body.len ? body.len : 1);
	if (!o->body)
		return -ENOMEM;
	if (body.len)
		memcpy(o->body, body.ptr, body.len);
	return 0;
}

static int set_bearer(struct http_options *o, const char *bearer)
{
	char *header;
	int r;

	if (asprintf(&header, "Authorization: Bearer %s", bearer) < 0)
		return -ENOMEM;
	r = append(&o->headers, header);
	explicit_bzero(header, strlen(header));
	free(header);
	return r;
}

int http_options_init(struct http_options *o, const struct http_request *req)
{
	char connect_to[CONNECT_TO_MAX];
	int r;

	*o = (struct http_options){0};
	if (req->bearer && has_control(req->bearer))
		return -EINVAL;
	if (req->connect_to &&
	    write_connect_to(connect_to, sizeof(connect_to), req->connect_to) < 0)
		return -EINVAL;
	r = read_url(req->url, &o->url);
	if (r == 0 && req->bearer && req->bearer[0])
		r = set_bearer(o, req->bearer);
	if (r == 0 && req->connect_to)
		r = append(&o->connect_to, connect_to);
	if (r == 0)
		r = set_headers(o, req);
	if (r == 0 && req->tls.server_name)
		r = set_server_name(o, req->tls.server_name, req->connect_to != NULL);
	if (r == 0 && req->method != HTTP_GET)
		r = keep_body(o, req->body);
	if (r < 0)
		http_options_deinit(o);
	return r;
}

void http_options_deinit(struct http_options *o)
{
	curl_url_cleanup(o->url);
	curl_slist_free_all(o->headers);
	curl_slist_free_all(o->connect_to);
	free(o->body);
	*o = (struct http_options){0};
}

/* TCP's own question whether the other side is there. Its count of tries is not libcurl's to set
 * (before 8.9), so what decides is how long nothing may be acknowledged. */
static int on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void)arg;
	(void)purpose;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(unsigned){KEEPALIVE_DEAD_MS},
			 sizeof(unsigned));
	return CURL_SOCKOPT_OK;
}

static CURLcode apply_blob(CURL *easy, CURLoption option, struct view v)
{
	/* COPY: libcurl only reads it. */
	struct curl_blob blob = {(void *)(uintptr_t)v.ptr, v.len, CURL_BLOB_COPY};

	return v.len ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

static CURLcode apply_method(const struct http_options *o, const struct http_request *req,
			     CURL *easy)
{
	static const char *const names[] = {NULL, "PUT", "POST", "PATCH"};
	CURLcode r;

	if (req->method == HTTP_GET)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	r = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, o->body);
	if (r == CURLE_OK)
		r = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.len);
	if (r == CURLE_OK)
		r = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, names[req->method]);
	return r;
}

int http_options_apply(const struct http_options *o, const struct http_request *req, bool stream,
		       CURL *easy)
{
	uint64_t limit = req->max_body < INT64_MAX ? req->max_body : INT64_MAX;
	long timeout = req->timeout_ms ? (long)req->timeout_ms : 1;
	CURLcode r = apply_method(o, req, easy);

#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (r == CURLE_OK)                                                                 \
			r = curl_easy_setopt(easy, option, value);                                 \
	} while (0)
	SET(CURLOPT_CURLU, o->url);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "spoa-inference/" SPOA_VERSION);
	SET(CURLOPT_HTTPHEADER, o->headers);
	SET(CURLOPT_CONNECT_TO, o->connect_to);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
#endif
	SET(CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
	if (stream) {
		SET(CURLOPT_CONNECTTIMEOUT_MS, timeout);
		SET(CURLOPT_BUFFERSIZE, STREAM_BUFFER);
	} else {
		SET(CURLOPT_TIMEOUT_MS, timeout);
		SET(CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
		SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)limit);
	}
	if (req->keepalive) {
		SET(CURLOPT_TCP_KEEPALIVE, 1L);
		SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
		SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_EVERY_S);
		SET(CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	}
	SET(CURLOPT_SSL_VERIFYPEER, req->tls_verify ? 1L : 0L);
	SET(CURLOPT_SSL_VERIFYHOST, req->tls_verify ? 2L : 0L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (req->tls.ca.len || req->ca_file) {
		/* Instead of the system's, not beside them. */
		SET(CURLOPT_CAPATH, NULL);
		SET(CURLOPT_CAINFO, req->tls.ca.len ? NULL : req->ca_file);
	}
#undef SET
	if (r == CURLE_OK)
		r = apply_blob(easy, CURLOPT_CAINFO_BLOB, req->tls.ca);
	if (r == CURLE_OK)
		r = apply_blob(easy, CURLOPT_SSLCERT_BLOB, req->tls.cert);
	if (r == CURLE_OK)
		r = apply_blob(easy, CURLOPT_SSLKEY_BLOB, req->tls.key);
	return r == CURLE_OK ? 0 : -ENOMEM;
}
