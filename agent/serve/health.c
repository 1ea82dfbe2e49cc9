/*
 * Asks an administration port how it is: one HTTP/1.0 request on a plain socket, no loop, no
 * threads.
 *
 * It runs every few seconds in every container, so it starts nothing that it does not need, and it
 * must end: one deadline covers connect, write and read of all addresses together, and of an answer
 * only the first line is looked at. What it is told by whoever listens there is bounded by
 * ANSWER_MAX and printed with everything unprintable replaced.
 *
 * Where the port speaks TLS its certificate is not checked: it is made out to a name that others
 * use, and whoever could put himself in its place on this machine could only say that he is well.
 *
 * It is asked about the agent that runs, not about the file. A file that was spoilt after the start
 * leaves that agent as it was (a reload refuses it), so it must not have the container killed.
 */
#include "serve/health.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/config.h"
#include "serve/address.h"

#define ANSWER_MAX     512
#define URL_MAX_LEN    512
#define ADMIN_ORDINARY "127.0.0.1:9015"

struct question {
	const char *path;
	bool tls;
	uint64_t deadline;
};

struct talk {
	int fd;
	SSL *ssl; /* NULL: plain */
	uint64_t deadline;
};

struct reply {
	int status; /* 0: none */
	int err;    /* errno */
	char line[ANSWER_MAX];
};

/* Who listens everywhere is reached here. */
static void nearest(struct address *a)
{
	struct sockaddr_in *v4 = (void *)&a->addr;
	struct sockaddr_in6 *v6 = (void *)&a->addr;

	if (a->addr.ss_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY))
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (a->addr.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
		v6->sin6_addr = in6addr_loopback;
}

/* Waits for @events until the deadline: 0 or -errno. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_mono_ns();
		struct pollfd p = {.fd = fd, .events = events};
		int r;

		if (now >= deadline)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)((deadline - now) / CLOCK_NS_PER_MS) + 1);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

static int connect_to(int fd, const struct address *a, uint64_t deadline)
{
	int err = 0, r;
	socklen_t len = sizeof(err);

	if (connect(fd, (const struct sockaddr *)&a->addr, a->len) == 0)
		return 0;
	/* A full backlog of a unix socket is EAGAIN, and nothing announces its end. */
	if (errno != EINPROGRESS)
		return -errno;
	r = wait_for(fd, POLLOUT, deadline);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

/* After a call that returned @r <= 0: 0 try it again, or -errno. */
static int again(const struct talk *t, int r, short plain)
{
	if (!t->ssl) {
		if (r < 0 && errno == EINTR)
			return 0;
		if (r < 0 && errno == EAGAIN)
			return wait_for(t->fd, plain, t->deadline);
		return r < 0 ? -errno : -EPROTO;
	}
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return wait_for(t->fd, POLLIN, t->deadline);
	case SSL_ERROR_WANT_WRITE:
		return wait_for(t->fd, POLLOUT, t->deadline);
	default:
		return -EPROTO;
	}
}

static int shake_hands(struct talk *t, SSL_CTX *context)
{
	int r = 0, n;

	t->ssl = SSL_new(context);
	if (!t->ssl || SSL_set_fd(t->ssl, t->fd) != 1)
		return -ENOMEM;
	while (r == 0 && (n = SSL_connect(t->ssl)) != 1) {
		r = again(t, n, 0);
		ERR_clear_error();
	}
	return r;
}

static int send_all(const struct talk *t, const char *text, int len)
{
	int r = 0;

	while (r == 0 && len > 0) {
		int n = t->ssl ? SSL_write(t->ssl, text, len)
			       : (int)send(t->fd, text, (size_t)len, MSG_NOSIGNAL);

		if (n > 0) {
			text += n;
			len -= n;
		} else {
			r = again(t, n, POLLOUT);
		}
	}
	return r;
}

/* The first line of the answer, without its end. -EPROTO: there is none. */
static int read_line(const struct talk *t, char line[ANSWER_MAX])
{
	int have = 0, r = 0;

	while (r == 0 && have + 1 < ANSWER_MAX) {
		int room = ANSWER_MAX - 1 - have;
		int n = t->ssl ? SSL_read(t->ssl, line + have, room)
			       : (int)recv(t->fd, line + have, (size_t)room, 0);

		if (n > 0) {
			char *end = memchr(line + have, '\n', (size_t)n);

			have += n;
			if (end) {
				if (end > line && end[-1] == '\r')
					end--;
				*end = '\0';
				return 0;
			}
		} else {
			r = again(t, n, POLLIN);
		}
	}
	return r < 0 ? r : -EPROTO;
}

/* "HTTP/1.1 200 OK" → 200; 0: it is no such line. */
static int status_of(const char *line)
{
	const char *at = line;

	if (strncmp(at, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)at[7]) || at[8] != ' ')
		return 0;
	at += 9;
	for (int i = 0; i < 3; i++)
		if (!isdigit((unsigned char)at[i]))
			return 0;
	if (at[3] != ' ' && at[3] != '\0')
		return 0;
	return (at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0');
}

static int converse(const struct address *a, const struct question *q, SSL_CTX *context,
		    char line[ANSWER_MAX])
{
	char request[URL_MAX_LEN + 128];
	struct talk t = {.deadline = q->deadline};
	int len, r;

	len = snprintf(
	    request, sizeof(request),
	    "GET %s HTTP/1.0\r\nHost: localhost\r\nUser-Agent: spoa-inference-health\r\n\r\n",
	    q->path);
	t.fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t.fd < 0)
		return -errno;
	r = connect_to(t.fd, a, q->deadline);
	if (r == 0 && context)
		r = shake_hands(&t, context);
	if (r == 0)
		r = send_all(&t, request, len);
	if (r == 0)
		r = read_line(&t, line);
	SSL_free(t.ssl);
	close(t.fd);
	return r;
}

static void ask(const struct address *a, const struct question *q, struct reply *ret)
{
	bool tls = q->tls && a->addr.ss_family != AF_UNIX;
	SSL_CTX *context = tls ? SSL_CTX_new(TLS_client_method()) : NULL;
	int r;

	*ret = (struct reply){0};
	r = tls && !context ? -ENOMEM : converse(a, q, context, ret->line);
	SSL_CTX_free(context);
	if (r == 0) {
		ret->status = status_of(ret->line);
		if (ret->status == 0)
			r = -EPROTO;
	}
	ret->err = -r;
}

static bool told(const char *where, const struct question *q, const struct reply *reply, FILE *out)
{
	if (reply->status == 0) {
		fprintf(out, "%s %s: %s\n", where, q->path,
			reply->err == EPROTO ? "no HTTP answer" : strerror(reply->err));
		return false;
	}
	fprintf(out, "%s %s: ", where, q->path);
	for (const char *c = reply->line; *c; c++)
		fputc(isprint((unsigned char)*c) ? *c : '?', out);
	fputc('\n', out);
	return reply->status == 200;
}

static bool ask_address(const char *text, const struct question *q, FILE *out)
{
	struct address a;
	struct reply reply;

	if (address_parse(text, &a) < 0)
		return false; /* config/ has looked at it: an option of a later version */
	nearest(&a);
	ask(&a, q, &reply);
	return told(text, q, &reply, out);
}

static bool ask_file(const char *file, const struct question *q, FILE *out, FILE *err)
{
	struct config_errors errors = {0};
	struct config *conf = NULL;
	bool well = false;
	int r = config_load(file, &conf, &errors);

	if (r == 0) {
		struct question of_file = *q;

		of_file.tls = conf->listen.admin_cert != NULL;
		for (size_t i = 0; i < conf->listen.admin.n && !well; i++)
			well = ask_address(conf->listen.admin.items[i], &of_file, out);
		if (conf->listen.admin.n == 0)
			fprintf(out, "%s: listen.admin is empty, nobody can be asked\n", file);
		config_free(conf);
	} else {
		if (r == -EINVAL)
			config_errors_print(&errors, file, err);
		else
			fprintf(err, "%s: %s\n", file, strerror(-r));
		fprintf(err, "asking the agent that runs, at its default address\n");
		well = ask_address(ADMIN_ORDINARY, q, out);
	}
	config_errors_deinit(&errors);
	return well;
}

/* Divides @url into an address and, in @q, a path. The text of both is in @room. */
static int split_url(const char *url, char room[URL_MAX_LEN], struct question *q, struct address *a)
{
	size_t len = strlen(url);
	char *slash;

	if (len >= URL_MAX_LEN)
		return -EINVAL;
	for (const char *c = url; *c; c++)
		if (!isgraph((unsigned char)*c))
			return -EINVAL;
	if (strncmp(url, "unix@", 5) == 0)
		return address_parse(url, a);
	q->tls = strncmp(url, "https://", 8) == 0;
	if (!q->tls && strncmp(url, "http://", 7) != 0)
		return -EINVAL;
	url += q->tls ? 8 : 7;
	len = strlen(url);
	memcpy(room, url, len + 1);
	slash = strchr(room, '/');
	if (slash && slash[1])
		q->path = url + (slash - room);
	if (slash)
		*slash = '\0';
	if (room[0] == ':' || room[0] == '\0')
		return -EINVAL;
	return address_parse(room, a);
}

int health_ask(const struct health_options *options, FILE *out, FILE *err)
{
	uint64_t timeout = options->timeout_ms ? options->timeout_ms : HEALTH_TIMEOUT_MS;
	struct question q = {
	    .path = options->ready ? "/readyz" : "/healthz",
	    .deadline = clock_mono_ns() + timeout * CLOCK_NS_PER_MS,
	};
	char room[URL_MAX_LEN];
	struct reply reply;
	struct address a;
	bool well;

	if (options->url) {
		if (split_url(options->url, room, &q, &a) < 0) {
			fprintf(err,
				"spoa-inference: --url %s: http(s)://IP:PORT[/PATH] or unix@PATH "
				"is wanted\n",
				options->url);
			return 2;
		}
		nearest(&a);
		ask(&a, &q, &reply);
		well = told(options->url, &q, &reply, out);
	} else if (options->file) {
		well = ask_file(options->file, &q, out, err);
	} else {
		well = ask_address(ADMIN_ORDINARY, &q, out);
	}
	return well ? 0 : 1;
}
