/*
 * A request's body while it is read: found facts, and the prompt as it is counted. The functions
 * that return false have answered the client with what is wrong.
 */
#ifndef SIM_READING_H
#define SIM_READING_H

#include "api.h"
#include "sim.h"
#include "words.h"

#include <cjson/cJSON.h>

struct reading {
	struct sim *s;
	struct http_conn *c;
	enum sim_api api;
	cJSON *root;
	struct sim_model *model;
	struct prompt prompt;
	struct buf headers; /* NUL at its end */
	double max_tokens;  /* < 0: not given */
	bool stream, include_usage;
	struct buf whole;
	const char *whole_type;
};

#define READING_WRONG(r, param, ...)                                                               \
	(api_error((r)->c, (r)->headers.p, 400, "BadRequestError", param, __VA_ARGS__), false)

void reading_deinit(struct reading *r);

/* NULL when absent or null; of a name that stands twice the last. */
cJSON *reading_member(const cJSON *object, const char *name);
const char *reading_string(const cJSON *object, const char *name);

/* The body as an object. Fills headers. */
bool reading_parse(struct reading *r);
/* "" and NULL mean the base model. Begins the prompt. */
bool reading_set_model(struct reading *r, const char *name);
/* Always false. */
bool reading_missing(struct reading *r, const char *name);

/* A string, or parts of a content list: text counts, anything else is opaque. */
void reading_feed_content(struct prompt *p, const cJSON *content);
void reading_feed_messages(struct prompt *p, const cJSON *messages);
/* Text, or a list of token numbers; false if it is neither. */
bool reading_feed_input(struct prompt *p, const cJSON *input);

#endif
