/*
 * A decision as an ACK, into frames of every size: never past the end, never past its bound, never
 * empty where anything fits, and always one that HAProxy's side reads.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/answer.h"
#include "spop/client.h"

#define CAP_MAX 8192

struct desk {
	struct pool pool;
	struct pool_endpoint endpoints[PICK_MAX];
	uint32_t slots[PICK_MAX];
	char backend[129], servers[PICK_MAX][300], model[257], target[257], base[257];
	struct decision decision;
};

static uint32_t chance(uint32_t below)
{
	static uint64_t seed = 42;

	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((seed >> 33) % below);
}

static const char *word(char *buf, uint32_t max)
{
	uint32_t n = chance(4) ? 1 + chance(20) : chance(max) + 1;

	memset(buf, 'a' + (int)chance(26), n);
	buf[n] = '\0';
	return buf;
}

/* Any decision, the impossible included: what must hold holds for the encoder alone. */
static void make(struct desk *k)
{
	struct decision *d = &k->decision;

	memset(k, 0, sizeof(*k));
	d->verdict = chance(2) ? VERDICT_ROUTED : (enum verdict)chance(VERDICT_COUNT);
	d->status = verdict_status(d->verdict);
	d->has_model = chance(4) > 0;
	if (d->has_model)
		d->request.model = view_str(word(k->model, 256));
	d->request.model_at = chance(3) ? (int64_t)chance(UINT32_MAX) << 20 : -1;
	d->request.model_len = chance(256);
	d->has_target = d->has_model && chance(2);
	if (d->has_target) {
		d->target.base = view_str(word(k->base, 256));
		if (chance(2))
			d->target.target = view_str(word(k->target, 256));
	}
	if (d->verdict != VERDICT_ROUTED && chance(2))
		return;
	k->pool = (struct pool){.name = "p", .backend = k->backend, .retry_after = 3600};
	word(k->backend, 128);
	k->pool.endpoints = k->endpoints;
	k->pool.slots = k->slots;
	k->pool.n = PICK_MAX;
	d->pool = &k->pool;
	d->pick.n = chance(PICK_MAX + 1);
	for (uint32_t i = 0; i < PICK_MAX; i++) {
		struct sockaddr_in *v4 = (void *)&k->endpoints[i].addr;
		struct sockaddr_in6 *v6 = (void *)&k->endpoints[i].addr;

		d->pick.index[i] = i;
		if (chance(3)) {
			word(k->servers[i], 299);
			k->endpoints[i].server = k->servers[i];
		} else if (chance(2)) {
			v4->sin_family = AF_INET;
			v4->sin_port = htons(65535);
		} else {
			v6->sin6_family = AF_INET6;
			v6->sin6_port = htons(65535);
		}
	}
}

static bool is(const struct spop_action *a, const char *name)
{
	return spop_view_eq(a->name, spop_view_str(name));
}

/* Which variables the frame sets; fails when it is none. */
static variables_t read_back(const uint8_t *buf, size_t len, const struct decision *d,
			     int64_t ticket)
{
	struct spop_client c;
	struct spop_client_input in;
	struct spop_fault fault;
	struct spop_action a;
	variables_t set = 0;
	int64_t number;

	spop_client_init(&c, CAP_MAX, 0, false);
	c.state = SPOP_CLIENT_ST_RUNNING;
	assert_int_equal(spop_client_receive(&c, buf, len, &in, &fault), len);
	assert_int_equal(in.event, SPOP_CLIENT_EV_ACK);
	assert_int_equal(in.frame.stream_id, UINT64_MAX);
	assert_int_equal(in.frame.frame_id, UINT64_MAX - 1);
	while (spop_actions_next(&in.actions, &a)) {
		char name[64];
		variables_t bit;

		snprintf(name, sizeof(name), "%.*s", (int)a.name.len, (const char *)a.name.ptr);
		bit = variable_bit(name);
		assert_int_not_equal(bit, 0);
		assert_false(set & bit);
		set |= bit;
		if (is(&a, "verdict"))
			assert_true(spop_view_eq(spop_value_bytes(&a.value),
						 spop_view_str(verdict_name(d->verdict))));
		if (is(&a, "ticket")) {
			assert_int_equal(spop_value_integer(&a.value, &number), 0);
			assert_int_equal(number, ticket);
		}
	}
	assert_true(set & variable_bit("verdict"));
	return set;
}

/* Room that is enough for the action of any ticket. */
#define TICKET_ROOM 32

static void every_size(void **state)
{
	struct desk *k = malloc(sizeof(*k));
	const int64_t ticket = INT64_MAX;

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		variables_t all = round % 5 ? UINT32_MAX : chance(UINT32_MAX), set;
		const bool wanted = all >> VARIABLE_TICKET & 1;
		size_t sizes[16], whole = 0, n;

		make(k);
		sizes[15] = CAP_MAX;
		for (unsigned i = 16; i-- > 0;) {
			/* Of its own size: a byte too many is found by the sanitizer. */
			uint8_t *buf = malloc(sizes[i] ? sizes[i] : 1);
			struct reply a;
			bool fits = answer_begin(&a, &k->decision, all, UINT64_MAX, UINT64_MAX - 1,
						 buf, sizes[i]);

			n = answer_end(&a, fits ? ticket : 0);
			assert_true(n <= sizes[i]);
			if (i == 15) {
				whole = n;
				assert_true(fits);
				for (unsigned j = 0; j < 8; j++)
					sizes[j] = chance((uint32_t)whole);
				sizes[8] = 256;
				sizes[9] = 260;
				for (unsigned j = 10; j < 15; j++)
					sizes[j] = whole + (j - 10) * TICKET_ROOM / 2;
			}
			if (sizes[i] >= 256)
				assert_true(n > 0);
			if (fits || sizes[i] >= whole + TICKET_ROOM)
				assert_true(fits && n == whole);
			if (n > 0) {
				set = read_back(buf, n, &k->decision, ticket);
				assert_int_equal(set & variable_bit("ticket"),
						 fits && wanted ? variable_bit("ticket") : 0);
			}
			free(buf);
		}
	}
	free(k);
}

static void names(void **state)
{
	(void)state;
	assert_int_equal(variable_bit("nothing"), 0);
	assert_int_equal(variable_bit(""), 0);
	assert_int_equal(variable_bit("verdict"), UINT32_C(1) << VARIABLE_VERDICT);
	assert_true(VARIABLE_COUNT <= 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_size),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
