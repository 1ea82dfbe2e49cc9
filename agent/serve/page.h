/*
 * The pages of the administration port: what the control thread knows, as text. Each writes the
 * whole body and returns the HTTP status.
 */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

#include <stdio.h>
#include "serve/admin.h"

struct control;

int page_metrics(void *control, FILE *out);
int page_healthz(void *control, FILE *out);
int page_readyz(void *control, FILE *out);
int page_models(void *control, FILE *out);
int page_state(void *control, FILE *out);

extern const struct admin_page page_table[];

#endif
