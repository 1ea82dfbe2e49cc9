/* Typed data: each type's bytes both ways, its range, and what has no encoding. */
#include <limits.h>

#include "unit/spop/harness.h"
#include "value.h"

static const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

static const struct {
	struct spop_value value;
	const char *hex;
} both_ways[] = {
    {{.type = SPOP_DATA_T_NULL}, "00"},
    {{.type = SPOP_DATA_T_BOOL, .boolean = false}, "01"},
    {{.type = SPOP_DATA_T_BOOL, .boolean = true}, "11"},
    {{.type = SPOP_DATA_T_INT32, .sint = 0}, "0200"},
    {{.type = SPOP_DATA_T_INT32, .sint = INT32_MAX}, "02fff0fefe3e"},
    {{.type = SPOP_DATA_T_INT32, .sint = -1}, "02fff0fefefefefefefe0e"},
    {{.type = SPOP_DATA_T_INT32, .sint = INT32_MIN}, "02f0f1fefebefefefefe0e"},
    {{.type = SPOP_DATA_T_UINT32, .uint = 16380}, "03fcf006"},
    {{.type = SPOP_DATA_T_UINT32, .uint = UINT32_MAX}, "03fff0fefe7e"},
    {{.type = SPOP_DATA_T_INT64, .sint = 42}, "042a"},
    {{.type = SPOP_DATA_T_INT64, .sint = -1}, "04fff0fefefefefefefe0e"},
    {{.type = SPOP_DATA_T_INT64, .sint = INT64_MIN}, "04f0f1fefefefefefefe06"},
    {{.type = SPOP_DATA_T_UINT64, .uint = UINT64_MAX}, "05fff0fefefefefefefe0e"},
    {{.type = SPOP_DATA_T_IPV4, .bytes = {(const uint8_t *)"\x7f\0\0\1", 4}}, "067f000001"},
    {{.type = SPOP_DATA_T_IPV6, .bytes = {ipv6, 16}}, "0720010db8000000000000000000000001"},
    {{.type = SPOP_DATA_T_STR, .bytes = {(const uint8_t *)"", 0}}, "0800"},
    {{.type = SPOP_DATA_T_STR, .bytes = {(const uint8_t *)"2.0", 3}}, "0803322e30"},
    {{.type = SPOP_DATA_T_BIN, .bytes = {(const uint8_t *)"\0\xff", 2}}, "090200ff"},
};

/* Read, but never written so: flags that mean nothing, or nothing with that type. */
static const struct {
	const char *hex;
	struct spop_value value;
} read_only[] = {
    {"f0", {.type = SPOP_DATA_T_NULL}},
    {"31", {.type = SPOP_DATA_T_BOOL, .boolean = true}},
    {"e1", {.type = SPOP_DATA_T_BOOL, .boolean = false}},
    {"140a", {.type = SPOP_DATA_T_INT64, .sint = 10}},
    {"180161", {.type = SPOP_DATA_T_STR, .bytes = {(const uint8_t *)"a", 1}}},
};

static const struct {
	const char *hex;
	const char *why;
} refused[] = {
    {"", "no type"},
    {"02", "no integer"},
    {"02fff0fefe7e", "2^32 - 1 is no INT32, whatever its writer meant"},
    {"02f0f1fefe3e", "2^31 is no INT32"},
    {"02fff0fefebefefefefe0e", "one below the least INT32"},
    {"03f0f1fefe7e", "2^32 is no UINT32"},
    {"03fff0fefefefefefefe0e", "-1 is no UINT32"},
    {"04fff0fefefefefefefe1e", "a varint past 64 bits"},
    {"05f0", "half an integer"},
    {"06000000", "three bytes of IPV4"},
    {"07000000000000000000000000000000", "fifteen bytes of IPV6"},
    {"08", "no length"},
    {"0801", "a length past the end"},
    {"09fff0fefefefefefefe0e", "a length of 2^64 - 1"},
    {"08fff0fefefefefefefe06", "a length of 2^63 - 1"},
    {"0a", "reserved type 10"},
    {"0f", "reserved type 15"},
    {"1b00", "reserved type 11 with a flag"},
};

static void check_read(const char *hex, const struct spop_value *want)
{
	size_t len;
	uint8_t *bytes = harness_hex(hex, &len);
	struct harness_guard g = harness_guard_new(len);
	struct spop_value got;
	struct spop_cursor c;

	spop_cursor_init(&c, spop_view_of(harness_guard_put(&g, bytes, len), len));
	spop_value_read(&c, &got);
	if (spop_cursor_failed(&c) || spop_cursor_left(&c) || !spop_value_eq(&got, want))
		fail_msg("%s", hex);
	assert_int_equal(got.flags, bytes[0] & 0xf0);
	for (size_t n = 0; n < len; n++) {
		spop_cursor_init(&c, spop_view_of(harness_guard_put(&g, bytes, n), n));
		spop_value_read(&c, &got);
		assert_true(spop_cursor_failed(&c));
		assert_int_equal(got.type, SPOP_DATA_T_NULL);
	}
	harness_guard_free(&g);
	free(bytes);
}

static void reads(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(both_ways) / sizeof(both_ways[0]); i++)
		check_read(both_ways[i].hex, &both_ways[i].value);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		check_read(read_only[i].hex, &read_only[i].value);
}

static size_t encode(void *buf, size_t cap, void *arg)
{
	struct spop_writer w;

	spop_writer_init(&w, buf, cap);
	spop_value_write(&w, arg);
	return w.failed ? 0 : spop_writer_len(&w);
}

static void writes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(both_ways) / sizeof(both_ways[0]); i++) {
		struct spop_value v = both_ways[i].value;

		v.flags = 0xf0; /* not sent */
		harness_encoder(encode, &v, both_ways[i].hex);
	}
}

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(refused[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_value v;
		struct spop_cursor c;

		spop_cursor_init(&c, spop_view_of(harness_guard_put(&g, bytes, len), len));
		spop_value_read(&c, &v);
		if (!spop_cursor_failed(&c))
			fail_msg("%s: read", refused[i].why);
		assert_int_equal(spop_cursor_left(&c), 0);
		assert_int_equal(v.type, SPOP_DATA_T_NULL);
		harness_guard_free(&g);
		free(bytes);
	}
}

static void has_no_encoding_for(void **state)
{
	const struct spop_value bad[] = {
	    {.type = SPOP_DATA_T_INT32, .sint = (int64_t)INT32_MAX + 1},
	    {.type = SPOP_DATA_T_INT32, .sint = (int64_t)INT32_MIN - 1},
	    {.type = SPOP_DATA_T_UINT32, .uint = (uint64_t)UINT32_MAX + 1},
	    {.type = SPOP_DATA_T_IPV4, .bytes = {ipv6, 3}},
	    {.type = SPOP_DATA_T_IPV4, .bytes = {ipv6, 16}},
	    {.type = SPOP_DATA_T_IPV6, .bytes = {ipv6, 4}},
	    {.type = (enum spop_data_type)10},
	    {.type = (enum spop_data_type)200},
	};
	uint8_t buf[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct spop_writer w;

		spop_writer_init(&w, buf, sizeof(buf));
		spop_value_write(&w, &bad[i]);
		assert_true(w.failed);
		spop_writer_u8(&w, 0);
		assert_true(w.failed);
	}
}

static void reads_as_integer(void **state)
{
	struct spop_value v = spop_value_uint64((uint64_t)INT64_MAX + 1);
	int64_t n = 7;

	(void)state;
	assert_int_equal(spop_value_integer(&v, &n), 1);
	assert_int_equal(n, 7);
	v = spop_value_uint64(INT64_MAX);
	assert_int_equal(spop_value_integer(&v, &n), 0);
	assert_true(n == INT64_MAX);
	v = spop_value_int32(-3);
	assert_int_equal(spop_value_integer(&v, &n), 0);
	assert_int_equal(n, -3);
	v = spop_value_bool(true);
	assert_int_equal(spop_value_integer(&v, &n), 1);
	v = spop_value_str(SPOP_VIEW_LIT("3"));
	assert_int_equal(spop_value_integer(&v, &n), 1);
}

static void knows_bytes_from_the_rest(void **state)
{
	struct spop_value v = spop_value_bin(SPOP_VIEW_LIT("ab"));

	(void)state;
	assert_true(spop_view_eq(spop_value_bytes(&v), SPOP_VIEW_LIT("ab")));
	v = spop_value_ipv4("abcd");
	assert_null(spop_value_bytes(&v).ptr);
	v = spop_value_null();
	assert_null(spop_value_bytes(&v).ptr);
	v = spop_value_str(SPOP_VIEW_LIT(""));
	assert_non_null(spop_value_bytes(&v).ptr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads),
	    cmocka_unit_test(writes),
	    cmocka_unit_test(refuses),
	    cmocka_unit_test(has_no_encoding_for),
	    cmocka_unit_test(reads_as_integer),
	    cmocka_unit_test(knows_bytes_from_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
