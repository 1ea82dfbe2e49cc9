#include "serve/promwrite.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#define PREFIX "spoa_inference_"

static const struct {
	const char *name, *type, *help;
} rows[] = {
#define METRIC(symbol, name, type, labels, help) {PREFIX name, type, help},
#include "serve/metric.def"
#undef METRIC
};

/* Fifteen digits are what a double always keeps: a sum of years still grows by microseconds. */
static void put_number(FILE *out, double value)
{
	if (value == floor(value) && fabs(value) < 1e15)
		fprintf(out, "%.0f", value);
	else
		fprintf(out, "%.15g", value);
}

static void put_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			fputc('\\', out);
		if (*s == '\n')
			fputs("\\n", out);
		else
			fputc(*s, out);
	}
}

void prom_family(FILE *out, enum metric m)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[m].name, rows[m].help, rows[m].name,
		rows[m].type);
}

void prom_sample(FILE *out, enum metric m, double value, ...)
{
	const char *name, *label;
	unsigned n = 0;
	va_list ap;

	fputs(rows[m].name, out);
	va_start(ap, value);
	while ((name = va_arg(ap, const char *))) {
		label = va_arg(ap, const char *);
		fprintf(out, "%c%s=\"", n++ ? ',' : '{', name);
		put_escaped(out, label);
		fputc('"', out);
	}
	va_end(ap);
	fputs(n ? "} " : " ", out);
	put_number(out, value);
	fputc('\n', out);
}

void prom_bucket(FILE *out, enum metric m, const char *suffix, const char *le, double value)
{
	fprintf(out, "%s%s", rows[m].name, suffix);
	if (le)
		fprintf(out, "{le=\"%s\"}", le);
	fputc(' ', out);
	put_number(out, value);
	fputc('\n', out);
}

void prom_single(FILE *out, enum metric m, double value)
{
	prom_family(out, m);
	prom_sample(out, m, value, NULL);
}
