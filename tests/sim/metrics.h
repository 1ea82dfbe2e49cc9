/* The /metrics page, in the words of the engine that is played. */
#ifndef SIM_METRICS_H
#define SIM_METRICS_H

#include "sim.h"

void metrics_answer(struct sim *s, struct http_conn *c, const char *headers);

#endif
