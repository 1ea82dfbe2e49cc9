/* ACK: golden bytes, names and scopes that would not work, and random actions there and back. */
#include "spop/ack.h"
#include "spop/frame.h"
#include "unit/spop/golden.h"
#include "unit/spop/harness.h"

static size_t encode_golden(void *buf, size_t cap, void *arg)
{
	struct spop_ack a;

	(void)arg;
	spop_ack_begin(&a, buf, cap, 1, 1);
	spop_ack_set_str(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("verdict"), SPOP_VIEW_LIT("routed"));
	spop_ack_set_int(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("status"), 0);
	spop_ack_set_var(&a, SPOP_SCOPE_SESS, SPOP_VIEW_LIT("dst"), spop_value_ipv4("\x0a\0\0\1"));
	spop_ack_unset_var(&a, SPOP_SCOPE_RES, SPOP_VIEW_LIT("old"));
	return spop_ack_end(&a);
}

static size_t encode_empty(void *buf, size_t cap, void *arg)
{
	struct spop_ack a;

	(void)arg;
	spop_ack_begin(&a, buf, cap, 3, 1);
	return spop_ack_end(&a);
}

static void writes_golden_bytes(void **state)
{
	(void)state;
	harness_encoder(encode_golden, NULL, GOLDEN_ACK);
	harness_encoder(encode_empty, NULL, GOLDEN_ACK_EMPTY);
}

static size_t one_action(struct spop_view name, int scope, struct spop_value value, bool unset)
{
	static uint8_t buf[512];
	struct spop_ack a;

	spop_ack_begin(&a, buf, sizeof(buf), 1, 1);
	if (unset)
		spop_ack_unset_var(&a, (enum spop_scope)scope, name);
	else
		spop_ack_set_var(&a, (enum spop_scope)scope, name, value);
	spop_ack_set_int(&a, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("after"), 1);
	return spop_ack_end(&a);
}

static void refuses_what_haproxy_would_drop(void **state)
{
	const char *name = "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefgh";
	struct spop_value v = spop_value_int64(1);

	(void)state;
	assert_int_equal(strlen(name), SPOP_VAR_NAME_MAX + 1);
	for (int unset = 0; unset < 2; unset++) {
		assert_true(one_action(spop_view_str(name + 1), SPOP_SCOPE_TXN, v, unset) > 0);
		assert_int_equal(one_action(spop_view_str(name), SPOP_SCOPE_TXN, v, unset), 0);
		assert_int_equal(one_action(SPOP_VIEW_NULL, SPOP_SCOPE_TXN, v, unset), 0);
		for (int scope = -1; scope < 7; scope++)
			assert_int_equal(one_action(SPOP_VIEW_LIT("x"), scope, v, unset) > 0,
					 scope >= 0 && scope <= 4);
	}
	v = spop_value_null();
	assert_true(one_action(SPOP_VIEW_LIT("x"), SPOP_SCOPE_TXN, v, false) > 0);
	v.type = SPOP_DATA_T_IPV4;
	v.bytes = SPOP_VIEW_LIT("abc");
	assert_int_equal(one_action(SPOP_VIEW_LIT("x"), SPOP_SCOPE_TXN, v, false), 0);
}

static const struct {
	const char *hex;
	int want;
	const char *why;
} cases[] = {
    {"", 0, "nothing"},
    {"0103020161 042a", 1, "set"},
    {"0202020161", 1, "unset"},
    {"0103020161 00 0202020161", 2, "set to NULL, unset"},
    {"01", -SPOP_ERR_INVALID, "a type alone"},
    {"0103", -SPOP_ERR_INVALID, "no scope"},
    {"010302", -SPOP_ERR_INVALID, "no name"},
    {"0103020161", -SPOP_ERR_INVALID, "no value"},
    {"0102020161 042a", -SPOP_ERR_INVALID, "set with two arguments"},
    {"0203020161", -SPOP_ERR_INVALID, "unset with three"},
    {"0003020161 042a", -SPOP_ERR_INVALID, "action 0"},
    {"0303020161 042a", -SPOP_ERR_INVALID, "action 3"},
    {"0103050161 042a", -SPOP_ERR_INVALID, "scope 5"},
    {"010302 00 042a", -SPOP_ERR_INVALID, "no name in the name"},
    {"0103020161 0a", -SPOP_ERR_INVALID, "a reserved type"},
    {"0103020161 042a 00", -SPOP_ERR_INVALID, "garbage"},
    {"010302 fff0fefefefefefefe0e", -SPOP_ERR_INVALID, "a name of 2^64 - 1 bytes"},
};

static void reads(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len;
		uint8_t *bytes = harness_hex(cases[i].hex, &len);
		struct harness_guard g = harness_guard_new(len);
		struct spop_action action;
		struct spop_actions a;
		struct spop_fault fault;
		int seen = 0;
		int r = spop_actions_open(&a, spop_view_of(harness_guard_put(&g, bytes, len), len),
					  &fault);

		if (r != cases[i].want)
			fail_msg("%s: %d", cases[i].why, r);
		if (r >= 0) {
			while (spop_actions_next(&a, &action))
				seen++;
			assert_int_equal(seen, r);
		} else {
			assert_true(fault.at <= len);
		}
		harness_guard_free(&g);
		free(bytes);
	}
}

#define MAX_ACTIONS 20

struct script {
	size_t n;
	struct spop_action action[MAX_ACTIONS];
};

static const char pool[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";

static void random_script(uint64_t *seed, struct script *s)
{
	s->n = harness_random(seed) % (MAX_ACTIONS + 1);
	for (size_t i = 0; i < s->n; i++) {
		struct spop_action *a = &s->action[i];
		uint64_t n = harness_random(seed) >> (harness_random(seed) % 64);

		a->type = harness_random(seed) % 4 ? SPOP_ACT_T_SET_VAR : SPOP_ACT_T_UNSET_VAR;
		a->scope = harness_random(seed) % 5;
		a->name = spop_view_of(pool, 1 + harness_random(seed) % SPOP_VAR_NAME_MAX);
		a->value = spop_value_null();
		if (a->type == SPOP_ACT_T_UNSET_VAR)
			continue;
		switch (harness_random(seed) % 6) {
		case 0:
			a->value = spop_value_int64((int64_t)n);
			break;
		case 1:
			a->value = spop_value_uint32((uint32_t)n);
			break;
		case 2:
			a->value = spop_value_bool(n & 1);
			break;
		case 3:
			a->value = spop_value_ipv6(pool);
			break;
		case 4:
			a->value = spop_value_str(spop_view_of(pool, n % sizeof(pool)));
			break;
		default:
			a->value = spop_value_int32((int32_t)n);
			break;
		}
	}
}

static size_t encode_script(void *buf, size_t cap, const struct script *s)
{
	struct spop_ack a;

	spop_ack_begin(&a, buf, cap, 999, 1);
	for (size_t i = 0; i < s->n; i++) {
		const struct spop_action *action = &s->action[i];

		if (action->type == SPOP_ACT_T_SET_VAR)
			spop_ack_set_var(&a, action->scope, action->name, action->value);
		else
			spop_ack_unset_var(&a, action->scope, action->name);
	}
	return spop_ack_end(&a);
}

static void goes_there_and_back(void **state)
{
	uint64_t seed = 30;
	uint8_t buf[8192];
	struct script s;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		struct spop_actions a;
		struct spop_action got;
		struct spop_fault fault;
		struct spop_frame f;
		size_t len;

		random_script(&seed, &s);
		len = encode_script(buf, sizeof(buf), &s);
		assert_true(len > 0);
		assert_int_equal(spop_frame_decode(buf, len, sizeof(buf), &f, &fault), len);
		assert_int_equal(f.type, SPOP_FRM_T_AGENT_ACK);
		assert_int_equal(f.stream_id, 999);
		assert_int_equal(spop_actions_open(&a, f.payload, &fault), s.n);
		for (size_t k = 0; k < s.n; k++) {
			assert_true(spop_actions_next(&a, &got));
			assert_int_equal(got.type, s.action[k].type);
			assert_int_equal(got.scope, s.action[k].scope);
			assert_true(spop_view_eq(got.name, s.action[k].name));
			assert_true(spop_value_eq(&got.value, &s.action[k].value));
		}
		assert_false(spop_actions_next(&a, &got));
		assert_int_equal(encode_script(buf, harness_random(&seed) % len, &s), 0);
	}
}

/* Names that are ready say what the others say, in a buffer of any size. */
static void ready_names(void **state)
{
	static const struct spop_var vars[] = {
	    SPOP_VAR(SPOP_SCOPE_TXN, "v"),
	    SPOP_VAR(SPOP_SCOPE_SESS, "verdict"),
	    SPOP_VAR(SPOP_SCOPE_RES, "as_long_as_a_ready_name_gets"),
	};
	static const size_t lengths[] = {0, 1, 3, 4, 8, 15, 16, 31, 32, 33, 239, 240, 300};
	static const int64_t numbers[] = {0, 239, 240, -1, INT64_MAX, INT64_MIN};
	uint8_t text[300], ready[512], usual[512];
	struct spop_ack a, b;

	(void)state;
	_Static_assert(sizeof("as_long_as_a_ready_name_gets") - 1 == SPOP_VAR_LIT_MAX, "its limit");
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {
		const struct spop_view name = spop_var_name(&vars[i]);
		const enum spop_scope scope = vars[i].head[2];

		for (size_t cap = 0; cap < sizeof(ready); cap++) {
			for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
				const struct spop_view str = {text, lengths[k]};
				size_t n;

				spop_ack_begin(&a, ready, cap, 300, 1);
				spop_ack_put_str(&a, &vars[i], str);
				spop_ack_begin(&b, usual, cap, 300, 1);
				spop_ack_set_str(&b, scope, name, str);
				n = spop_ack_end(&b);
				assert_int_equal(spop_ack_end(&a), n);
				assert_memory_equal(ready, usual, n);
			}
			for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
				size_t n;

				spop_ack_begin(&a, ready, cap, 300, 1);
				spop_ack_put_int(&a, &vars[i], numbers[k]);
				spop_ack_begin(&b, usual, cap, 300, 1);
				spop_ack_set_int(&b, scope, name, numbers[k]);
				n = spop_ack_end(&b);
				assert_int_equal(spop_ack_end(&a), n);
				assert_memory_equal(ready, usual, n);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes_golden_bytes),
	    cmocka_unit_test(refuses_what_haproxy_would_drop),
	    cmocka_unit_test(reads),
	    cmocka_unit_test(goes_there_and_back),
	    cmocka_unit_test(ready_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
