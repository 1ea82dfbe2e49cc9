/* NOTIFY: the iterator over what HAProxy sends, what is refused, and random lists there and back.
 */
#include "spop/notify.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

static const struct {
	const char *hex; /* a payload */
	int want;        /* messages, or a negated status */
	const char *why;
} cases[] = {
    {"", 0, "no message"},
    {"016d 00", 1, "no argument"},
    {"016d 00 016e 00", 2, "two messages"},
    {"016d 01 0161 00", 1, "a NULL argument"},
    {"016d 01 00 00", 1, "an argument without a name"},
    {"016d 02 0161 0801 62 0161 042a", 1, "a name twice"},
    {"016d", -SPOP_ERR_INVALID, "no count"},
    {"016d 01", -SPOP_ERR_INVALID, "no argument where one is counted"},
    {"016d 01 0161", -SPOP_ERR_INVALID, "no value"},
    {"016d 02 0161 00", -SPOP_ERR_INVALID, "one of two"},
    {"016d ff 0161 00", -SPOP_ERR_INVALID, "one of 255"},
    {"016d 00 00", -SPOP_ERR_INVALID, "garbage: a zero byte"},
    {"016d 00 0000", -SPOP_ERR_INVALID, "garbage: a message without a name"},
    {"016d 01 0161 00 ff", -SPOP_ERR_INVALID, "garbage: one byte of a varint"},
    {"00 00", -SPOP_ERR_INVALID, "a message without a name"},
    {"056d", -SPOP_ERR_INVALID, "a name past the end"},
    {"fff0fefefefefefefe0e 6d 00", -SPOP_ERR_INVALID, "a name of 2^64 - 1 bytes"},
    {"fff0fefefefefefefe0f 6d 00", -SPOP_ERR_INVALID, "a length past 64 bits"},
    {"016d 01 fff0fefefefefefefe0e 00", -SPOP_ERR_INVALID, "an argument name of that size"},
    {"016d 01 0161 0a", -SPOP_ERR_INVALID, "a reserved type"},
    {"016d 01 0161 08f0f1fefefefefefefe06", -SPOP_ERR_INVALID, "a string of 2^63 bytes"},
    {"016d 01 0161 06 7f0000", -SPOP_ERR_INVALID, "three bytes of IPV4"},
};

static void opens(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(cases[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_fault fault = {0};
		struct spop_message m;
		struct spop_notify n;
		struct spop_arg a;
		int seen = 0;
		int r;

		r = spop_notify_open(&n, spop_view_of(harness_guard_put(&g, bytes, len), len),
				     &fault);
		if (r != cases[i].want)
			fail_msg("%s: %d", cases[i].why, r);
		if (r < 0) {
			assert_true(fault.at <= len);
			assert_non_null(fault.msg);
		} else {
			for (; spop_notify_message(&n, &m); seen++)
				for (unsigned int k = 0; k < m.nargs; k++)
					assert_true(spop_notify_arg(&n, &a));
			assert_int_equal(seen, r);
			assert_false(spop_notify_message(&n, &m));
			assert_false(spop_notify_arg(&n, &a));
		}
		harness_guard_free(&g);
		free(bytes);
	}
}

static struct spop_view payload_of(const uint8_t *bytes, size_t len)
{
	struct spop_fault fault;
	struct spop_frame f;

	assert_int_equal(spop_frame_decode(bytes, len, 1u << 20, &f, &fault), len);
	assert_int_equal(f.type, SPOP_FRM_T_HAPROXY_NOTIFY);
	assert_int_equal(f.flags, SPOP_FRM_FL_FIN);
	return f.payload;
}

static void skips_what_is_not_asked_for(void **state)
{
	size_t len;
	uint8_t *bytes = harness_hex(GOLDEN_NOTIFY, &len);
	struct spop_fault fault;
	struct spop_message m;
	struct spop_notify n, again;
	struct spop_arg a;

	(void)state;
	assert_int_equal(spop_notify_open(&n, payload_of(bytes, len), &fault), 2);
	again = n;
	assert_false(spop_notify_arg(&n, &a)); /* no message asked for yet */
	assert_true(spop_notify_message(&n, &m));
	assert_int_equal(m.nargs, 11);
	assert_true(spop_notify_arg(&n, &a));
	assert_true(spop_view_eq(a.name, SPOP_VIEW_LIT("id")));
	assert_true(spop_notify_message(&n, &m));
	assert_true(spop_view_eq(m.name, SPOP_VIEW_LIT("other")));
	assert_false(spop_notify_message(&n, &m));
	assert_true(spop_notify_message(&again, &m)); /* a copy walks by itself */
	assert_true(spop_view_eq(m.name, SPOP_VIEW_LIT("route")));
	free(bytes);
}

static size_t encode_golden(void *buf, size_t cap, void *arg)
{
	static const uint8_t v6[16] = {[15] = 1};
	struct spop_notify_builder b;

	(void)arg;
	spop_notify_begin(&b, buf, cap, 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("route"), 11);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("id"),
			    spop_value_str(SPOP_VIEW_LIT("7F000001:C350")));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("path"),
			    spop_value_str(SPOP_VIEW_LIT("/v1/chat/completions")));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("body"),
			    spop_value_bin(SPOP_VIEW_LIT("{\"model\":\"m\"}\n")));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("len"), spop_value_int64(14));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("neg"), spop_value_int64(-5));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("src"), spop_value_ipv4("\x7f\0\0\1"));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("dst"), spop_value_ipv6(v6));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("ssl"), spop_value_bool(false));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("up"), spop_value_bool(true));
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("none"), spop_value_null());
	spop_notify_add_arg(&b, SPOP_VIEW_NULL, spop_value_str(SPOP_VIEW_NULL));
	spop_notify_add_message(&b, SPOP_VIEW_LIT("other"), 0);
	return spop_notify_end(&b);
}

static void writes_golden_bytes(void **state)
{
	(void)state;
	harness_encoder(encode_golden, NULL, GOLDEN_NOTIFY);
}

static void refuses_to_write_a_wrong_count(void **state)
{
	struct spop_notify_builder b;
	uint8_t buf[128];

	(void)state;
	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("m"), 1);
	assert_int_equal(spop_notify_end(&b), 0);

	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("m"), 0);
	spop_notify_add_arg(&b, SPOP_VIEW_LIT("a"), spop_value_null());
	assert_int_equal(spop_notify_end(&b), 0);

	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("m"), 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("n"), 0);
	assert_int_equal(spop_notify_end(&b), 0);

	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("m"), 256);
	assert_int_equal(spop_notify_end(&b), 0);

	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_NULL, 0);
	assert_int_equal(spop_notify_end(&b), 0);

	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	assert_int_equal(spop_notify_end(&b), 11);
}

/* ---- random lists ---- */

#define MAX_MESSAGES 6
#define MAX_ARGS     12

struct list {
	size_t messages;
	struct spop_message message[MAX_MESSAGES];
	struct spop_arg arg[MAX_MESSAGES][MAX_ARGS];
};

static uint8_t pool[70000];

static struct spop_view random_bytes(uint64_t *seed, size_t max)
{
	size_t len = harness_random(seed) % (max + 1);

	return spop_view_of(pool + harness_random(seed) % (sizeof(pool) - len), len);
}

static struct spop_value random_value(uint64_t *seed)
{
	uint64_t n = harness_random(seed) >> (harness_random(seed) % 64);

	switch (harness_random(seed) % 10) {
	case 0:
		return spop_value_null();
	case 1:
		return spop_value_bool(n & 1);
	case 2:
		return spop_value_int32((int32_t)n);
	case 3:
		return spop_value_uint32((uint32_t)n);
	case 4:
		return spop_value_int64((int64_t)n);
	case 5:
		return spop_value_uint64(n);
	case 6:
		return spop_value_ipv4(pool + n % 1000);
	case 7:
		return spop_value_ipv6(pool + n % 1000);
	case 8:
		return spop_value_str(random_bytes(seed, n % 100 ? 300 : 60000));
	default:
		return spop_value_bin(random_bytes(seed, 20));
	}
}

static void random_list(uint64_t *seed, struct list *l)
{
	l->messages = harness_random(seed) % (MAX_MESSAGES + 1);
	for (size_t i = 0; i < l->messages; i++) {
		l->message[i].name = random_bytes(seed, 260);
		if (l->message[i].name.len == 0)
			l->message[i].name = SPOP_VIEW_LIT("m");
		l->message[i].nargs = (unsigned int)(harness_random(seed) % (MAX_ARGS + 1));
		for (size_t k = 0; k < l->message[i].nargs; k++) {
			l->arg[i][k].name = random_bytes(seed, 30);
			l->arg[i][k].value = random_value(seed);
		}
	}
}

static size_t encode_list(void *buf, size_t cap, void *arg)
{
	const struct list *l = arg;
	struct spop_notify_builder b;

	spop_notify_begin(&b, buf, cap, 77, 1);
	for (size_t i = 0; i < l->messages; i++) {
		spop_notify_add_message(&b, l->message[i].name, l->message[i].nargs);
		for (size_t k = 0; k < l->message[i].nargs; k++)
			spop_notify_add_arg(&b, l->arg[i][k].name, l->arg[i][k].value);
	}
	return spop_notify_end(&b);
}

static void check_list(const struct list *l, struct spop_view payload)
{
	struct spop_fault fault;
	struct spop_message m;
	struct spop_notify n;
	struct spop_arg a;

	assert_int_equal(spop_notify_open(&n, payload, &fault), l->messages);
	for (size_t i = 0; i < l->messages; i++) {
		assert_true(spop_notify_message(&n, &m));
		assert_true(spop_view_eq(m.name, l->message[i].name));
		assert_int_equal(m.nargs, l->message[i].nargs);
		for (size_t k = 0; k < m.nargs; k++) {
			assert_true(spop_notify_arg(&n, &a));
			assert_true(spop_view_eq(a.name, l->arg[i][k].name));
			assert_true(spop_value_eq(&a.value, &l->arg[i][k].value));
		}
		assert_false(spop_notify_arg(&n, &a));
	}
	assert_false(spop_notify_message(&n, &m));
}

static void goes_there_and_back(void **state)
{
	static uint8_t buf[1u << 22];
	static struct list l;
	uint64_t seed = 20;

	(void)state;
	for (size_t i = 0; i < sizeof(pool); i++)
		pool[i] = (uint8_t)harness_random(&seed);
	for (int i = 0; i < 3000; i++) {
		size_t len, cap;

		random_list(&seed, &l);
		len = encode_list(buf, sizeof(buf), &l);
		if (len > (1u << 20))
			continue;
		check_list(&l, payload_of(buf, len));
		cap = harness_random(&seed) % len;
		assert_int_equal(encode_list(buf, cap, &l), 0);
		assert_int_equal(encode_list(buf, len, &l), len);
	}
}

static void takes_255_arguments(void **state)
{
	struct spop_notify_builder b;
	struct spop_message m;
	struct spop_fault fault;
	struct spop_notify n;
	struct spop_arg a;
	uint8_t buf[1024];
	int args = 0;
	size_t len;

	(void)state;
	spop_notify_begin(&b, buf, sizeof(buf), 1, 1);
	spop_notify_add_message(&b, SPOP_VIEW_LIT("m"), 255);
	for (int i = 0; i < 255; i++)
		spop_notify_add_arg(&b, SPOP_VIEW_LIT("a"), spop_value_null());
	len = spop_notify_end(&b);
	assert_int_equal(len, 11 + 3 + 255 * 3);
	assert_int_equal(spop_notify_open(&n, payload_of(buf, len), &fault), 1);
	assert_true(spop_notify_message(&n, &m));
	while (spop_notify_arg(&n, &a))
		args++;
	assert_int_equal(args, 255);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(opens),
	    cmocka_unit_test(skips_what_is_not_asked_for),
	    cmocka_unit_test(writes_golden_bytes),
	    cmocka_unit_test(refuses_to_write_a_wrong_count),
	    cmocka_unit_test(goes_there_and_back),
	    cmocka_unit_test(takes_255_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
