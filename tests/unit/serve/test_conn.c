/* What a connection owes its peer and its neighbours when things go slowly or end early. */
#include "unit/serve/house.h"

#include "base/grace.h"

#define MS UINT64_C(1000000)

/* Sends NOTIFYs without reading an answer until the agent stops reading. */
static uint64_t stuff(struct peer *p)
{
	struct pollfd room = {.fd = p->fd, .events = POLLOUT};
	uint8_t frame[128];
	uint64_t sent = 0;

	for (;;) {
		size_t n = notify(frame, sizeof(frame), sent + 1, "{\"model\":\"B\"}", 13), at = 0;

		while (at < n) {
			ssize_t r = send(p->fd, frame + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

			if (r > 0)
				at += (size_t)r;
			else if (poll(&room, 1, 200) == 0 && at == 0)
				return sent;
			/* A frame that was begun is finished only when the agent reads again. */
			else if (at > 0 && poll(&room, 1, 200) == 0)
				return sent;
		}
		sent++;
	}
}

/* The end of the stream, and the status of the goodbye before it; answers are passed over. */
static uint32_t hear_the_end(struct peer *p)
{
	struct spop_client_input in;
	uint32_t status = UINT32_MAX;

	while (pull(p, &in))
		if (in.event == SPOP_CLIENT_EV_DISCONNECT)
			status = in.disconnect.status;
	return status;
}

static void wait_for(const stat_t *counter, uint64_t value)
{
	for (unsigned i = 0; i < PATIENCE_MS && stat_get(counter) < value; i++)
		usleep(1000);
	assert_true(stat_get(counter) >= value);
}

static void a_half_frame_ages_through_a_pause(void **state)
{
	struct house *h = build();
	struct answer a;
	struct peer *p;
	uint8_t frame[128];
	uint64_t sent;
	size_t n;

	(void)state;
	/* Longer than the test needs until the answers are read, shorter than its patience. */
	h->conf.frame_ns = 3000 * MS;
	h->conf.max_output = 16 * 1024;
	start(h);
	p = knock(h);
	hello(p);
	sent = stuff(p);
	/* All answers are read: the agent reads on, and finds a frame that is never finished. */
	for (uint64_t i = 0; i < sent; i++)
		hear(p, &a);
	n = notify(frame, sizeof(frame), sent + 1, "{\"model\":\"B\"}", 13);
	push(p, frame, n / 2);
	assert_int_equal(hear_the_end(p), SPOP_ERR_TOUT);
	leave(p);
	demolish(h);
}

/* As above, but the half frame is there before the pause, in the same read as what causes it. */
static void a_half_frame_before_a_pause(void **state)
{
	enum { COUNT = 1000 };
	struct house *h = build();
	static uint8_t batch[(COUNT + 1) * 128];
	struct answer a;
	struct peer *p;
	size_t n = 0;

	(void)state;
	h->conf.frame_ns = 2000 * MS;
	h->conf.max_output = 1;
	h->send_buffer = 4096;
	start(h);
	p = knock(h);
	hello(p);
	for (uint64_t i = 0; i < COUNT; i++)
		n += notify(batch + n, sizeof(batch) - n, i + 1, "{\"model\":\"B\"}", 13);
	n += notify(batch + n, sizeof(batch) - n, COUNT + 1, "{\"model\":\"B\"}", 13) / 2;
	push(p, batch, n);
	wait_for(&h->workers[0].stats->frames, COUNT + 1);
	for (uint64_t i = 0; i < COUNT; i++)
		hear(p, &a);
	assert_int_equal(hear_the_end(p), SPOP_ERR_TOUT);
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_FRAME_TIMEOUT]), 1);
	leave(p);
	demolish(h);
}

static void who_does_not_read_is_cut_off(void **state)
{
	struct house *h = build();
	struct peer *p;

	(void)state;
	h->conf.frame_ns = 500 * MS;
	h->conf.max_output = 16 * 1024;
	start(h);
	p = knock(h);
	hello(p);
	stuff(p);
	wait_for(&h->workers[0].stats->closed_by[CLOSE_OUTPUT_TIMEOUT], 1);
	/* The goodbye would stand in the middle of an answer: there is none. */
	assert_int_equal(hear_the_end(p), UINT32_MAX);
	leave(p);
	demolish(h);
}

static void answers_go_out_before_the_door_closes(void **state)
{
	struct house *h = build();
	struct spop_client_input in;
	struct peer *p;
	struct answer a;
	uint8_t frame[4096];
	size_t n;

	(void)state;
	h->conf.max_partial = 1000;
	start(h);
	p = knock(h);
	hello(p);
	n = notify(frame, sizeof(frame), 1, "{\"model\":\"B\"}", 13);
	n += notify(frame + n, sizeof(frame) - n, 2, "{\"model\":\"B\"}", 13);
	memcpy(frame + n, "\0\17\102\100\3", 5); /* 1,000,000 bytes to come */
	push(p, frame, n + 5);
	/* Their tickets are open: HAProxy must learn them. */
	hear(p, &a);
	assert_int_equal(a.id, 1);
	assert_true(a.ticket > 0);
	hear(p, &a);
	assert_int_equal(a.id, 2);
	assert_true(pull(p, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_DISCONNECT);
	assert_int_equal(in.disconnect.status, SPOP_ERR_RES);
	leave(p);
	demolish(h);
}

static void a_shorter_deadline_does_not_queue(void **state)
{
	struct house *h = build();
	struct worker_conf shorter;
	struct peer *slow, *later;

	(void)state;
	h->conf.hello_ns = 60000 * MS;
	start(h);
	slow = knock(h);
	wait_for(&h->workers[0].stats->accepted, 1);
	/* A reload makes the deadline shorter; who came before keeps the one it was given. */
	shorter = h->conf;
	shorter.hello_ns = 300 * MS;
	grace_publish(&h->conf_ptr, &shorter);
	later = knock(h);
	later->client.state = SPOP_CLIENT_ST_WAIT_HELLO;
	expect_goodbye(later, SPOP_ERR_TOUT);
	assert_int_equal(stat_get(&h->workers[0].stats->closed_by[CLOSE_HELLO_TIMEOUT]), 1);
	leave(later);
	leave(slow);
	demolish(h);
}

static void picks_count_without_tickets(void **state)
{
	struct endpoint_view v;
	struct house *h = build();
	struct peer *p;
	struct answer a;

	(void)state;
	h->conf.variables = variable_bit("server") | variable_bit("backend");
	start(h);
	p = knock(h);
	hello(p);
	ask(p, 1, "{\"model\":\"B\"}");
	hear(p, &a);
	endpoint_view(h->env.endpoints, h->slots[3], &v);
	assert_int_equal(v.picks, 1);
	assert_int_equal(v.open, 0);
	leave(p);
	demolish(h);
}

/* HAProxy with the smallest frame there is: what fits is said whole. test_answer has what does not.
 */
static void the_smallest_frames(void **state)
{
	struct house *h = build();
	struct spop_client_input in;
	char body[] =
	    "{\"model\":\"????????????????????????????????????????????????????????????????"
	    "?????????????????????????????????????????????????????????????????????\"}";
	uint8_t frame[512];
	struct peer *p;
	struct answer a;
	size_t n;

	(void)state;
	start(h);
	p = knock(h);
	spop_client_init(&p->client, 256, SPOP_CAP_PIPELINING, false);
	n = spop_client_write_hello(&p->client, frame, sizeof(frame), NULL);
	push(p, frame, n);
	assert_true(pull(p, &in));
	assert_int_equal(in.event, SPOP_CLIENT_EV_HELLO);
	assert_int_equal(in.hello.max_frame_size, 256);
	ask(p, 1, "{\"model\":\"alias\"}");
	hear(p, &a);
	assert_non_null(strstr(a.text, "verdict=routed"));
	assert_non_null(strstr(a.text, "backend=llama"));
	assert_true(a.ticket > 0);
	assert_int_equal(tickets_open(h->env.tickets), 1);
	for (char *at = body; (at = strchr(at, '?'));)
		*at = 'm';
	ask(p, 2, body);
	hear(p, &a);
	assert_non_null(strstr(a.text, "verdict=model_not_found"));
	assert_non_null(strstr(a.text, "status=404"));
	assert_int_equal(a.ticket, 0);
	leave(p);
	demolish(h);
}

static void many_who_say_nothing(void **state)
{
	enum { SILENT = 200 };
	struct house *h = build();
	struct peer *silent[SILENT], *p;
	struct answer a;

	(void)state;
	h->conf.hello_ns = 1500 * MS;
	start(h);
	for (unsigned i = 0; i < SILENT; i++)
		silent[i] = knock(h);
	p = knock(h);
	hello(p);
	ask(p, 1, "{\"model\":\"B\"}");
	hear(p, &a);
	wait_for(&h->workers[0].stats->closed_by[CLOSE_HELLO_TIMEOUT], SILENT);
	ask(p, 2, "{\"model\":\"B\"}");
	hear(p, &a);
	for (unsigned i = 0; i < SILENT; i++)
		leave(silent[i]);
	leave(p);
	demolish(h);
}

/* What is kept for the next large frame is memory as well: both together stay within the bound. */
static void spares_share_the_bound(void **state)
{
	enum { CAP = 100 * 1024, LIMIT = 5 * CAP };
	struct half h[5] = {{.len = 0}}, other = {.len = 0};
	struct halves all;

	(void)state;
	halves_init(&all);
	for (size_t i = 0; i < 5; i++) {
		assert_true(half_begin(&all, &h[i], 10, CAP));
		assert_int_equal(all.bytes, i * CAP);
		/* in pieces: what is there counts */
		assert_true(half_count(&all, &h[i], LIMIT));
		assert_int_equal(all.bytes, i * CAP + 10);
		h[i].len = CAP;
		assert_true(half_count(&all, &h[i], LIMIT));
	}
	assert_ptr_equal(half_oldest(&all, &h[3]), &h[0]);
	assert_ptr_equal(half_oldest(&all, &h[0]), &h[1]);
	assert_true(half_begin(&all, &other, 1, 1000));
	assert_false(half_count(&all, &other, LIMIT));
	half_drop(&all, &other);
	for (size_t i = 0; i < 5; i++)
		half_drop(&all, &h[i]);
	half_drop(&all, &h[0]); /* twice is fine */
	assert_null(half_oldest(&all, NULL));
	assert_int_equal(all.bytes, 0);
	assert_int_equal(all.kept, LIMIT);
	/* Of the same size: one that is kept, with what it holds; another size: some of them go. */
	assert_true(half_begin(&all, &other, 10, CAP));
	assert_true(half_count(&all, &other, LIMIT));
	assert_int_equal(all.bytes, CAP);
	assert_int_equal(all.bytes + all.kept, LIMIT);
	half_drop(&all, &other);
	assert_true(half_begin(&all, &other, 2 * CAP + 1, 2 * CAP + 1));
	assert_int_equal(all.bytes, 0);
	assert_true(half_count(&all, &other, LIMIT));
	assert_int_equal(all.kept, 2 * CAP);
	half_drop(&all, &other);
	assert_true(half_begin(&all, &other, 1000, 1000));
	assert_true(half_count(&all, &other, LIMIT));
	assert_true(all.bytes + all.kept <= LIMIT);
	/* The bound was lowered by a reload: the next one to ask sees to it. */
	assert_true(half_count(&all, &other, CAP));
	assert_true(all.bytes + all.kept <= CAP);
	half_drop(&all, &other);
	assert_int_equal(all.bytes, 0);
	halves_deinit(&all);
	assert_int_equal(all.kept, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_half_frame_ages_through_a_pause),
	    cmocka_unit_test(a_half_frame_before_a_pause),
	    cmocka_unit_test(who_does_not_read_is_cut_off),
	    cmocka_unit_test(answers_go_out_before_the_door_closes),
	    cmocka_unit_test(a_shorter_deadline_does_not_queue),
	    cmocka_unit_test(picks_count_without_tickets),
	    cmocka_unit_test(the_smallest_frames),
	    cmocka_unit_test(many_who_say_nothing),
	    cmocka_unit_test(spares_share_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
