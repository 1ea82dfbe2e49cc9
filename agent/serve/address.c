/*
 * Addresses to listen on.
 *
 * A unix socket is bound under a name of its own first, given its mode and group there, and
 * renamed to its place when it already listens: whoever connects by the final name finds a
 * listener with the right permissions, and a restart never leaves a moment without the file.
 */
#include "serve/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"

static int parse_unix(const char *path, bool abstract, struct address *ret)
{
	struct sockaddr_un *un = (void *)&ret->addr;
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(un->sun_path) || (!abstract && path[0] != '/'))
		return -EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + abstract, path, len);
	/* HAProxy pads the abstract name with zeros to the full length; so do we. */
	ret->len = sizeof(*un);
	return 0;
}

static int parse_ip(const char *text, struct address *ret)
{
	struct sockaddr_in *v4 = (void *)&ret->addr;
	struct sockaddr_in6 *v6 = (void *)&ret->addr;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 1];
	size_t len;
	unsigned long port;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	len = (size_t)(colon - text);
	if (*end || port > 65535)
		return -EINVAL;
	if (len > 2 && text[0] == '[' && colon[-1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (strcmp(host, "*") == 0 || len == 0)
		strcpy(host, "0.0.0.0");
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		ret->len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		ret->len = sizeof(*v6);
		return 0;
	}
	return -EINVAL;
}

int address_parse(const char *text, struct address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (strncmp(text, "unix@", 5) == 0)
		return parse_unix(text + 5, false, ret);
	if (strncmp(text, "abns@", 5) == 0)
		return parse_unix(text + 5, true, ret);
	if (text[0] == '/')
		return parse_unix(text, false, ret);
	return parse_ip(text, ret);
}

static const char *unix_path(const struct address *a)
{
	const struct sockaddr_un *un = (const void *)&a->addr;

	return un->sun_family == AF_UNIX && un->sun_path[0] ? un->sun_path : NULL;
}

/* The socket that systemd opened for this address, or -ENOENT. */
static int inherited(const struct address *a, int type)
{
#ifdef HAVE_SYSTEMD
	int n = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
		struct sockaddr_storage own = {0};
		socklen_t len = sizeof(own), have_len = sizeof(int);
		int have = 0;

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &have, &have_len) < 0 || have != type ||
		    getsockname(fd, (void *)&own, &len) < 0)
			continue;
		if (unix_path(a)
			? own.ss_family == AF_UNIX &&
			      strcmp(((struct sockaddr_un *)&own)->sun_path, unix_path(a)) == 0
			: len == a->len && memcmp(&own, &a->addr, len) == 0) {
			/* Whoever opened it may have left it blocking. */
			if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
				return -errno;
			return fd;
		}
	}
#else
	(void)a;
	(void)type;
#endif
	return -ENOENT;
}

/* Somebody answers at this unix socket; EPROTOTYPE: as another type. */
static bool alive(const struct address *a, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool yes;

	if (fd < 0)
		return true;
	yes = connect(fd, (const void *)&a->addr, a->len) == 0 ||
	      (errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return yes;
}

static int give_group(const char *path, const char *group)
{
	struct group *g;

	if (!group)
		return 0;
	g = getgrnam(group);
	if (!g)
		return -EINVAL;
	return chown(path, (uid_t)-1, g->gr_gid) < 0 ? -errno : 0;
}

static int bind_file(int fd, struct address *a, int type, int backlog, uint32_t mode,
		     const char *group)
{
	const char *path = unix_path(a);
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	struct stat st;
	int r;

	/* A plain file refuses a connect like a socket that nobody listens on. */
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (alive(a, type))
		return -EADDRINUSE;
	if ((size_t)snprintf(own.sun_path, sizeof(own.sun_path), "%s.%d", path, (int)getpid()) >=
	    sizeof(own.sun_path))
		return -ENAMETOOLONG;
	unlink(own.sun_path);
	if (bind(fd, (void *)&own, sizeof(own)) < 0)
		return -errno;
	r = give_group(own.sun_path, group);
	if (r == 0 && chmod(own.sun_path, (mode_t)mode) < 0)
		r = -errno;
	if (r == 0 && type == SOCK_STREAM && listen(fd, backlog) < 0)
		r = -errno;
	if (r == 0 && lstat(own.sun_path, &st) < 0)
		r = -errno;
	if (r == 0 && rename(own.sun_path, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(own.sun_path);
		return r;
	}
	a->owned = true;
	a->dev = st.st_dev;
	a->ino = st.st_ino;
	return 0;
}

static int bind_plain(int fd, const struct address *a, int type, int backlog)
{
	int on = 1;

	/* Of datagram sockets it would let two share a port, and the later one take all. */
	if (a->addr.ss_family != AF_UNIX && type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const void *)&a->addr, a->len) < 0)
		return -errno;
	if (type == SOCK_STREAM && listen(fd, backlog) < 0)
		return -errno;
	return 0;
}

int address_listen(struct address *a, int type, int backlog, uint32_t mode, const char *group)
{
	int fd = inherited(a, type), r;

	a->owned = false;
	a->inherited = fd >= 0;
	if (fd != -ENOENT)
		return fd;
	fd = socket(a->addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = unix_path(a) ? bind_file(fd, a, type, backlog, mode, group)
			 : bind_plain(fd, a, type, backlog);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

void address_unlink(const struct address *a)
{
	struct stat st;

	if (a->owned && lstat(unix_path(a), &st) == 0 && st.st_dev == a->dev && st.st_ino == a->ino)
		unlink(unix_path(a));
}

static const char *remedy_of(const struct address *a, int err)
{
	bool file = unix_path(a);

	switch (err) {
	case EADDRINUSE:
		return file ? "another process listens there: stop it first"
			    : "another process has this port, or another line of listen: has it on "
			      "an address that includes this one: stop it, or take another port";
	case EADDRNOTAVAIL:
		return "no interface of this machine has this address";
	case ENOENT:
		return "make the socket's folder, writable for this user and open for HAProxy's";
	case EACCES:
		return file ? "the socket's folder has to be writable for this user"
			    : "ports below 1024 want CAP_NET_BIND_SERVICE: take another one";
	case EPERM:
		return "this user has to be in listen.spop_group";
	case EINVAL:
		return "listen.spop_group: this machine has no such group";
	case ENOTSOCK:
		return "a file that is no socket has this name: it was left alone";
	default:
		return NULL;
	}
}

void address_complain(const struct address *a, int err, const char *option, const char *text)
{
	struct log_line l;

	log_begin(&l, LOG_LEVEL_ERROR, "listen_failed");
	log_str(&l, "option", option);
	log_str(&l, "address", text);
	log_errno(&l, "error", err);
	log_str(&l, "remedy", remedy_of(a, err));
	log_end(&l);
}

uint16_t address_port(const struct address *a)
{
	if (a->addr.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&a->addr)->sin_port);
	if (a->addr.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&a->addr)->sin6_port);
	return 0;
}
