/*
 * The arguments of a NOTIFY, by name, as struct request_input. Unknown names are ignored.
 */
#ifndef SERVE_ARGUMENTS_H
#define SERVE_ARGUMENTS_H

#include "request/request.h"
#include "spop/notify.h"

/* Views point into the frame. Several messages in one NOTIFY add up. */
struct arguments {
	struct view id;
	struct request_input input;
};

void arguments_read(struct arguments *ret, struct spop_notify *notify, uint32_t buffer_size);

#endif
