#include "serve/close.h"

#include "base/log.h"
#include "spop/error.h"

static const struct {
	const char *name;
	enum log_level level;
	uint32_t status;
	const char *text;
} reasons[] = {
#define CLOSE(symbol, counter, level, status, text)                                                \
	{counter, LOG_LEVEL_##level, SPOP_ERR_##status, text},
#include "serve/close.def"
#undef CLOSE
};

const char *close_reason_name(enum close_reason r)
{
	return reasons[r].name;
}

uint32_t close_reason_status(enum close_reason r)
{
	return reasons[r].status;
}

const char *close_reason_text(enum close_reason r)
{
	return reasons[r].text;
}

void close_log(enum close_reason r, uint64_t conn, uint32_t status, const char *text,
	       const char *remedy)
{
	struct log_line l;

	log_begin(&l, reasons[r].level, "spop_closed");
	log_int(&l, "conn", (int64_t)conn);
	log_str(&l, "reason", reasons[r].name);
	if (status != SPOP_ERR_NONE)
		log_int(&l, "status", status);
	log_str(&l, "text", text);
	log_str(&l, "remedy", remedy);
	log_end(&l);
}
