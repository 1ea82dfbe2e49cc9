/* The line is what haproxy.cfg's log-format-sd with `option httplog` makes of a request. */
#include "tell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512

void tell_open(struct tell *t, const char *address)
{
	struct sockaddr_in ip = {.sin_family = AF_INET};
	const char *colon = strrchr(address, ':');
	char host[64] = "";

	*t = (struct tell){.cap = 1024 * 1024};
	t->buf = malloc(t->cap);
	if (colon && (size_t)(colon - address) < sizeof(host))
		memcpy(host, address, (size_t)(colon - address));
	ip.sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!t->buf || t->fd < 0 || inet_pton(AF_INET, host, &ip.sin_addr) != 1 ||
	    connect(t->fd, (struct sockaddr *)&ip, sizeof(ip)) < 0) {
		perror("bench-load: feedback");
		exit(1);
	}
}

void tell_ticket(struct tell *t, int64_t ticket)
{
	char line[LINE_MAX_BYTES];
	int n;

	if (t->pos == t->len)
		t->pos = t->len = 0;
	if (t->cap - t->len < 2 * LINE_MAX_BYTES) {
		memmove(t->buf, t->buf + t->pos, t->len - t->pos);
		t->len -= t->pos;
		t->pos = 0;
	}
	if (t->cap - t->len < 2 * LINE_MAX_BYTES) {
		fprintf(stderr, "bench-load: the agent does not read the ends of requests\n");
		exit(1);
	}
	n = snprintf(line, sizeof(line),
		     "<134>1 2025-01-15T10:20:30.123456+00:00 gateway haproxy 4242 - "
		     "[inference@32473 ticket=\"%" PRId64 "\" rt=\"%" PRIu64
		     "\" backend=\"llama\" server=\"llama1\" status=\"200\" ts=\"--\" "
		     "ta=\"2\"] 127.0.0.1:45678 [15/Jan/2025:10:20:30.121] inference "
		     "llama/llama1 0/0/0/1/2 200 215 - - ---- 100/100/20/7/0 0/0 "
		     "\"POST /v1/chat/completions HTTP/1.1\"\n",
		     ticket, t->lines & UINT32_MAX);
	t->len += (size_t)sprintf(t->buf + t->len, "%d %s", n, line);
	t->lines++;
}

void tell_flush(struct tell *t)
{
	ssize_t n;

	if (tell_waiting(t) == 0)
		return;
	n = send(t->fd, t->buf + t->pos, t->len - t->pos, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN) {
		perror("bench-load: feedback");
		exit(1);
	}
	if (n > 0)
		t->pos += (size_t)n;
}
