/*
 * Where to listen: unix@PATH, abns@NAME (Linux's abstract namespace), IP:PORT, [v6]:PORT.
 */
#ifndef SERVE_ADDRESS_H
#define SERVE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage addr;
	socklen_t len;
	bool inherited; /* address_listen(): systemd had opened it */
};

/* 0 or -EINVAL. "localhost" and "*" are understood; other names are not looked up. */
int address_parse(const char *text, struct address *ret) __attribute__((warn_unused_result));

/*
 * A bound socket of @type (SOCK_STREAM: listening with @backlog, SOCK_DGRAM), non-blocking. A
 * socket that systemd handed over for this address is used instead. A unix socket left behind by
 * a process that is gone is replaced; @mode and @group (NULL: ours) are applied before anybody can
 * connect. -errno: EADDRINUSE also when somebody still listens there.
 */
int address_listen(struct address *a, int type, int backlog, uint32_t mode, const char *group)
    __attribute__((warn_unused_result));
/* Removes the file of a unix socket that was not handed over. */
void address_unlink(const struct address *a);

#endif
