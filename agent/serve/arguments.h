/*
 * The arguments of a NOTIFY, by name: what the body is, and where the request wants to go. Unknown
 * names are ignored.
 */
#ifndef SERVE_ARGUMENTS_H
#define SERVE_ARGUMENTS_H

#include "request/request.h"
#include "route/rule.h"
#include "spop/notify.h"

/* Views point into the frame. Several messages in one NOTIFY add up. */
struct arguments {
	struct view id; /* as text; absent when it came as a number */
	uint64_t key;   /* of the id, as observe/logline.h makes it; 0: none */
	struct request_input input;
	struct rule_request where; /* host, path, method and headers */
};

void arguments_read(struct arguments *ret, struct spop_notify *notify, uint32_t buffer_size);

#endif
