#include "request/json.h"

/* json_block.c for AVX-512. */
#if defined(__x86_64__)
#define BLOCK_WIDE 1
#include "request/json_block.c"
#endif
