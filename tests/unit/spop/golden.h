/* Frames as they are on the wire, made by hand or by HAProxy, not by the code under test. */
#ifndef TESTS_SPOP_GOLDEN_H
#define TESTS_SPOP_GOLDEN_H

/* What 2.6.12 and 3.0.11 sent, with `tune.bufsize` at its default; only the engine-id differs. */
#define GOLDEN_HELLO_3_0                                                                           \
	"00000081 01 00000001 "                                                                    \
	"000012737570706f727465642d76657273696f6e730803322e300e6d61782d6672616d652d73697a"         \
	"6503fcf0060c6361706162696c69746965730810706970656c696e696e672c6173796e6309656e67"         \
	"696e652d6964082466356531616338622d366634632d346135632d386330632d3266366233613564"         \
	"39653031"

/* What 3.2.26 and 3.4.7 sent: no "async" any more. */
#define GOLDEN_HELLO_3_2                                                                           \
	"0000007b 01 00000001 "                                                                    \
	"000012737570706f727465642d76657273696f6e730803322e300e6d61782d6672616d652d73697a"         \
	"6503fcf0060c6361706162696c6974696573080a706970656c696e696e6709656e67696e652d6964"         \
	"082466356531616338622d366634632d346135632d386330632d326636623361356439653031"

/* `option spop-check` from 3.1 on: HAProxy has these 82 bytes as a
 * constant in its source; 2.6.12 and 3.0.11 sent the same.
 */
#define GOLDEN_HELLO_CHECK                                                                         \
	"0000004e 01 00000001 "                                                                    \
	"000012737570706f727465642d76657273696f6e730803322e300e6d61782d6672616d652d73697a"         \
	"6503fcf0060c6361706162696c697469657308000b6865616c7468636865636b11"

/* The answer HAProxy's own reg-tests/checks/spop-check.vtc gives. */
#define GOLDEN_AGENT_HELLO_BARE                                                                    \
	"00000036 65 00000001 "                                                                    \
	"00000776657273696f6e0803322e300e6d61782d6672616d652d73697a6503fcf0060c6361706162"         \
	"696c69746965730800"

#define GOLDEN_AGENT_HELLO_PIPELINING                                                              \
	"00000040 65 00000001 "                                                                    \
	"00000776657273696f6e0803322e300e6d61782d6672616d652d73697a6503fcf0060c6361706162"         \
	"696c6974696573080a706970656c696e696e67"

/* The first NOTIFY of a 2.6.12: message "count" with path=/abcdef, stream-id 0, frame-id 1. */
#define GOLDEN_NOTIFY_2_6                                                                          \
	"0000001c 03 00000001 "                                                                    \
	"000105636f756e7401047061746808072f616263646566"

/* Two messages; an argument of each type HAProxy sends, one of them without a name. */
#define GOLDEN_NOTIFY                                                                              \
	"0000009c 03 00000001 "                                                                    \
	"010105726f7574650b026964080d37463030303030313a43333530047061746808142f76312f6368"         \
	"61742f636f6d706c6574696f6e7304626f6479090e7b226d6f64656c223a226d227d0a036c656e04"         \
	"0e036e656704fbf0fefefefefefefe0e03737263067f000001036473740700000000000000000000"         \
	"0000000000010373736c0102757011046e6f6e6500000800056f7468657200"

/* stream-id 2^64 - 1, frame-id 300. */
#define GOLDEN_NOTIFY_BIG_IDS                                                                      \
	"00000014 03 00000001 "                                                                    \
	"fff0fefefefefefefe0efc03016d00"

/* No message; stream-id 0, the first one of HAProxy up to 3.0. */
#define GOLDEN_NOTIFY_EMPTY                                                                        \
	"00000007 03 00000001 "                                                                    \
	"0001"

/* Three variables set, one unset. */
#define GOLDEN_ACK                                                                                 \
	"00000039 67 00000001 "                                                                    \
	"010101030207766572646963740806726f7574656401030206737461747573040001030103647374"         \
	"060a000001020204036f6c64"

#define GOLDEN_ACK_EMPTY                                                                           \
	"00000007 67 00000001 "                                                                    \
	"0301"

#define GOLDEN_HAPROXY_DISCONNECT                                                                  \
	"00000025 02 00000001 "                                                                    \
	"00000b7374617475732d636f64650300076d65737361676508066e6f726d616c"

#define GOLDEN_AGENT_DISCONNECT_0                                                                  \
	"00000025 66 00000001 "                                                                    \
	"00000b7374617475732d636f64650300076d65737361676508066e6f726d616c"

#define GOLDEN_AGENT_DISCONNECT_4                                                                  \
	"00000035 66 00000001 "                                                                    \
	"00000b7374617475732d636f64650304076d6573736167650816696e76616c6964206672616d6520"         \
	"7265636569766564"

/* Frame type 50, stream 9. */
#define GOLDEN_UNKNOWN_TYPE                                                                        \
	"0000000a 32 00000001 "                                                                    \
	"0909010203"

/* A later fragment. */
#define GOLDEN_UNSET                                                                               \
	"0000000a 00 00000001 "                                                                    \
	"0101616263"

#endif
