/*
 * What somebody speaks in the place of SPOP, told by the first bytes of a connection.
 */
#ifndef SERVE_STRANGER_H
#define SERVE_STRANGER_H

#include <stddef.h>
#include <stdint.h>

/* What to change in haproxy.cfg, a constant; NULL when the bytes do not tell. */
const char *stranger_remedy(const uint8_t *bytes, size_t len);

#endif
