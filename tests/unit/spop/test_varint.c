/* Varints: every edge of every length, both ways; ten bytes and 64 bits, not one more. */
#include "unit/spop/harness.h"
#include "varint.h"

static const struct {
	uint64_t value;
	const char *hex;
} edges[] = {
    {0, "00"},
    {1, "01"},
    {239, "ef"},
    {240, "f000"},
    {241, "f100"},
    {255, "ff00"},
    {256, "f001"},
    {2287, "ff7f"},
    {2288, "f08000"},
    {16380, "fcf006"},
    {264431, "ffff7f"},
    {264432, "f0808000"},
    {33818863, "ffffff7f"},
    {33818864, "f080808000"},
    {4294967295u, "fff0fefe7e"},
    {4328786159u, "ffffffff7f"},
    {4328786160u, "f08080808000"},
    {0x81020408efu, "ffffffffff7f"},
    {0x81020408f0u, "f0808080808000"},
    {0x4081020408efu, "ffffffffffff7f"},
    {0x4081020408f0u, "f080808080808000"},
    {0x204081020408efu, "ffffffffffffff7f"},
    {0x204081020408f0u, "f08080808080808000"},
    {0x10204081020408efu, "ffffffffffffffff7f"},
    {0x10204081020408f0u, "f0808080808080808000"},
    {0x7fffffffffffffffu, "fff0fefefefefefefe06"},
    {0x8000000000000000u, "f0f1fefefefefefefe06"},
    {UINT64_MAX - 1, "fef0fefefefefefefe0e"},
    {UINT64_MAX, "fff0fefefefefefefe0e"},
};

static const struct {
	const char *hex;
	const char *why;
} refused[] = {
    {"", "nothing"},
    {"f0", "the second byte is missing"},
    {"f080", "the third byte is missing"},
    {"fff0fefefefefefefe", "nine of ten bytes"},
    {"f0f1fefefefefefefe0e", "2^64"},
    {"fff0fefefefefefefe0f", "above 2^64 by the last byte"},
    {"fff0fefefefefefefe10", "a bit past 64 in the tenth byte"},
    {"fff0fefefefefefefe7f", "many bits past 64 in the tenth byte"},
    {"fff0fefefefefefefe8000", "eleven bytes, the last ones empty"},
    {"ffffffffffffffffffffffff", "twelve bytes of ff: a shift past 63 in a naive decoder"},
    {"ffffffffffffffffff0f", "the sum wraps"},
};

static void reads_edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(edges[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_cursor c;

		spop_cursor_init(&c, spop_view_of(harness_guard_put(&g, bytes, len), len));
		assert_true(spop_varint_read(&c) == edges[i].value);
		assert_false(spop_cursor_failed(&c));
		assert_int_equal(spop_cursor_left(&c), 0);
		for (size_t n = 0; n < len; n++) {
			const uint8_t *at = harness_guard_put(&g, bytes, n);

			spop_cursor_init(&c, spop_view_of(at, n));
			assert_true(spop_varint_read(&c) == 0);
			assert_true(spop_cursor_failed(&c));
		}
		harness_guard_free(&g);
		free(bytes);
	}
}

static void writes_edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(edges[i].hex, &len);
		uint8_t out[16];

		for (size_t cap = 0; cap <= len; cap++) {
			struct spop_writer w;

			spop_writer_init(&w, out, cap);
			spop_varint_write(&w, edges[i].value);
			assert_int_equal(w.failed, cap < len);
		}
		assert_memory_equal(out, bytes, len);
		free(bytes);
	}
}

static void refuses_what_is_no_integer(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(refused[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_fault fault;
		struct spop_cursor c;

		spop_cursor_init(&c, spop_view_of(harness_guard_put(&g, bytes, len), len));
		if (spop_varint_read(&c) != 0 || !spop_cursor_failed(&c))
			fail_msg("%s: read", refused[i].why);
		assert_int_equal(spop_cursor_fault(&c, SPOP_ERR_INVALID, 0, &fault),
				 -SPOP_ERR_INVALID);
		assert_true(fault.at <= len);
		harness_guard_free(&g);
		free(bytes);
	}
}

/* Each value has one encoding, so whatever can be read is written back as it was. */
static void has_one_encoding(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint64_t r = harness_random(&seed);
		uint64_t value = harness_random(&seed) >> (r % 64);
		uint8_t out[SPOP_VARINT_MAX];
		uint8_t in[12];
		struct spop_writer w;
		struct spop_cursor c;
		size_t used;

		spop_writer_init(&w, out, sizeof(out));
		spop_varint_write(&w, value);
		assert_false(w.failed);
		spop_cursor_init(&c, spop_view_of(out, spop_writer_len(&w)));
		assert_true(spop_varint_read(&c) == value);
		assert_int_equal(spop_cursor_left(&c), 0);

		for (size_t k = 0; k < sizeof(in); k++)
			in[k] = (uint8_t)(harness_random(&seed) | (k < r % 12 ? 0xf0 : 0));
		spop_cursor_init(&c, spop_view_of(in, sizeof(in)));
		value = spop_varint_read(&c);
		if (spop_cursor_failed(&c))
			continue;
		used = sizeof(in) - spop_cursor_left(&c);
		spop_writer_init(&w, out, sizeof(out));
		spop_varint_write(&w, value);
		assert_int_equal(spop_writer_len(&w), used);
		assert_memory_equal(out, in, used);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_edges),
	    cmocka_unit_test(writes_edges),
	    cmocka_unit_test(refuses_what_is_no_integer),
	    cmocka_unit_test(has_one_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
