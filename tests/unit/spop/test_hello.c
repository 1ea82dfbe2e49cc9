/* HELLO payloads: versions and capabilities with odd spacing, keys missing, doubled, mistyped. */
#include "spop/hello.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

#define VERSIONS "12737570706f727465642d76657273696f6e73 "
#define VERSION  "0776657273696f6e "
#define SIZE     "0e6d61782d6672616d652d73697a65 "
#define CAPS     "0c6361706162696c6974696573 "
#define ENGINE   "09656e67696e652d6964 "
#define CHECK    "0b6865616c7468636865636b "
#define V2_0     "0803322e30 "
#define S16380   "03fcf006 "
#define EMPTY    "0800 "
#define GOOD     VERSIONS V2_0 SIZE S16380 CAPS EMPTY

static struct spop_view payload_of(const char *hex, uint8_t **ret_bytes)
{
	size_t len;

	*ret_bytes = harness_hex(hex, &len);
	return spop_view_of(*ret_bytes, len);
}

static const struct {
	const char *hex;
	int want; /* 0 or a status */
	bool agent;
	const char *why;
} cases[] = {
    {GOOD, 0, false, "the mandatory keys"},
    {CAPS EMPTY SIZE S16380 VERSIONS V2_0, 0, false, "in another order"},
    {GOOD "03786e6f 04ef 0379 65730a", SPOP_ERR_INVALID, false, "an unknown key, half a value"},
    {GOOD "03786e6f 04ef 03796573 00", 0, false, "unknown keys of any type"},
    {GOOD VERSIONS "0803312e30", SPOP_ERR_BAD_VSN, false, "the last of two values counts"},
    {VERSIONS "0803312e30" GOOD, 0, false, "and replaces the first"},
    {GOOD "00 00", SPOP_ERR_INVALID, false, "an empty key"},
    {GOOD "01", SPOP_ERR_INVALID, false, "a key cut short"},
    {GOOD "0161", SPOP_ERR_INVALID, false, "a key without a value"},
    {GOOD "0161 0f", SPOP_ERR_INVALID, false, "a reserved type"},
    {"", SPOP_ERR_NO_VSN, false, "nothing at all"},
    {SIZE S16380 CAPS EMPTY, SPOP_ERR_NO_VSN, false, "no versions"},
    {VERSIONS V2_0 CAPS EMPTY, SPOP_ERR_NO_FRAME_SIZE, false, "no size"},
    {VERSIONS V2_0 SIZE S16380, SPOP_ERR_NO_CAP, false, "no capabilities"},
    {VERSION V2_0 SIZE S16380 CAPS EMPTY, SPOP_ERR_NO_VSN, false, "the agent's key"},
    {"13737570706f727465642d76657273696f6e7378" V2_0 SIZE S16380 CAPS EMPTY, SPOP_ERR_NO_VSN, false,
     "a key that only begins like it"},
    {VERSIONS EMPTY SIZE S16380 CAPS EMPTY, SPOP_ERR_BAD_VSN, false, "no version in it"},
    {VERSIONS "0903322e30" SIZE S16380 CAPS EMPTY, SPOP_ERR_INVALID, false, "BIN for STR"},
    {VERSIONS "00" SIZE S16380 CAPS EMPTY, SPOP_ERR_INVALID, false, "NULL for STR"},
    {VERSIONS V2_0 SIZE "08023939" CAPS EMPTY, SPOP_ERR_INVALID, false, "STR for UINT32"},
    {VERSIONS V2_0 SIZE "11" CAPS EMPTY, SPOP_ERR_INVALID, false, "BOOL for UINT32"},
    {VERSIONS V2_0 SIZE S16380 CAPS "042a", SPOP_ERR_INVALID, false, "INT64 for STR"},
    {GOOD ENGINE "042a", SPOP_ERR_INVALID, false, "engine-id of INT64"},
    {GOOD CHECK "0801", SPOP_ERR_INVALID, false, "healthcheck of STR"},
    {GOOD CHECK "0201", SPOP_ERR_INVALID, false, "healthcheck of INT32"},
    {VERSIONS V2_0 SIZE "02f001" CAPS EMPTY, 0, false, "256 as INT32"},
    {VERSIONS V2_0 SIZE "04f001" CAPS EMPTY, 0, false, "256 as INT64"},
    {VERSIONS V2_0 SIZE "05f001" CAPS EMPTY, 0, false, "256 as UINT64"},
    {VERSIONS V2_0 SIZE "03ff00" CAPS EMPTY, SPOP_ERR_BAD_FRAME_SIZE, false, "255"},
    {VERSIONS V2_0 SIZE "0300" CAPS EMPTY, SPOP_ERR_BAD_FRAME_SIZE, false, "0"},
    {VERSIONS V2_0 SIZE "04fff0fefefefefefefe0e" CAPS EMPTY, SPOP_ERR_BAD_FRAME_SIZE, false, "-1"},
    {VERSIONS V2_0 SIZE "03fff0fefe7e" CAPS EMPTY, 0, false, "2^32 - 1"},
    {VERSIONS V2_0 SIZE "05f0f1fefe7e" CAPS EMPTY, SPOP_ERR_BAD_FRAME_SIZE, false, "2^32"},
    {VERSIONS V2_0 SIZE "03f0f1fefe7e" CAPS EMPTY, SPOP_ERR_INVALID, false, "2^32 as UINT32"},
    {VERSION V2_0 SIZE S16380 CAPS EMPTY, 0, true, "an agent's"},
    {VERSION "080520322e3020" SIZE S16380 CAPS EMPTY, 0, true, "with spaces"},
    {VERSION "0803312e30" SIZE S16380 CAPS EMPTY, SPOP_ERR_BAD_VSN, true, "1.0"},
    {VERSION "0803322e31" SIZE S16380 CAPS EMPTY, SPOP_ERR_BAD_VSN, true, "2.1"},
    {VERSION "080132" SIZE S16380 CAPS EMPTY, SPOP_ERR_INVALID, true, "2"},
    {VERSION EMPTY SIZE S16380 CAPS EMPTY, SPOP_ERR_INVALID, true, "nothing"},
    {VERSIONS V2_0 SIZE S16380 CAPS EMPTY, SPOP_ERR_NO_VSN, true, "HAProxy's key"},
    {VERSION V2_0 CAPS EMPTY, SPOP_ERR_NO_FRAME_SIZE, true, "no size"},
    {VERSION V2_0 SIZE S16380, SPOP_ERR_NO_CAP, true, "no capabilities"},
};

static void parses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *bytes;
		struct spop_view payload = payload_of(cases[i].hex, &bytes);
		struct harness_guard g = harness_guard_new(payload.len);
		struct spop_agent_hello agent;
		struct spop_hello hello;
		struct spop_fault fault = {0};
		int r;

		payload.ptr = harness_guard_put(&g, bytes, payload.len);
		r = cases[i].agent ? spop_agent_hello_parse(payload, &agent, &fault)
				   : spop_hello_parse(payload, &hello, &fault);
		if (r != -cases[i].want)
			fail_msg("%s: %d (%s)", cases[i].why, r, fault.msg);
		if (r < 0) {
			assert_int_equal(fault.code, -r);
			assert_true(fault.at <= payload.len);
			assert_non_null(fault.msg);
		}
		harness_guard_free(&g);
		free(bytes);
	}
}

/* A payload whose one list is the text under test. */
static int parse_with(const char *versions, const char *capabilities, struct spop_hello *ret)
{
	const struct spop_hello h = {
	    .versions = spop_view_str(versions),
	    .max_frame_size = 16380,
	};
	struct spop_fault fault;
	struct spop_frame f;
	uint8_t buf[1024];
	size_t len = spop_hello_write(buf, sizeof(buf), &h);
	size_t caps = strlen(capabilities);

	/* The writer only knows its own names: put the text in place of its empty list. */
	assert_true(len > 0 && caps < 240);
	assert_int_equal(buf[len - 1], 0);
	buf[len - 1] = (uint8_t)caps;
	memcpy(buf + len, capabilities, caps);
	len += caps;
	buf[2] = (uint8_t)((len - 4) >> 8);
	buf[3] = (uint8_t)(len - 4);
	assert_int_equal(spop_frame_decode(buf, len, 16380, &f, &fault), len);
	return spop_hello_parse(f.payload, ret, &fault);
}

static void negotiates_versions(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} lists[] = {
	    {"2.0", true},
	    {" 2.0", true},
	    {"2.0 ", true},
	    {"1.0,2.0", true},
	    {"2.0,1.5", true},
	    {"1.0, 2.0 ,3.0", true},
	    {"\t2 . 0\r\n", true},
	    {",,2.0,,", true},
	    {"2.5", true},
	    {"02.00", true},
	    {"junk, 2.0", true},
	    {"2.0;q=1,2.1", true},
	    {"1.0", false},
	    {"3.0", false},
	    {"", false},
	    {" ", false},
	    {",", false},
	    {"2", false},
	    {"2.", false},
	    {".0", false},
	    {"20", false},
	    {"2.0.0", false},
	    {"2,0", false},
	    {"-2.0", false},
	    {"20.0", false},
	    {"12.0", false},
	    {"2.0x", false},
	    {"0x2.0", false},
	    {"2..0", false},
	    {"1.0,1.1,1.2", false},
	    {"4294967298.0", false},
	    {"2.4294967296", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct spop_hello h;
		int r = parse_with(lists[i].text, "", &h);

		if (r != (lists[i].good ? 0 : -SPOP_ERR_BAD_VSN))
			fail_msg("\"%s\": %d", lists[i].text, r);
	}
}

static void reads_capabilities(void **state)
{
	static const struct {
		const char *text;
		uint32_t bits;
	} lists[] = {
	    {"", 0},
	    {"pipelining", SPOP_CAP_PIPELINING},
	    {"pipelining,async", SPOP_CAP_PIPELINING | SPOP_CAP_ASYNC},
	    {" async ,\tpipelining ", SPOP_CAP_PIPELINING | SPOP_CAP_ASYNC},
	    {"fragmentation,pipelining", SPOP_CAP_FRAGMENTATION | SPOP_CAP_PIPELINING},
	    {",,pipelining,,", SPOP_CAP_PIPELINING},
	    {"pipelining,pipelining", SPOP_CAP_PIPELINING},
	    {"zero-copy,pipelining,h3", SPOP_CAP_PIPELINING},
	    {"pipelininge", 0},
	    {"pipelinin", 0},
	    {"Pipelining", 0},
	    {"async;pipelining", 0},
	    {" , , ", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct spop_hello h;

		assert_int_equal(parse_with("2.0", lists[i].text, &h), 0);
		if (h.capabilities != lists[i].bits)
			fail_msg("\"%s\": %x", lists[i].text, h.capabilities);
	}
}

static void bounds_the_announced_size(void **state)
{
	struct spop_fault fault;
	struct spop_hello h;
	uint8_t *bytes;
	struct spop_view p = payload_of(VERSIONS V2_0 SIZE "03fff0fefe7e" CAPS EMPTY, &bytes);

	(void)state;
	assert_int_equal(spop_hello_parse(p, &h, &fault), 0);
	assert_int_equal(h.max_frame_size, SPOP_MAX_FRAME_MAX);
	assert_null(h.engine_id.ptr);
	assert_false(h.healthcheck);
	free(bytes);
	p = payload_of(GOOD ENGINE EMPTY CHECK "01", &bytes);
	assert_int_equal(spop_hello_parse(p, &h, &fault), 0);
	assert_non_null(h.engine_id.ptr); /* empty is not absent */
	assert_int_equal(h.engine_id.len, 0);
	assert_false(h.healthcheck);
	free(bytes);
}

static size_t encode_hello(void *buf, size_t cap, void *arg)
{
	return spop_hello_write(buf, cap, arg);
}

static size_t encode_agent_hello(void *buf, size_t cap, void *arg)
{
	return spop_agent_hello_write(buf, cap, arg);
}

static void writes_golden_bytes(void **state)
{
	struct spop_hello h = {
	    .versions = SPOP_VIEW_LIT("2.0"),
	    .max_frame_size = 16380,
	    .capabilities = SPOP_CAP_PIPELINING | SPOP_CAP_ASYNC,
	    .engine_id = SPOP_VIEW_LIT("f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01"),
	};
	struct spop_agent_hello a = {.version = SPOP_VIEW_LIT("2.0"), .max_frame_size = 16380};

	(void)state;
	harness_encoder(encode_hello, &h, GOLDEN_HELLO_3_0);
	h.capabilities = SPOP_CAP_PIPELINING;
	harness_encoder(encode_hello, &h, GOLDEN_HELLO_3_2);
	h.capabilities = 0;
	h.engine_id = SPOP_VIEW_NULL;
	h.healthcheck = true;
	harness_encoder(encode_hello, &h, GOLDEN_HELLO_CHECK);
	harness_encoder(encode_agent_hello, &a, GOLDEN_AGENT_HELLO_BARE);
	a.capabilities = SPOP_CAP_PIPELINING;
	harness_encoder(encode_agent_hello, &a, GOLDEN_AGENT_HELLO_PIPELINING);
}

static void fits_the_stated_room(void **state)
{
	const struct spop_agent_hello a = {
	    .version = SPOP_VIEW_LIT("2.0"),
	    .max_frame_size = SPOP_MAX_FRAME_MAX,
	    .capabilities = SPOP_CAP_ASYNC | SPOP_CAP_PIPELINING | SPOP_CAP_FRAGMENTATION,
	};
	uint8_t buf[SPOP_AGENT_HELLO_MAX];

	(void)state;
	assert_true(spop_agent_hello_write(buf, sizeof(buf), &a) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parses),
	    cmocka_unit_test(negotiates_versions),
	    cmocka_unit_test(reads_capabilities),
	    cmocka_unit_test(bounds_the_announced_size),
	    cmocka_unit_test(writes_golden_bytes),
	    cmocka_unit_test(fits_the_stated_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
