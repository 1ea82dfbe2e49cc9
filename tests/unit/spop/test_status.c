/* Names and texts: each code has its own, and no code is without. */
#include "spop/error.h"
#include "spop/frame.h"
#include "spop/value.h"
#include "unit/spop/harness.h"

static void names_the_codes_of_the_document(void **state)
{
	static const struct {
		unsigned int code;
		const char *name;
	} rows[] = {
	    {0, "SPOP_ERR_NONE"},
	    {1, "SPOP_ERR_IO"},
	    {2, "SPOP_ERR_TOUT"},
	    {3, "SPOP_ERR_TOO_BIG"},
	    {4, "SPOP_ERR_INVALID"},
	    {5, "SPOP_ERR_NO_VSN"},
	    {6, "SPOP_ERR_NO_FRAME_SIZE"},
	    {7, "SPOP_ERR_NO_CAP"},
	    {8, "SPOP_ERR_BAD_VSN"},
	    {9, "SPOP_ERR_BAD_FRAME_SIZE"},
	    {10, "SPOP_ERR_FRAG_NOT_SUPPORTED"},
	    {11, "SPOP_ERR_INTERLACED_FRAMES"},
	    {12, "SPOP_ERR_FRAMEID_NOTFOUND"},
	    {13, "SPOP_ERR_RES"},
	    {99, "SPOP_ERR_UNKNOWN"},
	};
	size_t named = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(spop_error_name(rows[i].code), rows[i].name);
	for (unsigned int code = 0; code < 300; code++)
		named += strcmp(spop_error_name(code), "SPOP_ERR_?") != 0;
	assert_int_equal(named, sizeof(rows) / sizeof(rows[0]));
	assert_string_equal(spop_error_text(12), "frame-id not found");
	assert_string_equal(spop_error_text(14), spop_error_text(99));
	assert_string_equal(spop_error_text(UINT32_MAX), spop_error_text(99));
}

static void tells_what_haproxy_logged(void **state)
{
	(void)state;
	assert_string_equal(spoe_ctx_error_text(1), "the event processing timed out");
	assert_string_equal(spoe_ctx_error_text(256), spop_error_text(0));
	assert_string_equal(spoe_ctx_error_text(256 + 4), spop_error_text(4));
	assert_string_equal(spoe_ctx_error_text(77), spoe_ctx_error_text(255));
	assert_string_equal(spoe_ctx_error_text(UINT32_MAX), spop_error_text(99));
}

static void names_frames_and_types(void **state)
{
	(void)state;
	assert_string_equal(spop_frame_type_name(3), "NOTIFY");
	assert_string_equal(spop_frame_type_name(103), "ACK");
	assert_string_equal(spop_frame_type_name(0), "UNSET");
	assert_string_equal(spop_frame_type_name(4), "?");
	assert_string_equal(spop_data_type_name(8), "str");
	assert_string_equal(spop_data_type_name(10), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_the_codes_of_the_document),
	    cmocka_unit_test(tells_what_haproxy_logged),
	    cmocka_unit_test(names_frames_and_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
