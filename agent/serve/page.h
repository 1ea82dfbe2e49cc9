/*
 * The pages of the administration port: what the control thread knows, as text. Each writes the
 * whole body and returns the HTTP status.
 */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

#include <stdint.h>
#include <stdio.h>
#include "serve/admin.h"

struct control;
struct models_page;

int page_metrics(void *control, FILE *out);
int page_healthz(void *control, FILE *out);
int page_readyz(void *control, FILE *out);
int page_models(void *control, FILE *out);
/* One model of them; @name as it stands in a path, with %XX. */
int page_model(void *control, struct view name, FILE *out);
int page_state(void *control, FILE *out);

/* What /v1/models keeps from one request to the next. @started_ns: when the agent began. NULL: out
 * of memory. */
struct models_page *models_page_new(uint64_t started_ns);
struct models_page *models_page_free(struct models_page *page);

extern const struct admin_page page_table[];

#endif
