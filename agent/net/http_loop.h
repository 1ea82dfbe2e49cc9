/*
 * libcurl's multi handle on the libevent loop, for http.c only.
 */
#ifndef NET_HTTP_LOOP_H
#define NET_HTTP_LOOP_H

#include <curl/curl.h>
#include <stdint.h>

struct event_base;
struct http_loop;

/* @ready is called from the loop, never from inside libcurl, after it may have moved anything and
 * after http_loop_kick(); it may free the loop. NULL when memory is short. */
struct http_loop *http_loop_new(struct event_base *base, void (*ready)(void *arg), void *arg);
struct http_loop *http_loop_free(struct http_loop *l);

CURLM *http_loop_multi(const struct http_loop *l);
void http_loop_kick(struct http_loop *l);

#endif
