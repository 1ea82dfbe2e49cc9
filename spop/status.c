/* Names and texts out of the tables. */
#include "spop/error.h"
#include "spop/frame.h"
#include "spop/value.h"

const char *spop_error_name(unsigned int code)
{
	switch (code) {
#define SPOP_ERR(symbol, value, text)                                                              \
	case (value):                                                                              \
		return "SPOP_ERR_" #symbol;
#include "spop/errors.def"
#undef SPOP_ERR
	default:
		return "SPOP_ERR_?";
	}
}

const char *spop_error_text(unsigned int code)
{
	switch (code) {
#define SPOP_ERR(symbol, value, text)                                                              \
	case (value):                                                                              \
		return text;
#include "spop/errors.def"
#undef SPOP_ERR
	default:
		return spop_error_text(SPOP_ERR_UNKNOWN);
	}
}

const char *spoe_ctx_error_text(unsigned int st)
{
	if (st >= SPOE_CTX_ERR_SPOP)
		return spop_error_text(st - SPOE_CTX_ERR_SPOP);
	switch (st) {
#define SPOE_CTX_ERR(symbol, value, text)                                                          \
	case (value):                                                                              \
		return text;
#include "spop/processing.def"
#undef SPOE_CTX_ERR
	default:
		return spoe_ctx_error_text(SPOE_CTX_ERR_UNKNOWN);
	}
}

const char *spop_frame_type_name(uint8_t type)
{
	switch (type) {
#define SPOP_FRM_T(symbol, value, name)                                                            \
	case (value):                                                                              \
		return name;
#include "spop/frames.def"
#undef SPOP_FRM_T
	default:
		return "?";
	}
}

const char *spop_data_type_name(unsigned int type)
{
	switch (type) {
#define SPOP_DATA_T(symbol, value, name)                                                           \
	case (value):                                                                              \
		return name;
#include "spop/types.def"
#undef SPOP_DATA_T
	default:
		return "?";
	}
}
