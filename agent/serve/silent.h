/*
 * Requests that HAProxy ended without a log line.
 *
 * A server that dies under a request on a connection that was used before: HAProxy closes the
 * client's connection and logs nothing, in every version (its word for it is abort_keep_alive: the
 * client is to try again). No line closes such a ticket. But HAProxy says with each poll how many
 * requests it has at each server; where that is fewer than were asked for before the question, and
 * stays so, the difference has ended. Control thread.
 */
#ifndef SERVE_SILENT_H
#define SERVE_SILENT_H

#include <stdint.h>
#include "pick/endpoint.h"
#include "pick/ticket.h"

struct silent;

/* Borrows both. NULL when memory is short. */
struct silent *silent_new(struct endpoints *e, struct tickets *t);
struct silent *silent_free(struct silent *s);

/* To be called after each poll, more often does no harm. @pid: the worker that answered, 0: none
 * ever did. @asked_ns: when the question of the last good answer was sent. */
void silent_tick(struct silent *s, uint32_t pid, uint64_t asked_ns);

uint64_t silent_given_up(const struct silent *s);

#endif
