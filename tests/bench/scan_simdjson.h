/* simdjson, which is C++, behind a door of C. */
#ifndef BENCH_SCAN_SIMDJSON_H
#define BENCH_SCAN_SIMDJSON_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @body needs 64 readable bytes behind it. */
bool scan_simdjson(const char *body, size_t len, const char *model);

#ifdef __cplusplus
}
#endif

#endif
