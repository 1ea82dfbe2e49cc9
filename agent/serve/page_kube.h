/* What the pages say of Kubernetes: a part of /state, families of /metrics. */
#ifndef SERVE_PAGE_KUBE_H
#define SERVE_PAGE_KUBE_H

#include <stdio.h>

struct cJSON;
struct control;

/* Nothing where no kubernetes: is configured. */
void page_kube_state(struct cJSON *root, const struct control *c);
void page_kube_metrics(FILE *out, const struct control *c);
/* Why it is not ready as far as the API server is the reason; 0: it is not. */
int page_kube_why(const struct control *c, FILE *out);

#endif
