/* A worker with real sockets, by the contract and against peers that break it. */
#include "unit/serve/house.h"

static void answers_by_the_contract(void **state)
{
	struct house *h = build();
	struct peer *p;
	struct answer a;
	static const struct {
		const char *body, *answer;
		bool ticket;
	} table[] = {
	    {"{\"model\":\"B\"}",
	     "verdict=routed status=0 model=B base_model=B backend=phi4 dst=10.0.0.4 "
	     "dst_port=8003 ",
	     true},
	    {"{\"messages\":[],\"model\":\"alias\"}",
	     "verdict=routed status=0 model=alias base_model=A target_model=A rewrite_at=24 "
	     "rewrite_len=5 backend=llama server=a2 server2=a1 ",
	     true},
	    {"{\"model\":\"C\"}", "verdict=model_not_found status=404 model=C ", false},
	    {"{\"prompt\":1}", "verdict=no_model status=0 ", false},
	    {"{\"model\":1}", "verdict=bad_request status=400 ", false},
	    {"", "verdict=no_model status=0 ", false},
	};

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	/* a1 has one more: the order of the two is certain. */
	(void)!ticket_open(h->env.tickets, 0, h->slots[0], 0, 0, 0, 1);
	for (uint64_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ask(p, 2 * i + 1, table[i].body);
		hear(p, &a);
		assert_int_equal(a.id, 2 * i + 1);
		assert_string_equal(a.text, table[i].answer);
		assert_int_equal(a.ticket > 0, table[i].ticket);
	}
	assert_int_equal(tickets_open(h->env.tickets), 3);
	assert_int_equal(stat_get(&h->workers[0].stats->verdicts[VERDICT_ROUTED]), 2);
	assert_int_equal(stat_get(&h->workers[0].stats->models[2].verdicts[VERDICT_ROUTED]), 1);
	leave(p);
	demolish(h);
}

static void down_full_and_gone(void **state)
{
	struct house *h = build();
	struct peer *p;
	struct answer a;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	endpoint_set_flags(h->env.endpoints, h->slots[3], 0, ENDPOINT_DOWN);
	ask(p, 1, "{\"model\":\"B\"}");
	hear(p, &a);
	assert_string_equal(a.text, "verdict=no_endpoint status=503 retry_after=5 model=B "
				    "base_model=B backend=phi4 ");
	endpoint_set_flags(h->env.endpoints, h->slots[3], ENDPOINT_DOWN, 0);
	endpoint_set_room(h->env.endpoints, h->slots[3], 1, 1);
	ask(p, 3, "{\"model\":\"B\"}");
	hear(p, &a);
	assert_string_equal(a.text, "verdict=routed status=0 model=B base_model=B backend=phi4 ");
	assert_int_equal(a.ticket, 0);
	h->pools[1].when_full = POOL_FULL_REJECT;
	ask(p, 5, "{\"model\":\"B\"}");
	hear(p, &a);
	assert_string_equal(a.text, "verdict=saturated status=429 retry_after=5 model=B "
				    "base_model=B backend=phi4 ");
	leave(p);
	demolish(h);
}

static void only_the_variables_that_are_wanted(void **state)
{
	struct house *h = build();
	struct peer *p;
	struct answer a;

	(void)state;
	h->conf.variables = variable_bit("backend") | variable_bit("server");
	start(h);
	p = knock(h);
	hello(p);
	ask(p, 1, "{\"model\":\"B\"}");
	hear(p, &a);
	assert_string_equal(a.text, "verdict=routed backend=phi4 ");
	/* Nobody would tell the end of it. */
	assert_int_equal(tickets_open(h->env.tickets), 0);
	leave(p);
	demolish(h);
}

static void many_frames_at_once(void **state)
{
	enum { COUNT = 2000 };
	struct house *h = build();
	static uint8_t batch[COUNT * 128];
	struct peer *p;
	struct answer a;
	size_t n = 0;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	for (uint64_t i = 0; i < COUNT; i++)
		n += notify(batch + n, sizeof(batch) - n, i + 1, "{\"model\":\"A\"}", 13);
	push(p, batch, n);
	for (uint64_t i = 0; i < COUNT; i++) {
		hear(p, &a);
		assert_int_equal(a.id, i + 1);
		assert_non_null(strstr(a.text, "verdict=routed"));
	}
	/* Least loaded: two equal servers share alike. */
	assert_int_equal(endpoint_open(h->env.endpoints, h->slots[0]), COUNT / 2);
	leave(p);
	demolish(h);
}

static void byte_by_byte(void **state)
{
	struct house *h = build();
	struct peer *p;
	struct answer a;
	uint8_t frame[1024];
	size_t n;

	(void)state;
	start(h);
	p = knock(h);
	n = spop_client_write_hello(&p->client, frame, sizeof(frame), NULL);
	n += notify(frame + n, sizeof(frame) - n, 1, "{\"model\":\"A\"}", 13);
	n += notify(frame + n, sizeof(frame) - n, 3, "{\"model\":\"B\"}", 13);
	for (size_t i = 0; i < n; i++) {
		push(p, frame + i, 1);
		if (i % 7 == 0)
			usleep(200);
	}
	{
		struct spop_client_input in;

		assert_true(pull(p, &in));
		assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
	}
	hear(p, &a);
	assert_int_equal(a.id, 1);
	hear(p, &a);
	assert_int_equal(a.id, 3);
	leave(p);
	demolish(h);
}

static void large_bodies_in_pieces(void **state)
{
	enum { LEN = 900 * 1024 };
	struct house *h = build();
	uint8_t *frame = malloc(2 * FRAME_MAX);
	char *body = malloc(LEN + 1);
	struct peer *p;
	struct answer a;
	size_t n, piece = 1;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	memset(body, 'x', LEN);
	memcpy(body, "{\"m\":\"", 6);
	memcpy(body + LEN - 14, "\",\"model\":\"B\"}", 14);
	for (uint64_t round = 1; round <= 4; round++) {
		/* Small ones before and behind: their bytes share reads with the large one's. */
		n = notify(frame, FRAME_MAX, 10 * round, "{\"model\":\"A\"}", 13);
		n += notify(frame + n, FRAME_MAX, 10 * round + 1, body, LEN);
		n += notify(frame + n, FRAME_MAX, 10 * round + 2, "{\"model\":\"A\"}", 13);
		for (size_t at = 0; at < n;) {
			piece = piece * 7 % 100003 + 1;
			if (piece > n - at)
				piece = n - at;
			push(p, frame + at, piece);
			at += piece;
		}
		for (uint64_t i = 0; i < 3; i++) {
			hear(p, &a);
			assert_int_equal(a.id, 10 * round + i);
			assert_non_null(strstr(a.text, i == 1 ? "backend=phi4" : "backend=llama"));
		}
	}
	leave(p);
	free(body);
	free(frame);
	demolish(h);
}

static void a_peer_that_does_not_read(void **state)
{
	enum { COUNT = 60000 };
	struct house *h = build();
	uint8_t frame[128];
	struct peer *p;
	struct answer a;
	uint64_t sent = 0, heard = 0;
	size_t n;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	/* Until the agent stops reading, which it must. */
	while (sent < COUNT) {
		n = notify(frame, sizeof(frame), sent + 1, "{\"model\":\"B\"}", 13);
		if (send(p->fd, frame, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n) {
			struct pollfd room = {.fd = p->fd, .events = POLLOUT};

			if (poll(&room, 1, 300) == 0)
				break;
			continue;
		}
		sent++;
	}
	assert_in_range(sent, 100, COUNT - 1);
	while (heard < sent) {
		hear(p, &a);
		assert_int_equal(a.id, ++heard);
	}
	leave(p);
	demolish(h);
}

static void broken_peers_are_told_why(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool after_hello;
		uint32_t status;
	} table[] = {
	    {"GET / HTTP/1.1\r\n\r\n", 18, false, SPOP_ERR_TOO_BIG},
	    {"\0\0\0\6\1\0\0\0\1\0\0", 11, false, SPOP_ERR_INVALID},
	    /* NOTIFY before HELLO */
	    {"\0\0\0\7\3\0\0\0\1\1\1", 11, false, SPOP_ERR_INVALID},
	    /* an ACK, an AGENT-HELLO: the agent's own */
	    {"\0\0\0\7\147\0\0\0\1\1\1", 11, true, SPOP_ERR_INVALID},
	    {"\0\0\0\7\145\0\0\0\1\0\0", 11, true, SPOP_ERR_INVALID},
	    /* no FIN */
	    {"\0\0\0\7\3\0\0\0\0\1\1", 11, true, SPOP_ERR_FRAG_NOT_SUPPORTED},
	    /* 2 GB */
	    {"\177\377\377\377", 4, true, SPOP_ERR_TOO_BIG},
	    /* a message that claims more arguments than there are */
	    {"\0\0\0\12\3\0\0\0\1\1\1\1a\5", 14, true, SPOP_ERR_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct house *h = build();
		struct peer *p;

		start(h);
		p = knock(h);
		if (table[i].after_hello)
			hello(p);
		else
			p->client.state = SPOP_CLIENT_ST_WAIT_HELLO;
		push(p, table[i].bytes, table[i].len);
		expect_goodbye(p, table[i].status);
		assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_PROTOCOL]), 1);
		leave(p);
		demolish(h);
	}
}

static void hello_twice(void **state)
{
	struct house *h = build();
	struct peer *p;
	struct spop_client again;
	uint8_t frame[256];
	size_t n;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	spop_client_init(&again, 16384, 0, false);
	n = spop_client_write_hello(&again, frame, sizeof(frame), NULL);
	push(p, frame, n);
	expect_goodbye(p, SPOP_ERR_INVALID);
	leave(p);
	demolish(h);
}

static void health_checks(void **state)
{
	struct house *h = build();
	struct spop_client_input in;
	uint8_t frame[256];
	struct peer *p;
	size_t n;

	(void)state;
	start(h);
	for (unsigned draining = 0; draining < 2; draining++) {
		h->env.draining = draining;
		p = knock(h);
		spop_client_init(&p->client, 16380, 0, true);
		n = spop_client_write_hello(&p->client, frame, sizeof(frame), NULL);
		push(p, frame, n);
		if (draining) {
			expect_goodbye(p, SPOP_ERR_NONE);
		} else {
			assert_true(pull(p, &in));
			assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
			assert_false(pull(p, &in));
		}
		leave(p);
	}
	/* Requests go on being answered. */
	p = knock(h);
	hello(p);
	ask(p, 1, "{\"model\":\"A\"}");
	{
		struct answer a;

		hear(p, &a);
		assert_non_null(strstr(a.text, "verdict=routed"));
	}
	leave(p);
	demolish(h);
}

static void silence_has_an_end(void **state)
{
	struct house *h = build();
	struct peer *silent, *slow;

	(void)state;
	h->conf.hello_ns = h->conf.frame_ns = 300 * UINT64_C(1000000);
	start(h);
	silent = knock(h);
	silent->client.state = SPOP_CLIENT_ST_WAIT_HELLO;
	slow = knock(h);
	hello(slow);
	push(slow, "\0\0\1", 3);
	expect_goodbye(silent, SPOP_ERR_TOUT);
	expect_goodbye(slow, SPOP_ERR_TOUT);
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_HELLO_TIMEOUT]), 1);
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_FRAME_TIMEOUT]), 1);
	leave(silent);
	leave(slow);
	demolish(h);
}

/* A frame of @need bytes, of which @len are sent. */
static void begin_frame(struct peer *p, size_t need, size_t len)
{
	uint8_t *bytes = calloc(1, len);

	bytes[0] = (uint8_t)(need >> 24);
	bytes[1] = (uint8_t)(need >> 16);
	bytes[2] = (uint8_t)(need >> 8);
	bytes[3] = (uint8_t)need;
	bytes[4] = 3; /* a NOTIFY */
	push(p, bytes, len);
	free(bytes);
}

/* A whole question of @len bytes, all of it but the end; how much that is. */
static size_t ask_half(struct peer *p, uint8_t *frame, size_t size, size_t len, size_t *ret)
{
	char *body = malloc(len);
	size_t n = (size_t)snprintf(body, len, "{\"model\":\"B\",\"pad\":\"");

	memset(body + n, 'a', len - n);
	memcpy(body + len - 2, "\"}", 2);
	*ret = notify(frame, size, 1, body, len);
	push(p, frame, *ret / 2);
	free(body);
	return *ret / 2;
}

/* What is announced takes nobody's room. */
static void announced_frames_take_no_room(void **state)
{
	enum { MANY = 40, LEN = 900 * 1000 };
	struct house *h = build();
	struct peer *peers[MANY], *late;
	uint8_t *frame = malloc(LEN + 4096);
	struct answer a;
	size_t n, half;

	(void)state;
	h->conf.max_partial = 4 * 1000 * 1000;
	start(h);
	for (unsigned i = 0; i < MANY; i++) {
		peers[i] = knock(h);
		hello(peers[i]);
		begin_frame(peers[i], 1000 * 1000, 5000);
	}
	late = knock(h);
	hello(late);
	half = ask_half(late, frame, LEN + 4096, LEN, &n);
	push(late, frame + half, n - half);
	hear(late, &a);
	assert_non_null(strstr(a.text, "verdict=routed"));
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_BUFFERS]), 0);
	for (unsigned i = 0; i < MANY; i++)
		leave(peers[i]);
	leave(late);
	free(frame);
	demolish(h);
}

/* What has arrived does; the frame that was begun first makes room for the others. */
static void half_frames_share_a_bound(void **state)
{
	enum { MANY = 8, LEN = 900 * 1000 };
	struct house *h = build();
	struct peer *peers[MANY], *late;
	uint8_t *frame = malloc(LEN + 4096);
	struct answer a;
	size_t n, half;

	(void)state;
	h->conf.max_partial = 4 * 1000 * 1000;
	start(h);
	for (unsigned i = 0; i < MANY; i++) {
		peers[i] = knock(h);
		hello(peers[i]);
		begin_frame(peers[i], 1000 * 1000, 990 * 1000);
		/* of four the fifth is one too many */
		if (i >= 4) {
			expect_goodbye(peers[i - 4], SPOP_ERR_RES);
			leave(peers[i - 4]);
		}
	}
	late = knock(h);
	hello(late);
	half = ask_half(late, frame, LEN + 4096, LEN, &n);
	push(late, frame + half, n - half);
	hear(late, &a);
	assert_non_null(strstr(a.text, "verdict=routed"));
	expect_goodbye(peers[4], SPOP_ERR_RES);
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_BUFFERS]), 5);
	for (unsigned i = 4; i < MANY; i++)
		leave(peers[i]);
	leave(late);
	free(frame);
	demolish(h);
}

static void an_orderly_goodbye(void **state)
{
	struct house *h = build();
	struct peer *p;
	uint8_t frame[256];
	size_t n;

	(void)state;
	start(h);
	p = knock(h);
	hello(p);
	n = spop_disconnect_write(frame, sizeof(frame), SPOP_FRM_T_HAPROXY_DISCON, SPOP_ERR_NONE,
				  SPOP_VIEW_NULL);
	push(p, frame, n);
	expect_goodbye(p, SPOP_ERR_NONE);
	leave(p);
	/* The agent's own, at its end. */
	p = knock(h);
	hello(p);
	worker_stop(&h->workers[0]);
	expect_goodbye(p, SPOP_ERR_NONE);
	leave(p);
	start(h);
	demolish(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(answers_by_the_contract),
	    cmocka_unit_test(down_full_and_gone),
	    cmocka_unit_test(only_the_variables_that_are_wanted),
	    cmocka_unit_test(many_frames_at_once),
	    cmocka_unit_test(byte_by_byte),
	    cmocka_unit_test(large_bodies_in_pieces),
	    cmocka_unit_test(a_peer_that_does_not_read),
	    cmocka_unit_test(broken_peers_are_told_why),
	    cmocka_unit_test(hello_twice),
	    cmocka_unit_test(health_checks),
	    cmocka_unit_test(silence_has_an_end),
	    cmocka_unit_test(announced_frames_take_no_room),
	    cmocka_unit_test(half_frames_share_a_bound),
	    cmocka_unit_test(an_orderly_goodbye),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
