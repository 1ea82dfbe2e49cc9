/* /sim/...: what the server has seen, and what it shall do wrong. */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "sim.h"

void control_request(struct sim *s, struct http_conn *c);

/*
 * One fault, as in `slow,factor=3` or POST /sim/fault?kind=slow&factor=3: its parameters come from
 * get(), which returns false for one that was not given. NULL, or what is wrong.
 */
typedef bool control_get(const void *from, const char *name, char *out, size_t size);
const char *control_fault(struct sim_faults *f, const char *kind, control_get *get,
			  const void *from);

#endif
