/* DISCONNECT, from either side: the same two keys. */
#include "spop/disconnect.h"

#include "cursor.h"
#include "frame.h"
#include "value.h"

#define KEY_STATUS  SPOP_VIEW_LIT("status-code")
#define KEY_MESSAGE SPOP_VIEW_LIT("message")

int spop_disconnect_parse(struct spop_view payload, struct spop_disconnect *ret,
			  struct spop_fault *ret_fault)
{
	struct spop_disconnect d = {.message = SPOP_VIEW_NULL};
	struct spop_cursor c;
	bool has_status = false;

	spop_cursor_init(&c, payload);
	while (spop_cursor_left(&c) > 0) {
		const uint8_t *start = c.pos;
		struct spop_view key = spop_string_read(&c);
		struct spop_value v;
		int64_t n;

		if (key.len == 0)
			spop_cursor_fail(&c, start, "an empty key");
		start = c.pos;
		spop_value_read(&c, &v);
		if (spop_view_eq(key, KEY_STATUS)) {
			if (spop_value_integer(&v, &n) != 0 || n < 0 || n > UINT32_MAX)
				spop_cursor_fail(&c, start, "status-code is no UINT32");
			else
				d.status = (uint32_t)n;
			has_status = true;
		} else if (spop_view_eq(key, KEY_MESSAGE)) {
			if (v.type != SPOP_DATA_T_STR)
				spop_cursor_fail(&c, start, "message is no string");
			d.message = v.bytes;
		}
	}
	if (!spop_cursor_failed(&c) && !has_status)
		spop_cursor_fail(&c, c.pos, "status-code is missing");
	if (spop_cursor_failed(&c))
		return spop_cursor_fault(&c, SPOP_ERR_INVALID, 0, ret_fault);
	*ret = d;
	return 0;
}

size_t spop_disconnect_write(void *buf, size_t cap, enum spop_frame_type type, uint32_t status,
			     struct spop_view message)
{
	struct spop_value code = spop_value_uint32(status);
	struct spop_value text;
	struct spop_writer w;

	if (!message.ptr)
		message = spop_view_str(spop_error_text(status));
	if (message.len > SPOP_DISCONNECT_TEXT)
		message.len = SPOP_DISCONNECT_TEXT;
	text = spop_value_str(message);
	spop_frame_begin(&w, buf, cap, type, 0, 0);
	spop_string_write(&w, KEY_STATUS);
	spop_value_write(&w, &code);
	spop_string_write(&w, KEY_MESSAGE);
	spop_value_write(&w, &text);
	return spop_frame_end(&w);
}
