/* Start the servers that were asked for, say where they are, run until told to stop. */
#include "options.h"
#include "sim.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	/* Steps last a few milliseconds: epoll's own timeout is too coarse for them. */
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static void raise_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static void say_ready(const struct options *o)
{
	struct buf line = {0};
	const struct sim *s;

	buf_puts(&line, "ready");
	for (uint32_t i = 0; i < o->n_servers; i++) {
		s = sim_find(o->servers[i]->name);
		for (uint32_t k = 0; k < s->conf.n_listen; k++)
			buf_printf(&line, " %s=%s", s->conf.name, s->addresses[k]);
	}
	buf_puts(&line, "\n");
	fwrite(line.p, 1, line.len, stdout);
	fflush(stdout);
	if (o->ready_fd >= 0) {
		if (write(o->ready_fd, line.p, line.len) < 0)
			perror("spoa-sim: --ready-fd");
		close(o->ready_fd);
	}
	buf_deinit(&line);
}

int main(int argc, char **argv)
{
	pid_t parent = getppid();
	struct options o;
	struct event_base *base;
	struct event *term, *intr;
	int err = options_parse(&o, argc, argv);

	if (err) {
		options_deinit(&o);
		return err - 1;
	}
	signal(SIGPIPE, SIG_IGN);
	if (o.parent) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			return 0;
	}
	raise_limit();
	base = base_new();
	if (!base)
		return 1;
	for (uint32_t i = 0; i < o.n_servers; i++) {
		if (sim_find(o.servers[i]->name)) {
			fprintf(stderr, "spoa-sim: two servers are named %s\n", o.servers[i]->name);
			return 2;
		}
		if (!sim_new(base, o.servers[i]))
			return 1;
	}
	term = evsignal_new(base, SIGTERM, on_signal, base);
	intr = evsignal_new(base, SIGINT, on_signal, base);
	event_add(term, NULL);
	event_add(intr, NULL);
	say_ready(&o);
	event_base_dispatch(base);
	while (LIST_FIRST(&sim_all))
		sim_free(LIST_FIRST(&sim_all));
	event_free(term);
	event_free(intr);
	event_base_free(base);
	options_deinit(&o);
	return 0;
}
