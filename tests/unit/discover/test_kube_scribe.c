/*
 * discover/kube/scribe: what is written of wanted statuses, and what is not: once each, nothing in
 * between a write and the watch that shows it, again when somebody else was faster, and slower when
 * somebody undoes it.
 */
#include "discover/kube/scribe.h"

#include "unit/discover/kube_world.h"

#include <event2/event.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "discover/kube/access.h"
#include "net/timer.h"
#include "unit/folder.h"
#include "unit/net/peer.h"

/* Answers every write by the status that is set; keeps what it was asked. */
struct server {
	pthread_mutex_t lock;
	struct peer *peer;
	int status, n;
	char line[64][200];
	char body[64][8192];
};

struct bench {
	struct server server;
	struct world *w;
	struct event_base *base;
	struct kube_access *access;
	struct kube_client *client;
	struct kube_scribe *scribe;
	struct timer *tick;
	int again, until;
	uint64_t deadline;
};

static void serve(struct peer *p, int fd, int nth)
{
	struct server *s = p->arg;
	char head[4096];

	(void)nth;
	while (peer_read_head(p, fd, head, sizeof(head))) {
		const char *at = strcasestr(head, "\r\nContent-Length: ");
		size_t len = at ? (size_t)atoi(at + 18) : 0, got = 0;
		char body[8192], text[64];
		int status;

		assert(len < sizeof(body));
		while (got < len) {
			ssize_t r = recv(fd, body + got, len - got, 0);

			if (r <= 0)
				return;
			got += (size_t)r;
		}
		pthread_mutex_lock(&s->lock);
		assert(s->n < 64);
		snprintf(s->line[s->n], sizeof(s->line[0]), "%.*s", (int)strcspn(head, "\r"), head);
		memcpy(s->body[s->n], body, len);
		s->body[s->n++][len] = '\0';
		status = s->status;
		pthread_mutex_unlock(&s->lock);
		snprintf(text, sizeof(text), "{\"kind\":\"Status\",\"code\":%d,\"message\":\"x\"}",
			 status);
		if (!peer_answer(fd, status, "", text, strlen(text)))
			return;
	}
}

static int asked(struct bench *b)
{
	int n;

	pthread_mutex_lock(&b->server.lock);
	n = b->server.n;
	pthread_mutex_unlock(&b->server.lock);
	return n;
}

static void answer_by(struct bench *b, int status)
{
	pthread_mutex_lock(&b->server.lock);
	b->server.status = status;
	pthread_mutex_unlock(&b->server.lock);
}

static void on_again(void *arg)
{
	((struct bench *)arg)->again++;
}

static bool resting(struct bench *b)
{
	const struct kube_writer_stats s = kube_scribe_stats(b->scribe);

	return !s.waiting && !s.under_way;
}

static void on_tick(void *arg)
{
	struct bench *b = arg;

	if ((asked(b) >= b->until && resting(b)) || clock_mono_ns() > b->deadline)
		event_base_loopbreak(b->base);
}

static struct bench *start_with(size_t max_wishes, uint64_t silent_ms)
{
	const struct kube_writer_conf conf = {
	    .max_wishes = max_wishes, .retry_ms = 1, .retry_max_ms = 4};
	struct bench *b = calloc(1, sizeof(*b));
	struct kube_access_conf access = {0};
	struct config_errors errors;
	char text[256];

	assert_non_null(b);
	pthread_mutex_init(&b->server.lock, NULL);
	b->server.status = 200;
	b->server.peer = peer_start(serve, &b->server);
	b->base = event_base_new();
	snprintf(text, sizeof(text),
		 "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n"
		 "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u'}}]\n",
		 b->server.peer->port);
	access.kubeconfig = folder_put("config", text);
	assert_int_equal(kube_access_new(&access, &errors, &b->access), 0);
	config_errors_deinit(&errors);
	b->client = kube_client_new(b->base, b->access);
	b->w = world_new();
	gateway(b->w);
	b->scribe = kube_scribe_new(b->client, &conf, b->w->s, silent_ms, on_again, b);
	assert_non_null(b->scribe);
	b->tick = timer_new(b->base, on_tick, b);
	assert_int_equal(timer_every(b->tick, CLOCK_NS_PER_MS), 0);
	return b;
}

static struct bench *start(size_t max_wishes)
{
	return start_with(max_wishes, 0);
}

static void stop(struct bench *b)
{
	kube_scribe_free(b->scribe);
	kube_client_free(b->client);
	kube_access_free(b->access);
	timer_free(b->tick);
	assert_int_equal(event_base_get_num_events(b->base, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(b->base);
	peer_stop(b->server.peer);
	pthread_mutex_destroy(&b->server.lock);
	world_free(b->w);
	free(b);
}

static void compare(struct bench *b)
{
	resolve(b->w);
	assert_int_equal(kube_scribe_compare(b->scribe, b->w->r, &b->w->set), 0);
}

/* Until the server was asked for @n writes in all, and nothing is under way. */
static void run(struct bench *b, int n)
{
	b->until = n;
	b->deadline = clock_mono_ns() + 20 * CLOCK_NS_PER_S;
	event_base_dispatch(b->base);
	assert_int_equal(asked(b), n);
	assert_true(resting(b));
}

/* The watch shows what was written: the @i-th patch, to the object that it was for. */
static void show(struct bench *b, int i)
{
	for (size_t k = 0; k < b->w->r->nwanted; k++) {
		const struct kube_wanted *x = &b->w->r->wanted[k];
		char path[200];

		snprintf(path, sizeof(path), "/%s/%s/status?",
			 kube_kind_info(x->kind)->resource.plural, x->name.ptr);
		if (strstr(b->server.line[i], path)) {
			assert_int_equal(world_patch(b->w, x, b->server.body[i]), 200);
			return;
		}
	}
	fail_msg("%s: of nothing that is wanted", b->server.line[i]);
}

static void test_once(void **state)
{
	struct bench *b = start(0);

	(void)state;
	compare(b);
	run(b, 2);
	assert_non_null(strstr(b->server.line[0], "PATCH /apis/gateway.networking.k8s.io/v1/"));
	assert_non_null(strstr(b->server.body[0], "\"resourceVersion\""));
	assert_non_null(strstr(b->server.body[0], "\"Accepted\""));
	/* Written, and not seen yet: nothing more of it, however often it is compared. */
	compare(b);
	compare(b);
	assert_true(resting(b));
	/* Seen: there is no difference. */
	show(b, 0);
	show(b, 1);
	compare(b);
	assert_true(resting(b));
	/* Something else is wanted of one of them. */
	put(b->w, KUBE_GATEWAY, "default/inference-gateway", 2, 0, GATEWAY_SPEC);
	compare(b);
	run(b, 3);
	assert_non_null(strstr(b->server.line[2], "/gateways/inference-gateway/status"));
	assert_non_null(strstr(b->server.body[2], "\"observedGeneration\":2"));
	assert_int_equal(kube_scribe_stats(b->scribe).written, 3);
	stop(b);
}

/* Another replica wrote first: what it wrote is compared with, and nothing is left to write. */
static void test_conflict(void **state)
{
	struct bench *b = start(0);
	int n;

	(void)state;
	compare(b);
	answer_by(b, 409);
	run(b, 2);
	assert_int_equal(kube_scribe_stats(b->scribe).conflicts, 2);
	assert_true(b->again >= 2);
	/* The watch has not brought its version yet: the same would be a conflict again. */
	n = asked(b);
	compare(b);
	assert_true(resting(b));
	/* It says the same as ours. */
	show(b, 0);
	show(b, 1);
	answer_by(b, 200);
	compare(b);
	assert_true(resting(b));
	assert_int_equal(asked(b), n);
	stop(b);
}

/* The other one wrote something else meanwhile: ours is made anew, of the new version. */
static void test_conflict_with_another(void **state)
{
	struct bench *b = start(0);
	char version[64];

	(void)state;
	answer_by(b, 409);
	compare(b);
	run(b, 2);
	answer_by(b, 200);
	put(b->w, KUBE_GATEWAY, "default/inference-gateway", 1, 0,
	    GATEWAY_SPEC ",'status':{'conditions':[{'type':'example.com/Mine','status':'True',"
			 "'reason':'X','message':'','lastTransitionTime':'" NOW "'}]}");
	snprintf(version, sizeof(version), "\"resourceVersion\":\"%u\"", b->w->version);
	compare(b);
	run(b, 3);
	assert_non_null(strstr(b->server.line[2], "/gateways/inference-gateway/status"));
	assert_non_null(strstr(b->server.body[2], version));
	/* And that condition is somebody else's: it stays. */
	assert_non_null(strstr(b->server.body[2], "example.com/Mine"));
	stop(b);
}

/* What the server calls invalid is not sent again as it is. */
static void test_invalid(void **state)
{
	struct bench *b = start(0);

	(void)state;
	answer_by(b, 422);
	compare(b);
	run(b, 2);
	compare(b);
	assert_true(resting(b));
	assert_int_equal(kube_scribe_stats(b->scribe).refused, 2);
	answer_by(b, 200);
	put(b->w, KUBE_GATEWAY, "default/inference-gateway", 2, 0, GATEWAY_SPEC);
	compare(b);
	run(b, 3);
	stop(b);
}

/* A conflict, and no watch that shows with what: it is tried again, for as long as that is so. */
static void test_silence(void **state)
{
	struct bench *b = start_with(0, 500);

	(void)state;
	answer_by(b, 409);
	compare(b);
	run(b, 2);
	for (int round = 1; round < 3; round++) {
		if (round == 2)
			answer_by(b, 200);
		/* Only the silence is left to wait for; it ends for one after the other. */
		while (asked(b) < 2 + 2 * round) {
			b->again = 0;
			while (!b->again && asked(b) < 2 + 2 * round)
				event_base_loop(b->base, EVLOOP_ONCE);
			compare(b);
		}
		run(b, 2 + 2 * round);
	}
	show(b, 4);
	show(b, 5);
	compare(b);
	assert_true(resting(b));
	stop(b);
}

/* More than the queue holds: the rest is compared again when there is room. */
static void test_full(void **state)
{
	struct bench *b = start(2);
	char name[32];

	(void)state;
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "default/g%d", i);
		put(b->w, KUBE_GATEWAY, name, 1, i, GATEWAY_SPEC);
	}
	compare(b);
	assert_true(kube_scribe_stats(b->scribe).overflows > 0);
	for (int n = 2; n <= 8; n += 2) {
		int again = b->again;

		run(b, n);
		if (n == 8)
			break;
		assert_true(b->again > again);
		compare(b);
	}
	compare(b);
	assert_true(resting(b));
	/* Eight objects, each once. */
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(b->server.line[i], b->server.line[k]);
	stop(b);
}

/* An object that goes is forgotten; one of its name that comes is another. */
static void test_removed(void **state)
{
	struct bench *b = start(0);

	(void)state;
	compare(b);
	run(b, 2);
	gone(b->w, KUBE_GATEWAY, "default", "inference-gateway");
	kube_scribe_removed(b->scribe, KUBE_GATEWAY, "default", "inference-gateway");
	kube_scribe_removed(b->scribe, KUBE_GATEWAY, "default", "never-there");
	compare(b);
	assert_true(resting(b));
	put(b->w, KUBE_GATEWAY, "default/inference-gateway", 1, 7, GATEWAY_SPEC);
	compare(b);
	run(b, 3);
	/* Gone with a write under way: nothing of it stays behind. */
	put(b->w, KUBE_GATEWAY, "default/second", 1, 8, GATEWAY_SPEC);
	compare(b);
	gone(b->w, KUBE_GATEWAY, "default", "second");
	kube_scribe_removed(b->scribe, KUBE_GATEWAY, "default", "second");
	compare(b);
	assert_true(kube_scribe_stats(b->scribe).waiting == 0);
	stop(b);
}

/* Puts a status into the Gateway that somebody else wants there, of the same generation. */
static void undo(struct bench *b)
{
	put(b->w, KUBE_GATEWAY, "default/inference-gateway", 1, 0,
	    GATEWAY_SPEC ",'status':{'conditions':[{'type':'Accepted','status':'False',"
			 "'reason':'Theirs','message':'','observedGeneration':1,"
			 "'lastTransitionTime':'" NOW "'}]}");
}

/* A replica with another configuration, as in a rollout, undoes what is written: it is put back at
 * once the first time, and after pauses from then on. */
static void test_undone(void **state)
{
	struct bench *b = start_with(0, 600000);

	(void)state;
	compare(b);
	run(b, 2);
	show(b, 0);
	show(b, 1);
	compare(b);
	assert_true(resting(b));
	undo(b);
	compare(b);
	run(b, 3);
	show(b, 2);
	compare(b);
	/* The pause is a minute here. */
	for (int i = 0; i < 20; i++) {
		undo(b);
		compare(b);
		assert_true(resting(b));
	}
	/* Something else is wanted: that is no repetition. */
	b->w->set.naddresses = 0;
	compare(b);
	run(b, 4);
	assert_non_null(strstr(b->server.body[3], "AddressNotAssigned"));
	stop(b);
}

/* It is put back after the pause, without anything else that happens; the pause grows. */
static void test_undone_after_pause(void **state)
{
	struct bench *b = start_with(0, 3000);
	uint64_t begin = clock_mono_ns();

	(void)state;
	compare(b);
	run(b, 2);
	show(b, 0);
	show(b, 1);
	compare(b);
	for (int n = 3; n <= 5; n++) {
		undo(b);
		compare(b);
		/* From now on it is compared when it is asked for, and not else. */
		b->again = 0;
		while (asked(b) < n) {
			event_base_loop(b->base, EVLOOP_ONCE);
			if (!b->again)
				continue;
			b->again = 0;
			compare(b);
		}
		run(b, n);
		show(b, n - 1);
		compare(b);
		assert_true(resting(b));
	}
	/* 300 ms and 600 ms. */
	assert_true(clock_mono_ns() - begin >= 900 * CLOCK_NS_PER_MS);
	stop(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_once),
	    cmocka_unit_test(test_conflict),
	    cmocka_unit_test(test_conflict_with_another),
	    cmocka_unit_test(test_invalid),
	    cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_removed),
	    cmocka_unit_test(test_undone),
	    cmocka_unit_test(test_undone_after_pause),
	};

	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
