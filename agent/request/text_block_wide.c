#include "request/text.h"

/* text_block.c for AVX-512. */
#if defined(__x86_64__)
#define BLOCK_WIDE 1
/* NOLINTNEXTLINE(bugprone-suspicious-include): the same source for another width, on purpose */
#include "request/text_block.c"
#endif
