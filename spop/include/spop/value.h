/* Typed data: what arguments and variables are made of. SPOE.txt §3.1. */
#ifndef SPOP_VALUE_H
#define SPOP_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "spop/view.h"

enum spop_data_type {
#define SPOP_DATA_T(symbol, code, name) SPOP_DATA_T_##symbol = (code),
#include "spop/types.def"
#undef SPOP_DATA_T
};

#define SPOP_DATA_T_MASK  0x0f
#define SPOP_DATA_FL_MASK 0xf0
#define SPOP_DATA_FL_TRUE 0x10 /* of BOOL; other flags are reserved: ignored in, 0 out */

struct spop_value {
	enum spop_data_type type;
	uint8_t flags; /* the upper four bits as received; not read by encoders */
	union {
		bool boolean;           /* BOOL */
		int64_t sint;           /* INT32 (within its range), INT64 */
		uint64_t uint;          /* UINT32 (within its range), UINT64 */
		struct spop_view bytes; /* STR, BIN; IPV4 (4 bytes), IPV6 (16), network order */
	};
};

static inline struct spop_value spop_value_null(void)
{
	return (struct spop_value){.type = SPOP_DATA_T_NULL};
}

static inline struct spop_value spop_value_bool(bool v)
{
	return (struct spop_value){.type = SPOP_DATA_T_BOOL, .boolean = v};
}

static inline struct spop_value spop_value_int32(int32_t v)
{
	return (struct spop_value){.type = SPOP_DATA_T_INT32, .sint = v};
}

static inline struct spop_value spop_value_uint32(uint32_t v)
{
	return (struct spop_value){.type = SPOP_DATA_T_UINT32, .uint = v};
}

static inline struct spop_value spop_value_int64(int64_t v)
{
	return (struct spop_value){.type = SPOP_DATA_T_INT64, .sint = v};
}

static inline struct spop_value spop_value_uint64(uint64_t v)
{
	return (struct spop_value){.type = SPOP_DATA_T_UINT64, .uint = v};
}

/* addr: 4 or 16 bytes in network order, not copied. */
static inline struct spop_value spop_value_ipv4(const void *addr)
{
	return (struct spop_value){.type = SPOP_DATA_T_IPV4, .bytes = spop_view_of(addr, 4)};
}

static inline struct spop_value spop_value_ipv6(const void *addr)
{
	return (struct spop_value){.type = SPOP_DATA_T_IPV6, .bytes = spop_view_of(addr, 16)};
}

static inline struct spop_value spop_value_str(struct spop_view v)
{
	return (struct spop_value){.type = SPOP_DATA_T_STR, .bytes = v};
}

static inline struct spop_value spop_value_bin(struct spop_view v)
{
	return (struct spop_value){.type = SPOP_DATA_T_BIN, .bytes = v};
}

/* Same type and same content; flags do not count. */
bool spop_value_eq(const struct spop_value *a, const struct spop_value *b);

/* STR and BIN alike, as bytes: HAProxy sends a sample as one or the other after its fetch's type.
 * Everything else, NULL included, gives SPOP_VIEW_NULL.
 */
static inline struct spop_view spop_value_bytes(const struct spop_value *v)
{
	return v->type == SPOP_DATA_T_STR || v->type == SPOP_DATA_T_BIN ? v->bytes : SPOP_VIEW_NULL;
}

/* Any of the four integer types that fits an int64_t: 0, written; else 1. */
int spop_value_integer(const struct spop_value *v, int64_t *ret)
    __attribute__((warn_unused_result));

/* "str", or "?" for an unknown type. Never NULL. */
const char *spop_data_type_name(unsigned int type);

#endif
