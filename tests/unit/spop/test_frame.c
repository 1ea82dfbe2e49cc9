/* Frames: when more is needed, what is refused and how early, and the head in every shape. */
#include "frame.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

static const struct {
	const char *hex;
	uint8_t type;
	uint32_t flags;
	uint64_t stream_id, frame_id;
	size_t payload;
} whole[] = {
    {GOLDEN_HELLO_3_2, SPOP_FRM_T_HAPROXY_HELLO, 1, 0, 0, 116},
    {GOLDEN_NOTIFY_BIG_IDS, SPOP_FRM_T_HAPROXY_NOTIFY, 1, UINT64_MAX, 300, 3},
    {GOLDEN_ACK_EMPTY, SPOP_FRM_T_AGENT_ACK, 1, 3, 1, 0},
    {"00000007 03 00000000 0000", SPOP_FRM_T_HAPROXY_NOTIFY, 0, 0, 0, 0},
    {"00000007 00 00000003 0000", SPOP_FRM_T_UNSET, 3, 0, 0, 0},
    {"00000008 ff ffffffff efee 00", 255, 0xffffffffu, 239, 238, 1},
    {"00000009 03 00000001 f000f100", 3, 1, 240, 241, 0},
};

static const struct {
	const char *hex;
	enum spop_error code;
	size_t at;
} refused[] = {
    {"00000000", SPOP_ERR_INVALID, 0}, /* HAProxy once span on this one from an agent */
    {"00000006 030000000100", SPOP_ERR_INVALID, 0},
    {"00003ffd", SPOP_ERR_TOO_BIG, 0},
    {"ffffffff", SPOP_ERR_TOO_BIG, 0},
    {"80000007 03 00000001 0000", SPOP_ERR_TOO_BIG, 0},
    {"47455420 2f20485454502f312e310d0a", SPOP_ERR_TOO_BIG, 0}, /* GET / HTTP/1.1 */
    {"16030100", SPOP_ERR_TOO_BIG, 0},                          /* TLS */
    {"00000007 03 00000001 00f0", SPOP_ERR_INVALID, 11},
    {"00000007 03 00000001 f080", SPOP_ERR_INVALID, 11},
    {"00000007 03 00000001 f000", SPOP_ERR_INVALID, 11},
    {"00000010 03 00000001 fff0fefefefefefefe0f00", SPOP_ERR_INVALID, 9},
};

static void decodes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(whole[i].hex, &len);
		struct harness_guard g = harness_guard_new(len + 1);
		const uint8_t *at = harness_guard_put(&g, bytes, len);
		struct spop_fault fault;
		struct spop_frame f;

		assert_int_equal(spop_frame_decode(at, len, HARNESS_MAX_FRAME, &f, &fault), len);
		assert_int_equal(f.type, whole[i].type);
		assert_int_equal(f.flags, whole[i].flags);
		assert_true(f.stream_id == whole[i].stream_id);
		assert_true(f.frame_id == whole[i].frame_id);
		assert_int_equal(f.payload.len, whole[i].payload);
		assert_ptr_equal(f.payload.ptr + f.payload.len, at + len);
		assert_int_equal(f.total, len);
		for (size_t n = 0; n < len; n++) {
			at = harness_guard_put(&g, bytes, n);
			assert_int_equal(spop_frame_decode(at, n, HARNESS_MAX_FRAME, &f, &fault),
					 0);
			assert_int_equal(f.total, n < 4 ? 0 : len);
		}
		harness_guard_free(&g);
		free(bytes);
	}
}

static void leaves_what_follows(void **state)
{
	size_t len;
	uint8_t *bytes = harness_hex(GOLDEN_NOTIFY_EMPTY GOLDEN_ACK_EMPTY, &len);
	struct spop_fault fault;
	struct spop_frame f;

	(void)state;
	assert_int_equal(spop_frame_decode(bytes, len, HARNESS_MAX_FRAME, &f, &fault), 11);
	assert_int_equal(f.payload.len, 0);
	assert_int_equal(spop_frame_decode(bytes + 11, len - 11, HARNESS_MAX_FRAME, &f, &fault),
			 11);
	assert_int_equal(f.type, SPOP_FRM_T_AGENT_ACK);
	free(bytes);
}

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(refused[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_fault fault;
		struct spop_frame f;
		ssize_t r = 0;

		for (size_t n = 0; n <= len && r == 0; n++) {
			const uint8_t *at = harness_guard_put(&g, bytes, n);

			r = spop_frame_decode(at, n, HARNESS_MAX_FRAME, &f, &fault);
			if (refused[i].at == 0)
				assert_int_equal(r < 0, n >= 4); /* the prefix is enough */
		}
		if (r != -(ssize_t)refused[i].code || fault.code != refused[i].code ||
		    fault.at != refused[i].at)
			fail_msg("%s: %zd at %zu", refused[i].hex, r, fault.at);
		harness_guard_free(&g);
		free(bytes);
	}
}

static void bounds_length_without_prefix(void **state)
{
	uint8_t *bytes = calloc(1, 300);
	struct spop_fault fault;
	struct spop_frame f;

	(void)state;
	bytes[2] = 1; /* 256 */
	bytes[4] = SPOP_FRM_T_HAPROXY_NOTIFY;
	bytes[8] = 1;
	assert_int_equal(spop_frame_decode(bytes, 300, 256, &f, &fault), 260);
	assert_int_equal(spop_frame_decode(bytes, 260, 256, &f, &fault), 260);
	assert_int_equal(spop_frame_decode(bytes, 259, 256, &f, &fault), 0);
	assert_int_equal(f.total, 260);
	assert_int_equal(spop_frame_decode(bytes, 300, 255, &f, &fault), -SPOP_ERR_TOO_BIG);
	free(bytes);
}

static void takes_no_more_than_the_library_may(void **state)
{
	struct spop_fault fault;
	struct spop_frame f;

	(void)state;
	assert_int_equal(spop_frame_decode("\x7f\xff\xff\xfb", 4, UINT32_MAX, &f, &fault), 0);
	assert_true(f.total == (size_t)SPOP_MAX_FRAME_MAX + 4);
	assert_int_equal(spop_frame_decode("\x7f\xff\xff\xfc", 4, UINT32_MAX, &f, &fault),
			 -SPOP_ERR_TOO_BIG);
	assert_int_equal(spop_frame_decode(NULL, 0, 256, &f, &fault), 0);
}

static size_t encode(void *buf, size_t cap, void *arg)
{
	struct spop_writer w;

	(void)arg;
	spop_frame_begin(&w, buf, cap, SPOP_FRM_T_HAPROXY_NOTIFY, UINT64_MAX, 300);
	spop_writer_bytes(&w, SPOP_VIEW_LIT("\x01m\0"));
	return spop_frame_end(&w);
}

static void encodes(void **state)
{
	(void)state;
	harness_encoder(encode, NULL, GOLDEN_NOTIFY_BIG_IDS);
}

static void has_the_longest_head(void **state)
{
	uint8_t buf[64];
	struct spop_writer w;

	(void)state;
	spop_frame_begin(&w, buf, sizeof(buf), SPOP_FRM_T_AGENT_ACK, UINT64_MAX, UINT64_MAX);
	assert_int_equal(spop_frame_end(&w), SPOP_FRAME_HEAD_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(decodes),
	    cmocka_unit_test(leaves_what_follows),
	    cmocka_unit_test(refuses),
	    cmocka_unit_test(bounds_length_without_prefix),
	    cmocka_unit_test(takes_no_more_than_the_library_may),
	    cmocka_unit_test(encodes),
	    cmocka_unit_test(has_the_longest_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
