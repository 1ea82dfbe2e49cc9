/* HAProxy's side: what it lets an agent get away with, which is little. */
#include "spop/client.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

#define VERSION "0776657273696f6e "
#define SIZE    "0e6d61782d6672616d652d73697a65 "
#define CAPS    "0c6361706162696c6974696573 "
#define HELLO   "HELLO max=16380 caps=2\n"
#define ACK_TEXT                                                                                   \
	"ACK 1/1 set 2.\"verdict\"=str:\"routed\" set 2.\"status\"=int64:0 "                       \
	"set 1.\"dst\"=ipv4:\"\\0a\\00\\00\\01\" unset 4.\"old\"=null:\n"

static const struct {
	const char *why;
	const char *hex;
	const char *want;
} conversations[] = {
    {"an agent without capabilities", GOLDEN_AGENT_HELLO_BARE GOLDEN_ACK,
     "HELLO max=16380 caps=0\n" ACK_TEXT},
    {"ACKs", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_ACK GOLDEN_ACK_EMPTY, HELLO ACK_TEXT "ACK 3/1\n"},
    {"the agent leaves", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_AGENT_DISCONNECT_0 GOLDEN_ACK,
     HELLO "DISCONNECT 0 \"normal\"\n"},
    {"the agent refuses", GOLDEN_AGENT_DISCONNECT_4, "DISCONNECT 4 \"invalid frame received\"\n"},
    {"a frame type of the future on a stream",
     GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_UNKNOWN_TYPE GOLDEN_ACK_EMPTY,
     HELLO "IGNORED 50\nACK 3/1\n"},
    {"and on none", GOLDEN_AGENT_HELLO_PIPELINING "00000007 32 00000001 0000",
     HELLO "SPOP_ERR_INVALID\n"},
    {"ACK first", GOLDEN_ACK, "SPOP_ERR_INVALID\n"},
    {"HELLO twice", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_AGENT_HELLO_PIPELINING,
     HELLO "SPOP_ERR_INVALID\n"},
    {"frames of HAProxy's own", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_NOTIFY,
     HELLO "SPOP_ERR_INVALID\n"},
    {"HAPROXY-DISCONNECT", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_HAPROXY_DISCONNECT,
     HELLO "SPOP_ERR_INVALID\n"},
    {"ACK to stream 0", GOLDEN_AGENT_HELLO_PIPELINING "00000007 67 00000001 0001",
     HELLO "SPOP_ERR_INVALID\n"},
    {"ACK to frame 0", GOLDEN_AGENT_HELLO_PIPELINING "00000007 67 00000001 0100",
     HELLO "SPOP_ERR_INVALID\n"},
    {"ACK without FIN", GOLDEN_AGENT_HELLO_PIPELINING "00000007 67 00000000 0101",
     HELLO "SPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"a later fragment", GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_UNSET,
     HELLO "SPOP_ERR_FRAG_NOT_SUPPORTED\n"},
    {"an action that would be dropped",
     GOLDEN_AGENT_HELLO_PIPELINING "0000000d 67 00000001 0101 090302 016100",
     HELLO "SPOP_ERR_INVALID\n"},
    {"DISCONNECT on a stream", GOLDEN_AGENT_HELLO_PIPELINING "00000007 66 00000001 0101",
     HELLO "SPOP_ERR_INVALID\n"},
    {"HELLO without FIN, of HAProxy's reg-test", "00000007 65 00000000 0000", "SPOP_ERR_INVALID\n"},
    {"version 1.0, of the same, its keys missing",
     "00000014 65 00000001 0000 " VERSION "0803312e30", "SPOP_ERR_NO_FRAME_SIZE\n"},
    {"version 1.0", "00000036 65 00000001 0000 " VERSION "0803312e30" SIZE "03fcf006" CAPS "0800",
     "SPOP_ERR_BAD_VSN\n"},
    {"0 bytes, of the same", "00000000", "SPOP_ERR_INVALID\n"},
    {"more than announced",
     "00000036 65 00000001 0000 " VERSION "0803322e30" SIZE "03fdf006" CAPS "0800",
     "SPOP_ERR_BAD_FRAME_SIZE\n"},
    {"less than 256", "00000035 65 00000001 0000 " VERSION "0803322e30" SIZE "03ff00" CAPS "0800",
     "SPOP_ERR_BAD_FRAME_SIZE\n"},
    {"a length that is too big", GOLDEN_AGENT_HELLO_PIPELINING "00003ffd",
     HELLO "SPOP_ERR_TOO_BIG\n"},
};

static void converses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++)
		harness_stream(true, conversations[i].hex, conversations[i].want);
}

static void survives_any_byte(void **state)
{
	(void)state;
	harness_any_byte(true, GOLDEN_AGENT_HELLO_PIPELINING GOLDEN_ACK GOLDEN_AGENT_DISCONNECT_4);
}

static void writes_golden_hellos(void **state)
{
	static const struct {
		uint32_t caps;
		const char *engine;
		bool check;
		const char *hex;
	} cases[] = {
	    {SPOP_CAP_PIPELINING | SPOP_CAP_ASYNC, "f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01", false,
	     GOLDEN_HELLO_3_0},
	    {SPOP_CAP_PIPELINING, "f5e1ac8b-6f4c-4a5c-8c0c-2f6b3a5d9e01", false, GOLDEN_HELLO_3_2},
	    {0, NULL, true, GOLDEN_HELLO_CHECK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t want_len;
		uint8_t *want = harness_hex(cases[i].hex, &want_len);
		struct spop_client c;
		uint8_t buf[256];

		spop_client_init(&c, 16380, cases[i].caps, cases[i].check);
		assert_int_equal(spop_client_write_hello(&c, buf, want_len - 1, cases[i].engine),
				 0);
		assert_int_equal(c.state, SPOP_CLIENT_ST_START);
		assert_int_equal(spop_client_write_hello(&c, buf, sizeof(buf), cases[i].engine),
				 want_len);
		assert_memory_equal(buf, want, want_len);
		assert_int_equal(spop_client_write_hello(&c, buf, sizeof(buf), NULL), 0);
		free(want);
	}
}

static void lets_nobody_speak_first(void **state)
{
	size_t len;
	uint8_t *hello = harness_hex(GOLDEN_AGENT_HELLO_BARE, &len);
	struct spop_client c;
	struct spop_client_input in;
	struct spop_fault fault;

	(void)state;
	spop_client_init(&c, 16380, 0, false);
	assert_int_equal(spop_client_receive(&c, hello, len, &in, &fault), -SPOP_ERR_INVALID);
	assert_int_equal(c.state, SPOP_CLIENT_ST_CLOSING);
	free(hello);
}

static void keeps_what_both_have(void **state)
{
	size_t len;
	uint8_t *hello = harness_hex(GOLDEN_AGENT_HELLO_PIPELINING, &len);
	struct spop_client c;
	struct spop_client_input in;
	struct spop_fault fault;
	uint8_t buf[256];

	(void)state;
	spop_client_init(&c, 1u << 20, 0, false); /* the agent's "pipelining" was not offered */
	assert_true(spop_client_write_hello(&c, buf, sizeof(buf), NULL) > 0);
	assert_int_equal(spop_client_receive(&c, hello, len, &in, &fault), len);
	assert_false(spop_client_pipelining(&c));
	assert_int_equal(c.max_frame, 16380);
	assert_true(spop_client_write_disconnect(&c, buf, sizeof(buf), SPOP_ERR_NONE, NULL) > 0);
	assert_int_equal(c.state, SPOP_CLIENT_ST_CLOSING);
	free(hello);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(converses),
	    cmocka_unit_test(survives_any_byte),
	    cmocka_unit_test(writes_golden_hellos),
	    cmocka_unit_test(lets_nobody_speak_first),
	    cmocka_unit_test(keeps_what_both_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
