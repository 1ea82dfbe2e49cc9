/*
 * A worker's thread.
 *
 * Its loop is one turn of events, then the chores: reap what was closed. Commands arrive on a
 * pipe: a descriptor to serve (below STOP: once one that is idle has made room), or STOP.
 * Half-received frames are the only memory that grows with what peers send: half.h.
 */
#include "serve/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grace.h"
#include "base/log.h"
#include "serve/conn.h"

#define TICK_MS     250
#define STOP        (-1)
#define CROWDED(fd) (STOP - 1 - (fd)) /* and back */

uint64_t worker_chance(struct worker *w)
{
	/* xoroshiro128+ */
	uint64_t a = w->rng[0], b = w->rng[1], sum = a + b;

	b ^= a;
	w->rng[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	w->rng[1] = b << 37 | b >> 27;
	return sum;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t now = clock_mono_ns();

	(void)fd;
	(void)what;
	stat_add(&w->stats->beats, 1);
	conn_expire(w, now);
	/* one a tick: soon nothing is kept while nothing large comes */
	halves_drop_spare(&w->halves);
}

static void on_inbox(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	int command;

	(void)what;
	while (read(fd, &command, sizeof(command)) == sizeof(command)) {
		if (command == STOP)
			w->stopping = true;
		else if (command < STOP)
			conn_accept(w, CROWDED(command), true);
		else
			conn_accept(w, command, false);
	}
}

static void *run(void *arg)
{
	struct worker *w = arg;

	grace_join();
	while (!w->stopping) {
		event_base_loop(w->base, EVLOOP_ONCE);
		conn_reap(w);
	}
	conn_close_all(w);
	conn_reap(w);
	grace_part();
	return NULL;
}

static int prepare(struct worker *w, uint32_t nmodels)
{
	struct event_config *config = event_config_new();
	const struct timeval period = {.tv_usec = TICK_MS * 1000};

	if (config) {
		/* Only this thread touches the base. */
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		w->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	w->stats = stats_new(nmodels);
	w->in = malloc(WORKER_IN_SIZE);
	w->out = malloc(WORKER_OUT_SIZE);
	if (!w->base || !w->stats || !w->in || !w->out)
		return -ENOMEM;
	if (pipe2(w->inbox, O_CLOEXEC | O_NONBLOCK) < 0) {
		w->inbox[0] = w->inbox[1] = -1;
		return -errno;
	}
	if (getrandom(w->rng, sizeof(w->rng), 0) != sizeof(w->rng))
		w->rng[0] = clock_mono_ns() | 1;
	w->inbox_event = event_new(w->base, w->inbox[0], EV_READ | EV_PERSIST, on_inbox, w);
	w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, w);
	if (!w->inbox_event || !w->tick || event_add(w->inbox_event, NULL) < 0 ||
	    event_add(w->tick, &period) < 0)
		return -ENOMEM;
	return 0;
}

int worker_start(struct worker *w, unsigned index, struct worker_env *env, uint32_t nmodels)
{
	sigset_t all, old;
	int r;

	*w = (struct worker){.index = index, .env = env, .inbox = {-1, -1}, .rng = {1, 2}};
	TAILQ_INIT(&w->conns);
	TAILQ_INIT(&w->dying);
	TAILQ_INIT(&w->hello_due);
	TAILQ_INIT(&w->frame_due);
	halves_init(&w->halves);
	r = prepare(w, nmodels);
	if (r < 0)
		return r;
	/* Signals are the control thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->started = r == 0;
	return r;
}

static int command(struct worker *w, int value)
{
	/* A write of so few bytes to a pipe is whole or nothing. */
	return write(w->inbox[1], &value, sizeof(value)) == sizeof(value) ? 0 : -errno;
}

int worker_give(struct worker *w, int fd, bool crowded)
{
	return command(w, crowded ? CROWDED(fd) : fd);
}

void worker_stop(struct worker *w)
{
	if (w->started) {
		/* The pipe may be full of connections that wait; they leave it while we do. */
		while (command(w, STOP) == -EAGAIN)
			usleep(1000);
		pthread_join(w->thread, NULL);
	}
	if (w->inbox_event)
		event_free(w->inbox_event);
	if (w->tick)
		event_free(w->tick);
	if (w->base)
		event_base_free(w->base);
	for (unsigned i = 0; i < 2; i++)
		if (w->inbox[i] >= 0)
			close(w->inbox[i]);
	halves_deinit(&w->halves);
	free(w->in);
	free(w->out);
	w->stats = stats_free(w->stats);
	*w = (struct worker){.inbox = {-1, -1}};
}
