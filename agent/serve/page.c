/*
 * The table of pages, and the short ones.
 */
#include "serve/page.h"

#include "serve/control.h"
#include "serve/page_kube.h"

const struct admin_page page_table[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics, false, NULL},
    {"/healthz", "text/plain; charset=utf-8", page_healthz, true, NULL},
    {"/readyz", "text/plain; charset=utf-8", page_readyz, true, NULL},
    {"/v1/models", "application/json", page_models, false, page_model},
    {"/state", "application/json", page_state, false, NULL},
    {NULL, NULL, NULL, false, NULL},
};

int page_healthz(void *control, FILE *out)
{
	const struct control *c = control;

	if (!control_alive(c)) {
		fputs("a worker does not answer\n", out);
		return 503;
	}
	fputs("ok\n", out);
	return 200;
}

int page_readyz(void *control, FILE *out)
{
	const struct control *c = control;

	if (control_ready(c)) {
		fputs("ready\n", out);
		return 200;
	}
	if (c->stopping)
		fputs("draining\n", out);
	else if (page_kube_why(c, out) == 0)
		fputs("not every pool's source has answered yet, see /state\n", out);
	return 503;
}
