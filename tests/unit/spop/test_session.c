/* The agent's side: whole conversations at every split, and each frame at the wrong time. */
#include "spop/session.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

#define HELLO_TEXT                                                                                 \
	"HELLO max=16380 caps=2 engine=\"f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01\" check=0\n"
#define NOTIFY_TEXT                                                                                \
	"NOTIFY 1/1 \"route\"( \"id\"=str:\"7F000001:C350\" "                                      \
	"\"path\"=str:\"/v1/chat/completions\" \"body\"=bin:\"{\"model\":\"m\"}\\0a\" "            \
	"\"len\"=int64:14 \"neg\"=int64:-5 \"src\"=ipv4:\"\\7f\\00\\00\\01\" "                     \
	"\"dst\"=ipv6:\"\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\01\" "       \
	"\"ssl\"=bool:0 \"up\"=bool:1 \"none\"=null: \"\"=str:\"\" ) \"other\"( )\n"

static const struct {
	const char *why;
	const char *hex;
	const char *want;
} conversations[] = {
    {"HAProxy 3.2", GOLDEN_HELLO_3_2 GOLDEN_NOTIFY, HELLO_TEXT NOTIFY_TEXT},
    {"HAProxy 3.0: async is no capability of ours, stream-id starts at 0",
     GOLDEN_HELLO_3_0 GOLDEN_NOTIFY_EMPTY GOLDEN_NOTIFY_BIG_IDS,
     "HELLO max=16380 caps=6 engine=\"f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01\" check=0\n"
     "NOTIFY 0/1\n"
     "NOTIFY 18446744073709551615/300 \"m\"( )\n"},
    {"the first request of HAProxy 2.6", GOLDEN_HELLO_3_0 GOLDEN_NOTIFY_2_6,
     "HELLO max=16380 caps=6 engine=\"f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01\" check=0\n"
     "NOTIFY 0/1 \"count\"( \"path\"=str:\"/abcdef\" )\n"},
    {"spop-check", GOLDEN_HELLO_CHECK, "HELLO max=16380 caps=0 engine=- check=1\n"},
    {"pipelined NOTIFYs", GOLDEN_HELLO_CHECK GOLDEN_NOTIFY GOLDEN_NOTIFY GOLDEN_NOTIFY_EMPTY,
     "HELLO max=16380 caps=0 engine=- check=1\n" NOTIFY_TEXT NOTIFY_TEXT "NOTIFY 0/1\n"},
    {"HAProxy closes", GOLDEN_HELLO_CHECK GOLDEN_HAPROXY_DISCONNECT,
     "HELLO max=16380 caps=0 engine=- check=1\nDISCONNECT 0 \"normal\"\n"},
    {"HAProxy closes before HELLO", GOLDEN_HAPROXY_DISCONNECT, "DISCONNECT 0 \"normal\"\n"},
    {"nothing is looked at after that",
     GOLDEN_HELLO_CHECK GOLDEN_HAPROXY_DISCONNECT GOLDEN_NOTIFY "00ff",
     "HELLO max=16380 caps=0 engine=- check=1\nDISCONNECT 0 \"normal\"\n"},
    {"a frame type of the future", GOLDEN_HELLO_CHECK GOLDEN_UNKNOWN_TYPE GOLDEN_NOTIFY_EMPTY,
     "HELLO max=16380 caps=0 engine=- check=1\nIGNORED 50\nNOTIFY 0/1\n"},
    {"reserved flags and ABORT with FIN are let pass",
     GOLDEN_HELLO_CHECK "00000007 03 80000003 0101",
     "HELLO max=16380 caps=0 engine=- check=1\nNOTIFY 1/1\n"},
    {"HELLO twice", GOLDEN_HELLO_CHECK GOLDEN_HELLO_CHECK,
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"NOTIFY first", GOLDEN_NOTIFY, "SPOP_ERR_INVALID\n"},
    {"a later fragment first", GOLDEN_UNSET, "SPOP_ERR_INVALID\n"},
    {"an unknown type first", GOLDEN_UNKNOWN_TYPE, "SPOP_ERR_INVALID\n"},
    {"the agent's own HELLO", GOLDEN_AGENT_HELLO_BARE, "SPOP_ERR_INVALID\n"},
    {"an ACK", GOLDEN_HELLO_CHECK GOLDEN_ACK,
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"AGENT-HELLO", GOLDEN_HELLO_CHECK GOLDEN_AGENT_HELLO_BARE,
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"AGENT-DISCONNECT", GOLDEN_HELLO_CHECK GOLDEN_AGENT_DISCONNECT_0,
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"NOTIFY without FIN", GOLDEN_HELLO_CHECK "00000007 03 00000000 0101",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"ABORT without FIN", GOLDEN_HELLO_CHECK "00000007 03 00000002 0101",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"a last fragment", GOLDEN_HELLO_CHECK GOLDEN_UNSET,
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"HELLO without FIN",
     "0000004e 01 00000000 0000 12737570706f727465642d76657273696f6e730803322e30"
     "0e6d61782d6672616d652d73697a6503fcf0060c6361706162696c6974696573"
     "08000b6865616c7468636865636b11",
     "SPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"HELLO with a stream-id", "00000007 01 00000001 0100", "SPOP_ERR_INVALID\n"},
    {"HELLO with a frame-id", "00000007 01 00000001 0001", "SPOP_ERR_INVALID\n"},
    {"DISCONNECT with a stream-id", GOLDEN_HELLO_CHECK "00000007 02 00000001 0100",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"DISCONNECT without a status", GOLDEN_HELLO_CHECK "00000007 02 00000001 0000",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"an empty HELLO", "00000007 01 00000001 0000", "SPOP_ERR_NO_VSN\n"},
    {"NOTIFY with garbage behind", GOLDEN_HELLO_CHECK "0000000b 03 00000001 0101 016d 00 00",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"a frame of 0 bytes", GOLDEN_HELLO_CHECK "00000000",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_INVALID\n"},
    {"a frame one byte too long", GOLDEN_HELLO_CHECK "00003ffd",
     "HELLO max=16380 caps=0 engine=- check=1\nSPOP_ERR_TOO_BIG\n"},
    {"HTTP", "474554202f20485454502f312e310d0a0d0a", "SPOP_ERR_TOO_BIG\n"},
    {"TLS", "16030100fa010000f60303", "SPOP_ERR_TOO_BIG\n"},
    {"a HELLO longer than any", "00001001 01 00000001 0000", "SPOP_ERR_TOO_BIG\n"},
};

static void converses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++)
		harness_stream(false, conversations[i].hex, conversations[i].want);
}

static void survives_any_byte(void **state)
{
	(void)state;
	harness_any_byte(false, GOLDEN_HELLO_3_2 GOLDEN_NOTIFY);
	harness_any_byte(false, GOLDEN_HELLO_CHECK GOLDEN_HAPROXY_DISCONNECT);
}

static size_t say_hello(void *buf, size_t cap, uint32_t max_frame, uint32_t capabilities)
{
	const struct spop_hello h = {
	    .versions = SPOP_VIEW_LIT("1.0, 2.0"),
	    .max_frame_size = max_frame,
	    .capabilities = capabilities,
	    .engine_id = SPOP_VIEW_LIT("e"),
	};

	return spop_hello_write(buf, cap, &h);
}

static void negotiates(void **state)
{
	static const struct {
		uint32_t ours, theirs, caps;
		uint32_t want_size, want_caps;
	} cases[] = {
	    {16380, 16380, 0, 16380, 0},
	    {1048572, 16380, SPOP_CAP_PIPELINING, 16380, SPOP_CAP_PIPELINING},
	    {16380, 1048572, SPOP_CAP_PIPELINING | SPOP_CAP_ASYNC, 16380, SPOP_CAP_PIPELINING},
	    {0, 16380, SPOP_CAP_ASYNC, 256, 0},
	    {UINT32_MAX, SPOP_MAX_FRAME_MAX, SPOP_CAP_FRAGMENTATION, SPOP_MAX_FRAME_MAX, 0},
	    {256, 256, 0, 256, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spop_session s;
		struct spop_client c;
		struct spop_client_input answer;
		struct spop_fault fault;
		struct spop_input in;
		uint8_t buf[512];
		size_t len = say_hello(buf, sizeof(buf), cases[i].theirs, cases[i].caps);

		spop_session_init(&s, cases[i].ours);
		assert_true(spop_session_max_frame(&s) <= SPOP_HELLO_FRAME_MAX);
		assert_int_equal(spop_session_receive(&s, buf, len, &in, &fault), len);
		assert_int_equal(in.event, SPOP_EV_HELLO);
		assert_int_equal(spop_session_max_frame(&s), cases[i].want_size);
		assert_int_equal(spop_session_pipelining(&s),
				 cases[i].want_caps == SPOP_CAP_PIPELINING);
		len = spop_session_write_hello(&s, buf, SPOP_AGENT_HELLO_MAX);
		assert_true(len > 0);

		/* And HAProxy's side takes the answer and agrees. */
		spop_client_init(&c, cases[i].theirs, cases[i].caps, false);
		assert_true(spop_client_write_hello(&c, buf + 256, 256, "e") > 0);
		assert_int_equal(spop_client_receive(&c, buf, len, &answer, &fault), len);
		assert_int_equal(answer.event, SPOP_CLIENT_EV_HELLO);
		assert_int_equal(answer.hello.max_frame_size, cases[i].want_size);
		assert_int_equal(answer.hello.capabilities, cases[i].want_caps);
		assert_int_equal(c.max_frame, cases[i].want_size);
		assert_int_equal(c.capabilities, cases[i].want_caps);
	}
}

static void writes_golden_answers(void **state)
{
	size_t want_len, len;
	uint8_t *want = harness_hex(GOLDEN_AGENT_HELLO_BARE, &want_len);
	uint8_t *check = harness_hex(GOLDEN_HELLO_CHECK, &len);
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;
	uint8_t buf[SPOP_DISCONNECT_MAX];

	(void)state;
	spop_session_init(&s, 1u << 20);
	assert_int_equal(spop_session_receive(&s, check, len, &in, &fault), len);
	for (size_t cap = 0; cap < want_len; cap++)
		assert_int_equal(spop_session_write_hello(&s, buf, cap), 0);
	assert_int_equal(s.state, SPOP_ST_HELLO_IN); /* too little room changes nothing */
	assert_int_equal(spop_session_write_hello(&s, buf, want_len), want_len);
	assert_memory_equal(buf, want, want_len);
	assert_int_equal(s.state, SPOP_ST_RUNNING);
	assert_int_equal(spop_session_write_hello(&s, buf, sizeof(buf)), 0); /* once */
	free(want);
	want = harness_hex(GOLDEN_AGENT_DISCONNECT_4, &want_len);
	assert_int_equal(
	    spop_session_write_disconnect(&s, buf, want_len - 1, SPOP_ERR_INVALID, NULL), 0);
	assert_int_equal(s.state, SPOP_ST_RUNNING);
	assert_int_equal(
	    spop_session_write_disconnect(&s, buf, sizeof(buf), SPOP_ERR_INVALID, NULL), want_len);
	assert_memory_equal(buf, want, want_len);
	assert_int_equal(s.state, SPOP_ST_CLOSING);
	assert_int_equal(spop_session_receive(&s, check, len, &in, &fault), len);
	assert_int_equal(in.event, SPOP_EV_IGNORED);
	assert_int_equal(spop_session_receive(&s, "", 0, &in, &fault), 0);
	free(want);
	free(check);
}

/* Draining: the health check is answered with the reason instead of a HELLO. */
static void refuses_a_health_check(void **state)
{
	size_t len;
	uint8_t *check = harness_hex(GOLDEN_HELLO_CHECK, &len);
	struct spop_client c;
	struct spop_client_input answer;
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;
	uint8_t buf[SPOP_DISCONNECT_MAX];

	(void)state;
	spop_session_init(&s, 16380);
	assert_int_equal(spop_session_receive(&s, check, len, &in, &fault), len);
	assert_true(in.hello.healthcheck && s.healthcheck);
	len = spop_session_write_disconnect(&s, buf, sizeof(buf), SPOP_ERR_NONE, "draining");
	assert_true(len > 0);
	assert_int_equal(spop_session_write_hello(&s, buf + len, sizeof(buf) - len), 0);
	spop_client_init(&c, 16380, 0, true);
	assert_true(spop_client_write_hello(&c, check, 82, NULL) > 0);
	assert_int_equal(spop_client_receive(&c, buf, len, &answer, &fault), len);
	assert_int_equal(answer.event, SPOP_CLIENT_EV_DISCONNECT);
	assert_int_equal(answer.disconnect.status, SPOP_ERR_NONE);
	assert_true(spop_view_eq(answer.disconnect.message, SPOP_VIEW_LIT("draining")));
	free(check);
}

static void says_how_much_more(void **state)
{
	size_t len;
	uint8_t *hello = harness_hex(GOLDEN_HELLO_3_2, &len);
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;

	(void)state;
	spop_session_init(&s, 16380);
	assert_int_equal(spop_session_receive(&s, hello, 3, &in, &fault), 0);
	assert_int_equal(in.frame.total, 0);
	assert_int_equal(spop_session_receive(&s, hello, 4, &in, &fault), 0);
	assert_int_equal(in.frame.total, len);
	assert_int_equal(s.state, SPOP_ST_WAIT_HELLO);
	free(hello);
}

static void points_at_the_fault(void **state)
{
	size_t len, hello_len;
	uint8_t *hello = harness_hex(GOLDEN_HELLO_CHECK, &hello_len);
	uint8_t *bytes = harness_hex("0000000d 03 00000001 0101 016d 01 0161 0f", &len);
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;
	uint8_t buf[SPOP_AGENT_HELLO_MAX];

	(void)state;
	spop_session_init(&s, 16380);
	assert_int_equal(spop_session_receive(&s, hello, hello_len, &in, &fault), hello_len);
	assert_true(spop_session_write_hello(&s, buf, sizeof(buf)) > 0);
	assert_int_equal(spop_session_receive(&s, bytes, len, &in, &fault), -SPOP_ERR_INVALID);
	assert_int_equal(fault.at, len - 1);
	assert_string_equal(fault.msg, "a reserved data type");
	free(hello);
	free(bytes);
}

/* For a caller that decodes frames itself: the same judgement, offsets from the payload. */
static void judges_decoded_frames(void **state)
{
	size_t len;
	uint8_t *hello = harness_hex(GOLDEN_HELLO_CHECK, &len);
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;

	(void)state;
	spop_session_init(&s, 16380);
	assert_int_equal(spop_frame_decode(hello, len, 16380, &in.frame, &fault), len);
	assert_int_equal(spop_session_judge(&s, &in, &fault), 0);
	assert_int_equal(in.event, SPOP_EV_HELLO);
	assert_int_equal(spop_session_judge(&s, &in, &fault), -SPOP_ERR_INVALID);
	assert_int_equal(fault.at, 0);
	assert_int_equal(s.state, SPOP_ST_CLOSING);
	assert_int_equal(spop_session_judge(&s, &in, &fault), 0);
	assert_int_equal(in.event, SPOP_EV_IGNORED);
	free(hello);
}

/* NOTIFY pressed in before the answer was written: HAProxy waits for AGENT-HELLO. */
static void takes_no_notify_before_its_hello(void **state)
{
	size_t hello_len, len;
	uint8_t *hello = harness_hex(GOLDEN_HELLO_CHECK, &hello_len);
	uint8_t *notify = harness_hex(GOLDEN_NOTIFY_EMPTY, &len);
	struct spop_session s;
	struct spop_fault fault;
	struct spop_input in;

	(void)state;
	spop_session_init(&s, 16380);
	assert_int_equal(spop_session_receive(&s, hello, hello_len, &in, &fault), hello_len);
	assert_int_equal(spop_session_receive(&s, notify, len, &in, &fault), -SPOP_ERR_INVALID);
	free(hello);
	free(notify);
}

static void is_small(void **state)
{
	(void)state;
	assert_true(sizeof(struct spop_session) <= 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(converses),
	    cmocka_unit_test(survives_any_byte),
	    cmocka_unit_test(negotiates),
	    cmocka_unit_test(writes_golden_answers),
	    cmocka_unit_test(refuses_a_health_check),
	    cmocka_unit_test(says_how_much_more),
	    cmocka_unit_test(points_at_the_fault),
	    cmocka_unit_test(judges_decoded_frames),
	    cmocka_unit_test(takes_no_notify_before_its_hello),
	    cmocka_unit_test(is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
