/* What a model server answers on which path: the table of paths, errors in vLLM's shape, and the
 * paths that need no model of time. */
#ifndef SIM_API_H
#define SIM_API_H

#include "sim.h"

/* Answers, or starts a job that will. */
void api_request(struct sim *s, struct http_conn *c);

/* {"error":{"message","type","param","code"}}, Anthropic's shape on /v1/messages. */
void api_error(struct http_conn *c, const char *headers, int status, const char *type,
	       const char *param, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void api_json(struct http_conn *c, const char *headers, int status, const struct buf *body);

#endif
