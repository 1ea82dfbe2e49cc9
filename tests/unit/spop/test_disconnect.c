/* DISCONNECT: both ways, what may be missing and what may not, and the cut of a long message. */
#include "spop/disconnect.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

#define STATUS  "0b7374617475732d636f6465 "
#define MESSAGE "076d657373616765 "

static const struct {
	const char *hex;
	int want;
	uint32_t status;
	const char *why;
} cases[] = {
    {STATUS "0300" MESSAGE "0800", 0, 0, "an empty message"},
    {MESSAGE "080162" STATUS "0304", 0, 4, "in the other order"},
    {STATUS "0363", 0, 99, "no message"},
    {STATUS "0463", 0, 99, "as INT64"},
    {STATUS "03fff0fefe7e", 0, UINT32_MAX, "a status of the peer's own"},
    {STATUS "0303"
	    "0178 11",
     0, 3, "an unknown key"},
    {STATUS "05f0f1fefe7e", -SPOP_ERR_INVALID, 0, "2^32"},
    {STATUS "04fff0fefefefefefefe0e", -SPOP_ERR_INVALID, 0, "-1"},
    {STATUS "080130", -SPOP_ERR_INVALID, 0, "a status of STR"},
    {STATUS "0300" MESSAGE "0300", -SPOP_ERR_INVALID, 0, "a message of UINT32"},
    {MESSAGE "080162", -SPOP_ERR_INVALID, 0, "no status"},
    {"", -SPOP_ERR_INVALID, 0, "nothing"},
    {STATUS "0300 00", -SPOP_ERR_INVALID, 0, "an empty key"},
    {STATUS, -SPOP_ERR_INVALID, 0, "no value"},
};

static void parses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(cases[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_disconnect d;
		struct spop_fault fault;
		int r = spop_disconnect_parse(spop_view_of(harness_guard_put(&g, bytes, len), len),
					      &d, &fault);

		if (r != cases[i].want)
			fail_msg("%s: %d", cases[i].why, r);
		if (r == 0)
			assert_int_equal(d.status, cases[i].status);
		else
			assert_true(fault.at <= len);
		harness_guard_free(&g);
		free(bytes);
	}
}

struct spec {
	enum spop_frame_type type;
	uint32_t status;
	struct spop_view message;
};

static size_t encode(void *buf, size_t cap, void *arg)
{
	const struct spec *s = arg;

	return spop_disconnect_write(buf, cap, s->type, s->status, s->message);
}

static void writes_golden_bytes(void **state)
{
	struct spec s = {SPOP_FRM_T_AGENT_DISCON, 4, SPOP_VIEW_NULL};

	(void)state;
	harness_encoder(encode, &s, GOLDEN_AGENT_DISCONNECT_4);
	s.status = 0;
	s.message = SPOP_VIEW_LIT("normal");
	harness_encoder(encode, &s, GOLDEN_AGENT_DISCONNECT_0);
	s.type = SPOP_FRM_T_HAPROXY_DISCON;
	harness_encoder(encode, &s, GOLDEN_HAPROXY_DISCONNECT);
}

static void cuts_a_long_message(void **state)
{
	static char text[5000];
	uint8_t buf[SPOP_DISCONNECT_MAX];
	struct spop_disconnect d;
	struct spop_fault fault;
	struct spop_frame f;
	size_t len;

	(void)state;
	memset(text, 'x', sizeof(text));
	len = spop_disconnect_write(buf, sizeof(buf), SPOP_FRM_T_AGENT_DISCON, UINT32_MAX,
				    spop_view_of(text, sizeof(text)));
	assert_true(len > 0);
	assert_int_equal(spop_frame_decode(buf, len, 256, &f, &fault), len);
	assert_int_equal(spop_disconnect_parse(f.payload, &d, &fault), 0);
	assert_int_equal(d.status, UINT32_MAX);
	assert_int_equal(d.message.len, SPOP_DISCONNECT_TEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parses),
	    cmocka_unit_test(writes_golden_bytes),
	    cmocka_unit_test(cuts_a_long_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
