/* The grammar is a strict part of Go's: no sign, no fraction, no unit below a millisecond. */
#include "discover/kube/duration.h"

static uint64_t unit(struct view text, size_t *ret_len)
{
	*ret_len = 1;
	if (!text.len)
		return 0;
	switch (text.ptr[0]) {
	case 'h':
		return 3600000;
	case 's':
		return 1000;
	case 'm':
		if (text.len > 1 && text.ptr[1] == 's') {
			*ret_len = 2;
			return 1;
		}
		return 60000;
	default:
		return 0;
	}
}

bool kube_duration_parse(struct view text, uint64_t *ret_ms)
{
	uint64_t sum = 0;
	unsigned parts = 0;

	while (text.len && parts++ < 4) {
		uint64_t n = 0, ms;
		size_t digits = 0, len;

		while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') {
			if (digits == 5)
				return false;
			n = n * 10 + (uint64_t)(text.ptr[digits++] - '0');
		}
		text.ptr += digits;
		text.len -= digits;
		ms = unit(text, &len);
		if (!digits || !ms)
			return false;
		text.ptr += len;
		text.len -= len;
		sum += n * ms;
	}
	*ret_ms = sum;
	return parts > 0 && text.len == 0;
}
