/*
 * Ways out for log lines that never block.
 *
 * stderr's descriptor is shared with whoever started us, so O_NONBLOCK is not ours to set. A socket
 * is asked not to wait for the one call. Of a pipe it is asked first whether a whole page of it is
 * free, which holds a line; one writer at a time goes through that, else several that found the
 * same page would fill it and the last of them would stand still. A file's writers wait for each
 * other in the kernel anyway.
 *
 * syslog(3) is not used: its socket blocks while the daemon's queue is full (a stopped daemon, a
 * full disk below it), and its lock then holds every thread that has something to say. The socket
 * here does not block and the lock is held for a system call or two. A daemon that was restarted is
 * found again by the line that fails; without one each line asks for it, which costs no wait.
 */
#include "base/logsink.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOGSINK_NAME "spoa-inference"

static pthread_mutex_t logsink_lock = PTHREAD_MUTEX_INITIALIZER;
static bool logsink_torn;
static const char *logsink_path;
static int logsink_fd = -1;
static bool logsink_stream;

/* -1 and EAGAIN: no room. */
static ssize_t logsink_try(int fd, struct iovec *parts, size_t n)
{
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = n};
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	ssize_t sent;

	do
		sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0 || errno != ENOTSOCK)
		return sent;
	/* Closed or broken is told as an event too, and writev() fails then. */
	if (poll(&room, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	do
		sent = writev(fd, parts, (int)n);
	while (sent < 0 && errno == EINTR);
	return sent;
}

bool logsink_stderr(const char *text, size_t len)
{
	size_t extra, all;
	ssize_t n;

	pthread_mutex_lock(&logsink_lock);
	extra = logsink_torn ? 1 : 0;
	all = extra + len;
	n = logsink_try(STDERR_FILENO, (struct iovec[]){{(void *)"\n", extra}, {(void *)text, len}},
			2);
	logsink_torn = n == (ssize_t)all ? false : n > (ssize_t)extra || (n <= 0 && extra);
	pthread_mutex_unlock(&logsink_lock);
	return n == (ssize_t)all;
}

static void hang_up(void)
{
	if (logsink_fd >= 0)
		close(logsink_fd);
	logsink_fd = -1;
}

static bool dial_as(int type)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (!logsink_path || strlen(logsink_path) >= sizeof(to.sun_path)) {
		errno = ENOENT;
		return false;
	}
	memcpy(to.sun_path, logsink_path, strlen(logsink_path) + 1);
	logsink_fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (logsink_fd < 0)
		return false;
	logsink_stream = type == SOCK_STREAM;
	if (connect(logsink_fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return true;
	hang_up();
	return false;
}

static bool dial(void)
{
	return dial_as(SOCK_DGRAM) || (errno == EPROTOTYPE && dial_as(SOCK_STREAM));
}

void logsink_open(const char *path)
{
	tzset();
	pthread_mutex_lock(&logsink_lock);
	hang_up();
	logsink_path = path;
	dial();
	pthread_mutex_unlock(&logsink_lock);
}

void logsink_close(void)
{
	pthread_mutex_lock(&logsink_lock);
	hang_up();
	logsink_path = NULL;
	pthread_mutex_unlock(&logsink_lock);
}

enum said { SAID, SAID_NOT, SAID_TO_NOBODY };

/* @record ends with a NUL, which ends it in a stream too. */
static enum said say(const char *record)
{
	size_t len;
	ssize_t n;

	if (logsink_fd < 0 && !dial())
		return SAID_NOT;
	len = strlen(record) + (logsink_stream ? 1 : 0);
	do
		n = send(logsink_fd, record, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)len)
		return SAID;
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return SAID_NOT;
	hang_up();
	/* A torn record of a stream ends with its connection, and is lost. */
	return n < 0 ? SAID_TO_NOBODY : SAID_NOT;
}

bool logsink_syslog(int priority, const char *text, size_t len)
{
	char record[1200], when[32];
	time_t now = time(NULL);
	enum said said;
	struct tm tm;
	int n;

	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%b %e %T", &tm);
	n = snprintf(record, sizeof(record), "<%d>%s %s[%d]: %.*s", LOG_DAEMON | priority, when,
		     LOGSINK_NAME, (int)getpid(), (int)len, text);
	if (n < 0 || (size_t)n >= sizeof(record))
		return false;
	pthread_mutex_lock(&logsink_lock);
	said = say(record);
	if (said == SAID_TO_NOBODY)
		said = say(record);
	pthread_mutex_unlock(&logsink_lock);
	return said == SAID;
}
