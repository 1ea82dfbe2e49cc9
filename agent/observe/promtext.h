/*
 * A pull parser for the Prometheus text exposition format 0.0.4 and what OpenMetrics 1.0 adds to
 * it (# EOF, exemplars, timestamps in seconds), over one page in memory. No allocation, no copy,
 * nothing is read past the page's end.
 *
 * In two steps, because of a page of thousands of lines a reader wants five: promtext_next() finds
 * lines, promtext_parse() reads one.
 *
 *   struct promtext p = promtext_open(page);
 *   while (promtext_next(&p, &kind, &line))
 *           if (kind == PROMTEXT_SAMPLE && promtext_is(line, VIEW_LIT("vllm:num_requests_running"))
 *               && promtext_parse(line, &sample) == 0)
 *                   …
 *
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
#ifndef OBSERVE_PROMTEXT_H
#define OBSERVE_PROMTEXT_H

#include <stdbool.h>
#include "base/view.h"

struct promtext {
	const char *at, *end;
};

enum promtext_kind {
	PROMTEXT_SAMPLE, /* the line begins with the metric's name */
	PROMTEXT_TYPE,   /* "# TYPE " is cut off: it begins with the metric's name as well */
};

struct promtext promtext_open(struct view page);

/* The next line that is a sample or a TYPE, without white space around it. Other comments and
 * empty lines are passed over. False at the end: of the page, or at "# EOF". */
bool promtext_next(struct promtext *p, enum promtext_kind *kind, struct view *line);

/* Whether the name that @line begins with is exactly @name. */
bool promtext_is(struct view line, struct view name);

struct promtext_sample {
	struct view name;
	struct view labels; /* between the braces, for promtext_label(); checked */
	double value;       /* NaN and infinities are values */
};

/* 0, or -EINVAL: not a sample; then nothing is written. */
int promtext_parse(struct view line, struct promtext_sample *ret)
    __attribute__((warn_unused_result));

struct promtext_label {
	struct view name;
	struct view value; /* as it stands there: \\, \" and \n not undone */
};

/* Takes the next label off @labels; false when there is none. */
bool promtext_label(struct view *labels, struct promtext_label *ret);
/* The value of label @name as it stands there; empty where there is no such label, which is the
 * same thing in Prometheus. */
struct view promtext_label_find(struct view labels, struct view name);
/* Whether @value, with its escapes undone, is @text. */
bool promtext_value_is(struct view value, struct view text);

/* A number of the format: decimal, with or without exponent, or NaN, Inf, Infinity with or without
 * sign in any case. No hexadecimal. 0 or -EINVAL. */
int promtext_number(struct view text, double *ret) __attribute__((warn_unused_result));

#endif
