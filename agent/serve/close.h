/* Why an SPOP connection ended: close.def as a table. */
#ifndef SERVE_CLOSE_H
#define SERVE_CLOSE_H

#include <stdint.h>

enum close_reason {
#define CLOSE(symbol, counter, level, status, text) CLOSE_##symbol,
#include "serve/close.def"
#undef CLOSE
	CLOSE_COUNT
};

/* The counter's label, for /metrics. */
const char *close_reason_name(enum close_reason r);
/* What the peer is told, and the log. */
uint32_t close_reason_status(enum close_reason r);
const char *close_reason_text(enum close_reason r);
/* @remedy may be NULL. */
void close_log(enum close_reason r, uint64_t conn, uint32_t status, const char *text,
	       const char *remedy);

#endif
