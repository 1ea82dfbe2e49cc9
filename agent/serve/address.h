/*
 * Where to listen: unix@PATH, abns@NAME (Linux's abstract namespace), IP:PORT, [v6]:PORT.
 */
#ifndef SERVE_ADDRESS_H
#define SERVE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct address {
	struct sockaddr_storage addr;
	socklen_t len;
	/* By address_listen(): systemd had opened it; else the file of a unix socket that is ours.
	 */
	bool inherited, owned;
	dev_t dev;
	ino_t ino;
};

/* 0 or -EINVAL. "localhost" and "*" are understood; other names are not looked up. */
int address_parse(const char *text, struct address *ret) __attribute__((warn_unused_result));

/*
 * A bound socket of @type (SOCK_STREAM: listening with @backlog, SOCK_DGRAM), non-blocking. A
 * socket that systemd handed over for this address is used instead. A unix socket left behind by
 * a process that is gone is replaced; @mode and @group (NULL: ours) are applied before anybody can
 * connect. -errno: EADDRINUSE also when somebody still listens there, as another type too; ENOTSOCK
 * when the path is something else, which is left alone; EINVAL when there is no such group.
 */
int address_listen(struct address *a, int type, int backlog, uint32_t mode, const char *group)
    __attribute__((warn_unused_result));
/* Removes the file of a unix socket, if it is still the one that address_listen() made. To be
 * called before the socket is closed: whoever finds the file without a listener takes it over. */
void address_unlink(const struct address *a);

/* The line of the log that says so, with what can be done: -@err of address_listen() for @text,
 * which is a value of @option. */
void address_complain(const struct address *a, int err, const char *option, const char *text);

/* The port of an IP address; 0: it has none. */
uint16_t address_port(const struct address *a);

#endif
