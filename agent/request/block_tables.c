#include "request/block_tables.h"

#define ROW(c) [c] = {[0 ... 63] = c}

_Alignas(64) const uint8_t block_byte[128][64] = {
    ROW('"'), ROW('\\'), ROW('{'), ROW('}'), ROW(','),  ROW(':'),  ROW('0'),  ROW('-'), ROW('+'),
    ROW('.'), ROW('e'),  ROW('u'), ROW('m'), ROW(0x20), ROW(0x1f), ROW(0x0f), ROW(9),
};
