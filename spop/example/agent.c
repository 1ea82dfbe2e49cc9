/* A whole agent on one page: it counts the bytes of the argument "path" of each message and answers
 * them as txn.<prefix>.length. Blocking, a process a connection; what to change for your own is in
 * answer().
 *
 *	spop-example-agent /run/example.sock      or      spop-example-agent 127.0.0.1 12345
 *
 * haproxy.cfg and spoe.conf beside this file are the other end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "spop/spop.h"

#define MAX_FRAME 16380 /* HAProxy's own limit with `tune.bufsize` at its default */

static size_t answer(const struct spop_input *in, void *buf, size_t cap)
{
	struct spop_notify notify = in->notify;
	struct spop_message message;
	struct spop_arg arg;
	struct spop_ack ack;
	int64_t length = -1;

	while (spop_notify_message(&notify, &message))
		while (spop_notify_arg(&notify, &arg))
			if (spop_view_eq(arg.name, SPOP_VIEW_LIT("path")))
				length = (int64_t)spop_value_bytes(&arg.value).len;
	spop_ack_begin(&ack, buf, cap, in->frame.stream_id, in->frame.frame_id);
	spop_ack_set_int(&ack, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("length"), length);
	return spop_ack_end(&ack);
}

static int send_all(int fd, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Answers what one event asks for. 1 go on, 0 close, -1 the peer is gone. */
static int handle(int fd, struct spop_session *s, const struct spop_input *in)
{
	uint8_t out[512];
	size_t len = 0;
	int on = 1;

	switch (in->event) {
	case SPOP_EV_HELLO:
		len = spop_session_write_hello(s, out, sizeof(out));
		on = !in->hello.healthcheck;
		break;
	case SPOP_EV_NOTIFY:
		len = answer(in, out, sizeof(out));
		break;
	case SPOP_EV_DISCONNECT:
		len = spop_session_write_disconnect(s, out, sizeof(out), SPOP_ERR_NONE, NULL);
		on = 0;
		break;
	case SPOP_EV_IGNORED:
		return 1;
	}
	return send_all(fd, out, len) < 0 ? -1 : on;
}

static void serve(int fd)
{
	static uint8_t buf[MAX_FRAME + SPOP_FRAME_PREFIX];
	struct spop_session session;
	struct spop_fault fault;
	struct spop_input in;
	size_t have = 0;

	spop_session_init(&session, MAX_FRAME);
	for (;;) {
		ssize_t got = read(fd, buf + have, sizeof(buf) - have);
		size_t done = 0;
		ssize_t n;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		have += (size_t)got;
		while ((n = spop_session_receive(&session, buf + done, have - done, &in, &fault)) >
		       0) {
			if (handle(fd, &session, &in) <= 0)
				return;
			done += (size_t)n;
		}
		if (n < 0) {
			n = (ssize_t)spop_session_write_disconnect(&session, buf, sizeof(buf),
								   (uint32_t)fault.code, fault.msg);
			(void)send_all(fd, buf, (size_t)n);
			return;
		}
		memmove(buf, buf + done, have - done);
		have -= done;
	}
}

static int listen_on(int argc, char **argv)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in ip = {.sin_family = AF_INET};
	int fd, one = 1;

	if (argc == 2 && strlen(argv[1]) < sizeof(un.sun_path)) {
		memcpy(un.sun_path, argv[1], strlen(argv[1]) + 1);
		unlink(argv[1]);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
			return -1;
	} else if (argc == 3 && inet_pton(AF_INET, argv[1], &ip.sin_addr) == 1) {
		ip.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		    bind(fd, (struct sockaddr *)&ip, sizeof(ip)) < 0)
			return -1;
	} else {
		fprintf(stderr, "usage: %s PATH | IPV4 PORT\n", argv[0]);
		exit(2);
	}
	return listen(fd, 64) < 0 ? -1 : fd;
}

int main(int argc, char **argv)
{
	int listener = listen_on(argc, argv);

	if (listener < 0) {
		perror("listen");
		return 1;
	}
	signal(SIGCHLD, SIG_IGN); /* children leave no zombies */
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && fork() == 0) {
			close(listener);
			serve(fd);
			_exit(0);
		}
		if (fd >= 0)
			close(fd);
	}
}
