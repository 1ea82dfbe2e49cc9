/*
 * Writes the Prometheus text format: families out of metric.def, labels escaped.
 */
#ifndef SERVE_PROMWRITE_H
#define SERVE_PROMWRITE_H

#include <stdint.h>
#include <stdio.h>

enum metric {
#define METRIC(symbol, name, type, labels, help) METRIC_##symbol,
#include "serve/metric.def"
#undef METRIC
	METRIC_COUNT
};

/* The HELP and TYPE lines. All samples of a family follow it at once. */
void prom_family(FILE *out, enum metric m);
/* One sample: label pairs are name, value, …, NULL; @suffix is "" but for histograms. */
void prom_sample(FILE *out, enum metric m, double value, ...) __attribute__((sentinel));
void prom_bucket(FILE *out, enum metric m, const char *suffix, const char *le, double value);
/* A family of one sample without labels. */
void prom_single(FILE *out, enum metric m, double value);

#endif
